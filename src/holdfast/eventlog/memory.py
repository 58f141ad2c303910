"""The memory engine: the contract's verbs around the state machine, and the hints.

Strategy: a verb changes `streams.Streams` at once and calls the hints; nothing here waits.
Finished streams stay as they are until they expire. `Hints` and `append` serve every engine that
lives in one process.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import secrets
from collections.abc import Callable, Mapping, Sequence

from holdfast import errors, events
from holdfast.eventlog import base, counters
from holdfast.eventlog import streams as state
from holdfast.sealing import stores


class Hints:
    """The callbacks that were registered, called on the event loop; one that fails is told to
    the loop's exception handler and hurts no other."""

    def __init__(self) -> None:
        self._wakes: dict[events.StreamId, dict[int, base.Wake]] = {}
        self._cancels: dict[int, base.CancelHint] = {}
        self._keys = itertools.count()

    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        key = next(self._keys)
        self._wakes.setdefault(stream, {})[key] = wake

        def undo() -> None:
            watching = self._wakes.get(stream, {})
            watching.pop(key, None)
            if not watching:
                self._wakes.pop(stream, None)

        return undo

    def watch_cancels(self, hint: base.CancelHint) -> base.Undo:
        key = next(self._keys)
        self._cancels[key] = hint

        def undo() -> None:
            self._cancels.pop(key, None)

        return undo

    def watches(self, stream: events.StreamId) -> bool:
        """Whether anybody waits for this stream."""
        return stream in self._wakes

    def wake(self, stream: events.StreamId) -> None:
        watching = self._wakes.get(stream)
        if watching:
            for wake in tuple(watching.values()):
                try:
                    wake()
                except Exception as error:
                    _tell("a wake callback failed", error)

    def cancelled(self, stream: events.StreamId) -> None:
        for hint in tuple(self._cancels.values()):
            try:
                hint(stream)
            except Exception as error:
                _tell("a cancel callback failed", error)


def _tell(message: str, error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


def append(held: state.Streams, hints: Hints, tick: base.Tick) -> list[base.Result]:
    """The verdicts. Each stream's readers are told while it is in the processor's cache."""
    write, wake, results = held.append, hints.wake, list[base.Result]()
    for batch in tick:
        results.append(write(batch))
        wake(batch.stream)
    return results


KEPT_BYTES = 256 * 1024 * 1024
"""Finished streams that are kept; beyond, the one that ended first expires before its time."""


class MemoryLog(stores.Unsealed):
    """The contract in memory: nothing survives the process, so no stream is ever an orphan.

    `clock` gives ms since 1970; it dates tombstones and nothing else.
    """

    def __init__(
        self, *, clock: Callable[[], int] = events.now_ms, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self.secret = secrets.token_bytes(32)
        self.counters: counters.Counters = counters.MemoryCounters()
        self.endings: base.Endings | None = None
        self.forgets = False
        self.nodes: base.Nodes | None = None
        self._clock, self._limit, self._kept = clock, kept_bytes, 0
        self._streams = state.Streams()
        self._hints = Hints()
        # A heap by the time of the end, and by the order of the ends within it.
        self._ended: list[tuple[int, int, events.StreamId]] = []
        self._ends = itertools.count()
        self._tombstones: dict[events.StreamId, base.Tombstone] = {}  # the oldest first

    async def start(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def until_ended(self) -> None:
        """There is no background work that could end."""
        await asyncio.get_running_loop().create_future()

    async def create(
        self,
        stream: events.StreamId,
        header: base.Header,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> base.Life | base.Exists:
        state.check(drafts, ts)
        if stream in self._tombstones:
            raise errors.StreamExpired
        made = self._streams.create(stream, header, events.new_epoch(0), drafts, ts)
        self._settle()
        return made

    async def append(self, tick: base.Tick) -> list[base.Result]:
        for batch in tick:
            state.check(batch.drafts, batch.ts)
        results = append(self._streams, self._hints, tick)
        self._settle()
        return results

    def _settle(self) -> None:
        for stream in self._streams.ended:
            heapq.heappush(self._ended, (stream.ended_at or 0, next(self._ends), stream.id))
            self._kept += stream.size
        self._streams.ended.clear()
        while self._kept > self._limit and self._ended:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, _, stream = heapq.heappop(self._ended)
        self._drop(stream)

    def _drop(self, stream: events.StreamId) -> None:
        dropped = self._streams.drop(stream)
        self._kept -= dropped.size
        self._tombstones[stream] = base.Tombstone(dropped.header.owner, self._clock())

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        found = self._streams.get(stream)
        if found is None:
            raise errors.StreamNotFound
        return found.page(after, limit)

    def glance(self, stream: events.StreamId, after: events.Position) -> base.Page | None:
        found = self._streams.get(stream)
        return found.page(after) if found is not None and found.last > after.seq else None

    async def heads(self, streams: Sequence[events.StreamId]) -> list[base.Head | None]:
        found = [self._streams.get(stream) for stream in streams]
        return [None if stream is None else stream.head for stream in found]

    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        found = self._streams.get(stream)
        return found.info if found is not None else self._tombstones.get(stream)

    async def find(self, query: base.Query) -> list[base.Info]:
        return self._streams.find(query)

    async def claim(self, stream: events.StreamId, ts: int) -> base.Life | None:
        found = self._streams.get(stream)
        epoch = events.new_epoch(found.epoch if found is not None else 0)
        adopted = (events.draft(events.Adopted(epoch)),)
        state.check(adopted, ts)
        life = self._streams.claim(stream, epoch, adopted, ts)
        if life is not None:
            self._hints.wake(stream)
        return life

    async def orphans(self, limit: int) -> list[events.StreamId]:
        return []

    async def request_cancel(self, stream: events.StreamId) -> bool:
        done = self._streams.cancel(stream)
        if done:
            self._hints.cancelled(stream)
        return done

    async def expire(self, before: int, limit: int) -> int:
        now, count = self._clock(), 0
        for stream, stone in list(itertools.islice(self._tombstones.items(), limit)):
            if stone.expired_at < now - base.TOMBSTONE_MS:
                del self._tombstones[stream]
        while count < limit and self._ended and self._ended[0][0] < before:
            self._drop_oldest()
            count += 1
        return count

    async def shred(self, stream: events.StreamId) -> bool:
        found = self._streams.get(stream)
        if found is None or found.ended_at is None:
            return False
        self._ended = [one for one in self._ended if one[2] != stream]
        heapq.heapify(self._ended)
        self._drop(stream)
        self._hints.wake(stream)
        return True

    async def wrapped_by(self) -> Mapping[str, int]:
        count = len(self._streams)
        return {"": count} if count else {}

    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        return self._hints.watch(stream, wake)

    def watch_cancels(self, hint: base.CancelHint) -> base.Undo:
        return self._hints.watch_cancels(hint)
