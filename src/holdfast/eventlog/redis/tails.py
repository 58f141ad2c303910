"""The last events of streams that this node writes and reads, so that they are not read back.

Strategy: a batch that Redis took is kept here for the readers of this node, if there are any,
until newer ones push it out. It answers a read only with something new: who finds nothing here asks
Redis, so a stream that another node writes by now is never thought to stand still. What another
node wrote, or a claim, ends the tail.
"""

from __future__ import annotations

from collections import deque

from holdfast import events
from holdfast.eventlog import base

TAIL_BYTES = 16 * 1024
"""Of one stream: readers take a tick's events soon after it, so some ticks suffice."""

TAIL_BATCHES = 64


class _Tail:
    """The newest batches of one life without a gap, and their bytes. `begun`: the seq of that
    life's first event."""

    __slots__ = ("batches", "begun", "epoch", "size")

    def __init__(self, epoch: int, begun: int) -> None:
        self.epoch, self.begun = epoch, begun
        self.batches: deque[tuple[base.Batch, int]] = deque()
        self.size = 0

    @property
    def first(self) -> int:
        """The seq of the event before the oldest one."""
        oldest, _ = self.batches[0]
        return oldest.last - len(oldest.drafts)

    @property
    def last(self) -> int:
        return self.batches[-1][0].last


class Tails:
    """By stream."""

    def __init__(self) -> None:
        self._tails: dict[events.StreamId, _Tail] = {}

    def __len__(self) -> int:
        return len(self._tails)

    def drop(self, stream: events.StreamId) -> None:
        self._tails.pop(stream, None)

    def add(self, batch: base.Batch, begun: int) -> None:
        """A batch that Redis has, of a life whose first event has the seq `begun`; it may be told
        again."""
        if not batch.drafts:
            return
        tail = self._tails.get(batch.stream)
        if tail is not None and tail.epoch == batch.epoch and batch.last <= tail.last:
            return
        before = batch.last - len(batch.drafts)
        if tail is None or tail.epoch != batch.epoch or tail.last != before:
            tail = self._tails[batch.stream] = _Tail(batch.epoch, begun)
        size = sum(len(draft.data) for draft in batch.drafts)
        tail.batches.append((batch, size))
        tail.size += size
        while len(tail.batches) > 1 and (
            tail.size > TAIL_BYTES or len(tail.batches) > TAIL_BATCHES
        ):
            tail.size -= tail.batches.popleft()[1]

    def page(self, stream: events.StreamId, after: events.Position, limit: int) -> base.Page | None:
        """What follows a position, where the tail has it and something does; None to ask Redis."""
        tail = self._tails.get(stream)
        if (
            tail is None
            or after.epoch != tail.epoch
            or not max(tail.first, tail.begun) <= after.seq < tail.last
        ):
            return None
        found: list[events.Event] = []
        for batch, _ in tail.batches:
            if batch.last > after.seq:
                found += _after(batch, after.seq)
        ended = found[-1].kind in events.TERMINAL
        return base.cut(found, after, limit, tail.last, ended=ended)


def _after(batch: base.Batch, seq: int) -> list[events.Event]:
    """The events of a batch that follow this seq."""
    first = batch.last - len(batch.drafts) + 1
    return [
        events.Event(draft.kind, draft.data, batch.epoch, number, batch.ts)
        for number, draft in enumerate(batch.drafts, first)
        if number > seq
    ]
