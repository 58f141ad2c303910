"""What each kind of event says; field tables: DESIGN, "Events"; PROTOCOL, section 2."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import msgspec

Kind = Literal[
    "start", "chunk", "metadata", "rewind", "error", "complete", "heartbeat", "reconnect"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
TERMINAL: frozenset[Kind] = frozenset(("error", "complete"))

ChunkType = Literal["content", "reasoning", "refusal", "tool_call", "opaque"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "other"]
Status = Literal["pending", "streaming", "completed", "error", "cancelled"]


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


class Error(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The stream has ended without its answer. Where asking again may help, and it is known when,
    `retry_after_ms` says so."""

    kind: ClassVar[Kind] = "error"

    code: str
    message: str
    retryable: bool
    retry_after_ms: int | None = None


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
