"""A finished stream as it is stored: runs of events, each with what proves it.

Strategy: a segment holds consecutive events of one life: their data in one piece, compressed, and
beside it each one's kind, time, size and checksum, so that an operator sees every event without
reading one, and a reader begins at any of them without loading the stream. Of a sealed stream all
that is in the one piece: sizes and checksums of tokens would tell the text. Nothing here does I/O:
`groups` makes segments of pages as they come, and a `Pager` pages of segments, for every store
alike; `packed` and `unpacked` are between these and rows.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from itertools import accumulate, pairwise

import msgspec

from holdfast import errors, events, storage
from holdfast.archive import rows
from holdfast.sealing import codec
from holdfast.storage import CODES, KINDS

SEGMENT_BYTES = 64 * 1024
"""Data of a segment at most; one event that is larger has one of its own."""

SEGMENT_EVENTS = 1000
"""Events of a segment at most."""

GROUP_BYTES = 1024 * 1024
"""About how many bytes of a stream are in memory while it is kept."""

_EVENT_BYTES = 128
"""What an event's numbers take in memory, about."""

_encode = msgspec.msgpack.Encoder().encode


class Segment(msgspec.Struct, frozen=True, gc=False):
    """Events of the life `epoch` from the seq `first` on; the lists have an item an event. `crcs`
    None: a seal has proven all of it."""

    epoch: int
    first: int
    kinds: list[int]
    times: list[int]
    sizes: list[int]
    crcs: list[int] | None
    data: bytes

    @property
    def last(self) -> int:
        return self.first + len(self.kinds) - 1


class _Cutter:
    """Makes segments of events, and holds them to the rules."""

    def __init__(self) -> None:
        self.last = events.BEGIN
        self.held = 0
        self.status: events.Status = "pending"
        self._ended = False
        self._done: list[Segment] = []
        self._begin()

    def _begin(self) -> None:
        self._kinds: list[int] = []
        self._times: list[int] = []
        self._sizes: list[int] = []
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, event: events.Event) -> None:
        epoch, seq = self.last.epoch, self.last.seq
        if self._ended or event.seq != seq + 1 or event.epoch < epoch or event.kind not in CODES:
            raise ValueError(f"an event {event.kind} at {event.position} cannot follow {self.last}")
        size = len(event.data)
        full = len(self._kinds) == SEGMENT_EVENTS or self._size + size > SEGMENT_BYTES
        if self._kinds and (full or event.epoch != epoch):
            self._cut()
        self._kinds.append(CODES[event.kind])
        self._times.append(event.ts)
        self._sizes.append(size)
        self._parts.append(event.data)
        self._size += size
        self.held += size + _EVENT_BYTES
        self.last = event.position
        self.status = events.advance(self.status, event)
        self._ended = event.kind in events.TERMINAL

    def _cut(self) -> None:
        first = self.last.seq - len(self._kinds) + 1
        crcs = [zlib.crc32(part) for part in self._parts]
        data = b"".join(self._parts)
        numbers = (self._kinds, self._times, self._sizes, crcs)
        self._done.append(Segment(self.last.epoch, first, *numbers, data))
        self._begin()

    def taken(self) -> list[Segment]:
        """The segments that are full by now."""
        done, self._done, self.held = self._done, [], self._size
        return done

    def finished(self, info: storage.Info) -> list[Segment]:
        """The last segments. Raises ValueError where the events are not those of `info`."""
        head = storage.Head(self.last.epoch, self.last.seq, self._ended)
        if not self._ended or head != info.head or self.status != info.status:
            raise ValueError(f"{info.stream}: its events end otherwise than it is said to")
        if info.ended_at is None:
            raise ValueError(f"{info.stream} has not ended")
        self._cut()
        return self.taken()


async def groups(
    info: storage.Info, pages: AsyncIterator[Sequence[events.Event]]
) -> AsyncGenerator[list[Segment], None]:
    """The segments of a stream, so many at a time as are good to write together. Raises ValueError
    for events that are not 1, 2, 3 … up to the terminal one that `info` tells of."""
    cutter = _Cutter()
    async for page in pages:
        for event in page:
            cutter.add(event)
            if cutter.held >= GROUP_BYTES:
                yield cutter.taken()
    yield cutter.finished(info)


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A short stream, whole; of attempts with one number the last holds."""

    info: storage.Info
    attempts: tuple[rows.Attempt, ...]
    segments: tuple[Segment, ...]


def finished(
    info: storage.Info, attempts: Sequence[rows.Attempt], all: Sequence[events.Event]
) -> Finished:
    """A stream with all its events. Raises ValueError as `groups` does."""
    cutter = _Cutter()
    for event in all:
        cutter.add(event)
    return Finished(info, tuple(attempts), tuple(cutter.finished(info)))


def _whole(segment: Segment) -> bool:
    sizes, crcs = segment.sizes, segment.crcs
    counts = (len(segment.times), len(sizes), len(sizes if crcs is None else crcs))
    return set(counts) == {len(segment.kinds)} and sum(sizes) == len(segment.data)


def proven(segment: Segment) -> Segment:
    """One that is to be packed anew, each event of it checked: a seal would hide what does not
    match. Raises `errors.LogCorrupt`."""
    ends = list(accumulate(segment.sizes, initial=0))
    found = [zlib.crc32(segment.data[start:end]) for start, end in pairwise(ends)]
    if not _whole(segment) or segment.crcs not in (None, found):
        raise errors.LogCorrupt(f"the checksums from the event {segment.first} on do not match")
    return segment


class Pager:
    """One page of a stream whose head is known, made of segments in their order."""

    def __init__(self, head: storage.Head, after: events.Position, limit: int) -> None:
        self._after, self._limit = after, max(1, min(limit, storage.PAGE_EVENTS))
        self._head, self._last = head, head.seq
        self._found: list[events.Event] = []
        self._bytes = 0

    @property
    def full(self) -> bool:
        count = len(self._found)
        return (
            count >= self._limit
            or self._bytes >= storage.PAGE_BYTES
            or self._after.seq + count >= self._last
        )

    def add(self, segment: Segment) -> None:
        """The next segment. Raises `errors.LogCorrupt` where it is not what was written."""
        index = self._after.seq + len(self._found) + 1 - segment.first
        sizes, crcs, count = segment.sizes, segment.crcs, len(segment.kinds)
        if not (0 <= index < count and _whole(segment)):
            raise errors.LogCorrupt("a segment is missing, or is not whole")
        start = sum(sizes[:index])
        while index < count and not self.full:
            data = segment.data[start : start + sizes[index]]
            seq, kind = segment.first + index, segment.kinds[index]
            wrong = crcs is not None and zlib.crc32(data) != crcs[index]
            if wrong or not 0 < kind < len(KINDS):
                raise errors.LogCorrupt(f"the checksum of the event {seq} does not match")
            if seq == self._head.seq and not self._ends(segment.epoch, KINDS[kind]):
                raise errors.LogCorrupt("what its last event should be does not end it")
            ts = segment.times[index]
            self._found.append(events.Event(KINDS[kind], data, segment.epoch, seq, ts))
            self._bytes += len(data)
            start += sizes[index]
            index += 1

    def _ends(self, epoch: int, kind: events.Kind) -> bool:
        return epoch == self._head.epoch and kind in events.TERMINAL

    @property
    def page(self) -> storage.Page:
        position = self._found[-1].position if self._found else self._after
        more = position.seq < self._last
        return storage.Page(tuple(self._found), position, not more, more)


class Packed(msgspec.Struct, frozen=True, gc=False):
    """A segment as a store has it. The lists are empty where all that they would tell is sealed,
    with `data`."""

    epoch: int
    first: int
    last: int
    kinds: list[int]
    times: list[int]
    sizes: list[int]
    crcs: list[int]
    data: bytes


class _Sealed(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What is under the seal; `gaps` are times, each but the first told from the one before."""

    kinds: bytes
    gaps: list[int]
    sizes: list[int]
    data: bytes


_sealed = msgspec.msgpack.Decoder(_Sealed)


def packed(by: codec.Codec, stream: str, segment: Segment) -> Packed:
    """For one that has its checksums. It is bound to where it belongs: in another's place it cannot
    be unpacked."""
    epoch, first, last, times = segment.epoch, segment.first, segment.last, segment.times
    if by.wrapped is None:
        data = by.pack(codec.RECORD, segment.data, _bound(stream, epoch, first), compress=True)
        clear = (segment.kinds, times, segment.sizes, segment.crcs or [])
        return Packed(epoch, first, last, *clear, data)
    gaps = [ts - before for before, ts in zip([0, *times], times, strict=False)]
    whole = _encode(_Sealed(bytes(segment.kinds), gaps, segment.sizes, segment.data))
    data = by.pack(codec.RECORD, whole, _bound(stream, epoch, first, last), compress=True)
    return Packed(epoch, first, last, [], [], [], [], data)


def unpacked(by: codec.Codec, stream: str, row: Packed) -> Segment:
    """The opposite. Raises `errors.LogCorrupt`."""
    if by.wrapped is None:
        data = by.unpack(codec.RECORD, row.data, _bound(stream, row.epoch, row.first))
        return Segment(row.epoch, row.first, row.kinds, row.times, row.sizes, row.crcs, data)
    whole = by.unpack(codec.RECORD, row.data, _bound(stream, row.epoch, row.first, row.last))
    try:
        told = _sealed.decode(whole)
    except msgspec.DecodeError as error:
        raise errors.LogCorrupt(f"a segment cannot be read: {error}") from error
    times = list(accumulate(told.gaps))
    return Segment(row.epoch, row.first, list(told.kinds), times, told.sizes, None, told.data)


def _bound(stream: str, *place: int) -> bytes:
    return f"{stream}:{'-'.join(map(str, place))}".encode()
