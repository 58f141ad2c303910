"""The running texts of an answer: parts of messages, of reasoning, the arguments of calls.

Strategy: the API says every text twice, piece by piece in deltas and then whole in `done`
events, in the complete item and in the final response. Servers that speak like it leave out
some of these. So a part counts what was said of it and remembers how that ends: what a whole text
holds beyond that is said, and nothing is ever said twice. The text itself is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from holdfast import events

Lane = Literal["text", "refusal", "summary", "raw", "call"]
"""What runs on in a part; an item of reasoning has a summary, or its raw text, or both."""

Key = tuple[str, int | None, int | None, int | None]
"""Type, output index, content index and summary index of a delta."""

MAX_TAIL = 32
"""Characters of what was said of a part that are kept."""

KINDS: dict[Lane, events.ChunkType] = {
    "text": "content",
    "refusal": "refusal",
    "summary": "reasoning",
    "raw": "reasoning",
    "call": "tool_call",
}


class Part:
    """One running text. `number` tells it from all others; `block` is None until it begins.

    `key` is what the deltas that go on with it have in common. `guessed`: some deltas did not
    say to which item they belong.
    """

    __slots__ = ("block", "call", "closed", "guessed", "key", "kind", "last", "length", "number")

    def __init__(self, kind: events.ChunkType, number: int, call: int | None = None) -> None:
        self.kind: events.ChunkType = kind
        self.number = number
        self.call = call
        self.block: int | None = None
        self.key: Key | None = None
        self.length = 0
        self.last = ""
        self.closed = False
        self.guessed = False

    def said(self, text: str) -> None:
        """Counts a piece that is said, which is not empty."""
        self.length += len(text)
        self.last = (self.last + text)[-MAX_TAIL:]

    def is_of(self, whole: str) -> bool:
        """Whether this can be the whole text of what was said."""
        beyond = len(whole) - self.length
        if not self.length or beyond < 0 or (self.closed and beyond):
            return False
        return whole.startswith(self.last, self.length - len(self.last))


class Item:
    """One output item under way: its parts by lane and index, and the lane that it reasons in.

    `missed`: deltas of a call were left out, because it had not begun.
    """

    __slots__ = ("call", "lane", "missed", "parts")

    def __init__(self) -> None:
        self.call: Part | None = None
        self.lane: Lane | None = None
        self.missed = False
        self.parts: dict[tuple[Lane, int], Part] = {}


def rest(said: Sequence[Part], whole: str) -> str:
    """What the whole text holds beyond what these parts, in order, said of it.

    Where the two do not agree, at the length and the tail, the deltas hold.
    """
    length = sum(part.length for part in said)
    last = next((part.last for part in reversed(said) if part.last), "")
    agrees = len(whole) > length and whole.startswith(last, length - len(last))
    return whole[length:] if agrees else ""
