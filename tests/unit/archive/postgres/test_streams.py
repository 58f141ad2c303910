"""Statements about streams in PostgreSQL: nodes that keep the same do not wait for each other."""

from __future__ import annotations

import asyncio

import asyncpg
from tests import postgres_server
from tests.contract import archives
from tests.faults import served

from holdfast.archive import postgres as archive_postgres
from holdfast.archive import records

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
