"""The archive in PostgreSQL, which any number of nodes share.

Strategy: the contract's verbs; a verb of one statement is a transaction by itself. Nothing of the
schema is made but by a start and by `upgrade`: a database that is suddenly empty gives no verdict
on anybody.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from holdfast import events, storage
from holdfast.archive import base, migrations, records, rows
from holdfast.archive.postgres import keys, pool, reports, schema, streams
from holdfast.sealing import sealer as sealing

REVISIONS = 2**48
"""Revisions that are set apart for each database that was found under the URL in turn."""


class PostgresArchive:
    """The contract on one database; `place` is its URL as it may be shown. May be started again
    after a close. `clock` gives ms since 1970, and dates tombstones."""

    lasting = True
    shared = True
    file = None

    def __init__(
        self,
        url: str,
        place: str,
        *,
        clock: Callable[[], int] = events.now_ms,
        sealer: sealing.Sealer = sealing.OFF,
    ) -> None:
        self.place, self.secret = place, b""
        self._url, self._clock, self._sealer = url, clock, sealer
        self._pool = pool.Pool(url, place)
        self._replaced = 0

    async def start(self) -> None:
        with base.verdicts():
            if not self._pool.open:
                await self.upgrade()
                self._pool.open = True
                async with self._pool.connection() as db:
                    self.secret, _ = await keys.revision(db)

    async def close(self) -> None:
        await self._pool.close()

    async def status(self) -> rows.State:
        async with self._alone() as db:
            return migrations.state(schema.MIGRATIONS, await schema.listed(db), self.place)

    async def upgrade(self) -> tuple[rows.Applied, ...]:
        async with self._alone() as db:
            return tuple(await schema.upgraded(db, self.place))

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[pool.Connection]:
        """A connection that is no part of the pool."""
        db = await pool.connect(self._url, self.place)
        try:
            with pool.mapped(self.place):
                yield db
        finally:
            db.terminate()

    async def keys(self, known: int) -> base.Keys | None:
        with base.verdicts():
            async with self._pool.transaction() as db:
                # Keys and their revision are of one moment.
                await db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                secret, count = await keys.revision(db)
                self._replaced += secret != self.secret
                self.secret = secret
                revision = self._replaced * REVISIONS + count
                return None if revision == known else base.Keys(revision, await keys.all_of(db))

    async def add(self, key: base.Key) -> None:
        with base.verdicts():
            async with self._pool.transaction() as db:
                await keys.add(db, key)

    async def revoke(self, key_id: str, now: int) -> base.Key | None:
        with base.verdicts():
            async with self._pool.transaction() as db:
                return await keys.revoke(db, key_id, now)

    async def keep(
        self,
        info: storage.Info,
        attempts: Sequence[rows.Attempt],
        pages: AsyncIterator[Sequence[events.Event]],
    ) -> bool:
        async with self._pool.connection() as db:
            if await streams.is_known(db, info.stream):
                return False
        async with contextlib.aclosing(records.groups(info, pages)) as groups:
            # Most streams are one group: no connection waits for their pages.
            group = await anext(groups)
            async with self._pool.transaction(long=True) as db:
                with pool.fitting():
                    begun = await streams.begin(db, info)
                if not begun:
                    await db.execute("ROLLBACK")
                    return False
                await streams.add(db, info.stream, group)
                async for following in groups:
                    await streams.add(db, info.stream, following)
                with pool.fitting():
                    await streams.add_attempts(db, info.stream, attempts)
        return True

    async def keep_all(self, some: Sequence[records.Finished]) -> int:
        if not some:
            return 0
        async with self._pool.transaction(long=True) as db:
            with pool.fitting():
                return await streams.keep_all(db, some)

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = storage.PAGE_EVENTS
    ) -> storage.Page:
        async with self._pool.connection() as db:
            return await streams.page(db, stream, after, limit)

    async def heads(self, wanted: Sequence[events.StreamId]) -> list[storage.Head | None]:
        async with self._pool.connection() as db:
            return await streams.heads(db, wanted)

    async def stat(self, stream: events.StreamId) -> storage.Info | storage.Tombstone | None:
        async with self._pool.connection() as db:
            return await streams.stat(db, stream)

    async def find(self, query: storage.Query) -> list[storage.Info]:
        async with self._pool.connection() as db:
            return await streams.find(db, query)

    async def attempts(self, stream: events.StreamId) -> list[rows.Attempt]:
        async with self._pool.connection() as db:
            return await streams.attempts(db, stream)

    async def expire(self, before: int, limit: int) -> int:
        async with self._pool.transaction(long=True) as db:
            return await streams.expire(db, before, limit, self._clock())

    async def keep_connections(self, connections: Sequence[rows.Connection]) -> None:
        wanted = rows.newest(tuple(connections))
        async with self._pool.connection() as db:
            await reports.keep_connections(db, wanted)

    async def connection(self, connection_id: str) -> rows.Connection | None:
        async with self._pool.connection() as db:
            return await reports.connection(db, connection_id)

    async def connections(self, sought: rows.Sought) -> list[rows.Connection]:
        async with self._pool.connection() as db:
            return await reports.connections(db, sought)

    async def keep_minutes(self, minutes: Sequence[rows.Minute]) -> None:
        wanted = rows.latest(tuple(minutes))
        async with self._pool.connection() as db:
            await reports.keep_minutes(db, wanted)

    async def minutes(
        self, start: int, end: int, limit: int, after: tuple[int, str] = (-1, "")
    ) -> list[rows.Minute]:
        async with self._pool.connection() as db:
            return await reports.minutes(db, start, end, limit, after)

    async def forget(self, before: int, limit: int) -> int:
        async with self._pool.transaction(long=True) as db:
            return await reports.forget(db, before, limit)
