"""Events made by hand, and the frames that they become, read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from holdfast import events, sse, storage
from holdfast.dialects import anthropic

STREAM = events.StreamId("0123456789abcdefghijABCDEF")
HEADER = storage.Header("o", 1_000, "p", "claude-x", request_id="req")
DIALECT = anthropic.Dialect()
START = events.Start(STREAM, "req", "p", "claude-x", "2026-01-01T00:00:00Z")


def event(body: events.Body, seq: int = 1) -> events.Event:
    """One event of a stream."""
    draft = events.draft(body)
    return events.Event(draft.kind, draft.data, 1, seq, 0)


def listed(bodies: Iterable[events.Body]) -> list[events.Event]:
    """The events of a stream, its start before these."""
    return [event(body, seq) for seq, body in enumerate([START, *bodies], 1)]


def complete(
    reason: events.FinishReason = "stop",
    word: str | None = None,
    usage: events.Tokens | None = None,
) -> events.Complete:
    """The last event of an answer."""
    return events.Complete(reason, word, usage, 0, 0, 0, "", 0, 1, True)


def opaque(block: int | None = None, **extra: Any) -> events.Chunk:
    """What a provider told beside the text."""
    return events.Chunk("opaque", block=block, extra=msgspec.Raw(msgspec.json.encode(extra)))


def rendered(bodies: Iterable[events.Body]) -> bytes:
    """All frames of a stream of these, behind its start."""
    fold = DIALECT.fold(STREAM, HEADER)
    return b"".join(fold.render(one) for one in listed(bodies))


def frames(said: bytes) -> list[Any]:
    """The data of frames, each of which is one event with the name that its data have."""
    parser = sse.Parser()
    found = parser.feed(said)
    assert not parser.finish()
    assert said.count(b"\n\n") == len(found)  # no block is without data
    told = [msgspec.json.decode(frame.data) for frame in found]
    assert [frame.event for frame in found] == [one["type"] for one in told]
    return told


def told(*bodies: events.Body) -> list[Any]:
    """The frames between the message's begin and its end, in few words: `+` begins a block, `-`
    ends one, and a delta is its last two values."""
    return [_short(frame) for frame in frames(rendered(bodies))[1:]]


def _short(frame: Any) -> Any:
    match frame:
        case {"type": "content_block_start", "index": index, "content_block": block}:
            return ["+", index, block]
        case {"type": "content_block_stop", "index": index}:
            return ["-", index]
        case {"type": "content_block_delta", "index": index, "delta": delta}:
            return [index, *delta.values()]
    return frame


def whole(bodies: Iterable[events.Body]) -> Any:
    """The same answer as one value."""
    one = DIALECT.whole(STREAM, HEADER)
    for each in listed(bodies):
        one.add(each)
    return msgspec.json.decode(one.body())
