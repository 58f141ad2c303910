"""Orphans: each ends once as interrupted, in a life of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest
from tests.unit.producing import scripted

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.producing import adoption, ticker
from holdfast.testing import simulated

INTERRUPTED = events.Error(
    "interrupted", "The process that wrote this stream ended before the answer did.", True
)


@contextlib.asynccontextmanager
async def ticking(busy: float = 0.0) -> AsyncGenerator[tuple[scripted.Log, ticker.Ticker], None]:
    log, load = scripted.Log(), ticker.Load(lambda: 0.0, lambda: 0.0)
    load.busy = busy
    tick = ticker.Ticker(log, flush_interval=0.1, patience=30.0, load=load, clock=lambda: 9.0)
    task = asyncio.create_task(tick.run())
    try:
        yield log, tick
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def kinds(log: scripted.Log, stream: events.StreamId) -> list[str]:
    return [event.kind for event in await log.events(stream)]


@simulated.timed
async def test_an_open_orphan_ends_as_interrupted() -> None:
    async with ticking() as (log, tick):
        stream, life = await log.begin()
        assert await adoption.adopt(log, tick, stream, 7000, errors.Interrupted())
        start, adopted, error = await log.events(stream)
        assert (start.epoch, start.ts) == (life.epoch, 0)
        assert adopted.body == events.Adopted(adopted.epoch)
        assert (adopted.epoch >> 16, adopted.ts) == ((life.epoch >> 16) + 1, 7000)
        assert error.body == INTERRUPTED
        assert (error.epoch, error.seq, error.ts) == (adopted.epoch, 3, 9000)
        info = await log.stat(stream)
        assert isinstance(info, base.Info)
        assert info.head.closed


@simulated.timed
async def test_an_orphan_ends_for_the_cause_that_is_given() -> None:
    async with ticking() as (log, tick):
        stream, _ = await log.begin()
        assert await adoption.adopt(log, tick, stream, 7000, errors.Draining())
        [_, error] = await log.bodies(stream)
        assert error == events.failure(errors.Draining())


@simulated.timed
async def test_an_orphan_is_adopted_once() -> None:
    async with ticking() as (log, tick):
        stream, _ = await log.begin()
        assert await adoption.adopt(log, tick, stream, 7000, errors.Interrupted())
        assert await adoption.adopt(log, tick, stream, 7000, errors.Interrupted()) is False
        assert await kinds(log, stream) == ["start", "metadata", "error"]


@simulated.timed
async def test_two_who_adopt_at_once_write_one_end() -> None:
    async with ticking() as (log, tick):
        stream, _ = await log.begin()
        both = [adoption.adopt(log, tick, stream, 7000, errors.Interrupted()) for _ in range(2)]
        assert await asyncio.gather(*both) == [True, True]
        found = await log.events(stream)
        assert [event.kind for event in found] == ["start", "metadata", "metadata", "error"]
        assert [event.seq for event in found] == [1, 2, 3, 4]
        assert found[3].epoch == found[2].epoch


@simulated.timed
async def test_many_orphans_end_in_one_tick() -> None:
    async with ticking() as (log, tick):
        streams = [(await log.begin())[0] for _ in range(20)]
        await asyncio.gather(
            *[adoption.adopt(log, tick, stream, 1, errors.Interrupted()) for stream in streams]
        )
        assert [len(batches) for batches in log.ticks] == [20]


@simulated.timed
async def test_an_end_does_not_wait_on_a_busy_node() -> None:
    async with ticking(busy=1.0) as (log, tick):
        stream, _ = await log.begin()
        await adoption.adopt(log, tick, stream, 7000, errors.Interrupted())
        assert log.times == [0.0]


@simulated.timed
async def test_a_stream_that_is_not_there_needs_nobody() -> None:
    async with ticking() as (log, tick):
        assert (
            await adoption.adopt(log, tick, events.new_stream_id(), 7000, errors.Interrupted())
            is False
        )
        assert log.ticks == []


@simulated.timed
async def test_the_end_waits_for_the_log() -> None:
    async with ticking() as (log, tick):
        stream, _ = await log.begin()
        log.script.extend([scripted.AWAY] * 60)
        adopting = asyncio.create_task(
            adoption.adopt(log, tick, stream, 7000, errors.Interrupted())
        )
        await asyncio.sleep(50.0)
        assert not adopting.done()
        await asyncio.sleep(50.0)
        assert await adopting
        assert await kinds(log, stream) == ["start", "metadata", "error"]


@simulated.timed
async def test_a_claim_that_fails_comes_out() -> None:
    async with ticking() as (log, tick):
        stream, _ = await log.begin()

        async def claim(stream: events.StreamId, ts: int) -> base.Life | None:
            raise errors.LogUnavailable

        log.claim = claim  # type: ignore[method-assign]
        with pytest.raises(errors.LogUnavailable):
            await adoption.adopt(log, tick, stream, 7000, errors.Interrupted())


@simulated.timed
async def test_an_ending_that_is_settled_twice_is_settled() -> None:
    stream, life = events.new_stream_id(), base.Life(1 << 16, 4)
    ending = adoption.Ending(stream, life, INTERRUPTED)
    batch = ending.take(3)
    assert batch == base.Batch(stream, 1 << 16, 5, 3, (events.draft(INTERRUPTED),))
    assert ending.take(3) == batch
    assert ending.due == 0.0
    ending.stranded()
    ending.settled(base.Fenced())
    ending.settled(base.Ok())
    ending.failed(KeyError("x"))
    assert ending.settling.exception() is None


@simulated.timed
async def test_an_end_that_cannot_be_written_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(self: adoption.Ending, now_ms: int) -> base.Batch | None:
        raise KeyError("x")

    monkeypatch.setattr(adoption.Ending, "take", take)
    async with ticking() as (log, tick):
        stream, _ = await log.begin()
        with pytest.raises(KeyError):
            await adoption.adopt(log, tick, stream, 7000, errors.Interrupted())
