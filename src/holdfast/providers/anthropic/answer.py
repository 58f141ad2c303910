"""What is new in each event of an Anthropic answer, as event bodies.

Strategy: an answer is a row of content blocks, each begun, continued and ended by events that
name its place. `Answer` remembers the blocks that are open. The commonest event, more text of
the block that spoke last, takes the shortest way.

What becomes of a block, by its type:

- `text` and `thinking` are content and reasoning. A signature becomes the `extra` of an
  `opaque` chunk of the same block, because the next request must give it back; a citation is
  told as one.
- `tool_use` is a tool call. Its input comes as fragments of JSON, or whole at the begin, or
  not at all: then it is `{}`, as the SDK reads it.
- All others are kept (`blocks`): server-side tools are not the client's to run.

Blocks count from 0 in the order in which they begin: a gateway that splices two messages into
one stream begins again at place 0. A repeated `message_start`, or a repeated begin of a block,
changes nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import events
from holdfast.providers import failures, halves, kept, values
from holdfast.providers.anthropic import blocks, counts, wire

MAX_OPEN = 16
"""Blocks that are open at one time; Anthropic sends one after the other."""

MAX_CALLS = 256
"""Tool calls of one answer."""

MAX_ID = 1 << 16
"""Characters of an id or a name of a call."""

MAX_CITATIONS = 1024
"""Citations of one answer; further ones are left out. Each place of a text may have one."""

MAX_URL = 4096
"""Characters of a citation's URL or title; a longer URL is left out, a title cut."""

REASONS: dict[str, events.FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}
"""The provider's reasons in ours; any other (`pause_turn`, `compaction`) is `other`."""

_WHOLE = frozenset(("end_turn", "stop_sequence", "tool_use", "pause_turn"))


class _Block:
    """A block under way. `unsaid` is the input that came whole, until it is sure to count."""

    __slots__ = ("call", "id", "item", "ordinal", "type", "unsaid")

    def __init__(self, ordinal: int, type: str, id: str) -> None:
        self.ordinal, self.type, self.id = ordinal, type, id
        self.call: int | None = None
        self.item: blocks.Item | None = None
        self.unsaid: str | None = None


class Answer:
    """The answer of one attempt, event by event. `mended` says that the strings of an event
    may hold lone surrogates. `gathered` counts the characters of deltas that are told when their
    block ends. Methods raise `ProviderMalformed` where an event makes no sense;
    what was appended to `out` before still counts."""

    def __init__(self, source: failures.Source) -> None:
        self.finished = False
        self.gathered = 0
        self.counts = counts.Counts()
        self._source = source
        self._halves = halves.Halves()
        self._open: dict[int | None, _Block] = {}
        self._last: _Block | None = None  # the block that spoke last
        self._begun = 0
        self._calls = 0
        self._citations = 0

    def begin(self, index: int | None, content: Any, mended: bool, out: list[events.Body]) -> None:
        """A block begins."""
        fields = content if isinstance(content, dict) else {}
        named = fields.get("type")
        type = named if isinstance(named, str) else ""
        id = _text(fields, "id")[:MAX_ID]
        before = self._open.get(index)
        if before is not None:
            if (before.type, before.id) == (type, id):
                return
            self.end(index, out)
        block = self._opened(index, type, id)
        if type == "text":
            self._say(block, "content", _text(fields, "text"), mended, out)
            listed = fields.get("citations")
            for citation in listed if isinstance(listed, list) else ():
                self._cite(block, citation, out)
        elif type == "thinking":
            self._say(block, "reasoning", _text(fields, "thinking"), mended, out)
            self._sign(block, _text(fields, "signature"), out)
        elif type == "tool_use":
            self._call(block, fields, out)
        else:
            block.item = blocks.Item(type, fields)

    def go_on(
        self, index: int | None, delta: wire.Delta, mended: bool, out: list[events.Body]
    ) -> None:
        """A block goes on."""
        block = self._open.get(index)
        type = delta.type
        if (
            block is self._last
            and block is not None
            and type == "text_delta"
            and block.item is None
            and not (mended or self._halves.held)
        ):
            if delta.text:
                out.append(events.Chunk("content", delta.text))
            return
        if block is None:
            block = self._unannounced(index, type)
            if block is None:
                return
        if block.item is not None:
            self.gathered += block.item.add(delta)
        elif type == "text_delta":
            self._say(block, "content", delta.text or "", mended, out)
        elif type == "thinking_delta":
            self._say(block, "reasoning", delta.thinking or "", mended, out)
        elif type == "signature_delta":
            self._sign(block, delta.signature or "", out)
        elif type == "citations_delta":
            self._cite(block, delta.citation, out)
        elif type == "input_json_delta" and block.call is not None and delta.partial_json:
            block.unsaid = None
            self._say(block, "tool_call", delta.partial_json, mended, out)

    def end(self, index: int | None, out: list[events.Body]) -> None:
        """A block ends."""
        block = self._open.pop(index, None)
        if block is None:
            return
        self._give_up(block, out)
        if block.unsaid is not None:
            self._say(block, "tool_call", block.unsaid, False, out)
        if block.item is not None:
            extra = values.extra(content_block=block.item.whole())
            out.append(events.Chunk("opaque", block=self._turn(block), extra=extra))

    def finish(self, delta: wire.Delta, out: list[events.Body]) -> None:
        """The message ends, with a reason. Blocks that were not ended are whole only where
        the reason says that the model came to an end."""
        reason = delta.stop_reason or ""
        if self.finished:
            return
        for index in list(self._open) if reason in _WHOLE else ():
            self.end(index, out)
        for block in self._open.values():
            self._give_up(block, out)
        self._open.clear()
        told = {
            "stop_sequence": delta.stop_sequence,
            "stop_details": delta.stop_details,
            "container": delta.container,
        }
        told = {name: value for name, value in told.items() if value is not None}
        if told:
            out.append(events.Chunk("opaque", extra=values.extra(**kept.bounded(told))))
        ours = REASONS.get(reason, "other")
        if ours == "stop" and self._calls:
            ours = "tool_calls"
        self.finished = True
        out.append(events.Finish(0, ours, values.word(reason)))

    def release(self, out: list[events.Body]) -> None:
        """The answer has ended: what was held back."""
        for block in self._open.values():
            self._give_up(block, out)
        self.counts.tell(out)

    def _opened(self, index: int | None, type: str, id: str = "") -> _Block:
        if len(self._open) >= MAX_OPEN:
            raise self._source.malformed("too many content blocks at one time.")
        block = self._open[index] = _Block(self._begun, type, id)
        self._begun += 1
        return block

    def _unannounced(self, index: int | None, type: str | None) -> _Block | None:
        """The block of a delta that no begin went before: some gateways leave it out."""
        if type == "text_delta":
            return self._opened(index, "text")
        if type == "thinking_delta":
            return self._opened(index, "thinking")
        if type == "input_json_delta":
            raise self._source.malformed("arguments of a tool call that did not begin.")
        return None

    def _turn(self, block: _Block) -> int | None:
        """The ordinal of the block that speaks now, where another spoke before."""
        if block is self._last:
            return None
        self._last = block
        return block.ordinal

    def _say(
        self,
        block: _Block,
        kind: events.ChunkType,
        text: str,
        mended: bool,
        out: list[events.Body],
    ) -> None:
        if mended or self._halves.held:
            text = self._halves.whole((0, kind, block.ordinal), text)
        if text:
            call = block.call if kind == "tool_call" else None
            out.append(events.Chunk(kind, text, 0, call, block=self._turn(block)))

    def _give_up(self, block: _Block, out: list[events.Body]) -> None:
        """A half of a character that waits in this block stays one."""
        for lane in [lane for lane in self._halves.held if lane[2] == block.ordinal]:
            del self._halves.held[lane]
            self._say(block, lane[1], "\ufffd", False, out)

    def _sign(self, block: _Block, signature: str, out: list[events.Body]) -> None:
        if signature:
            extra = values.extra(signature=signature)
            out.append(events.Chunk("opaque", block=self._turn(block), extra=extra))

    def _call(self, block: _Block, fields: dict[str, Any], out: list[events.Body]) -> None:
        id, name = halves.valid(_text(fields, "id")), halves.valid(_text(fields, "name"))
        if self._calls >= MAX_CALLS or max(len(id), len(name)) > MAX_ID:
            raise self._source.malformed("too many tool calls, or too long an id or name.")
        block.call = self._calls
        self._calls += 1
        given = fields.get("input")
        block.unsaid = values.encoded(given) if given and isinstance(given, dict) else "{}"
        made = events.Chunk(
            "tool_call", "", 0, block.call, id or None, name or None, self._turn(block)
        )
        more = {name: fields.get(name) for name in ("caller", "toolset_name")}
        more = {name: value for name, value in more.items() if value not in (None, _DIRECT)}
        if more:
            made = msgspec.structs.replace(made, extra=values.extra(**kept.bounded(more)))
        out.append(made)

    def _cite(self, block: _Block, citation: Any, out: list[events.Body]) -> None:
        if not isinstance(citation, dict) or self._citations >= MAX_CITATIONS:
            return
        self._citations += 1
        url = _text(citation, "url") or _text(citation, "source")
        title = _text(citation, "title") or _text(citation, "document_title")
        extra = values.extra(index=block.ordinal, citation=kept.bounded(citation))
        fits = url.startswith(("https://", "http://")) and len(url) <= MAX_URL
        out.append(
            events.Citation(
                halves.valid(url) if fits else None,
                halves.valid(title[:MAX_URL]) or None,
                extra=extra,
            )
        )


# A call that the model makes itself, and no code of its own: the same as no `caller`.
_DIRECT = {"type": "direct"}


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
