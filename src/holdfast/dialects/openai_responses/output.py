"""The output of a response, as chunks make it.

Strategy: one message or one piece of reasoning is open at a time, and whatever is not of it ends
it. Calls stay open to the end of the answer, because the pieces of several may come in turns. What
of a chunk's `extra` is of this very format is told, which its shape shows; a client that joins
items by their ids wants each id once, so a second one gets an id of ours.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from holdfast import events
from holdfast.dialects import ids, padding
from holdfast.dialects.openai_responses import frames, items, runs

REVOCABLE = ["reasoning", "citation"]
"""Behind these another answer may follow. What a provider sealed is not of these: it could not be
sent back without the item that came of it."""

_Raw = msgspec.Raw | msgspec.UnsetType


class Piece(msgspec.Struct, gc=False):
    """A chunk whose text stays JSON."""

    type: events.ChunkType
    delta: msgspec.Raw = msgspec.Raw(b'""')
    choice: int = 0
    call: int | None = None
    id: str | None = None
    name: str | None = None
    extra: _Raw = msgspec.UNSET


class _Extra(msgspec.Struct, gc=False):
    """What of this format may stand in an `extra`."""

    item: _Raw = msgspec.UNSET
    logprobs: _Raw = msgspec.UNSET
    annotation: _Raw = msgspec.UNSET


class _Waiting:
    """A call whose name is not known yet: what an item is called is told once."""

    __slots__ = ("extra", "id", "text")

    def __init__(self) -> None:
        self.id: str | None = None
        self.text = bytearray()
        self.extra: dict[str, Any] = {}


_extra = msgspec.json.Decoder(_Extra).decode
_decode = msgspec.json.Decoder().decode


class Output:
    """The items, and their frames as they are said to `out`. `running` is the text of a message
    that the next piece may simply go on with."""

    def __init__(
        self, stream: events.StreamId, out: frames.Frames, fill: padding.Padding | None
    ) -> None:
        self.running: runs.Run | None = None
        self.refused = False
        self._stream, self._out, self._fill = stream, out, fill
        self._items: list[items.Item] = []
        self._open: items.Message | items.Reasoning | None = None
        self._calls: dict[int, items.Call | _Waiting] = {}
        self._told: defaultdict[str, set[str]] = defaultdict(set)  # by what they are ids of
        self._sources: list[bytes] = []

    @property
    def only_thought(self) -> bool:
        """Nothing was said but what is revocable, so another answer may follow."""
        thoughts = (isinstance(one, items.Reasoning) and not one.sealed for one in self._items)
        return not self._calls and all(thoughts)

    def values(self) -> list[bytes]:
        """The items so far, as JSON."""
        return [item.value() for item in self._items]

    def say(self, piece: Piece) -> None:
        """The next chunk of the one choice that a response has."""
        extra = _extra_of(piece.extra)
        text = bytes(piece.delta)[1:-1]
        if piece.type == "tool_call":
            self._call(piece, text, _object(extra.item))
        elif piece.type == "opaque":
            self._given(_object(extra.item))
        elif piece.type == "reasoning":
            if text:
                self._say(self._reasoning().begin(self._out), text)
        elif text:
            self.refused = self.refused or piece.type == "refusal"
            self._said(runs.REFUSAL if piece.type == "refusal" else runs.TEXT, text, extra)

    def cite(self, citation: events.Citation) -> None:
        """A source: told where the text is that is open, else where the next one begins."""
        extra = _extra_of(citation.extra)
        said = _object(extra.annotation)
        if not isinstance(said.get("type"), str):
            if not citation.url:
                return
            at = self.running.length() if self.running is not None else 0
            place = {"start_index": at, "end_index": at}
            said = {
                "type": "url_citation",
                "url": citation.url,
                "title": citation.title or "",
                **place,
            }
        self._sources.append(frames.encode(said))
        self._tell_sources()

    def end(self, status: items.Status) -> None:
        """The answer has ended: so has each item that is open."""
        self._close(status)
        for number, call in self._calls.items():
            if isinstance(call, _Waiting):
                call = self._begin_call(number, call, "")
            call.end(status, self._out)
        self._calls.clear()

    def begin_anew(self) -> None:
        """What was thought stays, and another answer follows."""
        self._close("incomplete")
        self._sources.clear()

    def break_off(self) -> None:
        """The answer will not come to its end, nor will what is open."""
        self.running = None
        for item in self._items:
            if item.status == "in_progress":
                item.status = "incomplete"

    def _said(self, kind: runs.Kind, text: bytes, extra: _Extra) -> None:
        if not isinstance(self._open, items.Message):
            self._message({})
        assert isinstance(self._open, items.Message)
        run = self._open.run(kind, self._out)
        self.running = run if kind is runs.TEXT else None
        self._tell_sources()
        logprobs = b"" if extra.logprobs is msgspec.UNSET else bytes(extra.logprobs)
        self._say(run, text, logprobs if logprobs.startswith(b"[") else b"")

    def _say(self, run: runs.Run, text: bytes, logprobs: bytes = b"") -> None:
        fill = None if self._fill is None else self._fill.of(self._out.number, len(text))
        run.say(text, logprobs, fill, self._out)

    def _message(self, told: dict[str, Any]) -> None:
        """A message begins; `told` is what a provider of this format says of it."""
        self._close("completed")
        own = ("type", "id", "status", "role", "content")
        more = {name: value for name, value in told.items() if name not in own}
        item = items.Message(len(self._items), self._id("msg", told.get("id")), more)
        self._open = item
        self._begin(item)

    def _reasoning(self) -> items.Reasoning:
        if not isinstance(self._open, items.Reasoning):
            self._close("completed")
            self._open = items.Reasoning(len(self._items), self._id("rs", None))
            self._begin(self._open)
        return self._open

    def _given(self, item: dict[str, Any]) -> None:
        """An item that a provider of this format gave as it is."""
        type = item.get("type")
        if type == "message":
            self._message(item)
        elif type == "reasoning" and isinstance(self._open, items.Reasoning):
            self._open.sealed = item
            self._close("completed")
        elif isinstance(type, str):
            self._close("completed")
            named = item | {"id": self._id("item", item.get("id"))}
            if "call_id" in item:
                named["call_id"] = self._call_id(item.get("call_id"), type)
            given = items.Given(len(self._items), named)
            self._begin(given)
            given.end("completed", self._out)

    def _call(self, piece: Piece, text: bytes, told: dict[str, Any]) -> None:
        number = piece.call or 0
        call = self._calls.get(number)
        if call is None:
            self._close("completed")
            call = self._calls[number] = _Waiting()
        if isinstance(call, _Waiting):
            call.id, call.extra = call.id or piece.id, call.extra or told
            call.text += text
            if piece.name:
                self._begin_call(number, call, piece.name)
        elif text:
            self._say(call.run, text)

    def _begin_call(self, number: int, waiting: _Waiting, name: str) -> items.Call:
        told = waiting.extra
        custom = told.get("type") == "custom_tool_call"
        type, prefix = ("custom_tool_call", "ctc") if custom else ("function_call", "fc")
        item = told | {
            "type": type,
            "id": self._id(prefix, told.get("id")),
            "call_id": self._call_id(waiting.id, type),
            "name": name,
        }
        call = self._calls[number] = items.Call(len(self._items), item)
        self._begin(call)
        if waiting.text:
            self._say(call.run, bytes(waiting.text))
        return call

    def _begin(self, item: items.Item) -> None:
        self._items.append(item)
        items.begin(item, self._out)

    def _close(self, status: items.Status) -> None:
        if self._open is not None:
            self._open.end(status, self._out)
        self._open = self.running = None

    def _tell_sources(self) -> None:
        if self.running is not None:
            for annotation in self._sources:
                self.running.annotate(annotation, self._out)
            self._sources.clear()

    def _id(self, prefix: str, given: Any) -> str:
        """An item's id: the provider's, if nothing here has it yet."""
        return self._once(given, items.made_id(prefix, self._stream, len(self._items)), "")

    def _call_id(self, given: Any, type: str) -> str:
        return self._once(given, items.made_id("call", self._stream, len(self._items)), type)

    def _once(self, given: Any, made: str, space: str) -> str:
        usable = given if isinstance(given, str) and len(given) <= items.MAX_ID else None
        return ids.once(self._told[space], usable, made)


def _extra_of(raw: _Raw) -> _Extra:
    if isinstance(raw, msgspec.UnsetType) or not bytes(raw).startswith(b"{"):
        return _Extra()
    return _extra(raw)


def _object(raw: _Raw) -> dict[str, Any]:
    found = {} if isinstance(raw, msgspec.UnsetType) else _decode(raw)
    return found if isinstance(found, dict) else {}
