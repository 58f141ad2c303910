"""Redis gone, full, read-only, replaced: what the engine says meanwhile, and that it works again.

Strategy: real servers that only these tests use. A test waits for what follows from a fault, with a
limit; each call is made again as the ticker would make it, unchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests import redis_servers

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.redis import address, engine, keys, lines, link
from holdfast.testing import fault_proxy
from holdfast.testing.eventlog import parts

PATIENCE = 30.0
"""Seconds until what a fault stopped works again."""


T = TypeVar("T")


@pytest.fixture
def server(valkey_program: Path, tmp_path: Path) -> Iterator[redis_servers.Server]:
    """A server of this test's own."""
    found = redis_servers.alone(valkey_program, tmp_path / "own")
    yield found
    found.stop()


@pytest.fixture
async def log(server: redis_servers.Server) -> AsyncIterator[engine.RedisLog]:
    opened = engine.RedisLog(address.Address((("127.0.0.1", server.port),)))
    await opened.start()
    yield opened
    await opened.close()


async def again(call: Callable[[], Awaitable[T]]) -> T:
    """The same call until its fate is known."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await call()
            except errors.LogUnavailable:
                await asyncio.sleep(link.PAUSE)


async def until(true: Callable[[], object]) -> None:
    await asyncio.to_thread(redis_servers.wait_for, lambda: bool(true()), "what follows")


async def stubborn(log: base.EventLog, tick: base.Tick) -> list[base.Result]:
    """An append as the ticker makes it."""
    return await again(lambda: log.append(tick))


@pytest.mark.case("1.17")
async def test_a_server_without_room_takes_nothing_and_is_read(
    server: redis_servers.Server, log: engine.RedisLog
) -> None:
    pen = await parts.begin(log)
    await pen.write(parts.chunk("a"))
    tick = (pen.batch(parts.chunk("b")),)
    server.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.do("CONFIG", "SET", "maxmemory", "1")
    for _ in range(2):
        with pytest.raises(errors.LogUnavailable, match="maxmemory"):
            await log.append(tick)
    with pytest.raises(errors.LogUnavailable):
        await parts.begin(log)
    assert len(await parts.read_all(log, pen.stream)) == 2
    server.do("CONFIG", "SET", "maxmemory", "0")
    assert await log.append(tick) == [base.Ok()]
    assert len(await parts.read_all(log, pen.stream)) == 3


@pytest.mark.case("1.17")
@pytest.mark.parametrize("listed", [True, False])
async def test_a_server_without_room_gets_some_by_what_is_archived(
    server: redis_servers.Server, listed: bool
) -> None:
    """Also by a stream whose end is listed nowhere, as a failover may have lost that."""
    archived = engine.RedisLog(address.Address((("127.0.0.1", server.port),)), archived=True)
    await archived.start()
    pen = await parts.begin(archived)
    await pen.write(parts.COMPLETE)
    server.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.do("CONFIG", "SET", "maxmemory", "1")
    try:
        if not listed:
            server.do("DEL", keys.ENDED)
        await archived.acknowledge([pen.stream])
        assert server.do("ZCARD", keys.ENDED) == 0
        assert await archived.expire(2**52, 10) == 1
        assert not server.do("EXISTS", keys.entries(pen.stream))
    finally:
        await archived.close()


@pytest.mark.case("1.17")
@pytest.mark.parametrize(
    ("fault", "over"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["full", "read-only"],
)
async def test_who_writes_nothing_knows_that_nothing_can_be_written(
    server: redis_servers.Server,
    log: engine.RedisLog,
    fault: tuple[str, ...],
    over: tuple[str, ...],
) -> None:
    server.do(*fault)
    for _ in range(2):
        with pytest.raises(errors.LogUnavailable):
            await log.orphans(10)
    server.do(*over)
    assert await again(lambda: log.orphans(10)) == []


@pytest.mark.case("1.17")
@pytest.mark.parametrize(
    "fault",
    [
        (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
        ),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("SCRIPT", "FLUSH"), ("PING",)),
        (("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), ("PING",)),
    ],
    ids=["no replica", "read-only", "scripts forgotten", "connections closed"],
)
async def test_what_a_server_refuses_is_written_once_when_it_does_not(
    server: redis_servers.Server,
    log: engine.RedisLog,
    fault: tuple[tuple[str, ...], tuple[str, ...]],
) -> None:
    pen = await parts.begin(log)
    server.do(*fault[0])
    tick = (pen.batch(parts.chunk("a"), parts.chunk("b")),)
    with contextlib.suppress(errors.LogUnavailable):
        await log.append(tick)
    server.do(*fault[1])
    assert await stubborn(log, tick) == [base.Ok()]
    assert len(await parts.read_all(log, pen.stream)) == 3


@pytest.mark.case("1.17")
async def test_a_server_that_stands_still_is_given_up_and_taken_up(
    server: redis_servers.Server, log: engine.RedisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "PATIENCE", 0.3)
    pen = await parts.begin(log)
    tick = (pen.batch(parts.chunk("a")),)
    server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(errors.LogUnavailable, match="no answer"):
            await log.append(tick)
    finally:
        server.signal(signal.SIGCONT)
    assert await stubborn(log, tick) == [base.Ok()]
    assert len(await parts.read_all(log, pen.stream)) == 2


@pytest.mark.case("1.16")
async def test_a_server_that_forgot_everything_says_so(
    server: redis_servers.Server, log: engine.RedisLog
) -> None:
    """To the one who wrote it; what nobody here wrote was never there."""
    pen = await parts.begin(log)
    await pen.write(parts.chunk("a"))
    server.stop()
    server.start()
    other = parts.Pen(log, events.new_stream_id(), base.Life(pen.epoch, 0))
    tick = (pen.batch(parts.chunk("b")), other.batch(parts.chunk("x")))
    assert await stubborn(log, tick) == [base.Lost(0), base.Fenced()]
    assert await log.claim(pen.stream, 6_000) is None
    begin = (parts.chunk("again"),)
    life = await log.create(pen.stream, parts.header(), begin, 7_000)
    assert isinstance(life, base.Life)
    await parts.Pen(log, pen.stream, life).write(parts.COMPLETE)
    with pytest.raises(errors.UnknownPosition):
        await log.read(pen.stream, events.Position(pen.epoch, 2))


@pytest.mark.case("1.16")
async def test_a_server_that_is_no_primary_any_more_is_left_by_all(
    server: redis_servers.Server, valkey_program: Path, tmp_path: Path
) -> None:
    """An address leads to another server; connections that are open lead to the old one."""
    new = redis_servers.alone(valkey_program, tmp_path / "new")
    new.do("REPLICAOF", "127.0.0.1", server.port)
    async with fault_proxy.FaultProxy(server.port) as proxy:
        log = engine.RedisLog(address.Address((("127.0.0.1", proxy.port),)))
        await log.start()
        try:
            pen = await parts.begin(log)
            assert len(await parts.read_all(log, pen.stream)) == 1
            await until(lambda: server.do("PUBSUB", "NUMSUB", keys.HINTS)[1] == 1)
            await until(lambda: new.do("HGET", keys.stream(pen.stream), "seq") == b"1")
            proxy.target = new.port
            new.do("REPLICAOF", "NO", "ONE")
            server.do("REPLICAOF", "127.0.0.1", "1")
            assert await stubborn(log, (pen.batch(parts.chunk("a")),)) == [base.Ok()]
            assert len(await parts.read_all(log, pen.stream)) == 2
            await until(lambda: new.do("PUBSUB", "NUMSUB", keys.HINTS)[1] == 1)
        finally:
            await log.close()
            new.stop()


@pytest.fixture
def watched(valkey_program: Path, tmp_path: Path) -> Iterator[list[redis_servers.Server]]:
    """A primary, a replica of it, and three Sentinels."""
    servers = redis_servers.watched(valkey_program, tmp_path)
    yield servers
    for one in servers:
        one.stop()


@pytest.mark.case("1.16")
async def test_a_replica_takes_over_and_what_it_never_got_is_told(
    watched: list[redis_servers.Server],
) -> None:
    primary, replica, *sentinels = watched
    hosts = tuple(("127.0.0.1", one.port) for one in sentinels)
    log = engine.RedisLog(address.Address(hosts, service="main"))
    await log.start()
    try:
        pen = await parts.begin(log)
        await pen.write(parts.chunk("a"))
        redis_servers.wait_for(
            lambda: replica.do("HGET", f"holdfast:{{{pen.stream}}}", "seq") == b"2", "the copy"
        )
        replica.signal(signal.SIGSTOP)
        primary.do("CLIENT", "KILL", "TYPE", "replica")  # what comes now, it never gets
        await pen.write(parts.chunk("lost"), parts.chunk("lost"))
        assert len(await parts.read_all(log, pen.stream)) == 4
        primary.stop()
        replica.signal(signal.SIGCONT)
        tick = (pen.batch(parts.chunk("b")),)
        assert await stubborn(log, tick) == [base.Lost(2)]
        lost = events.Position(pen.epoch, 4)
        with pytest.raises(errors.UnknownPosition):
            await again(lambda: log.read(pen.stream, lost))
        life = await again(lambda: log.claim(pen.stream, 6_000))
        assert life is not None
        young = parts.Pen(log, pen.stream, life)
        rest = (young.batch(parts.chunk("b"), parts.COMPLETE),)
        assert await stubborn(log, rest) == [base.Ok()]
        found = await again(lambda: parts.read_all(log, pen.stream))
        assert [event.seq for event in found] == list(range(1, life.last + 3))
    finally:
        await log.close()


@pytest.mark.case("1.16")
async def test_a_connection_that_was_cut_costs_a_reader_nothing(
    server: redis_servers.Server, log: engine.RedisLog
) -> None:
    pen = await parts.begin(log)
    for _ in range(5):
        server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert len((await log.read(pen.stream, events.BEGIN)).events) == 1


@pytest.mark.case("1.17")
async def test_a_server_that_stands_still_is_waited_for_once_by_who_reads(
    server: redis_servers.Server, log: engine.RedisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "PATIENCE", 0.3)
    pen = await parts.begin(log)
    wires, lanes = log._session.lines, list[str]()
    ask = wires._ask

    async def counted(commands: Sequence[lines.Keyed], lane: str) -> list[Any]:
        lanes.append(lane)
        return await ask(commands, lane)

    monkeypatch.setattr(wires, "_ask", counted)
    server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(errors.LogUnavailable, match="no answer"):
            await log.read(pen.stream, events.BEGIN)
    finally:
        server.signal(signal.SIGCONT)
    assert lanes.count(lines.READ) == 1
