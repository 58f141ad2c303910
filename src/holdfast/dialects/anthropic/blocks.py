"""The content blocks of a message, as frames.

Strategy: one block is open at a time. It ends where the kind changes, or the call, or the block
that the provider is at; another attempt counts the provider's blocks anew, so the answer goes on in
the block that is open. More text of the open block, which nearly every event is, is copied between
fixed bytes. What a provider of this format told beside the text (signatures, citations, whole
blocks) is known by its fields, and told again; that of other formats is nothing here.

Format: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import events, sse
from holdfast.dialects import ids
from holdfast.dialects.anthropic import turns

_KINDS: dict[str, str] = {
    "content": "text",
    "refusal": "refusal",
    "reasoning": "thinking",
    "tool_call": "tool_use",
    "opaque": "opaque",
}
_DELTAS = {
    "text": b'"text_delta","text"',
    "refusal": b'"text_delta","text"',  # a text like any other: the stop reason tells what it is
    "thinking": b'"thinking_delta","thinking"',
    "tool_use": b'"input_json_delta","partial_json"',
}
_EMPTY: dict[str, dict[str, Any]] = {
    "text": {"text": ""},
    "refusal": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
}


REVOCABLE = ["reasoning"]
"""Behind this another answer may follow. What a provider sealed is not of these: it would have to
be sent back in the order of an answer that does not exist."""


class Extra(msgspec.Struct, forbid_unknown_fields=True):
    """What a provider of this format tells beside the text, by event one or another of these."""

    signature: str = ""
    content_block: dict[str, Any] | None = None
    stop_sequence: Any = None
    stop_details: Any = None
    container: Any = None
    caller: Any = None
    toolset_name: Any = None
    index: int | None = None
    citation: Any = None
    truncated: bool = False


_encode = msgspec.json.Encoder().encode
_extra = msgspec.json.Decoder(Extra).decode


def extra(raw: msgspec.Raw | msgspec.UnsetType) -> Extra:
    """What is known here of an event's `extra`; nothing where it is of another format."""
    try:
        return Extra() if raw is msgspec.UNSET else _extra(raw)
    except msgspec.DecodeError:
        return Extra()


def frame(type: str, **fields: Any) -> bytes:
    """An event of this API."""
    return sse.encode(_encode({"type": type, **fields}), event=type)


class Blocks:
    """The blocks of one message. `refused`: a refusal was said; `only_thought`: nothing was but
    what is revocable, so another answer may follow. `ending` is what a provider of this format
    told of the end. Methods raise what `turns.Turns.take` raises."""

    def __init__(self, stream: events.StreamId) -> None:
        self.refused = False
        self.only_thought = True
        self.ending: dict[str, Any] = {}
        self._stream = stream
        self._turns = turns.Turns()
        self._index = -1
        self._type = ""  # of the open block; empty where none is
        self._ordinal: int | None = None  # the provider's, where it tells one
        self._call: int | None = None
        self._ids: set[str] = set()
        self._line = b""  # a delta of the open block, without its text

    def add(self, piece: turns.Piece) -> bytes:
        """The frames of the next chunk."""
        if piece.choice:
            return b""  # nobody can ask for more than one
        type = _KINDS[piece.type]
        if type == self._type and type != "tool_use" and not self._moved(piece.block):
            return self._line % piece.delta
        if type == "tool_use":
            self.only_thought = False
            return b"".join([self._called(told) for told in self._turns.take(piece)])
        if type == "opaque":
            return self._opaque(piece)
        begun = self._begin(type, piece.block)
        return begun if piece.delta is turns.NOTHING else begun + self._line % piece.delta

    def cite(self, source: events.Citation) -> bytes:
        """The frames of a citation: of the open text, or of one that it begins."""
        told, begun = extra(source.extra), b""
        if told.citation is None or told.index is None:
            if source.url is None or self._type != "text":
                return b""
            return self._delta(type="citations_delta", citation=_found(source))
        if self._type != "text" or self._moved(told.index):
            if self._ordinal is not None and told.index <= self._ordinal:
                return b""  # its block has ended
            begun = self._begin("text", told.index)
        return begun + self._delta(type="citations_delta", citation=told.citation)

    def anew(self) -> None:
        """Another attempt goes on."""
        self._ordinal = None

    def break_off(self) -> bytes:
        """What was thought stays, and another answer follows."""
        stopped = self._stop()
        self._ordinal, self.ending = None, {}
        return stopped

    def close(self) -> bytes:
        """The end of what is open."""
        held = b"".join([self._called(piece) for piece in self._turns.rest()])
        return held + self._stop()

    def _moved(self, block: int | None) -> bool:
        """Whether the provider is at another block than the open one."""
        if block is None or block == self._ordinal:
            return False
        if self._ordinal is None and self._type:
            self._ordinal = block
            return False
        return True

    def _begin(self, type: str, block: int | None, **fields: Any) -> bytes:
        return self.close() + self._start(type, block, **fields)

    def _start(self, type: str, block: int | None, **fields: Any) -> bytes:
        self._index += 1
        self._type = type
        self._ordinal = self._ordinal if block is None else block
        self._line = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":%b:%%b}}\n\n' % (self._index, _DELTAS[type])
        )
        self.refused = self.refused or type == "refusal"
        self.only_thought = self.only_thought and type == "thinking"
        spelled = "text" if type == "refusal" else type
        block_of = {"type": spelled, **fields, **_EMPTY[type]}
        return frame("content_block_start", index=self._index, content_block=block_of)

    def _stop(self) -> bytes:
        if not self._type:
            return b""
        self._type, self._call = "", None
        return frame("content_block_stop", index=self._index)

    def _delta(self, **fields: Any) -> bytes:
        return frame("content_block_delta", index=self._index, delta=fields)

    def _called(self, piece: turns.Piece) -> bytes:
        """The frames of a piece of a call, when it is its turn."""
        call, begun = piece.call or 0, b""
        if self._type != "tool_use" or call != self._call:
            fields = {
                "id": ids.once(self._ids, piece.id, f"toolu_{self._stream}_{call}"),
                "name": piece.name or "",
            }
            own = extra(piece.extra)
            more = {"caller": own.caller, "toolset_name": own.toolset_name}
            fields |= {name: value for name, value in more.items() if value is not None}
            begun = self._stop() + self._start("tool_use", piece.block, **fields)
            self._call = call
        return begun if piece.delta is turns.NOTHING else begun + self._line % piece.delta

    def _opaque(self, piece: turns.Piece) -> bytes:
        told = extra(piece.extra)
        self.only_thought = self.only_thought and not (told.content_block or told.signature)
        if told.content_block is not None:
            return self._whole(dict(told.content_block), piece.block)
        if told.signature:
            goes_on = self._type == "thinking" and not self._moved(piece.block)
            begun = b"" if goes_on else self._begin("thinking", piece.block)
            return begun + self._delta(type="signature_delta", signature=told.signature)
        ending = {name: getattr(told, name) for name in _ENDING}
        self.ending |= {name: value for name, value in ending.items() if value is not None}
        return b""

    def _whole(self, block: dict[str, Any], ordinal: int | None) -> bytes:
        """A block that came whole. An input comes as a delta, as in a stream of Anthropic's."""
        before = self.close()
        self._index += 1
        self._ordinal = self._ordinal if ordinal is None else ordinal
        given, said = block.get("input"), b""
        if given and isinstance(given, dict):
            block["input"] = {}
            text = _encode(given).decode()
            said = self._delta(type="input_json_delta", partial_json=text)
        start = frame("content_block_start", index=self._index, content_block=block)
        return before + start + said + frame("content_block_stop", index=self._index)


def _found(source: events.Citation) -> dict[str, Any]:
    """A source that another provider names, as a page that was found; nothing of it is quoted."""
    place = {"url": source.url, "title": source.title, "cited_text": "", "encrypted_index": ""}
    return {"type": "web_search_result_location", **place}


_ENDING = ("stop_sequence", "stop_details", "container")
