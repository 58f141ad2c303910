"""What a dialect is.

Strategy: a dialect is a deterministic fold over a stream's events from the first: each event in
turn gives the bytes that a client reads, so every reader of a stream gets the same bytes. Ids
derive from the stream's id and times from its header; what else a rendering needs of the request
that the stream was born with (`terms`) stands in the header too. The native fold holds no state,
so its readers share what is rendered; in a foreign dialect each reader has a fold of its own, which
a late joiner begins at the first event. A dialect does no I/O and knows no other dialect.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from holdfast import errors, events, request, storage


class Fold(Protocol):
    """One stream, spoken in one dialect."""

    def render(self, event: events.Event) -> bytes:
        """The frames of the next durable event; may be empty."""

    def rewind(self, reason: str) -> bytes:
        """What a reader is told that has events which the log does not hold."""


class Dialect(Protocol):
    """A way to speak; what it says beside events."""

    name: str

    def heartbeat(self, now: str) -> bytes:
        """Something that keeps the connection alive and moves no position."""

    def reconnect(self, retry_ms: int, reason: str) -> bytes:
        """Come back after this many milliseconds; the connection breaks off behind it."""


class Shared(Dialect, Protocol):
    """A dialect whose folds hold no state: what one reader gets may be another's too."""

    def fold(self, stream: events.StreamId) -> Fold: ...


class Asked(msgspec.Struct, frozen=True):
    """What a foreign body asks for. `stream`: the answer as it comes, or else whole. `terms` is
    kept in the stream's header for this dialect. `detached`: who asks wants no answer, only to be
    told that it is under way."""

    request: request.Request
    stream: bool = False
    terms: bytes = b""
    detached: bool = False


class ForeignFold(Fold, Protocol):
    """A fold that ends by its own word: a rewind cannot be said in a foreign dialect, so it is an
    error there, and nothing follows. Where only reasoning was said, and the log has it still, that
    stays, and the other answer follows."""

    @property
    def ended(self) -> bool:
        """The last frame that there may be was rendered."""

    @property
    def failed(self) -> bool:
        """That frame told an error."""

    @property
    def padded(self) -> bool:
        """Its frames are filled up so that their lengths say little."""


class Whole(Protocol):
    """The answer as one JSON value, from the stream's events so far."""

    def add(self, event: events.Event) -> None:
        """Takes the next durable event, the first one first."""

    def body(self) -> bytes:
        """The value as JSON."""


class Foreign(Dialect, Protocol):
    """Another API's way to speak. A stream that was born in it is read in it, and natively."""

    headers: tuple[tuple[bytes, bytes], ...]
    """Of its event streams, beside those that all have; names in lower case."""

    def stream_of(self, id: str) -> str:
        """What may be the id of the stream that a client calls so."""

    def parse(self, body: bytes) -> Asked:
        """Raises `errors.MalformedBody`, `errors.InvalidField`."""

    def fold(self, stream: events.StreamId, header: storage.Header) -> ForeignFold: ...

    def whole(self, stream: events.StreamId, header: storage.Header) -> Whole: ...

    def refusal(self, error: errors.HoldfastError, request_id: str) -> tuple[int, bytes]:
        """The status and the JSON body of an answer to a call that failed."""


def farewell(reason: str, api: str) -> errors.HoldfastError:
    """What a reader of an API that cannot resume is told where its connection ends before the
    answer does, and is not asked to reconnect."""
    ends = f"The connection ends before the answer does ({reason})"
    if reason == "access_ended":
        return errors.Unauthorized(f"{ends}: the key is not valid any more. Use another one.")
    return errors.Draining(f"{ends}, and {api} cannot be resumed; ask again.")
