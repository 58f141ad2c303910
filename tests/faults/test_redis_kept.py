"""What a Redis keeps, loads, loses of a stream, or will not write: told as it is, at once.

Strategy: servers of each test's own, with a file to start from again, keys that are deleted behind
the engine's back, a disk that is gone. A call is made again as the ticker would make it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests import redis_servers
from tests.unit.eventlog.redis import logs

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.redis import address, engine, keys, link
from holdfast.testing.eventlog import parts

Start = Callable[..., redis_servers.Server]
OWN = ("--enable-debug-command", "yes")


@pytest.fixture
def start(valkey_program: Path, tmp_path: Path) -> Iterator[Start]:
    """Servers with these options; they are stopped at the end."""
    started: list[redis_servers.Server] = []

    def begin(*options: str) -> redis_servers.Server:
        folder = tmp_path / str(len(started))
        started.append(redis_servers.alone(valkey_program, folder, *OWN, *options))
        return started[-1]

    yield begin
    for server in started:
        server.stop()


@pytest.fixture
async def nodes(valkey: redis_servers.Server) -> AsyncIterator[logs.Nodes]:
    async with logs.nodes(valkey) as made:
        yield made


async def insisting(log: base.EventLog, tick: base.Tick) -> tuple[list[base.Result], list[str]]:
    """What an append comes to, and what it was refused with before."""
    refused: list[str] = []
    async with asyncio.timeout(logs.LIMIT):
        while True:
            try:
                return await log.append(tick), refused
            except errors.LogUnavailable as error:
                refused.append(error.message)
                await asyncio.sleep(link.PAUSE)


@pytest.mark.case("1.16")
async def test_what_was_acknowledged_is_there_after_a_kill(start: Start) -> None:
    server = start("--appendonly", "yes", "--appendfsync", "always")
    async with logs.nodes(server) as nodes:
        log = await nodes.start()
        pens = [await parts.begin(log) for _ in range(3)]
        for number in range(3):
            for pen in pens:
                await pen.write(parts.chunk(f"{number}"))
            tick = tuple(pen.batch(parts.chunk("x"), parts.chunk("y")) for pen in pens)
            under_way = asyncio.create_task(insisting(log, tick))
            await asyncio.sleep(0)
            server.signal(signal.SIGKILL)
            server.stop()
            await asyncio.to_thread(server.start)
            assert (await under_way)[0] == 3 * [base.Ok()]
            for pen in pens:
                pen.last += 2
        for pen in pens:
            found = await parts.read_all(log, pen.stream)
            assert [event.seq for event in found] == list(range(1, pen.last + 1))
            assert pen.last == 1 + 3 * 3
        assert logs.held(log) == {pen.stream for pen in pens}


@pytest.mark.case("1.17")
async def test_a_server_that_still_loads_is_waited_for(start: Start) -> None:
    server = start("--key-load-delay", "3000", "--loading-process-events-interval-bytes", "1024")
    async with logs.nodes(server) as nodes:
        log = await nodes.start()
        pen = await parts.begin(log)
        nodes.do("MSET", *(word for n in range(200) for word in (f"filling {n}", "x" * 100)))
        server.do("SAVE")
        server.signal(signal.SIGKILL)
        server.stop()
        tick = (pen.batch(parts.chunk("a")),)
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        results, refused = await insisting(log, tick)
        await starting
        assert results == [base.Ok()]
        assert any("loading" in message for message in refused), refused
        assert len(await parts.read_all(log, pen.stream)) == 2


@pytest.mark.case("1.17")
@pytest.mark.parametrize("pause", [("CLIENT", "PAUSE", 300, "ALL"), ("DEBUG", "SLEEP", 0.3)])
async def test_a_short_sleep_costs_nothing(start: Start, pause: tuple[object, ...]) -> None:
    server = start()
    async with logs.nodes(server) as nodes:
        log = await nodes.start()
        pen = await parts.begin(log)
        sleeping = asyncio.create_task(asyncio.to_thread(server.do, *pause))
        await pen.write(parts.chunk("a"))
        await asyncio.gather(*(pen.log.read(pen.stream, events.BEGIN) for _ in range(10)), sleeping)
        await pen.write(parts.COMPLETE)
        assert log._session.lines.broken == 0


@pytest.mark.case("1.17")
async def test_scripts_that_are_forgotten_cost_one_call(nodes: logs.Nodes) -> None:
    log = await nodes.start()
    pen = await parts.begin(log)
    for number in range(3):
        nodes.server.do("SCRIPT", "FLUSH")
        results, refused = await insisting(log, (pen.batch(parts.chunk("a")),))
        assert results == [base.Ok()]
        assert len(refused) == 1
        pen.last += 1
        assert len((await log.read(pen.stream, events.BEGIN)).events) == number + 2


@pytest.mark.case("1.17")
async def test_a_server_that_cannot_save_takes_nothing_and_is_read(
    start: Start, tmp_path: Path
) -> None:
    server = start("--save", "86400 1", "--enable-protected-configs", "yes")
    gone = tmp_path / "gone"
    gone.mkdir()
    async with logs.nodes(server) as nodes:
        log = await nodes.start()
        pen = await parts.begin(log)
        server.do("CONFIG", "SET", "dir", str(gone))
        gone.rmdir()
        server.do("BGSAVE")
        await logs.until(lambda: saved(server) == "err")
        tick = (pen.batch(parts.chunk("a")),)
        for _ in range(2):
            with pytest.raises(errors.LogUnavailable, match="RDB"):
                await log.append(tick)
        assert len(await parts.read_all(log, pen.stream)) == 1
        server.do("CONFIG", "SET", "dir", str(tmp_path))
        server.do("BGSAVE")
        await logs.until(lambda: saved(server) == "ok")
        assert await log.append(tick) == [base.Ok()]


def saved(server: redis_servers.Server) -> object:
    """How the last attempt to save ended."""
    return server.do("INFO", "persistence")["rdb_last_bgsave_status"]


@pytest.mark.case("1.17")
@pytest.mark.parametrize("watched", [False, True])
async def test_a_stream_that_was_evicted_is_not_there(nodes: logs.Nodes, watched: bool) -> None:
    """Its writer is told that nothing is left, anybody else that it never was."""
    log, other = await nodes.start(), await nodes.start()
    pen = await parts.begin(log)
    if watched:
        log.watch(pen.stream, lambda: None)
    await pen.write(parts.chunk("a"))
    nodes.do("DEL", keys.stream(pen.stream))
    for one in (log, other):
        with pytest.raises(errors.StreamNotFound):
            await one.read(pen.stream, events.BEGIN)
        assert await one.stat(pen.stream) is None
        assert await one.heads([pen.stream]) == [None]
        assert not await one.request_cancel(pen.stream)
        assert await one.find(base.Query()) == []
    tick = (pen.batch(parts.chunk("b")),)
    assert await other.append(tick) == [base.Fenced()]
    assert await log.append(tick) == [base.Lost(0)]
    assert await log.claim(pen.stream, 6_000) is None
    assert await log.append(tick) == [base.Fenced()]
    # What was left of it is not mixed with what takes its name.
    life = await log.create(pen.stream, parts.header(), (parts.chunk("anew"),), 7_000)
    assert isinstance(life, base.Life)
    (event,) = await parts.read_all(log, pen.stream)
    assert event.epoch == life.epoch


@pytest.mark.case("1.17")
async def test_events_that_were_evicted_are_missed(nodes: logs.Nodes) -> None:
    """Who has them reads on; who needs them is told that they are gone."""
    log = await nodes.start()
    pen = await parts.begin(log)
    await pen.write(parts.chunk("a"), parts.chunk("b"))
    has = events.Position(pen.epoch, pen.last)
    nodes.do("DEL", keys.entries(pen.stream))
    for after in (events.BEGIN, events.Position(pen.epoch, 2)):
        with pytest.raises(errors.LogCorrupt):
            await log.read(pen.stream, after)
    assert (await log.read(pen.stream, has)).events == ()
    await pen.write(parts.chunk("c"))
    assert [event.seq for event in (await log.read(pen.stream, has)).events] == [4]
    for after in (events.BEGIN, events.Position(pen.epoch, 2)):
        with pytest.raises(errors.LogCorrupt):
            await log.read(pen.stream, after)


@pytest.mark.case("1.17")
async def test_a_head_that_was_trimmed_is_missed(nodes: logs.Nodes) -> None:
    log = await nodes.start()
    pen = await parts.begin(log)
    for _ in range(5):
        await pen.write(parts.chunk("a"), parts.chunk("b"))
    nodes.do("XTRIM", keys.entries(pen.stream), "MAXLEN", 2)
    for seq in range(pen.last):
        after = events.Position(pen.epoch, seq) if seq else events.BEGIN
        if seq < pen.last - 4:
            with pytest.raises(errors.LogCorrupt):
                await log.read(pen.stream, after)
        else:
            found = (await log.read(pen.stream, after)).events
            assert [event.seq for event in found] == list(range(seq + 1, pen.last + 1))


@pytest.mark.case("1.16")
async def test_what_redis_has_lost_is_read_from_nowhere(nodes: logs.Nodes) -> None:
    """A node that wrote it, and has it at hand, does not lead a reader back to it."""
    log = await nodes.start()
    pen = await parts.begin(log)
    log.watch(pen.stream, lambda: None)  # so that what is written is kept at hand
    before = pen.last
    nodes.do("COPY", keys.stream(pen.stream), "was")
    nodes.do("COPY", keys.entries(pen.stream), "was:events")
    await pen.write(parts.chunk("a"), parts.chunk("b"))
    nodes.do("COPY", "was", keys.stream(pen.stream), "REPLACE")
    nodes.do("COPY", "was:events", keys.entries(pen.stream), "REPLACE")
    had, lost = (events.Position(pen.epoch, seq) for seq in (before, pen.last))
    assert (await log.read(pen.stream, had)).position == lost  # nobody can know yet
    with pytest.raises(errors.UnknownPosition):
        await log.read(pen.stream, lost)
    assert (await log.read(pen.stream, had)).events == ()


async def test_a_password_that_is_refused_is_not_told(start: Start) -> None:
    server = start()
    server.do("CONFIG", "SET", "requirepass", "right")
    hosts = (("127.0.0.1", server.port),)
    for wrong in (None, "tell-nobody"):
        log = engine.RedisLog(address.Address(hosts, password=wrong))
        with pytest.raises(errors.LogUnavailable) as caught:
            await log.start()
        assert "tell-nobody" not in str(caught.value)
        await log.close()
    log = engine.RedisLog(address.Address(hosts, password="right"))
    await log.start()
    await log.close()
