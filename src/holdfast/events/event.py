"""Events, before and after they have a place in a stream, and what a stream's events make of it.

Strategy: an event is kept as the bytes of its JSON body: it is encoded once, before the append, and
copied from then on; only who needs the fields decodes it again. The status of a stream is a
function of its events, a table that is kept nowhere else.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from holdfast import errors
from holdfast.events.bodies import (
    Body,
    Chunk,
    Complete,
    Error,
    Heartbeat,
    Kind,
    Metadata,
    Reconnect,
    Rewind,
    Start,
    Status,
)
from holdfast.events.ids import Position


def now_ms() -> int:
    """The wall clock, in ms since 1970."""
    return time.time_ns() // 1_000_000


def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC, for people."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


@functools.lru_cache(64)
def _second(seconds: int) -> str:
    """Most times that are told are of the last few seconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:-6]


_encode = msgspec.json.Encoder().encode
_DECODERS: dict[Kind, msgspec.json.Decoder[Body]] = {
    "start": msgspec.json.Decoder(Start),
    "chunk": msgspec.json.Decoder(Chunk),
    "metadata": msgspec.json.Decoder(Metadata),
    "rewind": msgspec.json.Decoder(Rewind),
    "error": msgspec.json.Decoder(Error),
    "complete": msgspec.json.Decoder(Complete),
    "heartbeat": msgspec.json.Decoder(Heartbeat),
    "reconnect": msgspec.json.Decoder(Reconnect),
}


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An event before it has a place in a stream: its kind and the JSON of its body."""

    kind: Kind
    data: bytes


class Event(msgspec.Struct, frozen=True, gc=False):
    """One item of a stream. `ts` is in milliseconds since 1970, for people only.

    A transient event has seq 0: it has no place in the stream.
    """

    kind: Kind
    data: bytes
    epoch: int
    seq: int
    ts: int

    @property
    def body(self) -> Body:
        """The fields, decoded anew at each call."""
        return _DECODERS[self.kind].decode(self.data)

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.seq)


def draft(body: Body) -> Draft:
    """Encodes a body once; JSON never holds a raw line break, so SSE can carry it."""
    return Draft(body.kind, _encode(body))


def decode(kind: str, data: bytes) -> Body | None:
    """The body of an event that came over a wire, or None for a kind that is not ours.

    Raises `msgspec.DecodeError` where the data are not of that kind's shape.
    """
    decoder = _DECODERS.get(kind)  # type: ignore[call-overload]
    return None if decoder is None else decoder.decode(data)


_ADVANCE: dict[tuple[Status, Kind], Status] = {
    ("pending", "chunk"): "streaming",
    ("pending", "complete"): "completed",
    ("pending", "error"): "error",
    ("streaming", "complete"): "completed",
    ("streaming", "error"): "error",
}


def advance(status: Status, event: Draft | Event) -> Status:
    """The stream's status after one more event: `cancelled` is an error of that code."""
    after = _ADVANCE.get((status, event.kind), status)
    if after == "error" and status != "error":
        body = _DECODERS["error"].decode(event.data)
        if isinstance(body, Error) and body.code == errors.Cancelled.code:
            return "cancelled"
    return after


def status_of(items: Iterable[Draft | Event]) -> Status:
    """The status of a stream with exactly these events, from its first."""
    status: Status = "pending"
    for item in items:
        status = advance(status, item)
    return status


def failure(error: errors.HoldfastError) -> Error:
    """The terminal event for an error of our tree."""
    after = error.retry_after if error.retryable else None
    after_ms = None if after is None else round(after * 1000)
    return Error(error.code, error.message, error.retryable, after_ms)
