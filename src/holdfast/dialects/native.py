"""The native dialect: every event as it is in the log.

Strategy: rendering copies the stored JSON between fixed bytes and builds no object. The
`id` is the last line of a block, because a client may commit an id at its line
(fetch-event-source does): with the id first, a cut inside the block would lose the event.
Padding is a fold of its own, so that a node that does not pad pays nothing for it.
Wire: PROTOCOL, sections 1 and 2.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from holdfast import errors, events, request, sse
from holdfast.dialects import base, bodies, padding

MAX_CHOICES = 16
MAX_MESSAGES = 10_000
MAX_TOKENS = 10_000_000


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/streams` as it comes; PROTOCOL, section 3."""

    messages: Annotated[list[request.Message], msgspec.Meta(max_length=MAX_MESSAGES)] = []
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    provider: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    context: dict[str, Any] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKENS)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    stop: str | list[str] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)] = 1
    buffer_size: Annotated[int, msgspec.Meta(ge=1, le=64 * 1024)] | None = None
    flush_interval_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] | None = None
    fallback: request.Fallback | None = None
    metadata: request.Metadata = request.Metadata()


_EVENT = b"event: %b\ndata: %b\nid: %b:%d-%d\n\n"
_BARE = len(b'{"type":"content","delta":""}')

_decode = msgspec.json.Decoder(Body).decode
_encode = msgspec.json.Encoder().encode


class Native:
    """A `base.Shared`. `padded`: how long a piece of an answer is does not show."""

    name = "native"

    def __init__(self, *, padded: bool = False) -> None:
        self.padded = padded
        self._fold = PaddedFold if padded else Fold

    def parse(self, body: bytes) -> request.Request:
        wanted = bodies.decoded(body, _decode)
        if wanted.model is None:
            raise errors.InvalidField("`model` is missing; name one, as model or provider/model.")
        if not wanted.messages and wanted.context is None:
            raise errors.InvalidField("`messages` is missing or empty; give at least one message.")
        fields = msgspec.structs.asdict(wanted)
        fields["stop"] = [wanted.stop] if isinstance(wanted.stop, str) else wanted.stop
        return request.Request(**fields)

    def fold(self, stream: events.StreamId) -> base.Fold:
        return self._fold(stream)

    def heartbeat(self, now: str) -> bytes:
        return _transient(events.Heartbeat(now))

    def reconnect(self, retry_ms: int, reason: str) -> bytes:
        return _transient(events.Reconnect(retry_ms, reason), retry_ms)


class Fold:
    """Stateless: native readers see each event for itself."""

    __slots__ = ("_stream",)

    def __init__(self, stream: events.StreamId) -> None:
        self._stream = stream.encode()

    def render(self, event: events.Event) -> bytes:
        return _EVENT % (event.kind.encode(), event.data, self._stream, event.epoch, event.seq)

    def rewind(self, reason: str) -> bytes:
        return _transient(events.Rewind(reason))


class PaddedFold:
    """The same, with letters that fill what is said of an answer up to whole blocks. They stand in
    no log: an event has the same ones whoever reads it, and whenever."""

    __slots__ = ("_padding", "_stream")

    def __init__(self, stream: events.StreamId) -> None:
        self._stream, self._padding = stream.encode(), padding.Padding(stream)

    def render(self, event: events.Event) -> bytes:
        data = event.data
        if event.kind in padding.KINDS:
            letters = self._padding.of(event.seq, len(data) - _BARE)
            data = b'%b,"obfuscation":"%b"}' % (data[:-1], letters)
        return _EVENT % (event.kind.encode(), data, self._stream, event.epoch, event.seq)

    def rewind(self, reason: str) -> bytes:
        return _transient(events.Rewind(reason))


def _transient(body: events.Body, retry_ms: int | None = None) -> bytes:
    return sse.encode(_encode(body), event=body.kind, retry_ms=retry_ms)
