"""Statements about streams in PostgreSQL: what nodes that are about the same one do to each other.

Strategy: one of them is a transaction of the test's, so that the order is the test's too; the other
one has come as far as it can when it waits for a lock.
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

from holdfast import storage
from holdfast.archive import postgres as archive_postgres
from holdfast.archive import records
from holdfast.archive.postgres import seals, streams
from holdfast.sealing import codec

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
ROW = """INSERT INTO holdfast.stream VALUES
    ($1, '', '', 'completed', NULL, NULL, '', '', 0, 0, 0, 0, false, '')"""


async def test_nodes_that_keep_the_same_streams_take_them_in_one_order(
    postgres: postgres_server.Server,
) -> None:
    url = await postgres.fresh()
    nodes = [archive_postgres.PostgresArchive(url, "here") for _ in range(2)]
    for node in nodes:
        await node.start()
    first, middle, last = (archives.told("a", stream=letter * 26) for letter in "amz")
    other = await asyncpg.connect(url)

    async def waits(count: int) -> None:
        async def so() -> bool:
            return bool(await other.fetchval(WAITING) == count)

        await served.until(so)

    try:
        # Each is held up where a third one is in the middle of it.
        transaction = other.transaction()
        await transaction.start()
        await other.execute(ROW, middle.info.stream)
        keeping = []
        for node, some in zip(nodes, ((first, middle, last), (last, middle, first)), strict=True):
            whole = [records.finished(one.info, (), one.all) for one in some]
            keeping.append(asyncio.ensure_future(node.keep_all(whole)))
            await waits(len(keeping))
        await transaction.rollback()
        await asyncio.gather(*keeping)
    finally:
        await other.close()
        for node in nodes:
            await node.close()


class Beside:
    """A node, and a transaction that is under way."""

    def __init__(self, node: archive_postgres.PostgresArchive, db: asyncpg.Connection) -> None:
        self.node, self.db = node, db

    async def waits(self, task: asyncio.Future[Any]) -> None:
        """Until the node's call goes on once the transaction has ended, or has not waited."""

        async def so() -> bool:
            return task.done() or bool(await self.db.fetchval(WAITING))

        await served.until(so)


@pytest.fixture(params=["read committed", "repeatable read"])
async def beside(
    postgres: postgres_server.Server, request: pytest.FixtureRequest
) -> AsyncIterator[Beside]:
    """By the database's own default, whichever."""
    url = await postgres.fresh()
    async with contextlib.AsyncExitStack() as stack:
        db = await asyncpg.connect(url)
        stack.push_async_callback(db.close)
        name = await db.fetchval("SELECT current_database()")
        said = f"default_transaction_isolation = '{request.param}'"
        await db.execute(f'ALTER DATABASE "{name}" SET {said}')
        node = archive_postgres.PostgresArchive(url, "here")
        stack.push_async_callback(node.close)
        await node.start()
        await db.execute("BEGIN")
        yield Beside(node, db)


async def test_who_shreds_finds_what_is_being_kept(beside: Beside) -> None:
    one = archives.told("a")
    whole = records.finished(one.info, (), one.all)
    assert await streams.keep_all(beside.db, [(whole, codec.PLAIN)]) == {one.info.stream}
    shredding = asyncio.ensure_future(beside.node.shred(one.info.stream, keep_out=True))
    await beside.waits(shredding)
    await beside.db.execute("COMMIT")
    assert await shredding is True
    assert isinstance(await beside.node.stat(one.info.stream), storage.Tombstone)


async def test_who_keeps_finds_what_is_being_kept_out(beside: Beside) -> None:
    one, other = archives.told("a"), archives.told("b")
    assert await seals.shred(beside.db, one.info.stream, 1, True) is False
    some = [records.finished(told.info, (), told.all) for told in (one, other)]
    keeping = asyncio.ensure_future(beside.node.keep_all(some))
    await beside.waits(keeping)
    await beside.db.execute("COMMIT")
    assert await keeping == {other.info.stream}
    assert isinstance(await beside.node.stat(one.info.stream), storage.Tombstone)
