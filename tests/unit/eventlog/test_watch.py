"""Hints with a poll behind them: what is lost costs two polls, and nothing is registered twice.

Strategy: a real memory log whose hints can be dropped, on simulated time. What a waiter sees is
the times at which it was woken.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import errors, events
from holdfast.eventlog import base, memory, watch
from holdfast.testing import simulated

HEADER = base.Header("", 0, "demo", "m")


class Log(memory.MemoryLog):
    """A log that drops hints while `deaf`, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.deaf = False
        self.away = 0
        self.asked: list[int] = []
        self.watchers: dict[events.StreamId, int] = {}
        self.lives: dict[events.StreamId, base.Life] = {}

    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        self.watchers[stream] = self.watchers.get(stream, 0) + 1
        undo = super().watch(stream, lambda: None if self.deaf else wake())

        def undone() -> None:
            self.watchers[stream] -= 1
            undo()

        return undone

    async def heads(self, streams: Sequence[events.StreamId]) -> list[base.Head | None]:
        self.asked.append(len(streams))
        if self.away:
            self.away -= 1
            raise errors.LogUnavailable
        return await super().heads(streams)

    async def begin(self) -> events.StreamId:
        stream = events.new_stream_id()
        life = await self.create(stream, HEADER, (), 5)
        assert isinstance(life, base.Life)
        self.lives[stream] = life
        return stream

    async def write(self, stream: events.StreamId) -> None:
        life = self.lives[stream]
        self.lives[stream] = base.Life(life.epoch, life.last + 1)
        said = events.draft(events.Chunk("content", "x"))
        batch = base.Batch(stream, life.epoch, life.last + 1, 5, (said,))
        assert await self.append((batch,)) == [base.Ok()]


class Waiter:
    """Remembers when it was woken, in seconds from the begin."""

    def __init__(self) -> None:
        self.woken: list[float] = []

    def __call__(self) -> None:
        self.woken.append(round(simulated.now() - simulated.BEGIN, 6))


@contextlib.asynccontextmanager
async def polling(log: Log) -> AsyncGenerator[watch.Watch, None]:
    """A watch whose poll runs each second."""
    watching = watch.Watch(log)
    task = asyncio.create_task(watching.run())
    try:
        yield watching
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@simulated.timed
async def test_a_hint_wakes_at_once() -> None:
    log, waiter = Log(), Waiter()
    stream = await log.begin()
    async with polling(log) as watching:
        watching.add(stream, waiter)
        await log.write(stream)
        assert waiter.woken == [0.0]


@pytest.mark.parametrize("written_at", [0.0, 0.5, 1.5, 2.5, 3.5, 10.25])
@simulated.timed
async def test_a_lost_hint_delays_by_two_polls_at_most(written_at: float) -> None:
    log, waiter = Log(), Waiter()
    log.deaf = True
    stream = await log.begin()
    async with polling(log) as watching:
        watching.add(stream, waiter)
        await asyncio.sleep(written_at)
        await log.write(stream)
        before = list(waiter.woken)
        await asyncio.sleep(2.25)
        late = [at for at in waiter.woken if at not in before]
        assert late
        assert written_at <= late[0] <= written_at + 2.0


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=8))
def test_after_two_polls_every_event_has_had_its_wake(writes: list[tuple[int, bool]]) -> None:
    """`writes` are (tenths of a second since the last, whether the hint is lost)."""

    async def play() -> None:
        log, waiter = Log(), Waiter()
        stream = await log.begin()
        async with polling(log) as watching:
            watching.add(stream, waiter)
            written = []
            for tenths, log.deaf in writes:
                await asyncio.sleep(tenths / 10)
                await log.write(stream)
                written.append(simulated.now() - simulated.BEGIN)
            await asyncio.sleep(10.0)
        for at in written:
            assert any(at - 1e-6 <= woken <= at + 2.0 + 1e-6 for woken in waiter.woken)
        # Once it is quiet, one wake for nothing and never another.
        assert all(woken <= written[-1] + 2.0 + 1e-6 for woken in waiter.woken)

    simulated.run(play())


@simulated.timed
async def test_while_hints_arrive_the_poll_wakes_nobody() -> None:
    log, waiter = Log(), Waiter()
    stream = await log.begin()
    async with polling(log) as watching:
        watching.add(stream, waiter)
        await asyncio.sleep(0.5)
        for _ in range(10):
            await log.write(stream)
            await asyncio.sleep(1.0)
        assert waiter.woken == [at + 0.5 for at in range(10)]
        await asyncio.sleep(60.0)
        assert waiter.woken[10:] == [11.0]


@simulated.timed
async def test_a_stream_that_is_gone_wakes_its_waiters() -> None:
    log, waiter = Log(), Waiter()
    stream = await log.begin()
    await log.write(stream)
    async with polling(log) as watching:
        watching.add(stream, waiter)
        await asyncio.sleep(5.5)
        waiter.woken.clear()
        log.deaf = True
        end = events.draft(events.Error("x", "y", False))
        life = log.lives[stream]
        await log.append((base.Batch(stream, life.epoch, life.last + 1, 5, (end,)),))
        assert await log.expire(6, 10) == 1
        await asyncio.sleep(1.0)
        assert waiter.woken == [6.0]


@simulated.timed
async def test_all_waiters_of_a_stream_share_one_registration() -> None:
    log, one, two = Log(), Waiter(), Waiter()
    stream = await log.begin()
    watching = watch.Watch(log)
    undo_one, undo_two = watching.add(stream, one), watching.add(stream, two)
    assert log.watchers == {stream: 1}
    await log.write(stream)
    undo_one()
    undo_one()
    assert log.watchers == {stream: 1}
    await log.write(stream)
    assert (one.woken, two.woken) == ([0.0], [0.0, 0.0])
    undo_two()
    assert log.watchers == {stream: 0}
    undo_two()
    assert log.watchers == {stream: 0}
    await log.write(stream)
    assert two.woken == [0.0, 0.0]
    await watching.poll()
    assert log.asked == []


@simulated.timed
async def test_an_old_undo_does_not_end_a_new_watch() -> None:
    log, waiter = Log(), Waiter()
    stream = await log.begin()
    watching = watch.Watch(log)
    undo = watching.add(stream, waiter)
    undo()
    again = watching.add(stream, waiter)
    undo()
    assert log.watchers == {stream: 1}
    await log.write(stream)
    assert waiter.woken == [0.0]
    await watching.poll()
    assert log.asked == [1]
    again()


@simulated.timed
async def test_the_same_callback_may_be_added_twice() -> None:
    log, waiter = Log(), Waiter()
    stream = await log.begin()
    watching = watch.Watch(log)
    undo = watching.add(stream, waiter)
    watching.add(stream, waiter)
    undo()
    await log.write(stream)
    assert waiter.woken == [0.0]


@simulated.timed
async def test_a_waiter_may_leave_when_it_is_woken() -> None:
    log, stays = Log(), Waiter()
    stream = await log.begin()
    watching = watch.Watch(log)
    undo: list[base.Undo] = []
    undo.append(watching.add(stream, lambda: undo.pop()()))
    watching.add(stream, stays)
    await log.write(stream)
    await log.write(stream)
    assert (undo, stays.woken) == ([], [0.0, 0.0])


@simulated.timed
async def test_everybody_may_be_woken_at_once() -> None:
    log = Log()
    watching = watch.Watch(log)
    waiters = [Waiter() for _ in range(3)]
    undos = [watching.add(await log.begin(), waiter) for waiter in waiters]
    watching.add(next(iter(log.lives)), waiters[0])
    undos[2]()
    watching.wake_all()
    assert [len(waiter.woken) for waiter in waiters] == [2, 1, 0]


@simulated.timed
async def test_a_waiter_that_leaves_when_all_are_woken_disturbs_nobody() -> None:
    log, stays = Log(), Waiter()
    watching = watch.Watch(log)
    undo: list[base.Undo] = []
    undo.append(watching.add(await log.begin(), lambda: undo.pop()()))
    watching.add(await log.begin(), stays)
    watching.wake_all()
    assert (undo, stays.woken) == ([], [0.0])


@simulated.timed
async def test_a_watch_that_ends_while_the_log_is_asked_is_not_woken() -> None:
    log, waiter = Log(), Waiter()
    log.deaf = True
    stream = await log.begin()
    watching = watch.Watch(log)
    undo = watching.add(stream, waiter)
    await log.write(stream)
    await watching.poll()
    original = log.heads

    async def heads(streams: Sequence[events.StreamId]) -> list[base.Head | None]:
        undo()
        return await original(streams)

    log.heads = heads  # type: ignore[method-assign]
    await watching.poll()
    assert waiter.woken == []


@simulated.timed
async def test_many_streams_are_asked_about_in_parts() -> None:
    log, waiter = Log(), Waiter()
    log.deaf = True
    watching = watch.Watch(log)
    streams = [await log.begin() for _ in range(2 * watch.POLL_STREAMS + 7)]
    for stream in streams:
        watching.add(stream, waiter)
    await watching.poll()
    assert log.asked == [watch.POLL_STREAMS, watch.POLL_STREAMS, 7]
    await watching.poll()
    waiter.woken.clear()
    for stream in (streams[0], streams[watch.POLL_STREAMS], streams[-1]):
        await log.write(stream)
    await watching.poll()
    assert waiter.woken == [0.0] * 3


@simulated.timed
async def test_a_log_that_is_away_is_asked_again() -> None:
    log, waiter = Log(), Waiter()
    log.deaf = True
    stream = await log.begin()
    async with polling(log) as watching:
        watching.add(stream, waiter)
        await asyncio.sleep(2.5)
        waiter.woken.clear()
        log.away = 3
        await log.write(stream)
        await asyncio.sleep(4.0)
        assert waiter.woken == [6.0]
        assert log.asked == [1] * 6


@simulated.timed
async def test_a_log_that_answers_too_little_is_no_answer() -> None:
    log = Log()
    watching = watch.Watch(log)
    watching.add(await log.begin(), Waiter())

    async def heads(streams: Sequence[events.StreamId]) -> list[base.Head | None]:
        return []

    log.heads = heads  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="shorter"):
        await watching.poll()


@simulated.timed
async def test_a_damaged_log_is_asked_again_and_a_bug_ends_the_poll() -> None:
    log = Log()
    stream = await log.begin()
    watching = watch.Watch(log, 0.25)
    watching.add(stream, Waiter())
    faults: list[Exception] = [KeyError("a bug"), errors.LogCorrupt(), errors.LogUnavailable()]

    async def heads(streams: Sequence[events.StreamId]) -> list[base.Head | None]:
        raise faults.pop()

    log.heads = heads  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        await watching.run()
    assert simulated.now() == simulated.BEGIN + 0.75


def test_it_knows_who_is_waited_for() -> None:
    watching = watch.Watch(Log())
    stream = events.new_stream_id()
    assert not watching.watches(stream)
    first, second = watching.add(stream, Waiter()), watching.add(stream, Waiter())
    assert watching.watches(stream)
    first()
    assert watching.watches(stream)
    second()
    assert not watching.watches(stream)


async def test_who_waits_is_woken_by_name() -> None:
    log, woken = Log(), list[int]()
    found = watch.Watch(log)
    one, other = events.new_stream_id(), events.new_stream_id()
    found.add(one, lambda: woken.append(1))
    found.add(other, lambda: woken.append(2))
    found.wake(one)
    found.wake(events.new_stream_id())
    assert woken == [1]
