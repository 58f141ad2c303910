"""The native dialect: every event as it is in the log.

Strategy: rendering copies the stored JSON between fixed bytes and builds no object. The
`id` is the last line of a block, because a client may commit an id at its line
(fetch-event-source does): with the id first, a cut inside the block would lose the event.
Wire: PROTOCOL, sections 1 and 2.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from holdfast import errors, events, request, sse

MAX_CHOICES = 16
MAX_MESSAGES = 10_000
MAX_TOKENS = 10_000_000
MAX_DEPTH = 100
"""Objects and lists within each other in a body; much deeper ones cannot be encoded again."""


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/streams` as it comes; PROTOCOL, section 3."""

    messages: Annotated[list[request.Message], msgspec.Meta(max_length=MAX_MESSAGES)] = []
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    provider: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    context: dict[str, Any] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKENS)] | None = None
    tools: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None
    stop: str | list[str] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)] = 1
    buffer_size: Annotated[int, msgspec.Meta(ge=1, le=64 * 1024)] | None = None
    flush_interval_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] | None = None
    fallback: request.Fallback | None = None
    metadata: request.Metadata = request.Metadata()


_decode = msgspec.json.Decoder(Body).decode
_encode = msgspec.json.Encoder().encode
_SQUARE = bytes.maketrans(b"{}", b"[]")
_REST = bytes(set(range(256)) - set(b'"[]{}'))


class Native:
    name = "native"

    def parse(self, body: bytes) -> request.Request:
        wanted = self._decode(body)
        if wanted.model is None:
            raise errors.InvalidField("`model` is missing; name one, as model or provider/model.")
        if not wanted.messages and wanted.context is None:
            raise errors.InvalidField("`messages` is missing or empty; give at least one message.")
        fields = msgspec.structs.asdict(wanted)
        fields["stop"] = [wanted.stop] if isinstance(wanted.stop, str) else wanted.stop
        return request.Request(**fields)

    def _decode(self, body: bytes) -> Body:
        if _too_deep(body):
            raise errors.MalformedBody(f"The body nests over {MAX_DEPTH} levels.")
        try:
            return _decode(body)
        except msgspec.ValidationError as error:
            if not body.lstrip().startswith(b"{"):
                raise errors.MalformedBody from None
            raise errors.InvalidField(f"{error}") from None
        except UnicodeDecodeError:
            raise errors.MalformedBody("The body is not JSON: it is not UTF-8.") from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise errors.MalformedBody(f"The body is not JSON: {error}.") from None

    def fold(self, stream: events.StreamId) -> Fold:
        return Fold(stream)

    def heartbeat(self, now: str) -> bytes:
        return _transient(events.Heartbeat(now))

    def reconnect(self, retry_ms: int, reason: str) -> bytes:
        return _transient(events.Reconnect(retry_ms, reason), retry_ms)


def _too_deep(body: bytes) -> bool:
    """Whether over `MAX_DEPTH` objects and lists are within each other, if it is JSON. It takes
    less than decoding it: what is looked at one by one is few."""
    left, room = _brackets(body), MAX_DEPTH
    # The innermost pairs go all at once, as long as they are many.
    while len(rest := left.replace(b"[]", b"")) < len(left) * 3 // 4:
        left, room = rest, room - 1
    depth = 0
    for hill in left.split(b"]["):
        up = hill.count(b"[")
        if depth + up > room:
            return True
        depth += 2 * up - len(hill)
    return False


def _brackets(body: bytes) -> bytes:
    """What is left of JSON without all but the brackets outside strings, all of them square."""
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"").translate(_SQUARE, _REST)
    # Two quotes side by side, be it of one string or of two, change nothing for what follows.
    return b"".join(bare.replace(b'""', b"").split(b'"')[::2])


class Fold:
    """Stateless: native readers see each event for itself."""

    __slots__ = ("_stream",)

    def __init__(self, stream: events.StreamId) -> None:
        self._stream = stream.encode()

    def render(self, event: events.Event) -> bytes:
        return b"event: %b\ndata: %b\nid: %b:%d-%d\n\n" % (
            event.kind.encode(),
            event.data,
            self._stream,
            event.epoch,
            event.seq,
        )

    def rewind(self, reason: str) -> bytes:
        return _transient(events.Rewind(reason))


def _transient(body: events.Body, retry_ms: int | None = None) -> bytes:
    return sse.encode(_encode(body), event=body.kind, retry_ms=retry_ms)
