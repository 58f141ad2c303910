"""What an event is in chunks of a UI message stream.

Strategy: the stream is one message of one step: a text and a reasoning begin and end by their
types, a call is told as its arguments are written, and as available at the answer's end alone, so
that no page calls a tool for an answer that died. Only what the strictest version knows is said.
A text stays one part over a provider's blocks, as another provider that goes on counts them anew;
a block of reasoning is a part of its own, as providers think in paragraphs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from holdfast import errors, events, storage
from holdfast.dialects import ids
from holdfast.dialects.ai_sdk import refusals

Chunk = dict[str, Any]

REASONS: Mapping[events.FinishReason, str] = MappingProxyType(
    {
        "stop": "stop",
        "length": "length",
        "tool_calls": "tool-calls",
        "content_filter": "content-filter",
        "refusal": "content-filter",
        "other": "other",
    }
)

REVOCABLE = ["reasoning", "opaque"]
"""Behind these another answer may follow."""

BEGUN_AGAIN = events.Error(
    errors.Rewound.code,
    "The answer was begun again, which cannot be shown here; ask again.",
    True,
)
LOST_PLACE = events.Error(
    errors.UnknownPosition.code,
    "This connection lost its place in the answer; resume the chat to read it anew.",
    True,
)
NOT_JSON = "The model wrote arguments that are not JSON."


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """`message` is the id of the one that the answer goes on with."""

    message: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Terms).decode
_json = msgspec.json.Decoder().decode


def terms(message: str) -> bytes:
    """What a stream's header keeps for `Chunks`."""
    return _encode(Terms(message)) if message else b""


class _Call:
    """A tool call under way. `sealed` is what its provider needs back with it."""

    __slots__ = ("id", "name", "sealed", "texts")

    def __init__(self, id: str, name: str) -> None:
        self.id, self.name = id, name
        self.texts: list[str] = []
        self.sealed: Chunk = {}


class Chunks:
    """A stream's events, the first one first. `open` is the part that is being written, and
    `part` its id."""

    def __init__(self, stream: events.StreamId, header: storage.Header) -> None:
        kept = _decode(header.terms) if header.terms else Terms()
        self._stream = stream
        self._message = kept.message or f"msg_{stream}"
        self.open: Literal["", "text", "reasoning"] = ""
        self.part = ""
        self.ended = self.failed = False
        self._parts = self._sources = 0
        self._spoke = False  # more than what is revocable
        self._calls: dict[int, _Call] = {}
        self._ids: set[str] = set()
        self._usage: events.Tokens | None = None

    def of(self, event: events.Event) -> Iterator[Chunk]:
        """The chunks of the next event."""
        if self.ended:
            return
        match event.body:
            case events.Chunk() as piece:
                yield from self._piece(piece)
            case events.Start():
                yield {"type": "start", "messageId": self._message}
                yield {"type": "start-step"}
            case events.Usage() as usage:
                self._usage = usage.tokens
            case events.Citation() as citation:
                yield from self._source(citation)
            case events.Complete() as complete:
                yield from self._complete(complete)
            case events.Error() as error:
                yield from self._error(error)
            case events.Rewind() if self._spoke:
                yield self.fail(BEGUN_AGAIN)
            case events.Rewind():
                yield from self._close()
                self._usage = None

    def fail(self, error: events.Error) -> Chunk:
        """The last chunk of an answer that cannot go on."""
        self.ended = self.failed = True
        return {"type": "error", "errorText": refusals.text(error)}

    def _piece(self, piece: events.Chunk) -> Iterator[Chunk]:
        if piece.choice:
            return
        if piece.block is not None and self.open == "reasoning":
            yield from self._close()
        if piece.type == "tool_call":
            self._spoke = True
            yield from self._called(piece)
        elif piece.type != "opaque" and piece.delta:
            kind: Literal["text", "reasoning"]
            kind = "reasoning" if piece.type == "reasoning" else "text"
            if self.open != kind:
                self._spoke = self._spoke or kind == "text"
                yield from self._close()
                yield self._begin(kind)
            yield {"type": f"{kind}-delta", "id": self.part, "delta": piece.delta}

    def _begin(self, kind: Literal["text", "reasoning"]) -> Chunk:
        self.open, self.part = kind, str(self._parts)
        self._parts += 1
        return {"type": f"{kind}-start", "id": self.part}

    def _close(self) -> Iterator[Chunk]:
        if self.open:
            yield {"type": f"{self.open}-end", "id": self.part}
            self.open = ""

    def _called(self, piece: events.Chunk) -> Iterator[Chunk]:
        number = piece.call or 0
        call = self._calls.get(number)
        if call is None:
            yield from self._close()
            id = ids.once(self._ids, piece.id, f"call_{self._stream}_{number}")
            call = self._calls[number] = _Call(id, piece.name or "tool")
            yield {"type": "tool-input-start", "toolCallId": call.id, "toolName": call.name}
        if piece.extra is not msgspec.UNSET:
            call.sealed = _sealed(piece.extra) or call.sealed
        if piece.delta:
            call.texts.append(piece.delta)
            yield {
                "type": "tool-input-delta",
                "toolCallId": call.id,
                "inputTextDelta": piece.delta,
            }

    def _source(self, citation: events.Citation) -> Iterator[Chunk]:
        if citation.choice or not citation.url:
            return
        self._spoke = True
        found: Chunk = {
            "type": "source-url",
            "sourceId": f"source-{self._sources}",
            "url": citation.url,
        }
        self._sources += 1
        if citation.title:
            found["title"] = citation.title
        yield found

    def _complete(self, complete: events.Complete) -> Iterator[Chunk]:
        yield from self._close()
        for call in self._calls.values():
            yield _available(call)
        yield {"type": "finish-step"}
        finish: Chunk = {"type": "finish", "finishReason": REASONS[complete.finish_reason]}
        if usage := complete.usage or self._usage:
            finish["messageMetadata"] = {"usage": _usage(usage)}
        yield finish
        self.ended = True

    def _error(self, error: events.Error) -> Iterator[Chunk]:
        if error.code == errors.Cancelled.code:
            # Somebody wanted it to stop, so it is no failure: what is there stays.
            yield from self._close()
            yield {"type": "abort"}
            self.ended = True
        else:
            yield self.fail(error)


def _available(call: _Call) -> Chunk:
    """A call whose arguments are whole, or are none."""
    written = "".join(call.texts)
    named: Chunk = {"toolCallId": call.id, "toolName": call.name}
    if call.sealed:
        named["providerMetadata"] = call.sealed
    try:
        said = _json(written) if written.strip() else {}
    except (msgspec.DecodeError, RecursionError):
        return {"type": "tool-input-error", **named, "input": written, "errorText": NOT_JSON}
    return {"type": "tool-input-available", **named, "input": said}


def _sealed(extra: msgspec.Raw) -> Chunk:
    """What a page gives back with a call, by the kind of provider that needs it (`messages`);
    Google's as its own AI SDK provider tells it."""
    said = _json(extra)
    if isinstance(said, dict) and "thoughtSignature" in said:
        return {"google": {"thoughtSignature": said["thoughtSignature"]}}
    if isinstance(said, dict) and "extra_content" in said:
        return {"openai_chat": {"extra_content": said["extra_content"]}}
    return {}


def _usage(tokens: events.Tokens) -> Chunk:
    """Tokens by the AI SDK's names."""
    counts = {
        "inputTokens": tokens.input_tokens,
        "outputTokens": tokens.output_tokens,
        "totalTokens": tokens.total_tokens,
        "reasoningTokens": tokens.reasoning_tokens,
        "cachedInputTokens": tokens.cached_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}
