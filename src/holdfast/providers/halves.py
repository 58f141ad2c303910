"""Surrogate pairs that a provider cut in two, made whole again.

Strategy: JSON may spell an astral character as two escapes, and providers that cut their text
anywhere put one into each of two deltas. A trailing first half is held, for each lane of text
apart, until that lane goes on; a half that stays alone becomes U+FFFD, so that every delta of
ours is valid Unicode.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast import events

Lane = tuple[int, events.ChunkType, int | None]
"""What text runs on in: choice, type, ordinal of the tool call."""


def valid(text: str) -> str:
    """The text with surrogate pairs joined, and U+FFFD for each half that has no other."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Halves:
    """The first halves that wait, in `held`; at most one character a lane."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: dict[Lane, str] = {}

    def whole(self, lane: Lane, text: str) -> str:
        """The text after what was held of its lane; a trailing first half is held instead."""
        text = self.held.pop(lane, "") + text
        if "\ud800" <= text[-1:] <= "\udbff":
            self.held[lane] = text[-1]
            text = text[:-1]
        return valid(text)

    def release(self, choice: int | None = None) -> Iterator[events.Chunk]:
        """Gives up on the halves of this choice, or of all: they stay halves."""
        for lane in [lane for lane in self.held if choice in (None, lane[0])]:
            del self.held[lane]
            index, kind, call = lane
            yield events.Chunk(kind, "\ufffd", index, call)
