"""The archive in a file of SQLite, which any number of processes of one machine may share.

Strategy: the contract's verbs, each one transaction. Keys have a connection to the file of their
own, so that nobody waits at the door while a long stream is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from holdfast import errors, events, storage
from holdfast.archive import base, migrations, records, resealing, rows, sealed
from holdfast.archive.sqlite import file, keys, reports, schema, seals, streams
from holdfast.sealing import codec, stores
from holdfast.sealing import sealer as sealing

T = TypeVar("T")


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
        self._clock, self._seals = clock, sealed.Seals(sealer, str(self.file))
        self._keys, self._rest = (file.File(self.file, self._seals) for _ in range(2))
        self._keeps = itertools.count(1)
        self._overwritten = False  # and the WAL has it still

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
        number, aside, by = next(self._keeps), False, self._seals.new(info)
        try:
            async with contextlib.aclosing(records.groups(info, pages)) as groups:
                group = await anext(groups)
                async for following in groups:
                    await self._set_aside(by, info.stream, number, group)
                    group, aside = following, True
            return await self._rest.run(
                lambda db: self._keep_whole(db, by, info, attempts, number, group)
            )
        finally:
            if aside:
                with contextlib.suppress(errors.ArchiveUnavailable):  # it went with the connection
                    await self._rest.read(lambda db: streams.drop_aside(db, number))

    async def keep_all(self, some: Sequence[records.Finished]) -> set[events.StreamId]:
        numbered = [(next(self._keeps), one) for one in some]

        def keep(db: sqlite3.Connection) -> set[events.StreamId]:
            return {
                one.info.stream
                for number, one in numbered
                if self._keep_whole(
                    db, self._seals.new(one.info), one.info, one.attempts, number, one.segments
                )
            }

        return await self._rest.run(keep)

    async def _set_aside(
        self,
        by: codec.Codec,
        stream: events.StreamId,
        number: int,
        group: Sequence[records.Segment],
    ) -> None:
        # A table of this connection alone: no lock of the file is taken.
        await self._rest.read(lambda db: streams.set_aside(db, by, stream, number, group))

    def _keep_whole(
        self,
        db: sqlite3.Connection,
        by: codec.Codec,
        info: storage.Info,
        attempts: Sequence[rows.Attempt],
        keep: int,
        group: Sequence[records.Segment],
    ) -> bool:
        if by.wrapped is not None:
            seals.guard(db, self._seals, codec.key_id(by.wrapped))
        return streams.keep_whole(db, by, info, attempts, keep, group)

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = storage.PAGE_EVENTS
    ) -> storage.Page:
        return await self._rest.read(lambda db: streams.page(db, self._seals, stream, after, limit))

    async def heads(self, wanted: Sequence[events.StreamId]) -> list[storage.Head | None]:
        return await self._rest.read(lambda db: streams.heads(db, wanted))

    async def stat(self, stream: events.StreamId) -> storage.Info | storage.Tombstone | None:
        return await self._rest.read(lambda db: streams.stat(db, self._seals, stream))

    async def find(self, query: storage.Query) -> list[storage.Info]:
        return await self._rest.read(lambda db: streams.find(db, self._seals, query))

    async def attempts(self, stream: events.StreamId) -> list[rows.Attempt]:
        return await self._rest.read(lambda db: streams.attempts(db, stream))

    async def expire(self, before: int, limit: int) -> int:
        now = self._clock()
        return await self._rest.run(lambda db: streams.expire(db, before, limit, now))

    async def keep_connections(self, connections: Sequence[rows.Connection]) -> None:
        wanted = rows.newest(tuple(connections))
        await self._rest.run(lambda db: reports.keep_connections(db, self._seals, wanted))

    async def connection(self, connection_id: str) -> rows.Connection | None:
        def one(db: sqlite3.Connection) -> rows.Connection | None:
            found = reports.connection(db, connection_id)
            if found is None:
                return None
            seals.learn(db, self._seals, [found])
            return self._seals.connection(*found)

        return await self._rest.read(one)

    async def connections(self, sought: rows.Sought) -> list[rows.Connection]:
        def some(db: sqlite3.Connection) -> list[rows.Connection]:
            found = reports.connections(db, sought)
            seals.learn(db, self._seals, found)
            return [self._seals.listed_connection(*one) for one in found]

        return await self._rest.read(some)

    async def keep_minutes(self, minutes: Sequence[rows.Minute]) -> None:
        wanted = rows.latest(tuple(minutes))
        await self._rest.run(lambda db: reports.keep_minutes(db, wanted))

    async def minutes(
        self, start: int, end: int, limit: int, after: tuple[int, str] = (-1, "")
    ) -> list[rows.Minute]:
        return await self._rest.read(lambda db: reports.minutes(db, start, end, limit, after))

    async def forget(self, before: int, limit: int) -> int:
        return await self._rest.run(lambda db: reports.forget(db, before, limit))

    async def reseal(self, after: str, limit: int, *, plain_only: bool = False) -> stores.Resealed:
        by, engine = self._seals.sealer, _Resealing(self._rest, self._seals)
        part = await resealing.step(engine, by, after, limit, plain_only=plain_only)
        self._overwritten |= engine.changed
        if part.after is None and by.on:
            with contextlib.suppress(errors.ArchiveUnavailable):  # the next pass or start does it
                await self._rest.tidy()
                if self._overwritten:
                    await self._cut_off()
        return part

    async def wrapped_by(self) -> Mapping[str, int]:
        return await self._beside(seals.wrapped_by, {})

    async def guards(self) -> tuple[str, ...]:
        return await self._beside(lambda db: tuple(seals.guards(db)), ())

    async def drop_guard(self, key_id: str) -> None:
        def drop(db: sqlite3.Connection) -> None:
            seals.drop_guard(db, self._seals, key_id)

        await self._beside(drop, None, begin="BEGIN IMMEDIATE")

    async def shred(self, stream: events.StreamId, *, keep_out: bool = False) -> bool:
        now = self._clock()
        done = await self._rest.run(lambda db: seals.shred(db, stream, now, keep_out))
        self._overwritten |= done
        if self._overwritten:
            await self._cut_off()
        return done

    async def _cut_off(self) -> None:
        await self._rest.cut_off()
        self._overwritten = False

    async def _beside(
        self, work: Callable[[sqlite3.Connection], T], nothing: T, begin: str = "BEGIN"
    ) -> T:
        """On a connection of its own, also before a start; `nothing` where no key can be yet."""

        def done() -> T:
            if not self.file.exists():
                return nothing
            with contextlib.closing(file.connected(self.file, make=False)[0]) as db:
                schema.listed(db, self.file)  # refuses what is not ours
                if schema.version_in(db) < migrations.SEALS:
                    return nothing
                with file.mapped(self.file), schema.transaction(db, begin):
                    return work(db)

        return await asyncio.to_thread(done)


class _Resealing:
    """The verbs of a pass; `changed`: something plain was overwritten."""

    def __init__(self, rest: file.File, by: sealed.Seals) -> None:
        self._rest, self._by = rest, by
        self.changed = False

    async def look(self, after: str, limit: int) -> list[resealing.Looked]:
        return await self._rest.read(lambda db: seals.looked_at(db, after, limit))

    async def seal(self, one: resealing.Looked) -> bool:
        done = await self._rest.run(lambda db: seals.seal(db, self._by, one.stream))
        self.changed |= done
        return done

    async def rewrap(self, some: Sequence[resealing.Rewrap]) -> int:
        done = await self._rest.run(lambda db: seals.rewrap(db, self._by, some))
        self.changed |= done > 0
        return done

    async def seal_connections(self, after: str) -> str | None:
        self.changed = True
        return await self._rest.run(lambda db: seals.seal_connections(db, self._by, after))
