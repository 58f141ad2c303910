"""What a log in Redis lets go, where a failover or a death came in between.

Strategy: what a replica has not heard of is put back as it was before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs
from tests import redis_servers
from tests.unit.eventlog.redis import logs

from holdfast import events
from holdfast.eventlog import base
from holdfast.eventlog.redis import engine, keys
from holdfast.testing.eventlog import parts

FOREVER = 2**52
"""A time after all others, in ms."""


@pytest.fixture
async def nodes(valkey: redis_servers.Server) -> AsyncIterator[logs.Nodes]:
    async with logs.nodes(valkey) as made:
        yield made


async def opened_again(nodes: logs.Nodes, log: engine.RedisLog) -> parts.Pen:
    """A stream whose end at 7,000 the replica that took over has not heard of."""
    pen = await parts.begin(log, owner="acme/ann")
    places = keys.stream(pen.stream), keys.entries(pen.stream)
    before = [nodes.do("DUMP", key) for key in places]
    await pen.write(parts.COMPLETE, ts=7_000)
    for key, dump in zip(places, before, strict=True):
        assert isinstance(dump, bytes)
        nodes.do("RESTORE", key, 0, dump, "REPLACE")
    life = await log.claim(pen.stream, 8_000)
    assert life is not None
    return parts.Pen(log, pen.stream, life)


async def listed(log: engine.RedisLog) -> list[events.StreamId]:
    queries = base.Query(), base.Query(owner="acme/ann"), base.Query(tenant="acme")
    found = [[info.stream for info in await log.find(query)] for query in queries]
    assert found[0] == found[1] == found[2]
    return found[0]


async def test_what_is_open_again_stays_listed_and_goes_once_it_has_ended(
    nodes: logs.Nodes,
) -> None:
    log = await nodes.start()
    pen = await opened_again(nodes, log)
    assert await log.expire(FOREVER, 10) == 0
    assert await listed(log) == [pen.stream]
    await pen.write(parts.COMPLETE, ts=9_000)
    assert await log.expire(FOREVER, 10) == 1
    assert await listed(log) == []


async def test_what_ended_again_goes_by_its_last_end(nodes: logs.Nodes) -> None:
    log = await nodes.start()
    pen = await opened_again(nodes, log)
    await pen.write(parts.COMPLETE, ts=9_000)
    assert await log.expire(9_000, 10) == 0
    assert await listed(log) == [pen.stream]
    assert await log.expire(9_001, 10) == 1


async def test_what_is_open_again_holds_up_nothing(nodes: logs.Nodes) -> None:
    log = await nodes.start()
    for _ in range(2):
        await opened_again(nodes, log)
    pen = await parts.begin(log)
    await pen.write(parts.COMPLETE, ts=7_001)
    found = [await log.expire(8_000, 2) for _ in range(2)]
    assert found == [0, 1]


async def test_a_header_that_cannot_be_read_is_not_needed(nodes: logs.Nodes) -> None:
    log = await nodes.start()
    pen = await parts.begin(log, owner="acme/ann")
    await pen.write(parts.COMPLETE)
    nodes.do("HSET", keys.stream(pen.stream), "header", b"not ours")
    assert await log.expire(10_000, 10) == 1
    stone = await log.stat(pen.stream)
    assert isinstance(stone, base.Tombstone)
    assert stone.owner == "acme/ann"
    left = keys.STREAMS, keys.of_owner("acme/ann"), keys.of_tenant("acme"), keys.ARCHIVED
    assert [nodes.do("ZCARD", key) for key in left] == [0, 0, 0, 0]


async def test_an_older_one_that_cannot_be_read_is_told_and_holds_up_nothing(
    nodes: logs.Nodes,
) -> None:
    """Whose it is stands in its header alone."""
    log = await nodes.start()
    bad, good = [await parts.begin(log) for _ in range(2)]
    for pen in (bad, good):
        await pen.write(parts.COMPLETE)
        nodes.do("HDEL", keys.stream(pen.stream), "owner", "created")
    nodes.do("HSET", keys.stream(bad.stream), "header", b"not ours")
    with capture_logs() as told:
        assert [await log.expire(10_000, 10) for _ in range(2)] == [1, 0]
    assert [(line["event"], line["stream"]) for line in told] == [
        ("stream_not_expired", bad.stream)
    ]
    assert isinstance(await log.stat(good.stream), base.Tombstone)


async def test_what_was_let_go_by_one_that_died_is_cleaned(nodes: logs.Nodes) -> None:
    log = await nodes.start()
    pen = await parts.begin(log, owner="acme/ann")
    await pen.write(parts.COMPLETE)
    key = keys.stream(pen.stream)
    nodes.do("DEL", key)
    nodes.do("HSET", key, "expired", 1, "owner", "acme/ann")
    assert await log.expire(FOREVER, 10) == 0
    left = keys.STREAMS, keys.of_owner("acme/ann"), keys.of_tenant("acme"), keys.ARCHIVED
    assert [nodes.do("ZCARD", key) for key in left] == [0, 0, 0, 0]
