"""The values that a stream is made of: ids, positions, events and their bodies.

Strategy: a value that exists is a value that is right. Ids and positions are checked
where they are made, so no other file asks whether an id may hold a line break. An event
is kept as the bytes of its JSON body (`Event.data`): it is encoded once, before the
append, and copied from then on; only who needs the fields decodes it again. The status
of a stream is a function of its events (`advance`), a table that is kept nowhere else.

Field tables: DESIGN, "Events"; PROTOCOL, section 2.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import ClassVar, Literal, NewType, get_args

import msgspec

from holdfast import errors

Kind = Literal[
    "start", "chunk", "metadata", "rewind", "error", "complete", "heartbeat", "reconnect"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
TERMINAL: frozenset[Kind] = frozenset(("error", "complete"))

ChunkType = Literal["content", "reasoning", "refusal", "tool_call", "opaque"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "other"]
Status = Literal["pending", "streaming", "completed", "error", "cancelled"]

StreamId = NewType("StreamId", str)

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_STREAM_ID = re.compile(r"[0-9A-Za-z]{26}(?:[0-9A-Za-z]{6})?", re.ASCII)
_POSITION = re.compile(r"(?:([0-9A-Za-z]{26}|[0-9A-Za-z]{32}):)?(\d{1,20})-(\d{1,20})", re.ASCII)
_MAX_NUMBER = 2**63 - 1


def new_stream_id() -> StreamId:
    """26 characters `[0-9A-Za-z]`: 154 random bits."""
    return _spell(secrets.randbits(160))


def derived_stream_id(digest: bytes) -> StreamId:
    """The id for a keyed digest of at least 20 bytes: the same digest, the same id."""
    if len(digest) < 20:
        raise ValueError("a derived stream id needs a digest of at least 20 bytes")
    return _spell(int.from_bytes(digest, "big"))


def _spell(number: int) -> StreamId:
    letters = []
    for _ in range(26):
        number, rest = divmod(number, 62)
        letters.append(_ALPHABET[rest])
    return StreamId("".join(letters))


def stream_id(text: str) -> StreamId:
    """Checks an id that came from outside; raises `StreamNotFound`: no such id can exist."""
    if _STREAM_ID.fullmatch(text) is None:
        raise errors.StreamNotFound
    return StreamId(text)


class Position(msgspec.Struct, frozen=True, gc=False):
    """`(epoch, seq)` of the last event that a reader has; seq 0 is before the first."""

    epoch: int
    seq: int

    def __post_init__(self) -> None:
        if not (0 <= self.epoch <= _MAX_NUMBER and 0 <= self.seq <= _MAX_NUMBER):
            raise ValueError(f"a position holds two numbers from 0 to 2^63-1, not {self!r}")

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


BEGIN = Position(0, 0)


def event_id(stream: StreamId, position: Position) -> str:
    """The SSE id: `<stream_id>:<epoch>-<seq>`."""
    return f"{stream}:{position}"


def parse_event_id(text: str) -> tuple[StreamId | None, Position]:
    """Reads an SSE id, or its part after the colon; raises `MalformedPosition`."""
    match = _POSITION.fullmatch(text)
    if match is None or int(match[2]) > _MAX_NUMBER or int(match[3]) > _MAX_NUMBER:
        raise errors.MalformedPosition(
            "A position reads <stream_id>:<epoch>-<seq> or <epoch>-<seq>; send the last "
            "SSE id exactly as it came."
        )
    stream = StreamId(match[1]) if match[1] else None
    return stream, Position(int(match[2]), int(match[3]))


def new_epoch(previous: int) -> int:
    """The next life of a writer: claim counter `<< 16` plus 16 random bits."""
    return ((previous >> 16) + 1) << 16 | secrets.randbits(16)


def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC, for people."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class Start(msgspec.Struct, frozen=True, gc=False):
    """The first event. `provider` and `model` are the first target's."""

    kind: ClassVar[Kind] = "start"

    stream_id: str
    request_id: str
    provider: str
    model: str
    created_at: str


class Chunk(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A piece of the answer; `delta` is valid Unicode.

    `choice` counts from 0. `call` is the ordinal of the tool call within its choice, with
    `id` and `name` where it begins. `block` is the ordinal of the provider's content block,
    given where it changes. `extra` holds the provider's own fields, verbatim JSON; it is unset,
    not None, without them, because msgspec reads an optional `Raw` back as null alone.
    """

    kind: ClassVar[Kind] = "chunk"

    type: ChunkType
    delta: str = ""
    choice: int = 0
    call: int | None = None
    id: str | None = None
    name: str | None = None
    block: int | None = None
    extra: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Finish(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="finish"):
    """A choice has ended, told at once when the provider tells it."""

    kind: ClassVar[Kind] = "metadata"

    choice: int
    finish_reason: FinishReason
    provider_finish_reason: str | None


class Tokens(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How many tokens the provider counted."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


class Usage(Tokens, frozen=True, gc=False, tag_field="type", tag="usage", omit_defaults=True):
    """Tokens counted so far; a later one replaces an earlier one."""

    kind: ClassVar[Kind] = "metadata"

    @property
    def tokens(self) -> Tokens:
        """The same counts as a plain value."""
        return Tokens(**msgspec.structs.asdict(self))


class Citation(
    msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="citation", omit_defaults=True
):
    """A source that the answer names."""

    kind: ClassVar[Kind] = "metadata"

    url: str | None = None
    title: str | None = None
    choice: int = 0
    extra: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Attempt(
    msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="attempt", omit_defaults=True
):
    """A provider call: that it begins (the first one's is `start`), or, with an `error`, that it
    ended without the whole answer. `number` counts from 1, `how` is what it is asked for, `usage`
    what the provider said that it cost; `void`: what it said nobody can go on from."""

    kind: ClassVar[Kind] = "metadata"

    number: int
    provider: str
    model: str
    error: str = ""
    message: str = ""
    duration_ms: int = 0
    usage: Tokens | None = None
    how: Literal["", "fresh", "replay", "continue", "restart"] = ""
    void: bool = False


class Fallback(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="fallback",
    rename={"from_": "from"},
):
    """The answer goes on from another target; `at` is the length in code points so far."""

    kind: ClassVar[Kind] = "metadata"

    from_: str
    to: str
    reason: str
    exact: bool
    trimmed: int
    at: int


class Adopted(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="adopted"):
    """A new life writes this stream from here on."""

    kind: ClassVar[Kind] = "metadata"

    epoch: int


class Kept(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="kept"):
    """The provider keeps this answer under this id, also when nobody reads it."""

    kind: ClassVar[Kind] = "metadata"

    id: str


class Rewind(msgspec.Struct, frozen=True, gc=False):
    """Forget all content, reasoning, refusals and tool calls; the answer follows whole."""

    kind: ClassVar[Kind] = "rewind"

    reason: str


class Error(msgspec.Struct, frozen=True, gc=False):
    """The stream has ended without its answer."""

    kind: ClassVar[Kind] = "error"

    code: str
    message: str
    retryable: bool


class ChoiceEnd(msgspec.Struct, frozen=True, gc=False):
    """How one of several choices ended."""

    choice: int
    finish_reason: FinishReason
    length: int
    sha256: str


class Complete(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stream has ended with its answer.

    `length` counts UTF-8 bytes and `sha256` (hex) is over the UTF-8 of the content of choice
    0 since the last rewind. `chunks` counts chunk events, `bytes` the UTF-8 of all deltas.
    `exact` is false where a continuation could not be proved to be seamless.
    """

    kind: ClassVar[Kind] = "complete"

    finish_reason: FinishReason
    provider_finish_reason: str | None
    usage: Tokens | None
    chunks: int
    bytes: int
    length: int
    sha256: str
    duration_ms: int
    attempts: int
    exact: bool
    choices: tuple[ChoiceEnd, ...] | None = None


class Heartbeat(msgspec.Struct, frozen=True, gc=False):
    """The connection lives; transient."""

    kind: ClassVar[Kind] = "heartbeat"

    timestamp: str


class Reconnect(msgspec.Struct, frozen=True, gc=False):
    """Come back after `retry_ms` milliseconds; transient."""

    kind: ClassVar[Kind] = "reconnect"

    retry_ms: int
    reason: str


Metadata = Finish | Usage | Citation | Attempt | Fallback | Adopted | Kept
Body = Start | Chunk | Metadata | Rewind | Error | Complete | Heartbeat | Reconnect

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
    return Error(error.code, error.message, error.retryable)
