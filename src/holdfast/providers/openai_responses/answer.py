"""What an answer has said, and what is new in it, as event bodies.

Strategy: `Answer` knows the items of the output by their `output_index`, which holds where ids
do not (some gateways give an item another id in every event), and their parts. Everything that
is said goes through it, so blocks are counted, halves of characters joined and repetitions left
out in one place.

- An item of reasoning may be told as a summary and as its raw text: the one that comes first
  counts, the other is left out. A new part of reasoning begins a new paragraph.
- A call begins where its name is known. Where deltas came before, they and all that follow
  are left out, and the whole arguments are told when they are complete.
- A whole text at a place where nothing was said is that of another part where the two agree:
  one of the same item (some servers count the parts in two ways), or one whose deltas did not
  name their item.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from holdfast import events
from holdfast.providers import failures, halves, kept, values
from holdfast.providers.openai_responses import items, parts, wire

MAX_PARTS = 4096
"""Items, and parts of items, of one answer."""

MAX_CALLS = 256
"""Calls of the client's tools in one answer; OpenAI takes at most 128 tools."""

MAX_ID = 1 << 16
"""Characters of a call's id or name."""

MAX_ITEM_ID = 512
"""Characters of an item's id; one that is longer is not looked for."""

MAX_CITATIONS = 256
"""Sources of one answer; further ones are left out, and URLs over `MAX_URL` characters."""

MAX_URL = 4096

_NOWHERE = parts.Part("content", -1)


class Answer:
    """The answer of one attempt. `running` is the part that the last delta went on with.

    Every method that says something appends it to `out`, and raises `ProviderMalformed` beyond
    the limits.
    """

    def __init__(self, source: failures.Source) -> None:
        self.running = _NOWHERE
        self.halves = halves.Halves()
        self.refused = False
        self._source = source
        self._items: dict[int, parts.Item] = {}
        self._indexes: dict[str, int] = {}
        self._latest = 0
        self._opened: list[parts.Part] = []
        self._guessed: list[parts.Part] = []
        self._aliases = 0
        self.calls: list[parts.Part] = []
        self._call_of: dict[str, parts.Part] = {}
        self._waiting: set[str] = set()
        self._blocks = 0
        self._block: int | None = None
        self._thought: parts.Part | None = None
        self._cited: set[tuple[Any, ...]] = set()

    @property
    def waits_for_client(self) -> bool:
        """Whether something was called that the client is to carry out."""
        return bool(self.calls or self._waiting)

    def said(self, kind: events.ChunkType) -> list[parts.Part]:
        """The parts of this kind, in the order in which they began."""
        return [part for part in self._opened if part.kind == kind and part.length]

    def begin_item(self, body: dict[str, Any], item: dict[str, Any]) -> int:
        """Notes a new item, and returns its index. One at the index of another replaces it."""
        index = wire.number(body, "output_index")
        if index is None:
            index = max(self._items, default=-1) + 1
        self._limit()
        before = self._items.get(index)
        state = self._items[index] = parts.Item()
        # Deltas went before the item that they belong to.
        state.missed = before is not None and before.call is None and before.missed
        self._latest = index
        self.running = _NOWHERE
        id = wire.text(item, "id")
        if 0 < len(id) <= MAX_ITEM_ID and len(self._indexes) < MAX_PARTS:
            self._indexes[id] = index
        return index

    def index(self, body: dict[str, Any]) -> int:
        """Of which item an event speaks: the index that it gives, else the item with its id,
        else the newest."""
        index = wire.number(body, "output_index")
        if index is not None:
            return index
        id = wire.text(body, "item_id") or wire.text(body.get("item"), "id")
        return self._indexes.get(id, self._latest)

    def part(self, index: int, lane: parts.Lane, number: int, whole: str = "") -> parts.Part | None:
        """The part at this place, whose whole text this is, if it is known; None where its
        text is left out."""
        item = self._item(index)
        if parts.KINDS[lane] == "reasoning":
            item.lane = item.lane or lane
            if item.lane != lane:
                return None
        part = item.parts.get((lane, number))
        if part is None and whole:
            part = self._said_elsewhere(item, lane, halves.valid(whole))
            if part is not None:
                self._limit()
                self._aliases += 1
                item.parts[lane, number] = part
        return part or self._open(item, lane, number)

    def go_on(
        self,
        place: tuple[int, parts.Lane, int],
        delta: str,
        out: list[events.Body],
        key: parts.Key | None = None,
        extra: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET,
    ) -> None:
        """Says a delta. `key` is what the deltas that go on have in common; None where they do
        not name their item."""
        index, lane, number = place
        if lane == "call":
            item = self._item(index)
            item.missed = item.missed or (item.call is None and bool(delta))
            part = None if item.missed or item.call is None or item.call.closed else item.call
        else:
            part = self.part(index, lane, number)
            if part is not None and part.closed:
                # A server that gives every item the same index: this is another one.
                part = self._open(self._item(index), lane, number)
        if part is None:
            return
        part.key = key
        if key is None and not part.guessed:
            part.guessed = True
            self._guessed.append(part)
        self.say(part, delta, out, extra)

    def say(
        self,
        part: parts.Part,
        text: str,
        out: list[events.Body],
        extra: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET,
    ) -> None:
        """Says more of a part."""
        text = self.halves.whole((0, part.kind, part.number), text)
        if not text:
            return
        paragraph = ""
        if part.kind == "reasoning":
            if not part.length and self._thought and not self._thought.last.endswith("\n\n"):
                paragraph = "\n\n"
            self._thought = part
        elif part.kind == "refusal":
            self.refused = True
        part.said(text)
        block = self._turn(part)
        chunk = events.Chunk(part.kind, paragraph + text, 0, part.call, None, None, block, extra)
        out.append(chunk)
        self.running = part

    def settle(self, part: parts.Part, whole: str, out: list[events.Body]) -> None:
        """The part has ended, and this is its whole text: says what was not yet said."""
        if part.closed:
            return
        part.closed = True
        part.key = None
        more = parts.rest((part,), halves.valid(whole))
        half = self.halves.held.pop((0, part.kind, part.number), None)
        self.say(part, more or ("\ufffd" if half else ""), out)

    def settle_texts(
        self, index: int, lane: parts.Lane, texts: Iterable[str], out: list[events.Body]
    ) -> None:
        """All parts of one lane of an item have ended."""
        for number, whole in enumerate(texts):
            part = self.part(index, lane, number, whole) if whole else None
            if part is not None:
                self.settle(part, whole, out)

    def end_with(self, kind: events.ChunkType, texts: list[str], out: list[events.Body]) -> None:
        """These texts are all that the answer says of this kind, in whatever items: says what
        was not yet said."""
        said = self.said(kind)
        if kind == "reasoning":
            more = "" if said else "\n\n".join(text for text in texts if text)
        else:
            more = parts.rest(said, halves.valid("".join(texts)))
        if more:
            self.release(out)
            self.say(self._new(kind), more, out)

    def begin_call(
        self, index: int, item: dict[str, Any], out: list[events.Body], *, anew: bool
    ) -> None:
        """A call of a client's tool begins, unless it has, or its name is still unknown.
        `anew`: even where another had the same id."""
        id, name = items.call_id(item), wire.text(item, "name")
        state = self._item(index)
        if state.call is None and not anew:
            state.call = self._call_of.get(id)
        if not name or state.call is not None:
            return
        if len(self.calls) >= MAX_CALLS or max(len(id), len(name)) > MAX_ID:
            raise self._source.malformed("too many tool calls, or too long an id or name.")
        part = state.call = self._new("tool_call", len(self.calls))
        self.calls.append(part)
        if id:
            self._call_of[id] = part
        told = {field: item[field] for field in item if field not in items.CALLS.values()}
        out.append(
            events.Chunk(
                "tool_call",
                call=part.call,
                id=halves.valid(id) or None,
                name=halves.valid(name),
                block=self._turn(part),
                extra=items.extra(told),
            )
        )

    def end_call(self, index: int, whole: str, out: list[events.Body]) -> None:
        """The arguments of a call are complete; one that has not begun is left out."""
        part = self._item(index).call
        if part is not None:
            self.settle(part, whole, out)

    def keep(self, index: int, item: dict[str, Any], out: list[events.Body]) -> None:
        """Keeps an item, or what is known of it, for the next request."""
        self._limit()
        id = items.call_id(item)[:MAX_ITEM_ID]
        if items.is_for_client(item) and len(self._waiting) < MAX_PARTS:
            self._waiting.add(id)
        elif wire.text(item, "type").endswith("_output"):
            self._waiting.discard(id)
        begun = list(self._item(index).parts.values())
        part = begun[-1] if begun else self._new("opaque")
        block = self._turn(part)
        out.append(events.Chunk("opaque", block=block, extra=items.extra(item)))

    def cite(
        self, place: tuple[Any, ...], annotation: dict[str, Any], out: list[events.Body]
    ) -> None:
        """Names a source, once for each place in the text."""
        url, title = wire.text(annotation, "url"), wire.text(annotation, "title")
        title = title or wire.text(annotation, "filename")
        file = wire.text(annotation, "file_id")
        if not 0 < len(url or file) <= MAX_URL:
            return
        at = [wire.number(annotation, name) for name in ("start_index", "end_index", "index")]
        key = (*place, url, file, *at)
        if key in self._cited or len(self._cited) >= MAX_CITATIONS:
            return
        self._cited.add(key)
        out.append(
            events.Citation(
                url=halves.valid(url) or None,
                title=halves.valid(title[:MAX_URL]) or None,
                extra=values.extra(annotation=kept.bounded(annotation)),
            )
        )

    @property
    def cites(self) -> bool:
        """Whether any source was named."""
        return bool(self._cited)

    def release(self, out: list[events.Body]) -> None:
        """Gives up on the halves of characters that wait: they stay halves."""
        for part in self._opened:
            if self.halves.held.pop((0, part.kind, part.number), None):
                self.say(part, "\ufffd", out)

    def _item(self, index: int) -> parts.Item:
        item = self._items.get(index)
        if item is None:
            self._limit()
            item = self._items[index] = parts.Item()
        return item

    def _said_elsewhere(self, item: parts.Item, lane: parts.Lane, whole: str) -> parts.Part | None:
        kind = parts.KINDS[lane]
        near = (part for (other, _), part in item.parts.items() if other == lane)
        found = (part for part in (*near, *self._guessed) if part.kind == kind)
        return next((part for part in found if part.is_of(whole)), None)

    def _open(self, item: parts.Item, lane: parts.Lane, number: int) -> parts.Part:
        part = item.parts[lane, number] = self._new(parts.KINDS[lane])
        return part

    def _new(self, kind: events.ChunkType, call: int | None = None) -> parts.Part:
        self._limit()
        part = parts.Part(kind, len(self._opened), call)
        self._opened.append(part)
        return part

    def _limit(self) -> None:
        if max(len(self._items), len(self._opened) + self._aliases) >= MAX_PARTS:
            raise self._source.malformed("too many items, or too many parts of items.")

    def _turn(self, part: parts.Part) -> int | None:
        """The part's block, if that is not the one of the chunk before."""
        if part.block is None:
            part.block = self._blocks
            self._blocks += 1
        if part.block == self._block:
            return None
        self._block = part.block
        self.running = _NOWHERE
        return part.block
