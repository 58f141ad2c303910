"""What a lease does in the worst moments, one by one; how nodes share is in `tests/faults`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests import redis_servers
from tests.unit.eventlog.redis import logs

from holdfast import errors
from holdfast.eventlog.redis import keys, lease, link
from holdfast.testing.eventlog import parts


@pytest.fixture
async def nodes(valkey: redis_servers.Server) -> AsyncIterator[logs.Nodes]:
    async with logs.nodes(valkey) as made:
        yield made


@pytest.fixture
def own(valkey_program: Path, tmp_path: Path) -> Iterator[redis_servers.Server]:
    """A server that the test may stop or fill."""
    server = redis_servers.alone(valkey_program, tmp_path)
    yield server
    server.stop()


async def test_a_lease_is_renewed_before_it_ends(nodes: logs.Nodes) -> None:
    log = await nodes.start(seconds=6.0)
    key = keys.life(logs.life(log))
    assert nodes.do("PTTL", key) in range(1, 6_001)
    nodes.do("PEXPIRE", key, 3_000)
    await logs.until(lambda: nodes.do("PTTL", key) in range(3_001, 6_001))


@pytest.mark.parametrize("kind", ["valkey", "redis_7"])
async def test_a_server_without_room_renews(kind: str, request: pytest.FixtureRequest) -> None:
    """Else all nodes would count as dead, and take from each other."""
    server: redis_servers.Server = request.getfixturevalue(kind)
    async with logs.nodes(server) as nodes:
        log = await nodes.start()
        key = keys.life(logs.life(log))
        nodes.do("PEXPIRE", key, 5_000)
        server.do("CONFIG", "SET", "maxmemory", "1")
        try:
            await log._session.lease._renew()
        finally:
            server.do("CONFIG", "SET", "maxmemory", "0")
        assert nodes.do("PTTL", key) in range(5_001, 600_001)


async def test_what_redis_forgot_to_be_held_is_told_again(nodes: logs.Nodes) -> None:
    """A replica that takes over may lack it; the streams of a node that dies then have nobody."""
    log = await nodes.start()
    pens = [await parts.begin(log) for _ in range(3)]
    key = keys.held(logs.life(log))
    nodes.do("SREM", key, pens[1].stream)
    await log._session.lease._renew()
    assert nodes.do("SMEMBERS", key) == {pen.stream.encode() for pen in pens}
    nodes.do("DEL", key)
    await log._session.lease._renew()
    assert nodes.do("SCARD", key) == 3


async def test_who_holds_something_is_known_also_after_it_counted_as_dead(
    nodes: logs.Nodes,
) -> None:
    log, other = await nodes.start(), await nodes.start(settled=True)
    nodes.do("DEL", keys.life(logs.life(log)))
    assert await other.orphans(10) == []
    assert nodes.do("SISMEMBER", keys.LIVES, logs.life(log)) == 0
    pen = await parts.begin(log)
    await logs.die(log)
    assert await other.orphans(10) == [pen.stream]


async def test_what_was_taken_without_knowing_it_is_found(
    own: redis_servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call that takes is done, but nobody hears of it."""
    async with logs.nodes(own) as nodes:
        dead, log = await nodes.start(), await nodes.start()
        mine, pen = await parts.begin(log), await parts.begin(dead)
        await dead.close()
        monkeypatch.setattr(link, "PATIENCE", 0.3)
        own.signal(signal.SIGSTOP)
        with pytest.raises(errors.LogUnavailable):
            await log.orphans(10)
        own.signal(signal.SIGCONT)
        await logs.until(lambda: nodes.do("SCARD", keys.held(logs.life(log))) == 2)
        assert pen.stream not in logs.held(log)
        found: list[object] = []
        async with asyncio.timeout(logs.LIMIT):
            while not found:
                found += await logs.orphans(log)
        assert found == [pen.stream]
        assert logs.held(log) == {mine.stream, pen.stream}
        assert await log.claim(pen.stream, 6_000) is not None


async def test_who_looks_for_what_a_broken_call_took_goes_on_taking(nodes: logs.Nodes) -> None:
    dead, log = await nodes.start(), await nodes.start()
    pen = await parts.begin(dead)
    await dead.close()
    log._session.lease._looks = lease.LOOKS
    assert await log.orphans(10) == [pen.stream]
    assert log._session.lease._looks == lease.LOOKS - 1
