"""A primary dies or stands still under Sentinels: nodes find the next one, and nothing is split.

Strategy: writers go on as producers do: the same tick until its fate is known, and after `Lost` a
new life that says the rest again. Readers follow. Whatever the replica lacked, every stream is
whole in the end, and all that anybody read is in it or was told to be void.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from tests import redis_servers
from tests.unit.eventlog.redis import logs

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.redis import address, engine, link
from holdfast.testing.eventlog import parts

LIMIT = 40
"""Seconds for a failover and all that follows."""

STREAMS = 8

T = TypeVar("T")


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


async def again(call: Callable[[], Awaitable[T]]) -> T:
    """Until its fate is known."""
    while True:
        with contextlib.suppress(errors.LogUnavailable):
            return await call()
        await asyncio.sleep(link.PAUSE)


class Writer:
    """Says the numbers from 1, each in an event, and the end when it is told to."""

    def __init__(self, pen: parts.Pen) -> None:
        self.pen, self.number, self.lost = pen, 0, 0
        self.over = asyncio.Event()
        self._said: dict[int, int] = {}  # seq -> number

    async def write(self) -> None:
        while not self.over.is_set():
            await self.say()
        await self.say(parts.COMPLETE)

    async def say(self, *more: events.Draft) -> None:
        while True:
            tick = (self.pen.batch(parts.chunk(str(self.number + 1)), *more),)
            (result,) = await again(lambda tick=tick: self.pen.log.append(tick))  # type: ignore[misc]
            if isinstance(result, base.Ok):
                break
            assert isinstance(result, base.Lost), result
            await self._go_back(result.last)
        self.number += 1
        self._said[self.pen.last + 1] = self.number
        self.pen.last = tick[0].last
        await asyncio.sleep(0.005)

    async def _go_back(self, last: int) -> None:
        """What the log holds is what was said up to `last`; the rest is said again."""
        self.lost += 1
        self.number = max((n for seq, n in self._said.items() if seq <= last), default=0)
        life = await again(lambda: self.pen.log.claim(self.pen.stream, 6_000))
        assert life is not None
        self.pen = parts.Pen(self.pen.log, self.pen.stream, life)


class Reader:
    """Follows a stream to its end. `found` is what it has, `void` how often it began again."""

    def __init__(self, log: base.EventLog, stream: events.StreamId) -> None:
        self.log, self.stream = log, stream
        self.found: list[events.Event] = []
        self.void = 0

    async def read(self) -> None:
        while True:
            after = self.found[-1].position if self.found else events.BEGIN
            try:
                page = await again(lambda after=after: self.log.read(self.stream, after))  # type: ignore[misc]
            except errors.UnknownPosition:
                self.found.clear()
                self.void += 1
                continue
            self.found += page.events
            if page.closed:
                return
            await asyncio.sleep(0.005)

    @property
    def text(self) -> list[str]:
        bodies = [event.body for event in self.found]
        return [body.delta for body in bodies if isinstance(body, events.Chunk)]


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
        writers = [Writer(await parts.begin(log)) for _ in range(STREAMS)]
        readers = [Reader(where, writer.pen.stream) for writer in writers for where in (log, other)]
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
        busy, idle = Writer(await parts.begin(log)), Writer(await parts.begin(sleepy))
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
                one = Reader(where, writer.pen.stream)
                await one.read()
                assert one.text == [str(n) for n in range(1, writer.number + 1)]
                assert [event.seq for event in one.found] == list(range(1, writer.pen.last + 1))
        assert busy.lost == 0
