"""A history sorted by who saw what: the ground that the rules of `checker` stand on.

Strategy: one pass puts each entry where the rules look for it, by connection, by reader, by
stream and its stores, and makes no object for a delivery, as a run has millions of them. A
history that cannot be true whatever the product did, such as an event on a connection that
nobody made, is refused: its writer is broken, and a verdict would mean nothing.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from holdfast import errors, events
from holdfast.testing import history

LOST_SECONDS = 3.0
"""How long before a fault that loses what is lost may have been acknowledged: what has not been
copied by then would not have been at all."""


class Conn:
    """One response. `resets` holds, for each Reset, how many events had come before it."""

    __slots__ = ("after", "answered", "delivered", "head", "over", "resets", "stream")

    def __init__(self, head: history.Connected, stream: Stream) -> None:
        self.head, self.stream = head, stream
        self.after = _position(head)
        self.answered: history.Answered | None = None
        self.delivered: list[history.Delivered] = []
        self.resets: list[tuple[int, history.Reset]] = []
        self.over: history.Disconnected | None = None

    @property
    def last(self) -> history.Delivered | None:
        """What came last, if anything did."""
        return self.delivered[-1] if self.delivered else None

    @property
    def emptied(self) -> bool:
        """Whether nothing came after a Reset: its reader may begin anew."""
        return bool(self.resets) and self.resets[-1][0] == len(self.delivered)

    @property
    def refused(self) -> bool:
        """Whether the answer was an error, and no events."""
        return self.answered is not None and self.answered.status >= 400


class Stream:
    """What is known of one stream. `stores` holds each store's events, in its order; `void` the
    deliveries, by identity, of what a store was allowed to lose and was told to be void. It may be
    gone from `going` on, and must be from `gone` on."""

    __slots__ = (
        "appended",
        "calls",
        "cancelled",
        "conns",
        "expected",
        "going",
        "gone",
        "marked",
        "name",
        "sent",
        "stores",
        "void",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.conns: list[Conn] = []
        self.appended: list[history.Appended] = []
        self.stores: dict[str, list[history.Kept]] = {}
        self.expected: history.Expected | None = None
        self.calls: list[history.Called] = []
        self.sent: list[history.Sent] = []
        self.cancelled: history.Cancelled | None = None
        self.marked = False
        self.going = self.gone = math.inf
        self.void: set[int] = set()

    @property
    def observed(self) -> bool:
        """Whether its provider writes down what it does."""
        return self.expected is None or self.expected.observed

    def delivered(self) -> Iterator[history.Delivered]:
        """What all readers got, and may keep."""
        return itertools.chain.from_iterable(map(self._valid, self.conns))

    def kept(self) -> Iterator[history.Kept]:
        """What all stores hold."""
        return itertools.chain.from_iterable(self.stores.values())

    def shown(self) -> Iterator[history.Kept | history.Delivered]:
        """Both: whatever anybody can see of the stream."""
        yield from self.kept()
        yield from self.delivered()

    def told(self) -> Iterator[history.Delivered | history.Appended]:
        """What anybody was told to be in the log."""
        yield from self.delivered()
        yield from self.appended

    def groups(self) -> Iterator[Sequence[history.Delivered] | Sequence[history.Kept]]:
        """What each reader got and what each store holds, one after the other."""
        yield from self.stores.values()
        yield from map(self._valid, self.conns)

    def _valid(self, conn: Conn) -> list[history.Delivered]:
        if not self.void:
            return conn.delivered
        return [event for event in conn.delivered if id(event) not in self.void]

    def lost(self, place: events.Position) -> bool:
        """Whether no store holds an event that it could hold."""
        return bool(self.stores) and not any(
            (kept.epoch, kept.seq) == (place.epoch, place.seq) for kept in self.kept()
        )


class Faults:
    """When faults were on: spans that do not touch, in order."""

    def __init__(self, entries: Iterable[history.Fault]) -> None:
        self._begins: list[float] = []
        self._ends: list[float] = []
        on: Counter[str] = Counter()
        for entry in sorted(entries, key=lambda entry: entry.at):
            before = on.total()
            if entry.on:
                on[entry.name] += 1
            elif on[entry.name]:
                on[entry.name] -= 1
            if not before:
                self._begin(entry.at)
            self._ends[-1] = math.inf if on.total() else entry.at

    def _begin(self, at: float) -> None:
        if self._ends and self._ends[-1] == at:
            return
        self._begins.append(at)
        self._ends.append(at)

    @property
    def healed(self) -> float:
        """When the last one was over: infinity while one is on, minus infinity without any."""
        return self._ends[-1] if self._ends else -math.inf

    @property
    def over(self) -> bool:
        """Whether none is on at the end."""
        return self.healed < math.inf

    def within(self, begin: float, end: float) -> bool:
        """Whether one was on at any time from `begin` to `end`."""
        place = bisect_right(self._begins, end)
        return place > 0 and self._ends[place - 1] >= begin

    def quiet_since(self, at: float) -> float:
        """Since when, up to `at`, none has been on."""
        place = bisect_right(self._begins, at)
        return min(at, self._ends[place - 1]) if place else -math.inf


class Account:
    """A whole history. `end` is the time of its latest entry, 0 if there is none."""

    def __init__(self, entries: Iterable[history.Entry]) -> None:
        self.conns: dict[str, Conn] = {}
        self.readers: dict[tuple[str, str], list[Conn]] = defaultdict(list)
        self.streams: dict[str, Stream] = {}
        self.keys: dict[str, list[history.Expected]] = defaultdict(list)
        self.end = 0.0
        faults: list[history.Fault] = []
        for entry in entries:
            if entry.at > self.end:
                self.end = entry.at
            # The most frequent ones first: a history is mostly these.
            kind = type(entry)
            if kind is history.Delivered:
                self._conn(entry.conn).delivered.append(entry)  # type: ignore[union-attr, arg-type]
            elif isinstance(entry, history.Fault):
                faults.append(entry)
            elif isinstance(entry, history.Connected | history.Answered | history.Disconnected):
                self._respond(entry)
            elif isinstance(entry, history.Reset):
                conn = self._conn(entry.conn)
                conn.resets.append((len(conn.delivered), entry))
            else:
                self._note(entry)  # type: ignore[arg-type]
        self.faults = Faults(faults)
        self.losing = Faults(fault for fault in faults if fault.loses)
        if self.losing.healed > -math.inf:
            for (_, name), conns in self.readers.items():
                self._forget(self.streams[name], conns)

    def _forget(self, stream: Stream, conns: Sequence[Conn]) -> None:
        """What a reader has of a stream, and no store, is void if a store was allowed to lose it,
        and the reader was told before it got anything else, or never got anything else."""
        kept = {(event.epoch, event.seq) for event in stream.kept()}
        followed = False
        for conn in reversed(conns):
            resets = {place for place, _ in conn.resets}
            for place in range(len(conn.delivered), -1, -1):
                if place < len(conn.delivered):
                    event = conn.delivered[place]
                    if (event.epoch, event.seq) in kept:
                        followed = True
                    elif not followed and self.losing.within(event.at, event.at + LOST_SECONDS):
                        stream.void.add(id(event))
                if place in resets:
                    followed = False

    @property
    def stored(self) -> bool:
        """Whether the history says what any store holds."""
        return any(stream.stores for stream in self.streams.values())

    def _conn(self, name: str) -> Conn:
        try:
            conn = self.conns[name]
        except KeyError:
            raise ValueError(f"connection {name!r} is spoken of before it was made") from None
        if conn.over is not None:
            raise ValueError(f"connection {name!r} is spoken of after its end")
        return conn

    def _stream(self, name: str) -> Stream:
        stream = self.streams.get(name)
        if stream is None:
            stream = self.streams[name] = Stream(name)
        return stream

    def _respond(self, entry: history.Connected | history.Answered | history.Disconnected) -> None:
        if isinstance(entry, history.Connected):
            if entry.conn in self.conns:
                raise ValueError(f"connection {entry.conn!r} is made twice")
            stream = self._stream(entry.stream)
            conn = self.conns[entry.conn] = Conn(entry, stream)
            stream.conns.append(conn)
            self.readers[entry.reader, entry.stream].append(conn)
        elif isinstance(entry, history.Answered):
            self._conn(entry.conn).answered = entry
        else:
            self._conn(entry.conn).over = entry

    def _note(
        self,
        entry: history.Appended
        | history.Kept
        | history.Called
        | history.Marked
        | history.Sent
        | history.Cancelled
        | history.Shredded
        | history.Expected,
    ) -> None:
        stream = self._stream(entry.stream)
        match entry:
            case history.Appended():
                stream.appended.append(entry)
            case history.Kept():
                stream.stores.setdefault(entry.store, []).append(entry)
            case history.Called():
                stream.calls.append(entry)
            case history.Marked():
                stream.marked = True
            case history.Sent():
                stream.sent.append(entry)
            case history.Cancelled():
                stream.cancelled = stream.cancelled or entry
            case history.Shredded():
                stream.going = min(stream.going, entry.at)
                if entry.done:
                    stream.gone = min(stream.gone, entry.at)
            case history.Expected():
                stream.expected = entry
                if entry.key:
                    self.keys[entry.key].append(entry)


def _position(head: history.Connected) -> events.Position:
    """Where a reader stood; a cursor that was made up may be anything."""
    if not head.cursor:
        return events.BEGIN
    try:
        return events.parse_event_id(head.cursor)[1]
    except errors.MalformedPosition:
        if head.bad:
            return events.BEGIN
        raise ValueError(f"connection {head.conn!r} has no cursor: {head.cursor!r}") from None
