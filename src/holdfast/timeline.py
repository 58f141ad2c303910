"""What happened to a stream, and when: a fold over its events.

Strategy: all that is told here is in the log with its time, so a stream that is under way, one that
has ended and one that is archived alone are told alike, and nobody keeps a second account. Of what
was asked, answered, or said by a provider in words nothing is taken over. Of a long story the begin
and the end are kept, as they tell most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Literal

import msgspec

from holdfast import errors, events

KEPT = 100
"""Entries that are kept of a story's begin, and as many of its end."""

What = Literal[
    "start",
    "attempt",
    "fallback",
    "adopted",
    "rewind",
    "first_chunk",
    "finish",
    "complete",
    "error",
    "cancelled",
]

Fact = str | int | bool | None


class Entry(msgspec.Struct, frozen=True):
    """`at` is in ms since 1970. Of a call that failed `detail` has the `error`, else the call
    begins."""

    at: int
    what: What
    detail: Mapping[str, Fact]


class Timeline:
    """Folds events, the first one first."""

    def __init__(self) -> None:
        self.status: events.Status = "pending"
        self._begin: list[Entry] = []
        self._end: deque[Entry] = deque(maxlen=KEPT)
        self._after_begin = self._at = 0
        self._spoke = False

    @property
    def entries(self) -> list[Entry]:
        """In the order of their events, and so in that of their times."""
        return [*self._begin, *self._end]

    @property
    def left_out(self) -> int:
        """Entries between the begin and the end that are not kept."""
        return self._after_begin - len(self._end)

    def add(self, event: events.Event) -> None:
        """Takes one more event. Raises `msgspec.DecodeError` on a body of a wrong shape."""
        self.status = events.advance(self.status, event)
        if event.kind == "chunk" and self._spoke:  # most, and they are not looked into
            return
        told = _told(event.body)
        if told is None:
            return
        self._spoke = self._spoke or event.kind == "chunk"
        # Who took the stream over may have a clock that is behind.
        self._at = max(self._at, event.ts)
        entry = Entry(self._at, *told)
        if len(self._begin) < KEPT:
            self._begin.append(entry)
        else:
            self._end.append(entry)
            self._after_begin += 1


def _told(body: events.Body) -> tuple[What, Mapping[str, Fact]] | None:
    """What an event comes to; None where it is nothing that happened to the stream."""
    match body:
        case events.Start():
            return "start", _facts(body, "provider", "model")
        case events.Chunk():
            return "first_chunk", _facts(body, "type")
        case events.Attempt():
            result = ("error", "duration_ms") if body.error else ("how",) if body.how else ()
            return "attempt", _facts(body, "number", "provider", "model", *result)
        case events.Fallback():
            facts = _facts(body, "to", "reason", "exact", "trimmed", "at")
            return "fallback", {"from": body.from_, **facts}
        case events.Adopted():
            return "adopted", _facts(body, "epoch")
        case events.Rewind():
            return "rewind", _facts(body, "reason")
        case events.Finish():
            return "finish", _facts(body, "choice", "finish_reason")
        case events.Complete():
            counted = ("chunks", "bytes", "duration_ms", "attempts", "exact")
            return "complete", _facts(body, "finish_reason", *counted)
        case events.Error(code=errors.Cancelled.code):
            return "cancelled", {}
        case events.Error():
            return "error", _facts(body, "code", "retryable", "retry_after_ms")
        case _:
            return None


def _facts(body: events.Body, *names: str) -> Mapping[str, Fact]:
    return {name: getattr(body, name) for name in names}
