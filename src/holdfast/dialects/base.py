"""What a dialect is.

Strategy: a dialect is a deterministic fold over a stream's events from the first. `Fold` is
made for one stream; each event in turn gives the bytes that a client reads, so every reader
of a stream gets the same bytes, and a late joiner folds from the start and drops what lies
before its position. A dialect does no I/O and knows no other dialect.
"""

from __future__ import annotations

from typing import Protocol

from holdfast import events, request


class Fold(Protocol):
    """One stream, spoken in one dialect."""

    def render(self, event: events.Event) -> bytes:
        """The frames of the next durable event; may be empty."""

    def rewind(self, reason: str) -> bytes:
        """A transient rewind of one reader; starts the fold anew."""


class Dialect(Protocol):
    """A way to speak."""

    name: str

    def parse(self, body: bytes) -> request.Request:
        """Raises `errors.MalformedBody`, `errors.InvalidField`."""

    def fold(self, stream: events.StreamId) -> Fold: ...

    def heartbeat(self, now: str) -> bytes:
        """Something that keeps the connection alive and moves no position."""

    def reconnect(self, retry_ms: int, reason: str) -> bytes:
        """Come back after this many milliseconds."""
