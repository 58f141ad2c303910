"""Guards in PostgreSQL: none is dropped behind the back of who keeps something under it.

Strategy: who keeps is a transaction of the test's, and the node has come as far as it can when it
waits for a lock, or has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from tests import postgres_server
from tests.contract import archives
from tests.faults import served
from tests.unit.archive.postgres.test_streams import WAITING

from holdfast import errors
from holdfast.archive import postgres as archive_postgres
from holdfast.archive import records, sealed
from holdfast.archive.postgres import pool, seals, streams
from holdfast.testing.eventlog.sealing import NEW, OLD, by


class Beside:
    """A node whose key is the new one, and one that does not know that yet, whose transaction is
    under way."""

    def __init__(self, url: str, db: pool.Connection) -> None:
        self.node = archive_postgres.PostgresArchive(url, "here", sealer=by(OLD, NEW))
        self.db, self.seals = db, sealed.Seals(by(OLD), "there")

    async def guard(self) -> bool:
        secret, _ = await seals.settled(self.db, self.seals)
        await self.db.execute("BEGIN")
        return await seals.guard(self.db, self.seals, secret, OLD.id)

    async def keep(self) -> None:
        one = archives.told("a")
        whole = records.finished(one.info, (), one.all)
        new = await streams.keep_all(self.db, [(whole, self.seals.new(one.info))])
        assert new == {one.info.stream}

    async def waits(self, task: asyncio.Future[Any]) -> None:
        """Until it goes on once the transaction has ended, or has not waited."""

        async def so() -> bool:
            return task.done() or bool(await self.db.fetchval(WAITING))

        await served.until(so)


@pytest.fixture
async def beside(postgres: postgres_server.Server) -> AsyncIterator[Beside]:
    url = await postgres.fresh()
    async with contextlib.AsyncExitStack() as stack:
        first = archive_postgres.PostgresArchive(url, "here", sealer=by(OLD))
        stack.push_async_callback(first.close)
        await first.start()
        db = await asyncpg.connect(url)
        stack.push_async_callback(db.close)
        found = Beside(url, db)
        stack.push_async_callback(found.node.close)
        await found.node.start()
        yield found


async def test_a_guard_stays_while_something_is_being_kept_under_it(beside: Beside) -> None:
    assert await beside.guard()
    await beside.keep()
    assert await beside.node.wrapped_by() == {}
    dropping = asyncio.ensure_future(beside.node.drop_guard(OLD.id))
    await beside.waits(dropping)
    await beside.db.execute("COMMIT")
    with pytest.raises(errors.ArchiveUnavailable, match="try again"):
        await dropping
    assert await beside.node.wrapped_by() == {OLD.id: 1}
    assert OLD.id in await beside.node.guards()
    await beside.node.drop_guard(OLD.id)  # of who has seen that
    assert await beside.node.guards() == (NEW.id,)


async def test_who_keeps_behind_a_drop_has_a_guard_again(beside: Beside) -> None:
    secret, _ = await seals.settled(beside.db, beside.seals)
    await beside.node.drop_guard(OLD.id)
    await beside.db.execute("BEGIN")
    assert not await seals.guard(beside.db, beside.seals, b"another's", OLD.id)
    assert await seals.guard(beside.db, beside.seals, secret, OLD.id)
    await beside.keep()
    assert await beside.node.guards() == (NEW.id,)
    await beside.db.execute("COMMIT")
    assert set(await beside.node.guards()) == {OLD.id, NEW.id}


async def test_what_is_written_under_a_key_has_its_guard_in_the_same_transaction(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    await beside.guard()
    await beside.keep()
    await beside.db.execute("COMMIT")
    seen = list[tuple[bool, str]]()
    real = seals.guard

    async def guard(db: pool.Connection, known: sealed.Seals, blob: bytes, by: str) -> bool:
        seen.append((db.is_in_transaction(), by))
        return await real(db, known, blob, by)

    monkeypatch.setattr(seals, "guard", guard)
    one, other = archives.told("a"), archives.told("b")
    await beside.node.keep_all([records.finished(one.info, (), one.all)])
    await beside.node.keep(other.info, (), other.pages())
    assert (await beside.node.reseal("", 9)).done == 1
    assert seen == [(True, NEW.id)] * 3
