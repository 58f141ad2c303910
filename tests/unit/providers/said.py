"""What a translator said, gathered in a form that tests can compare."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from holdfast import events, request
from holdfast.providers import base, failures, vendors
from holdfast.providers import translator as translators
from holdfast.testing import recordings

FOLDER = Path(__file__).parents[2] / "fixtures" / "recordings"
FIXTURES = recordings.load_recordings(FOLDER / "openai-chat")
FORMATS = {vendor.format.kind: vendor.format for vendor in vendors.VENDORS.values()}
ASKED = request.Request(model="m", messages=[request.Message("user", "Hi")])


def translator(
    kind: str = "openai_chat", choices: int = 1, name: str = "fixture", key: str | None = None
) -> translators.Translator:
    """A translator of this kind of provider."""
    source = failures.Source(name, key)
    wanted = msgspec.structs.replace(ASKED, n=choices)
    return translators.Translator(FORMATS[kind].fold(wanted, source), source)


def play(
    reads: Iterable[bytes], choices: int = 1, kind: str = "openai_chat"
) -> tuple[list[events.Body], translators.Translator]:
    """Every body of these reads and of their clean end, and the translator afterwards."""
    made = translator(kind, choices)
    said = [body for read in reads for body in made.feed(read)]
    return said + made.end(), made


def drafts(said: Iterable[events.Body]) -> list[events.Draft]:
    """Comparable, with what `extra` holds."""
    return [events.draft(body) for body in said]


def text(said: Iterable[events.Body], kind: str, choice: int = 0) -> str:
    return "".join(
        body.delta
        for body in said
        if isinstance(body, events.Chunk) and (body.type, body.choice) == (kind, choice)
    )


def tool_calls(said: Iterable[events.Body], choice: int = 0) -> list[dict[str, Any]]:
    calls: dict[int | None, dict[str, Any]] = {}
    for body in said:
        if not isinstance(body, events.Chunk) or (body.type, body.choice) != ("tool_call", choice):
            continue
        call = calls.setdefault(body.call, {"name": "", "arguments": "", "id": ""})
        call["name"] += body.name or ""
        call["id"] += body.id or ""
        call["arguments"] += body.delta
    assert list(calls) == list(range(len(calls)))
    return list(calls.values())


def finish(said: Iterable[events.Body], choice: int = 0) -> events.Finish | None:
    found = [body for body in said if isinstance(body, events.Finish) and body.choice == choice]
    assert len(found) < 2
    return found[0] if found else None


def extras(said: Iterable[events.Body], *kinds: str) -> list[Any]:
    return [
        msgspec.json.decode(body.extra)
        for body in said
        if isinstance(body, events.Chunk) and body.type in kinds
        if isinstance(body.extra, msgspec.Raw)
    ]


def verdict(translator: base.Translator) -> str | None:
    return type(translator.error).__name__ if translator.error is not None else None
