"""What a producer wrote last, in case that the log forgets it.

Strategy: a log that copies itself without waiting for the copies can forget what it acknowledged a
moment ago, when a copy takes its place. Then the writer writes it again, in a new life: the same
events, each as it was. Only so much is kept, from the newest back; what was forgotten from further
back is lost to this producer.
"""

from __future__ import annotations

from collections import deque

from holdfast import events

RECENT_BYTES = 64 * 1024
"""Of one stream: many seconds of an answer, where a copy lags behind by one at most."""


class Recent:
    """The newest events of a stream, without a gap."""

    __slots__ = (
        "_before",
        "_events",
        "_size",
    )

    def __init__(self, last: int) -> None:
        """`last`: the seq of the last event that is not the producer's own."""
        self._events: deque[events.Draft] = deque()
        self._before, self._size = last, 0

    def add(self, drafts: list[events.Draft], size: int) -> None:
        """The next events, whose data have so many bytes."""
        self._events.extend(drafts)
        self._size += size
        while self._size > RECENT_BYTES and len(self._events) > 1:
            self._size -= len(self._events.popleft().data)
            self._before += 1

    def since(self, last: int) -> list[events.Draft] | None:
        """What follows the event with this seq; None where that is not known any more."""
        skipped = last - self._before
        if not 0 <= skipped <= len(self._events):
            return None
        return list(self._events)[skipped:]

    def move(self, last: int) -> None:
        """All of it is to be written again: after the event with this seq."""
        self._events.clear()
        self._before, self._size = last, 0
