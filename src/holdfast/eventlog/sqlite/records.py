"""Finished streams as the engine sees them: a cache, and a thread that reads the file.

Strategy: the event loop never waits for the disk. What is not in the cache is asked of one
thread with a connection of its own; many readers of one record ask once. The cache holds
streams as they are in memory, whole, the longest unread going first. A stream that expires
leaves it; a read that was under way then may still answer, but is not kept.
"""

from __future__ import annotations

import asyncio
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from pathlib import Path
from typing import TypeVar

from holdfast import errors, events
from holdfast.eventlog import base, streams
from holdfast.eventlog.sqlite import lookups
from holdfast.sealing import sealer

LOOKUPS = 16_384
"""Questions that may wait for the file."""

T = TypeVar("T")


class Cache:
    """The streams that were read last, up to `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self._limit, self.size = limit, 0
        self._kept: OrderedDict[events.StreamId, streams.Stream] = OrderedDict()

    def get(self, stream: events.StreamId) -> streams.Stream | None:
        found = self._kept.get(stream)
        if found is not None:
            self._kept.move_to_end(stream)
        return found

    def put(self, stream: streams.Stream) -> None:
        self.drop(stream.id)
        self._kept[stream.id] = stream
        self.size += stream.size
        while self.size > self._limit:
            self.drop(next(iter(self._kept)))

    def drop(self, stream: events.StreamId) -> None:
        found = self._kept.pop(stream, None)
        if found is not None:
            self.size -= found.size


class Records:
    """Opened with the file, closed with it. Raises `errors.LogUnavailable`, `LogCorrupt`."""

    def __init__(self, path: Path, cache_bytes: int, by: sealer.Sealer = sealer.OFF) -> None:
        self.cache = Cache(cache_bytes)
        self._lookups = lookups.Lookups(path, by)
        self._reader = futures.ThreadPoolExecutor(1, "holdfast-log-reader")
        self._loading: dict[events.StreamId, asyncio.Future[streams.Stream | None]] = {}
        self._asked = 0
        self._expiries = 0
        self._closed = False

    def close(self) -> None:
        """What waits for the file is refused; waits for the one question under way."""
        if not self._closed:
            self._closed = True
            self._reader.submit(self._lookups.close)
            self._reader.shutdown()

    def expired(self, gone: Iterable[events.StreamId]) -> None:
        self._expiries += 1
        for stream in gone:
            self.cache.drop(stream)

    async def get(self, stream: events.StreamId) -> streams.Stream | None:
        """A finished stream, whole."""
        found = self.cache.get(stream)
        if found is not None:
            return found
        loading = self._loading.get(stream)
        if loading is None:
            loading = self._ask(lambda file: file.record(stream))
            self._loading[stream] = loading
            loading.add_done_callback(functools.partial(self._loaded, stream, self._expiries))
        return await asyncio.shield(loading)

    def _loaded(
        self,
        stream: events.StreamId,
        expiries: int,
        loading: asyncio.Future[streams.Stream | None],
    ) -> None:
        del self._loading[stream]
        found = None if loading.exception() else loading.result()
        if found is not None and expiries == self._expiries:
            self.cache.put(found)

    async def heads(self, wanted: Sequence[events.StreamId]) -> dict[events.StreamId, base.Head]:
        return await self._ask(lambda file: file.heads(wanted)) if wanted else {}

    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        return await self._ask(lambda file: file.stat(stream))

    async def find(self, query: base.Query) -> list[base.Info]:
        return await self._ask(lambda file: file.find(query))

    async def wrapped_by(self, still_plain: Sequence[str]) -> dict[str, int]:
        return await self._ask(lambda file: file.wrapped_by(still_plain))

    async def guards(self) -> tuple[str, ...]:
        return await self._ask(lambda file: file.guards())

    def _ask(self, question: Callable[[lookups.Lookups], T]) -> asyncio.Future[T]:
        if self._asked >= LOOKUPS:
            raise errors.LogUnavailable(f"{LOOKUPS} look-ups wait for the log file.")
        self._asked += 1
        asked = asyncio.get_running_loop().run_in_executor(self._reader, self._answer, question)
        asked.add_done_callback(self._answered)
        return asked

    def _answer(self, question: Callable[[lookups.Lookups], T]) -> T:
        if self._closed:
            raise errors.LogUnavailable("The log is closed.")
        return question(self._lookups)

    def _answered(self, _: asyncio.Future[T]) -> None:
        self._asked -= 1
