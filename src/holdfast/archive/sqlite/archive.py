"""The archive in a file of SQLite, which any number of processes of one machine may share.

Strategy: the contract's verbs, each one transaction. Keys have a connection to the file of their
own, so that nobody waits at the door while a long stream is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from holdfast import errors, events, storage
from holdfast.archive import base, migrations, records, rows
from holdfast.archive.sqlite import file, keys, reports, schema, streams
from holdfast.sealing import sealer as sealing


class SqliteArchive:
    """The contract on one file. May be started again after a close. `clock` gives ms since 1970,
    and dates tombstones."""

    lasting = True
    shared = False

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Callable[[], int] = events.now_ms,
        sealer: sealing.Sealer = sealing.OFF,
    ) -> None:
        self.file = Path(path).resolve()
        self._clock, self._sealer = clock, sealer
        self._keys, self._rest = file.File(self.file), file.File(self.file)
        self._keeps = itertools.count(1)

    @property
    def secret(self) -> bytes:
        """Of the file that is at the path by now."""
        return self._keys.secret

    @property
    def place(self) -> str:
        return str(self.file)

    @property
    def _db(self) -> sqlite3.Connection | None:
        return self._keys.db

    async def start(self) -> None:
        with base.verdicts():
            await self._keys.start()
            await self._rest.start(make=False)

    async def close(self) -> None:
        await self._keys.close()
        await self._rest.close()

    async def status(self) -> rows.State:
        return await asyncio.to_thread(self._status)

    def _status(self) -> rows.State:
        if not self.file.exists():
            return migrations.state(schema.MIGRATIONS, (), self.place)
        with contextlib.closing(file.connected(self.file, make=False)[0]) as db:
            return migrations.state(schema.MIGRATIONS, schema.listed(db, self.file), self.place)

    async def upgrade(self) -> tuple[rows.Applied, ...]:
        return await asyncio.to_thread(self._upgrade)

    def _upgrade(self) -> tuple[rows.Applied, ...]:
        with contextlib.closing(file.connected(self.file, make=True)[0]) as db:
            return tuple(schema.made(db, self.file))

    async def keys(self, known: int) -> base.Keys | None:
        with base.verdicts():
            return await self._keys.read(lambda db: keys.all_of(db, known, self._keys.replaced))

    async def add(self, key: base.Key) -> None:
        with base.verdicts():
            await self._keys.run(lambda db: keys.add(db, key))

    async def revoke(self, key_id: str, now: int) -> base.Key | None:
        with base.verdicts():
            return await self._keys.run(lambda db: keys.revoke(db, key_id, now))

    async def keep(
        self,
        info: storage.Info,
        attempts: Sequence[rows.Attempt],
        pages: AsyncIterator[Sequence[events.Event]],
    ) -> bool:
        if await self._rest.read(lambda db: streams.is_known(db, info.stream)):
            return False
        number, aside = next(self._keeps), False
        try:
            async with contextlib.aclosing(records.groups(info, pages)) as groups:
                group = await anext(groups)
                async for following in groups:
                    await self._set_aside(info.stream, number, group)
                    group, aside = following, True
            return await self._rest.run(
                lambda db: streams.keep_whole(db, info, attempts, number, group)
            )
        finally:
            if aside:
                with contextlib.suppress(errors.ArchiveUnavailable):  # it went with the connection
                    await self._rest.read(lambda db: streams.drop_aside(db, number))

    async def keep_all(self, some: Sequence[records.Finished]) -> int:
        numbered = [(next(self._keeps), one) for one in some]

        def keep(db: sqlite3.Connection) -> int:
            return sum(
                streams.keep_whole(db, one.info, one.attempts, number, one.segments)
                for number, one in numbered
            )

        return await self._rest.run(keep)

    async def _set_aside(
        self, stream: events.StreamId, number: int, group: Sequence[records.Segment]
    ) -> None:
        # A table of this connection alone: no lock of the file is taken.
        await self._rest.read(lambda db: streams.set_aside(db, stream, number, group))

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = storage.PAGE_EVENTS
    ) -> storage.Page:
        return await self._rest.read(lambda db: streams.page(db, stream, after, limit))

    async def heads(self, wanted: Sequence[events.StreamId]) -> list[storage.Head | None]:
        return await self._rest.read(lambda db: streams.heads(db, wanted))

    async def stat(self, stream: events.StreamId) -> storage.Info | storage.Tombstone | None:
        return await self._rest.read(lambda db: streams.stat(db, stream))

    async def find(self, query: storage.Query) -> list[storage.Info]:
        return await self._rest.read(lambda db: streams.find(db, query))

    async def attempts(self, stream: events.StreamId) -> list[rows.Attempt]:
        return await self._rest.read(lambda db: streams.attempts(db, stream))

    async def expire(self, before: int, limit: int) -> int:
        now = self._clock()
        return await self._rest.run(lambda db: streams.expire(db, before, limit, now))

    async def keep_connections(self, connections: Sequence[rows.Connection]) -> None:
        wanted = rows.newest(tuple(connections))
        await self._rest.run(lambda db: reports.keep_connections(db, wanted))

    async def connection(self, connection_id: str) -> rows.Connection | None:
        return await self._rest.read(lambda db: reports.connection(db, connection_id))

    async def connections(self, sought: rows.Sought) -> list[rows.Connection]:
        return await self._rest.read(lambda db: reports.connections(db, sought))

    async def keep_minutes(self, minutes: Sequence[rows.Minute]) -> None:
        wanted = rows.latest(tuple(minutes))
        await self._rest.run(lambda db: reports.keep_minutes(db, wanted))

    async def minutes(
        self, start: int, end: int, limit: int, after: tuple[int, str] = (-1, "")
    ) -> list[rows.Minute]:
        return await self._rest.read(lambda db: reports.minutes(db, start, end, limit, after))

    async def forget(self, before: int, limit: int) -> int:
        return await self._rest.run(lambda db: reports.forget(db, before, limit))
