"""The items of the output: messages, reasoning, calls, and what comes whole.

Strategy: an item is told when it begins, while it runs, and whole when it ends; each of these is
made of the same fields. Ids are the provider's own where it is of this format and says them at the
begin; else they are made of the stream's id and the place in the output, in a shape (`is_ours`) by
which they are known when they come back: to the provider they mean nothing.
"""

from __future__ import annotations

import re
from typing import Any, Literal, Protocol

from holdfast import events
from holdfast.dialects.openai_responses import frames, runs

Status = Literal["in_progress", "completed", "incomplete"]

MAX_ID = 512
"""Characters of a provider's id."""

_OURS = re.compile(r"(?:msg|rs|fc|ctc|item)_(?:[0-9A-Za-z]{26}|[0-9A-Za-z]{32})_\d{1,9}", re.ASCII)

_encode = frames.encode


def made_id(prefix: str, stream: events.StreamId, index: int) -> str:
    """The id of an item for which the provider has none that can be told."""
    return f"{prefix}_{stream}_{index}"


def is_ours(id: object) -> bool:
    """Whether an item's id was made here."""
    return isinstance(id, str) and _OURS.fullmatch(id) is not None


class Item(Protocol):
    """One item; `index` is its place in the output."""

    index: int
    status: Status

    def end(self, status: Status, out: frames.Frames) -> None:
        """Nothing more of it comes."""

    def value(self) -> bytes:
        """The item so far, as JSON."""


class Message:
    """What is said to people: parts that are text or a refusal. `more` are a provider's further
    fields, such as `phase`."""

    def __init__(self, index: int, id: str, more: dict[str, Any]) -> None:
        self.index = index
        self.status: Status = "in_progress"
        self._id, self._more = id, more
        self._parts: list[runs.Run] = []

    def run(self, kind: runs.Kind, out: frames.Frames) -> runs.Run:
        """The part that goes on with this kind of text, or a new one."""
        last = self._parts[-1] if self._parts else None
        if last is not None and last.kind is kind:
            return last
        if last is not None:
            last.end(out)
        part = runs.Run(kind, self._id, self.index, len(self._parts))
        part.begin(out)
        self._parts.append(part)
        return part

    def end(self, status: Status, out: frames.Frames) -> None:
        """See `Item.end`."""
        if self._parts:
            self._parts[-1].end(out)
        _done(self, status, out)

    def value(self) -> bytes:
        """See `Item.value`."""
        head = {
            "type": "message",
            "id": self._id,
            "status": self.status,
            "role": "assistant",
            **self._more,
        }
        return _with(head, b"content", _list(self._parts))


class Reasoning:
    """What the model thought, told as its summary. `sealed` is the item as a provider of this
    format had it, for the next request; what it says of the text is as it came."""

    def __init__(self, index: int, id: str) -> None:
        self.index = index
        self.status: Status = "in_progress"
        self.run = runs.Run(runs.SUMMARY, id, index)
        self.sealed: dict[str, Any] = {}
        self._id = id
        self._begun = False

    def begin(self, out: frames.Frames) -> runs.Run:
        """The text that goes on."""
        if not self._begun:
            self._begun = True
            self.run.begin(out)
        return self.run

    def end(self, status: Status, out: frames.Frames) -> None:
        """See `Item.end`."""
        self.run.end(out)
        _done(self, status, out)

    def value(self) -> bytes:
        """See `Item.value`."""
        head = self.sealed | {"type": "reasoning", "id": self._id, "status": self.status}
        if head.pop("summary", None):
            return _with(head, b"summary", _encode(self.sealed["summary"]))
        return _with(head, b"summary", _list([self.run] if self._begun else []))


class Call:
    """A call of a tool that the client runs; `item` is it without its text."""

    def __init__(self, index: int, item: dict[str, Any]) -> None:
        self.index = index
        self.status: Status = "in_progress"
        self._item = item
        kind = runs.INPUT if item["type"] == "custom_tool_call" else runs.ARGUMENTS
        self.run = runs.Run(kind, item["id"], index)

    def end(self, status: Status, out: frames.Frames) -> None:
        """See `Item.end`."""
        name = b',"name":%b' % _encode(self._item["name"])
        self.run.end(out, name if self.run.kind is runs.ARGUMENTS else b"")
        _done(self, status, out)

    def value(self) -> bytes:
        """See `Item.value`."""
        head = self._item | {"status": self.status}
        return _with(head, self.run.kind.field, self.run.text())


class Given:
    """An item that a provider of this format gave whole."""

    def __init__(self, index: int, item: dict[str, Any]) -> None:
        self.index, self._value = index, _encode(item)
        self.status: Status = "completed"

    def end(self, status: Status, out: frames.Frames) -> None:
        """See `Item.end`."""
        _tell(b"response.output_item.done", self, out)

    def value(self) -> bytes:
        """See `Item.value`."""
        return self._value


def begin(item: Item, out: frames.Frames) -> None:
    """The item is there."""
    _tell(b"response.output_item.added", item, out)


def _done(item: Item, status: Status, out: frames.Frames) -> None:
    item.status = status
    _tell(b"response.output_item.done", item, out)


def _tell(type: bytes, item: Item, out: frames.Frames) -> None:
    out.say(type, b'"output_index":%d,"item":%b' % (item.index, item.value()))


def _list(parts: list[runs.Run]) -> bytes:
    return b"[%b]" % b",".join(part.value() for part in parts)


def _with(head: dict[str, Any], name: bytes, value: bytes) -> bytes:
    """The object with one more member, whose value is JSON already."""
    return b'%b,"%b":%b}' % (_encode(head)[:-1], name, value)
