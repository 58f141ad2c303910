"""What a stream's provider said since the last tick, gathered.

Strategy: coalescing happens here and only here, before events get their numbers: pieces of
the same text that arrive within one tick become one chunk. A piece joins the one before it
where a reader could not tell the difference: same type, choice, call and block, nothing
verbatim from the provider, and the whole not over `chunk_bytes` of UTF-8. Everything else
keeps its own event.
"""

from __future__ import annotations

import msgspec

from holdfast import events


class Pending:
    """`size` is what is held, in bytes of text and of extras plus a constant for each event."""

    __slots__ = ("_bodies", "_chunk_bytes", "_first", "_parts", "_room", "size")

    OVERHEAD = 64
    """Bytes counted for an event beside its text."""

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes = chunk_bytes
        self._bodies: list[events.Body] = []
        self._first: events.Chunk | None = None
        self._parts: list[str] = []
        self._room = 0
        self.size = 0

    def add(self, body: events.Body) -> None:
        """Takes one more body, in order."""
        if type(body) is not events.Chunk:
            self._close()
            self._bodies.append(body)
            self.size += self.OVERHEAD
            return
        delta = body.delta
        length = len(delta) if delta.isascii() else _utf8_length(delta)
        if self._first is not None and length <= self._room and joins(self._first, body):
            self._parts.append(body.delta)
            self._room -= length
            self.size += length
            return
        self._close()
        self._first = body
        self._parts.append(body.delta)
        self._room = self._chunk_bytes - length
        self.size += length + self.OVERHEAD
        if body.extra is not msgspec.UNSET:
            self.size += len(body.extra)

    def take(self) -> list[events.Body]:
        """Everything gathered, in order; empties."""
        self._close()
        bodies, self._bodies, self.size = self._bodies, [], 0
        return bodies

    def _close(self) -> None:
        first = self._first
        if first is None:
            return
        if len(self._parts) > 1:
            first = events.Chunk(
                first.type,
                "".join(self._parts),
                first.choice,
                first.call,
                first.id,
                first.name,
                first.block,
            )
        self._bodies.append(first)
        self._first = None
        self._parts.clear()


def _utf8_length(text: str) -> int:
    """Counts what could not be encoded too: gathering never fails, writing it would."""
    return len(text.encode("utf-8", "surrogatepass"))


def joins(first: events.Chunk, more: events.Chunk) -> bool:
    """Whether a reader could not tell if the two are one piece of text, or two."""
    return (
        first.type == more.type
        and first.choice == more.choice
        and first.call == more.call
        and more.id is None
        and more.name is None
        and (more.block is None or more.block == first.block)
        and first.extra is msgspec.UNSET
        and more.extra is msgspec.UNSET
        and first.type != "opaque"
    )
