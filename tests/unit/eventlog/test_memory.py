"""The memory engine beside its contract: tombstones, which have an age, and hints."""

from __future__ import annotations

import asyncio
import functools

import pytest

from holdfast import events
from holdfast.eventlog import base, memory
from holdfast.testing.eventlog.parts import COMPLETE, Pen, begin, chunk

DAY = 24 * 3600 * 1000


class Clock:
    def __init__(self) -> None:
        self.now = 100 * DAY

    def __call__(self) -> int:
        return self.now


async def test_a_tombstone_is_dated_and_forgotten_when_it_is_old() -> None:
    clock = Clock()
    log = memory.MemoryLog(clock=clock)
    old, young = await begin(log, owner="mine"), await begin(log)
    await old.write(COMPLETE)
    assert await log.expire(10_000, 10) == 1
    assert await log.stat(old.stream) == base.Tombstone("mine", 100 * DAY)
    clock.now += base.TOMBSTONE_MS
    await young.write(COMPLETE)
    assert await log.expire(10_000, 10) == 1
    assert isinstance(await log.stat(old.stream), base.Tombstone)
    clock.now += 1
    assert await log.expire(10_000, 10) == 0
    assert await log.stat(old.stream) is None
    assert isinstance(await log.stat(young.stream), base.Tombstone)
    # Long forgotten, the id may be used again.
    life = await log.create(old.stream, base.Header("x", 1, "p", "m"), (chunk("a"),), 1)
    assert isinstance(life, base.Life)


async def test_tombstones_are_forgotten_in_bounded_steps() -> None:
    clock = Clock()
    log = memory.MemoryLog(clock=clock)
    pens = [await begin(log) for _ in range(5)]
    await log.append(tuple(pen.batch(COMPLETE) for pen in pens))
    assert await log.expire(10_000, 5) == 5
    clock.now += base.TOMBSTONE_MS + 1
    left = []
    for _ in range(3):
        await log.expire(10_000, 2)
        left.append([await log.stat(pen.stream) for pen in pens].count(None))
    assert left == [2, 4, 5]


async def test_what_ended_first_expires_first_whenever_it_was_created() -> None:
    log = memory.MemoryLog()
    pens = [await begin(log) for _ in range(3)]
    for pen, ts in zip(pens, (7_000, 5_000, 6_000), strict=True):
        await pen.write(COMPLETE, ts=ts)
    assert await log.expire(10_000, 2) == 2
    assert [type(await log.stat(pen.stream)) for pen in pens] == [
        base.Info,
        base.Tombstone,
        base.Tombstone,
    ]


def test_the_clock_of_the_wall_counts_milliseconds() -> None:
    assert 1_700_000_000_000 < events.now_ms() < 10_000_000_000_000


async def test_a_watch_that_was_taken_back_leaves_nothing() -> None:
    hints = memory.Hints()
    streams = [events.new_stream_id() for _ in range(3)]
    undos = [hints.watch(stream, lambda: None) for stream in streams]
    undos.append(hints.watch_cancels(lambda stream: None))
    for undo in undos:
        undo()
        undo()
    assert not hints._wakes
    assert not hints._cancels


@pytest.mark.parametrize("error", [ValueError("no"), LookupError()])
async def test_a_failing_callback_is_told_to_the_loop(error: Exception) -> None:
    hints, told = memory.Hints(), []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    stream = events.new_stream_id()

    def fail(*_: object) -> None:
        raise error

    hints.watch(stream, fail)
    hints.watch_cancels(fail)
    hints.wake(stream)
    hints.cancelled(stream)
    loop.set_exception_handler(None)
    assert [context["exception"] for context in told] == [error, error]


async def test_over_its_bytes_what_ended_first_goes_first() -> None:
    log = memory.MemoryLog(kept_bytes=5000)
    pens = [await begin(log, owner="mine") for _ in range(3)]
    for pen in pens:
        await pen.write(chunk("x" * 900))
        await pen.write(COMPLETE)
    oldest, *others = [await log.stat(pen.stream) for pen in pens]
    assert isinstance(oldest, base.Tombstone)
    assert all(isinstance(found, base.Info) for found in others)
    still_open = await begin(log)
    await still_open.write(chunk("y" * 3000))
    assert isinstance(await log.stat(still_open.stream), base.Info)


async def test_a_wake_finds_in_memory_what_it_was_called_for() -> None:
    log = memory.MemoryLog()
    pens = [await begin(log) for _ in range(3)]
    found: list[base.Page | None] = []

    def look(pen: Pen) -> None:
        found.append(log.glance(pen.stream, events.Position(pen.epoch, 1)))

    for pen in pens:
        log.watch(pen.stream, functools.partial(look, pen))
    await log.append(tuple(pen.batch(chunk("a")) for pen in pens))
    assert [page and page.position.seq for page in found] == [2, 2, 2]
