"""A primary dies or stands still under Sentinels: nodes find the next one, and nothing is split.

Strategy: writers and readers that go on (`redis_following`). Whatever the replica lacked, every
stream is whole in the end, and all that anybody read is in it or was told to be void.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests import redis_servers
from tests.faults import redis_following as following
from tests.unit.eventlog.redis import logs

from holdfast import errors
from holdfast.eventlog.redis import address, engine, keys, link
from holdfast.testing.eventlog import parts

LIMIT = 40
"""Seconds for a failover and all that follows."""

STREAMS = 8


@pytest.fixture
def servers(valkey_program: Path, tmp_path: Path) -> Iterator[list[redis_servers.Server]]:
    """A primary, a replica, three Sentinels."""
    started = redis_servers.watched(valkey_program, tmp_path, down_ms=500)
    yield started
    for server in started:
        server.stop()


@pytest.fixture
async def start(
    servers: list[redis_servers.Server], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], Awaitable[engine.RedisLog]]]:
    """Starts a node."""
    monkeypatch.setattr(link, "PATIENCE", 1.0)
    hosts = tuple(("127.0.0.1", server.port) for server in servers[2:])
    started: list[engine.RedisLog] = []

    async def begin() -> engine.RedisLog:
        log = engine.RedisLog(address.Address(hosts, service="main"), seconds=logs.LONG)
        await log.start()
        started.append(log)
        return log

    yield begin
    for log in started:
        await log.close()


def settled(servers: list[redis_servers.Server]) -> None:
    """Waits until the first is a replica of the second and has all that it has."""
    old, new = servers[:2]
    redis_servers.wait_for(lambda: redis_servers.is_copying(old), "the old primary's demotion")
    redis_servers.wait_for(
        lambda: old.do("ROLE")[4] == new.do("ROLE")[1], "the old primary to catch up"
    )


@pytest.mark.case("1.16")
async def test_a_primary_that_dies_under_appends(
    servers: list[redis_servers.Server], start: Callable[[], Awaitable[engine.RedisLog]]
) -> None:
    """The replica stands still before, so that it lacks what was acknowledged last."""
    primary, replica = servers[:2]
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        log, other = await start(), await start()
        writers = [following.Writer(await parts.begin(log)) for _ in range(STREAMS)]
        readers = [
            following.Reader(where, writer.pen.stream)
            for writer in writers
            for where in (log, other)
        ]
        for one in readers:
            group.create_task(one.read())
            log.watch(one.stream, lambda: None)  # so that what is written is kept at hand
        for writer in writers:
            group.create_task(writer.write())
        await logs.until(lambda: all(writer.number > 5 for writer in writers))
        replica.signal(signal.SIGSTOP)
        primary.do("CLIENT", "KILL", "TYPE", "replica")
        told = [writer.number + 5 for writer in writers]
        await logs.until(lambda: all(w.number > n for w, n in zip(writers, told, strict=True)))
        primary.stop()
        replica.signal(signal.SIGCONT)
        await logs.until(lambda: all(writer.lost for writer in writers))
        told = [writer.number + 5 for writer in writers]
        await logs.until(lambda: all(w.number > n for w, n in zip(writers, told, strict=True)))
        await asyncio.to_thread(primary.start)  # it comes back with nothing, as a primary
        await asyncio.to_thread(settled, servers)
        lost = [writer.lost for writer in writers]
        told = [writer.number + 5 for writer in writers]
        await logs.until(lambda: all(w.number > n for w, n in zip(writers, told, strict=True)))
        assert [writer.lost for writer in writers] == lost
        for writer in writers:
            writer.over.set()
    assert all(one.void for one in readers)
    for number, one in enumerate(readers):
        writer = writers[number // 2]
        assert one.text == [str(n) for n in range(1, writer.number + 1)]
        assert [event.seq for event in one.found] == list(range(1, writer.pen.last + 1))
        assert await parts.read_all(log, one.stream) == one.found


@pytest.mark.case("1.16")
async def test_a_primary_that_stood_still_takes_nothing_that_counts(
    servers: list[redis_servers.Server], start: Callable[[], Awaitable[engine.RedisLog]]
) -> None:
    """A node whose connections lead to it may be told yes; later it is told that this is lost."""
    old, new = servers[:2]
    async with asyncio.timeout(LIMIT):
        log, sleepy = await start(), await start()
        busy, idle = (
            following.Writer(await parts.begin(log)),
            following.Writer(await parts.begin(sleepy)),
        )
        for writer in (busy, idle):
            await writer.say()
        await asyncio.to_thread(
            redis_servers.wait_for, lambda: old.do("ROLE")[1] == new.do("ROLE")[4], "the copy"
        )
        old.signal(signal.SIGSTOP)
        await asyncio.to_thread(
            redis_servers.wait_for, lambda: new.do("ROLE")[0] == b"master", "the failover"
        )
        for _ in range(5):
            await busy.say()
        old.signal(signal.SIGCONT)
        for _ in range(5):
            await idle.say()
        await asyncio.to_thread(settled, servers)
        for writer in (busy, idle):
            await writer.say()
            await writer.say(parts.COMPLETE)
        for writer in (busy, idle):
            for where in (log, sleepy):
                one = following.Reader(where, writer.pen.stream)
                await one.read()
                assert one.text == [str(n) for n in range(1, writer.number + 1)]
                assert [event.seq for event in one.found] == list(range(1, writer.pen.last + 1))
        assert busy.lost == 0


@pytest.mark.case("1.16")
async def test_a_sentinel_that_has_not_heard_is_not_believed(
    valkey_program: Path, tmp_path: Path
) -> None:
    old, new = (redis_servers.alone(valkey_program, tmp_path / name) for name in ("old", "new"))
    behind, knows = (
        redis_servers.Sentinel(valkey_program, tmp_path / f"of {number}", server, 600_000)
        for number, server in enumerate((old, new))
    )
    try:
        old.do("REPLICAOF", "127.0.0.1", new.port)
        hosts = (("127.0.0.1", behind.port), ("127.0.0.1", knows.port))
        log = engine.RedisLog(address.Address(hosts, service="main"))
        await log.start()
        pen = await parts.begin(log)
        await log.close()
        assert new.do("EXISTS", keys.stream(pen.stream))
        log = engine.RedisLog(address.Address(hosts[:1], service="main"))
        with pytest.raises(errors.LogUnavailable, match="is no primary"):
            await log.start()
        await log.close()
    finally:
        for server in (old, new, behind, knows):
            server.stop()
