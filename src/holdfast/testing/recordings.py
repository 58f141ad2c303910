"""Recorded provider answers from a folder, and ways to cut bytes into network reads.

Strategy: a recording is what the provider sent, byte for byte, beside what a script derived
from it. Nothing of network timing is kept, so each is to be played in several fragmentations:
a parser that is right gives the same for all of them.

The layout: `KIND/NAME.sse` is a response body as it was stored; `KIND/NAME.jsonl` has one
`data:` payload a line, framed here as the protocol frames it; `KIND/NAME.json` is the body of an
answer that was no stream. `NAME.expected.json` beside each gives `protocol`, `status`,
`content_type`, `retry_after`, and what the answer says: `final_text`, `reasoning_text`,
`tool_calls`, `finish`, `usage`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

Fragments = tuple[bytes, ...]


class Recording(msgspec.Struct, frozen=True):
    """One recorded answer; `wire` is the body as it goes over the network."""

    kind: str
    name: str
    wire: bytes
    expected: dict[str, Any]

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return int(self.expected.get("status") or 200)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What is known of the answer's headers; a stream is one even where it is not said."""
        content_type = self.expected.get("content_type") or "text/event-stream"
        headers = [("Content-Type", str(content_type))]
        if self.expected.get("retry_after") is not None:
            headers.append(("Retry-After", str(self.expected["retry_after"])))
        return tuple(headers)


def load_recordings(folder: Path) -> list[Recording]:
    """All recordings of a folder and of the folders in it, sorted by kind and name.

    Raises `OSError`, and `ValueError` for a file that is not as the layout says.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".sse", ".jsonl", ".json") or path.name.endswith(".expected.json"):
            continue
        beside = path.with_name(f"{path.stem}.expected.json")
        if path.suffix == ".json" and not beside.is_file():
            continue  # some other JSON
        expected = msgspec.json.decode(beside.read_bytes()) if beside.is_file() else {}
        wire = path.read_bytes()
        if path.suffix == ".jsonl":
            wire = frame(wire, str(expected.get("protocol")))
        found.append(Recording(path.parent.name, path.stem, wire, expected))
    return found


def frame(lines: bytes, protocol: str) -> bytes:
    """Payloads, one a line, as the events of `protocol`: `chat`, `anthropic`,
    `openai-responses` or `google`. Raises `ValueError` for another, and for a payload of
    a named event that has no type."""
    payloads = [line for line in lines.splitlines() if line.strip()]
    if protocol == "chat":
        return b"".join(b"data: %b\n\n" % each for each in (*payloads, b"[DONE]"))
    if protocol == "google":
        return b"".join(b"data: %b\r\n\r\n" % each for each in payloads)
    if protocol in ("anthropic", "openai-responses"):
        return b"".join(b"event: %b\ndata: %b\n\n" % (_type(each), each) for each in payloads)
    raise ValueError(f"there is no framing for the protocol {protocol!r}")


def _type(payload: bytes) -> bytes:
    body = msgspec.json.decode(payload)
    if not isinstance(body, dict) or not isinstance(body.get("type"), str):
        raise ValueError("a payload of a named event has no type")
    named: str = body["type"]
    return named.encode()


def whole(body: bytes) -> Fragments:
    """All in one read."""
    return (body,) if body else ()


def per_event(body: bytes) -> Fragments:
    """A read for each event: cut after each blank line."""
    return tuple(re.findall(rb".+?(?:\r\n\r\n|\n\n|\r\r|\Z)", body, re.DOTALL))


def per_byte(body: bytes) -> Fragments:
    """A read for each byte."""
    return tuple(body[n : n + 1] for n in range(len(body)))


def at_random(body: bytes, seed: int = 0, largest: int = 40) -> Fragments:
    """Reads of 1 to `largest` bytes; the same seed cuts alike."""

    def cut() -> Iterator[bytes]:
        dice = random.Random(seed)
        begin = 0
        while begin < len(body):
            end = begin + dice.randint(1, largest)
            yield body[begin:end]
            begin = end

    return tuple(cut())


FRAGMENTATIONS: dict[str, Callable[[bytes], Fragments]] = {
    "whole": whole,
    "per event": per_event,
    "per byte": per_byte,
    "at random": at_random,
}
"""The four that a provider's bytes are to be tried in."""
