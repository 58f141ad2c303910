"""The archive in memory: nothing of it survives the process.

Strategy: the contract in dicts and sorted lists, the reference for the others. It is bounded: the
stream that ended first, the connection and the minute that are the oldest give way to new ones.
Nothing of it is sealed: memory is no disk.
"""

from __future__ import annotations

import bisect
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from holdfast import errors, events, storage
from holdfast.archive import base, records, rows
from holdfast.sealing import stores

Key = TypeVar("Key")
Value = TypeVar("Value")

KEPT_BYTES = 64 * 1024 * 1024
"""Data of the streams that are kept."""

KEPT_ROWS = 10_000
"""Connections that are kept, minutes, and tombstones."""


class _Kept(msgspec.Struct, frozen=True):
    """A stream; `size` is that of its data in bytes."""

    info: storage.Info
    attempts: tuple[rows.Attempt, ...]
    segments: tuple[records.Segment, ...]
    size: int

    def page(self, after: events.Position, limit: int) -> storage.Page:
        if after.seq and not any(
            one.epoch == after.epoch and one.first <= after.seq <= one.last for one in self.segments
        ):
            raise errors.UnknownPosition(f"Stream {self.info.stream} holds no event at {after}.")
        pager = records.Pager(self.info.head, after, limit)
        for segment in self.segments:
            if segment.last > after.seq and not pager.full:
                pager.add(segment)
        return pager.page


class MemoryArchive(stores.Unsealed):
    """The contract in memory. `clock` gives ms since 1970, and dates tombstones."""

    lasting = False
    shared = False
    file = None
    place = "memory"

    def __init__(
        self,
        *,
        clock: Callable[[], int] = events.now_ms,
        kept_bytes: int = KEPT_BYTES,
        kept_rows: int = KEPT_ROWS,
    ) -> None:
        self.secret = secrets.token_bytes(32)
        self._clock, self._bytes, self._rows = clock, kept_bytes, kept_rows
        self._keys: dict[str, base.Key] = {}
        self._revision = 0
        self._size = 0
        self._streams: dict[str, _Kept] = {}
        self._ends: list[tuple[int, str]] = []
        self._tombstones: dict[str, storage.Tombstone] = {}  # the oldest first
        self._connections: dict[str, rows.Connection] = {}
        self._minutes: dict[tuple[int, str], rows.Minute] = {}

    async def start(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def status(self) -> rows.State:
        return rows.State(self.place, 0, (), ())

    async def upgrade(self) -> tuple[rows.Applied, ...]:
        return ()

    async def keys(self, known: int) -> base.Keys | None:
        if known == self._revision:
            return None
        return base.Keys(
            self._revision,
            tuple(sorted(self._keys.values(), key=lambda key: (key.created_at, key.id))),
        )

    async def add(self, key: base.Key) -> None:
        if key.id in self._keys or any(key.digest == other.digest for other in self._keys.values()):
            raise ValueError("there is such a key already")
        self._keys[key.id] = key
        self._revision += 1

    async def revoke(self, key_id: str, now: int) -> base.Key | None:
        found = self._keys.get(key_id)
        if found is not None and found.revoked_at is None:
            found = self._keys[key_id] = msgspec.structs.replace(found, revoked_at=now)
            self._revision += 1
        return found

    async def keep(
        self,
        info: storage.Info,
        attempts: Sequence[rows.Attempt],
        pages: AsyncIterator[Sequence[events.Event]],
    ) -> bool:
        if self._knows(info.stream):
            return False
        segments = [one async for group in records.groups(info, pages) for one in group]
        return (
            await self.keep_all([records.Finished(info, tuple(attempts), tuple(segments))]) != set()
        )

    async def keep_all(self, some: Sequence[records.Finished]) -> set[events.StreamId]:
        new = set[events.StreamId]()
        for one in some:
            if not self._knows(one.info.stream):
                self._put(one)
                new.add(one.info.stream)
        return new

    def _put(self, one: records.Finished) -> None:
        info, segments = one.info, one.segments
        header = msgspec.structs.replace(info.header, request=b"")
        numbered = {attempt.number: attempt for attempt in one.attempts}
        kept = _Kept(
            msgspec.structs.replace(info, header=header),
            tuple(numbered[number] for number in sorted(numbered)),
            segments,
            sum(len(segment.data) for segment in segments),
        )
        self._streams[info.stream] = kept
        bisect.insort(self._ends, (info.ended_at or 0, info.stream))
        self._size += kept.size
        while self._size > self._bytes:
            self._let_go()

    def _knows(self, stream: str) -> bool:
        return stream in self._streams or stream in self._tombstones

    def _let_go(self) -> None:
        """The stream that ended first."""
        _, stream = self._ends.pop(0)
        self._drop(stream)

    def _drop(self, stream: str) -> None:
        kept = self._streams.pop(stream)
        self._size -= kept.size
        self._tombstones[stream] = storage.Tombstone(kept.info.header.owner, self._clock())
        _shorten(self._tombstones, self._rows)

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = storage.PAGE_EVENTS
    ) -> storage.Page:
        kept = self._streams.get(stream)
        if kept is None:
            raise errors.StreamNotFound
        return kept.page(after, limit)

    async def heads(self, streams: Sequence[events.StreamId]) -> list[storage.Head | None]:
        found = [self._streams.get(stream) for stream in streams]
        return [None if kept is None else kept.info.head for kept in found]

    async def stat(self, stream: events.StreamId) -> storage.Info | storage.Tombstone | None:
        kept = self._streams.get(stream)
        return self._tombstones.get(stream) if kept is None else kept.info

    async def find(self, query: storage.Query) -> list[storage.Info]:
        infos = (kept.info for kept in self._streams.values())
        wanted = (i for i in infos if storage.in_time(i, query) and storage.matches(i, query))
        return storage.newest(wanted, query.limit)

    async def attempts(self, stream: events.StreamId) -> list[rows.Attempt]:
        kept = self._streams.get(stream)
        return [] if kept is None else list(kept.attempts)

    async def expire(self, before: int, limit: int) -> int:
        old = self._clock() - storage.TOMBSTONE_MS
        for stream, stone in list(self._tombstones.items())[:limit]:
            if stone.expired_at < old:
                del self._tombstones[stream]
        count = min(limit, bisect.bisect_left(self._ends, (before, "")))
        for _ in range(count):
            self._let_go()
        return count

    async def shred(self, stream: events.StreamId, *, keep_out: bool = False) -> bool:
        kept = self._streams.get(stream)
        if kept is not None:
            self._ends.remove((kept.info.ended_at or 0, stream))
            self._drop(stream)
        elif keep_out:
            self._tombstones.setdefault(stream, storage.Tombstone("", self._clock()))
        for one in [one for one in self._connections.values() if one.stream == stream]:
            del self._connections[one.id]
        return kept is not None

    async def wrapped_by(self) -> Mapping[str, int]:
        count = len(self._streams)
        return {"": count} if count else {}

    async def keep_connections(self, connections: Sequence[rows.Connection]) -> None:
        for one in rows.newest(tuple(connections)):
            known = self._connections.get(one.id)
            if known is None or one.age >= known.age:
                self._connections.pop(one.id, None)  # so that the dict has the oldest first
                self._connections[one.id] = one
        _shorten(self._connections, self._rows)

    async def connection(self, connection_id: str) -> rows.Connection | None:
        return self._connections.get(connection_id)

    async def connections(self, sought: rows.Sought) -> list[rows.Connection]:
        found = [
            one
            for one in self._connections.values()
            if sought.stream in (None, one.stream)
            and sought.owner in (None, one.owner)
            and sought.tenant in ("", storage.tenant_of(one.owner))
            and (sought.before is None or (one.opened_at, one.id) < sought.before)
        ]
        found.sort(key=lambda one: (one.opened_at, one.id), reverse=True)
        return found[: max(0, min(sought.limit, rows.MAX_ROWS))]

    async def keep_minutes(self, minutes: Sequence[rows.Minute]) -> None:
        for one in rows.latest(tuple(minutes)):
            self._minutes[one.at, one.node] = one
        _shorten(self._minutes, self._rows)

    async def minutes(
        self, start: int, end: int, limit: int, after: tuple[int, str] = (-1, "")
    ) -> list[rows.Minute]:
        keys = sorted(key for key in self._minutes if start <= key[0] < end and key > after)
        return [self._minutes[key] for key in keys[: max(0, min(limit, rows.MAX_ROWS))]]

    async def forget(self, before: int, limit: int) -> int:
        late = [one.id for one in self._connections.values() if one.updated_at < before]
        past = [key for key in self._minutes if key[0] < before]
        for name in late[:limit]:
            del self._connections[name]
        for key in past[:limit]:
            del self._minutes[key]
        return min(len(late), limit) + min(len(past), limit)


def _shorten(table: dict[Key, Value], most: int) -> None:
    while len(table) > most:
        del table[next(iter(table))]
