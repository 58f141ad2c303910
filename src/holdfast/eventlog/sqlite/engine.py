"""The SQLite engine: the memory engine, made durable by a redo log.

Strategy: every change becomes an operation (`redo`), is written by one thread (`writer`), and
is applied to the streams in memory once it is durable (`session`). So nothing is visible
before it is durable, and a start, which applies the same operations again, has the same
streams. Open streams are read from memory, finished ones from their record (`records`);
`checkpoints` bound the redo log. Here are the contract's verbs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from holdfast import errors, events, storage
from holdfast.eventlog import base, counters, memory, streams
from holdfast.eventlog.sqlite import lookups, redo, schema, session
from holdfast.sealing import sealer as sealing
from holdfast.sealing import stores

Durability = schema.Durability

CHECKPOINT_BYTES = 64 * 1024 * 1024
"""Redo bytes between two checkpoints: a start reads them all, in about a second."""

CACHE_BYTES = 32 * 1024 * 1024
"""Finished streams kept in memory for those who read them."""


class SqliteLog:
    """The contract on one file, owned by one process. Sizes in bytes; `clock` gives ms since
    1970 and dates tombstones. May be started again after a close."""

    def __init__(
        self,
        path: str | Path,
        *,
        durability: schema.Durability = "process",
        checkpoint_bytes: int = CHECKPOINT_BYTES,
        cache_bytes: int = CACHE_BYTES,
        clock: Callable[[], int] = events.now_ms,
        sealer: sealing.Sealer = sealing.OFF,
    ) -> None:
        self.secret = b""
        # Resolved, so that one file has one lock, by whatever link it is reached.
        self._path, self._durability, self._clock = Path(path).resolve(), durability, clock
        self._checkpoint_bytes, self._cache_bytes = checkpoint_bytes, cache_bytes
        self._sealer = sealer
        self._hints = memory.Hints()
        self._door = asyncio.Lock()
        self._open: session.Session | None = None
        self.counters: counters.Counters = _Counters(lambda: self._session)
        self.endings: base.Endings | None = None
        self.forgets = False
        self.nodes: base.Nodes | None = None

    async def start(self) -> None:
        async with self._door:
            if self._open is None:
                opened = session.Session(self._path, self._durability, self._hints, self._sealer)
                await opened.open(self._checkpoint_bytes, self._cache_bytes)
                self.secret, self._open = opened.secret, opened

    async def close(self) -> None:
        async with self._door:
            closing, self._open = self._open, None
            if closing is not None:
                await closing.close()

    async def until_ended(self) -> None:
        await self._session.until_ended()

    @property
    def _session(self) -> session.Session:
        if self._open is None:
            raise errors.LogUnavailable(f"{self._path} is not open.")
        return self._open

    async def create(
        self,
        stream: events.StreamId,
        header: base.Header,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> base.Life | base.Exists:
        streams.check(drafts, ts)
        made = redo.Create(stream, header, events.new_epoch(0), drafts, ts)
        return await self._session.create(made)

    async def append(self, tick: base.Tick) -> list[base.Result]:
        for batch in tick:
            streams.check(batch.drafts, batch.ts)
        session = self._session
        get = session.held.get
        # What is not held is not written: it would be refused, and its key has left memory.
        held = [n for n, batch in enumerate(tick) if get(batch.stream) is not None]
        results: list[base.Result] = [base.Fenced()] * len(tick)
        if held:
            written = redo.Append(tuple(tick[index] for index in held))
            for index, result in zip(held, await session.submit(written), strict=True):
                results[index] = result
        for index, batch in enumerate(tick):
            if type(results[index]) is base.Fenced:
                results[index] = await self._second_verdict(batch)
        return results

    async def _second_verdict(self, batch: base.Batch) -> base.Result:
        """For a batch that was fenced: it may be there, in a stream that has left memory."""
        session = self._session
        if session.held.get(batch.stream) is None:
            found = await session.finished.get(batch.stream)
            if found is not None:
                self._hints.wake(batch.stream)  # as a tick whose fate was unknown may be news
                return found.append(batch)
        return base.Fenced()

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        found = self._session.held.get(stream) or await self._session.finished.get(stream)
        if found is None:
            raise errors.StreamNotFound
        return found.page(after, limit)

    def glance(self, stream: events.StreamId, after: events.Position) -> base.Page | None:
        if self._open is None:
            return None
        found = self._open.held.get(stream)
        return found.page(after) if found is not None and found.last > after.seq else None

    async def heads(self, wanted: Sequence[events.StreamId]) -> list[base.Head | None]:
        found: dict[events.StreamId, base.Head] = {}
        for stream in wanted:
            held = self._session.held.get(stream) or self._session.finished.cache.get(stream)
            if held is not None:
                found[stream] = held.head
        missing = [stream for stream in wanted if stream not in found]
        found.update(await self._session.finished.heads(missing))
        return [found.get(stream) for stream in wanted]

    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        found = self._session.held.get(stream)
        return found.info if found is not None else await self._session.finished.stat(stream)

    async def find(self, query: base.Query) -> list[base.Info]:
        held = self._session.held.find(query)
        # In that order: what leaves memory meanwhile is found twice, and never missed.
        kept = await self._session.finished.find(query)
        return storage.newest((*held, *kept), query.limit)

    async def claim(self, stream: events.StreamId, ts: int) -> base.Life | None:
        while True:
            found = self._session.held.get(stream)
            if found is None or found.ended_at is not None:
                return None
            epoch = events.new_epoch(found.epoch)
            adopted = (events.draft(events.Adopted(epoch)),)
            streams.check(adopted, ts)
            life: base.Life | None = await self._session.submit(
                redo.Claim(stream, epoch, adopted, ts)
            )
            if life is not None:
                return life
            # Another claim, or the stream's end, was written before this one.

    async def orphans(self, limit: int) -> list[events.StreamId]:
        return list(self._session.orphans)[: max(0, limit)]

    async def request_cancel(self, stream: events.StreamId) -> bool:
        found = self._session.held.get(stream)
        if found is None or found.ended_at is not None:
            return False
        if not found.cancelled and not await self._session.submit(redo.Cancel(stream)):
            return False
        self._hints.cancelled(stream)
        return True

    async def expire(self, before: int, limit: int) -> int:
        return await self._session.expire(before, limit, self._clock())

    async def reseal(self, after: str, limit: int, *, plain_only: bool = False) -> stores.Resealed:
        return await self._session.reseal(after, limit, plain_only)

    async def wrapped_by(self) -> Mapping[str, int]:
        """Also before a start; of plain ones then those that had ended."""
        if self._open is None:
            return await asyncio.to_thread(lookups.wrapped_in, self._path)
        return await self._session.wrapped_by()

    async def guards(self) -> tuple[str, ...]:
        """Also before a start, which may need a key that is lost."""
        if self._open is None:
            return await asyncio.to_thread(lookups.guards_of, self._path)
        return await self._session.finished.guards()

    async def drop_guard(self, key_id: str) -> None:
        await self._session.drop_guard(key_id)

    async def shred(self, stream: events.StreamId) -> bool:
        return await self._session.shred(stream, self._clock())

    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        return self._hints.watch(stream, wake)

    def watch_cancels(self, hint: base.CancelHint) -> base.Undo:
        return self._hints.watch_cancels(hint)


class _Counters:
    """The contract's counters, in the file of the session that is open."""

    def __init__(self, opened: Callable[[], session.Session]) -> None:
        self._opened = opened

    async def add(self, changes: Sequence[counters.Change], now: int) -> list[Mapping[int, int]]:
        counters.check(changes, now)
        # As they are now: the caller may use its list again before the thread has read it.
        return await self._opened().count(tuple(changes), now) if changes else []
