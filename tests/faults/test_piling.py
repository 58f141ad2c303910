"""The storm of a sleeping archive in its short form, and what its comparison must not overlook."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import postgres_server, redis_servers
from tests.faults.storms import piling

from holdfast import events
from holdfast.archive import url as archive_url
from holdfast.archiving import archiver
from holdfast.eventlog.redis import address, engine
from holdfast.testing.eventlog import parts

LIMIT = 60.0
"""Seconds for a test of a few."""


@pytest.mark.usefixtures("valkey_program", "postgres_programs")
async def test_what_ends_while_the_archive_sleeps_is_in_it_afterwards(tmp_path: Path) -> None:
    size = piling.Sleep(20, tokens=20, warm=1, asleep=2, awake=LIMIT, limit=LIMIT)
    figures = await piling.sleep(size, tmp_path)
    assert figures["streams waiting, at most"] > size.streams
    assert figures["streams compared"] == figures["streams"]


@pytest.fixture
def own(valkey_program: Path, tmp_path: Path) -> redis_servers.Server:
    """A Valkey in which there is nothing else."""
    return redis_servers.alone(valkey_program, tmp_path / "valkey")


async def test_a_stream_that_differs_or_lacks_is_seen(
    own: redis_servers.Server, postgres: postgres_server.Server
) -> None:
    try:
        await _see(own, postgres, await postgres.fresh())
    finally:
        own.stop()


async def _see(own: redis_servers.Server, postgres: postgres_server.Server, database: str) -> None:
    log = engine.RedisLog(address.Address((("127.0.0.1", own.port),)), archived=True)
    archive = archive_url.open_archive(database, "memory://")
    await log.start()
    await archive.start()
    pens = []
    for number in range(2):
        pens.append(await parts.begin(log))
        await pens[-1].write(parts.chunk(f"{number}"))
        await pens[-1].write(parts.COMPLETE)
    await archiver.Archiver(log, log, archive).round()
    ids = [pen.stream for pen in pens]
    assert (await piling.compare(own, database, ids))["events compared"] == 6
    with pytest.raises(AssertionError):
        await piling.compare(own, database, ids[:1])
    with pytest.raises(ExceptionGroup):
        await piling.compare(own, database, [ids[0], events.new_stream_id()])
    change = "UPDATE holdfast.segment SET times[2] = 7 WHERE stream = "
    await postgres.execute(database, f"{change}'{ids[1]}'")
    with pytest.raises(ExceptionGroup):
        await piling.compare(own, database, ids)
    await archive.close()
    await log.close()
