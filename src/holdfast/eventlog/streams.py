"""The streams in memory: the state machine of every engine that keeps them there.

Strategy: `Stream` is one stream, compactly: its data in one bytearray and three flat arrays
beside it (where each event ends, its kind, its time). No Python object stands for an event;
`page` makes some for the caller and keeps none. `Streams` is all of them and the contract's
verdicts: synchronous, without clock, I/O or randomness, so that the same changes in the same
order give the same verdicts again. That is what lets a durable engine log the changes and
replay them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator

import msgspec

from holdfast import errors, events, storage
from holdfast.eventlog import base
from holdfast.storage import CODES, KINDS

_NOT_LAST = frozenset(CODES) - events.TERMINAL
_OK, _OK_CANCELLED, _FENCED = base.Ok(), base.Ok(cancelled=True), base.Fenced()


def check(drafts: tuple[events.Draft, ...], ts: int) -> None:
    """Refuses what no log may hold, before anything is written: it is a caller's bug.

    Raises `ValueError` for a transient event, an event behind a terminal one, a negative time.
    """
    for draft in drafts[:-1]:
        if draft.kind not in _NOT_LAST:
            raise ValueError(f"an event of kind {draft.kind} has no place before another")
    if drafts and drafts[-1].kind not in CODES:
        raise ValueError(f"an event of kind {drafts[-1].kind} has no place in a log")
    if ts < 0:
        raise ValueError(f"a time is in milliseconds since 1970, not {ts}")


class Stream:
    """One stream. `runs` holds (first seq, epoch) of each life, the oldest first; `ends[i]` is
    where the data of the event with the seq i + 1 end."""

    __slots__ = (
        "cancelled",
        "data",
        "ended_at",
        "ends",
        "epoch",
        "header",
        "id",
        "kinds",
        "last",
        "runs",
        "times",
    )

    def __init__(self, stream: events.StreamId, header: base.Header) -> None:
        self.id = stream
        self.header = header
        self.epoch = 0
        self.last = 0
        self.runs: tuple[tuple[int, int], ...] = ()
        self.cancelled = False
        self.ended_at: int | None = None
        self.data = bytearray()
        self.ends = array("Q")
        self.kinds = bytearray()
        self.times = array("Q")

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return 1024 + len(self.header.request) + len(self.data) + 17 * self.last

    @property
    def head(self) -> base.Head:
        return base.Head(self.epoch, self.last, self.ended_at is not None)

    @property
    def status(self) -> events.Status:
        """The fold over all events, which needs but two: the first chunk and the last."""
        spots = {self.kinds.find(CODES["chunk"]), self.last - 1}
        return events.status_of(
            event for spot in sorted(spots) if spot >= 0 for event in self._events(spot, spot + 1)
        )

    @property
    def info(self) -> base.Info:
        return base.Info(
            self.id, self.header, self.head, self.status, self.cancelled, self.ended_at
        )

    def begin(self, epoch: int) -> None:
        """A new life: what is written from here on has this epoch."""
        self.epoch = epoch
        self.runs = (*self.runs, (self.last + 1, epoch))

    def write(self, drafts: tuple[events.Draft, ...], ts: int) -> None:
        """Adds events that passed `check`; a terminal one closes the stream."""
        data, ends, kinds, times = self.data, self.ends, self.kinds, self.times
        for draft in drafts:
            data += draft.data
            ends.append(len(data))
            kinds.append(CODES[draft.kind])
            times.append(ts)
        self.last += len(drafts)
        if drafts and drafts[-1].kind in events.TERMINAL:
            self.ended_at = ts
            if self.header.request:
                self.header = msgspec.structs.replace(self.header, request=b"")

    def append(self, batch: base.Batch) -> base.Result:
        """The verdict on a batch, and its events where they follow the head."""
        if batch.epoch != self.epoch:
            return _FENCED
        before = batch.last - len(batch.drafts)
        if before == self.last and self.ended_at is None:
            self.write(batch.drafts, batch.ts)
        elif batch.last > self.last:
            return base.Lost(self.last) if self.ended_at is None else _FENCED
        elif before + 1 < self.runs[-1][0]:
            return _FENCED
        return _OK_CANCELLED if self.cancelled else _OK

    def page(self, after: events.Position, limit: int = base.PAGE_EVENTS) -> base.Page:
        """The events after a position; raises `errors.UnknownPosition`."""
        first, last = after.seq, self.last
        if first + 1 == last and after.epoch == self.epoch and first >= self.runs[-1][0]:
            return self._newest(first)
        if first and (first > last or self._epoch_of(first) != after.epoch):
            raise errors.UnknownPosition(f"Stream {self.id} holds no event at {after}.")
        stop = min(last, first + max(1, min(limit, base.PAGE_EVENTS)))
        if stop - first > 1:
            start = self.ends[first - 1] if first else 0
            stop = min(stop, bisect_left(self.ends, start + base.PAGE_BYTES, first, stop) + 1)
        found = self._events(first, stop)
        position = found[-1].position if found else after
        more = stop < last
        return base.Page(tuple(found), position, self.ended_at is not None and not more, more)

    def _newest(self, index: int) -> base.Page:
        """The last event alone, which is what readers at the head are given again and again."""
        data = bytes(self.data[self.ends[index - 1] :])
        kind, ts, last = KINDS[self.kinds[index]], self.times[index], self.last
        event = events.Event(kind, data, self.epoch, last, ts)
        position = events.Position(self.epoch, last)
        return base.Page((event,), position, self.ended_at is not None, False)

    def _epoch_of(self, seq: int) -> int:
        if seq >= self.runs[-1][0]:
            return self.epoch
        return next(epoch for first, epoch in reversed(self.runs) if seq >= first)

    def _events(self, first: int, stop: int) -> list[events.Event]:
        """Those with the index `first` up to `stop`."""
        if first + 1 >= self.runs[-1][0]:
            return self._part(first, stop, self.epoch)
        found: list[events.Event] = []
        ends = [run_first - 1 for run_first, _ in self.runs[1:]] + [stop]
        for (run_first, epoch), end in zip(self.runs, ends, strict=True):
            found += self._part(max(first, run_first - 1), min(stop, end), epoch)
        return found

    def _part(self, first: int, stop: int, epoch: int) -> list[events.Event]:
        """Events of one life: all their data in one copy, then a slice each."""
        if first >= stop:
            return []
        origin = self.ends[first - 1] if first else 0
        data = bytes(self.data[origin : self.ends[stop - 1]])
        found: list[events.Event] = []
        start, seq = 0, first
        for code, end, ts in zip(
            self.kinds[first:stop], self.ends[first:stop], self.times[first:stop], strict=True
        ):
            end -= origin
            seq += 1
            found.append(events.Event(KINDS[code], data[start:end], epoch, seq, ts))
            start = end
        return found


Order = list[tuple[int, str]]
"""(created_at, id) of streams, the oldest first."""


class Orders:
    """Streams in the order of their creation: all, each owner's, and each tenant's."""

    def __init__(self) -> None:
        self._all: Order = []
        self._owners: dict[str, Order] = {}
        self._tenants: dict[str, Order] = {}

    def add(self, stream: Stream) -> None:
        owner, entry = stream.header.owner, (stream.header.created_at, stream.id)
        insort(self._all, entry)
        insort(self._owners.setdefault(owner, []), entry)
        insort(self._tenants.setdefault(storage.tenant_of(owner), []), entry)

    def drop(self, stream: Stream) -> None:
        owner, entry = stream.header.owner, (stream.header.created_at, stream.id)
        del self._all[bisect_left(self._all, entry)]
        for orders, name in ((self._owners, owner), (self._tenants, storage.tenant_of(owner))):
            order = orders[name]
            del order[bisect_left(order, entry)]
            if not order:
                del orders[name]

    def of(self, query: base.Query) -> Order:
        """The shortest one that holds all whose owner is asked for."""
        if query.owner is not None:
            return self._owners.get(query.owner, [])
        return self._tenants.get(query.tenant, []) if query.tenant else self._all


class Streams:
    """All streams that an engine holds in memory, and every change to them.

    Nothing fails half-way: what could fail is refused by `check` before. `ended` gathers the
    streams as they close, for the engine to take.
    """

    def __init__(self) -> None:
        self.ended: list[Stream] = []
        self._all: dict[events.StreamId, Stream] = {}
        self.get = self._all.get  # without a call of ours: it is asked for each batch and reader
        self._orders = Orders()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._all.values())

    def add(self, stream: Stream) -> None:
        """Takes a stream that was kept elsewhere."""
        self._all[stream.id] = stream
        self._orders.add(stream)

    def drop(self, stream: events.StreamId) -> Stream:
        """Forgets a stream that is there."""
        found = self._all.pop(stream)
        self._orders.drop(found)
        return found

    def create(
        self,
        stream: events.StreamId,
        header: base.Header,
        epoch: int,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> base.Life | base.Exists:
        known = self._all.get(stream)
        if known is not None:
            return base.Exists(known.header)
        made = Stream(stream, header)
        self.add(made)
        return self._begin(made, epoch, drafts, ts)

    def append(self, batch: base.Batch) -> base.Result:
        stream = self._all.get(batch.stream)
        if stream is None:
            return _FENCED
        was_open = stream.ended_at is None
        result = stream.append(batch)
        if was_open and stream.ended_at is not None:
            self.ended.append(stream)
        return result

    def claim(
        self, stream: events.StreamId, epoch: int, drafts: tuple[events.Draft, ...], ts: int
    ) -> base.Life | None:
        """None where the stream is closed, not there, or in a life as young as `epoch`."""
        found = self._all.get(stream)
        if found is None or found.ended_at is not None or epoch >> 16 <= found.epoch >> 16:
            return None
        return self._begin(found, epoch, drafts, ts)

    def _begin(
        self, stream: Stream, epoch: int, drafts: tuple[events.Draft, ...], ts: int
    ) -> base.Life:
        stream.begin(epoch)
        stream.write(drafts, ts)
        if stream.ended_at is not None:
            self.ended.append(stream)
        return base.Life(epoch, stream.last)

    def cancel(self, stream: events.StreamId) -> bool:
        found = self._all.get(stream)
        if found is None or found.ended_at is not None:
            return False
        found.cancelled = True
        return True

    def find(self, query: base.Query) -> list[base.Info]:
        """The contract's `find`; costs what it passes over, not what there is: nothing of what
        other owners or tenants have."""
        order = self._orders.of(query)
        stop = len(order)
        if query.before is not None:
            stop = bisect_left(order, query.before)
        if query.created_to is not None:
            stop = bisect_left(order, (query.created_to, ""), 0, stop)
        found: list[base.Info] = []
        while stop and len(found) < query.limit:
            stop -= 1
            created_at, stream = order[stop]
            if query.created_from is not None and created_at < query.created_from:
                break
            entry = self._all[events.StreamId(stream)]
            if storage.matches(entry, query):
                found.append(entry.info)
        return found
