"""The archive in PostgreSQL, which any number of nodes share.

Strategy: the contract's verbs; a verb of one statement is a transaction by itself. Nothing of the
schema is made but by a start and by `upgrade`: a database that is suddenly empty gives no verdict
on anybody.
"""

from __future__ import annotations

import contextlib
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from typing import TypeVar

from holdfast import errors, events, storage
from holdfast.archive import base, migrations, records, resealing, rows, sealed
from holdfast.archive.postgres import keys, pool, reports, schema, seals, streams
from holdfast.sealing import codec, stores
from holdfast.sealing import sealer as sealing

T = TypeVar("T")

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
        self.place, self.secret, self._blob = place, b"", b""
        self._url, self._clock, self._seals = url, clock, sealed.Seals(sealer, place)
        self._pool = pool.Pool(url, place)
        self._replaced = 0
        self._was_plain = False  # and the planner may know of it

    async def start(self) -> None:
        with base.verdicts():
            if not self._pool.open:
                await self.upgrade()
                async with self._alone() as db:
                    self._blob, self.secret = await seals.settled(db, self._seals)
                self._pool.open = True

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
                blob, count = await keys.revision(db)
                if blob != self._blob:
                    await self._look_anew(db, blob)
                revision = self._replaced * REVISIONS + count
                return None if revision == known else base.Keys(revision, await keys.all_of(db))

    async def _look_anew(self, db: pool.Connection, blob: bytes) -> None:
        """At a secret that lies otherwise than it did: another node has sealed it, or this is
        another database. A node without a ring goes on with the secret that it knows."""
        secret = self._seals.opened(await seals.guards(db), blob)
        self._replaced += secret != self.secret
        self._blob, self.secret = blob, secret or self.secret

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
        by = self._seals.new(info)
        async with contextlib.aclosing(records.groups(info, pages)) as groups:
            # Most streams are one group: no connection waits for their pages.
            group = await anext(groups)
            async with self._guarded([by]) as db:
                with pool.fitting():
                    begun = await streams.begin(db, by, info)
                if not begun:
                    await db.execute("ROLLBACK")
                    return False
                await streams.add(db, by, info.stream, group)
                async for following in groups:
                    await streams.add(db, by, info.stream, following)
                with pool.fitting():
                    await streams.add_attempts(db, info.stream, attempts)
        return True

    async def keep_all(self, some: Sequence[records.Finished]) -> set[events.StreamId]:
        if not some:
            return set()
        pairs = [(one, self._seals.new(one.info)) for one in some]
        async with self._guarded(by for _, by in pairs) as db:
            with pool.fitting():
                return await streams.keep_all(db, pairs)

    @contextlib.asynccontextmanager
    async def _guarded(self, some: Iterable[codec.Codec]) -> AsyncIterator[pool.Connection]:
        """A transaction in which something is kept by these."""
        names = {codec.key_id(by.wrapped) for by in some if by.wrapped is not None}
        async with self._under(names) as db:
            yield db

    @contextlib.asynccontextmanager
    async def _under(self, names: Collection[str]) -> AsyncIterator[pool.Connection]:
        """A transaction in which something is wrapped by these keys of the ring."""
        if names:
            async with self._pool.connection() as db:
                await self._settle(db)
        async with self._pool.transaction(long=True) as db:
            for name in sorted(names):
                if not await seals.guard(db, self._seals, self._blob, name):
                    raise errors.ArchiveUnavailable(f"{self.place} was replaced; try again.")
            yield db

    async def _settle(self, db: pool.Connection) -> None:
        """The archive's own key is there, and that of the archive which is there by now."""
        blob, _ = await keys.revision(db)
        if blob != self._blob or self._seals.store is None:
            try:
                self._blob, secret = await seals.settled(db, self._seals)
            except errors.SettingsError as error:
                raise errors.ArchiveUnavailable(error.message) from error
            self._replaced += secret != self.secret
            self.secret = secret

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = storage.PAGE_EVENTS
    ) -> storage.Page:
        async with self._pool.connection() as db:
            return await streams.page(db, self._seals, stream, after, limit)

    async def heads(self, wanted: Sequence[events.StreamId]) -> list[storage.Head | None]:
        async with self._pool.connection() as db:
            return await streams.heads(db, wanted)

    async def stat(self, stream: events.StreamId) -> storage.Info | storage.Tombstone | None:
        async with self._pool.connection() as db:
            return await streams.stat(db, self._seals, stream)

    async def find(self, query: storage.Query) -> list[storage.Info]:
        async with self._pool.connection() as db:
            return await streams.find(db, self._seals, query)

    async def attempts(self, stream: events.StreamId) -> list[rows.Attempt]:
        async with self._pool.connection() as db:
            return await streams.attempts(db, stream)

    async def expire(self, before: int, limit: int) -> int:
        async with self._pool.transaction(long=True) as db:
            return await streams.expire(db, before, limit, self._clock())

    async def keep_connections(self, connections: Sequence[rows.Connection]) -> None:
        wanted = rows.newest(tuple(connections))
        async with self._pool.connection() as db:
            await reports.keep_connections(db, self._seals, wanted)

    async def connection(self, connection_id: str) -> rows.Connection | None:
        async with self._pool.connection() as db:
            found = await reports.connection(db, connection_id)
            if found is None:
                return None
            await self._learn(db, [found])
        return self._seals.connection(*found)

    async def connections(self, sought: rows.Sought) -> list[rows.Connection]:
        async with self._pool.connection() as db:
            found = await reports.connections(db, sought)
            await self._learn(db, found)
        return [self._seals.listed_connection(*one) for one in found]

    async def _learn(self, db: pool.Connection, found: Sequence[reports.Kept]) -> None:
        """Where another node has turned sealing on meanwhile."""
        if self._seals.store is None and any(is_sealed for _, is_sealed in found):
            blob, _ = await keys.revision(db)
            self._seals.opened(await seals.guards(db), blob)

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

    async def reseal(self, after: str, limit: int, *, plain_only: bool = False) -> stores.Resealed:
        by = self._seals.sealer
        part = await resealing.step(self, by, after, limit, plain_only=plain_only)
        if part.after is None and self._was_plain:
            with contextlib.suppress(errors.ArchiveUnavailable):  # the database does it in time
                async with self._pool.connection(long=True) as db:
                    await seals.forget_values(db)
            self._was_plain = False
        return part

    async def look(self, after: str, limit: int) -> list[resealing.Looked]:
        async with self._pool.connection() as db:
            return await seals.looked_at(db, after, limit)

    async def seal(self, one: resealing.Looked) -> bool:
        by = self._seals.sealer.new(one.stream, one.owner, self._seals.sealer.current(one.owner))
        async with self._guarded([by]) as db:
            done = await seals.seal(db, self._seals, by, one.stream)
        self._was_plain |= done
        return done

    async def rewrap(self, some: Sequence[resealing.Rewrap]) -> int:
        async with self._under({one.by for one in some}) as db:
            return await seals.rewrap(db, some)

    async def seal_connections(self, after: str) -> str | None:
        async with self._pool.connection() as db:
            await self._settle(db)
        async with self._pool.transaction(long=True) as db:
            done, last = await seals.seal_connections(db, self._seals, after)
        self._was_plain |= done > 0
        return last

    async def wrapped_by(self) -> Mapping[str, int]:
        return await self._beside(seals.wrapped_by, {})

    async def guards(self) -> tuple[str, ...]:
        async def names(db: pool.Connection) -> tuple[str, ...]:
            return tuple(await seals.guards(db))

        return await self._beside(names, ())

    async def drop_guard(self, key_id: str) -> None:
        async def drop(db: pool.Connection) -> None:
            await db.execute("BEGIN")
            await seals.drop_guard(db, self._seals, key_id)
            await db.execute("COMMIT")

        await self._beside(drop, None)

    async def _beside(self, work: Callable[[pool.Connection], Awaitable[T]], nothing: T) -> T:
        """On a connection of its own, also before a start; `nothing` where no key can be yet."""
        async with self._alone() as db:
            there = migrations.version_of(await schema.listed(db)) >= migrations.SEALS
            return await work(db) if there else nothing

    async def shred(self, stream: events.StreamId, *, keep_out: bool = False) -> bool:
        async with self._pool.transaction() as db:
            return await seals.shred(db, stream, self._clock(), keep_out)
