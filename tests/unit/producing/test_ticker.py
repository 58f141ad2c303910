"""The ticker: who is appended together, and when.

Strategy: `pens` write real streams on simulated time, with a load that the test sets.
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.producing import pens, scripted

from holdfast.eventlog import base
from holdfast.producing import ticker
from holdfast.testing import simulated

# The schedule


@pytest.mark.parametrize(
    ("busy", "wait"),
    [(0.0, 0.0), (0.2, 0.0), (0.3, 0.0), (0.4, 0.05), (0.46, 0.08), (0.5, 0.1), (1.5, 0.1)],
)
def test_a_tick_waits_the_longer_the_busier_the_loop_is(busy: float, wait: float) -> None:
    assert ticker.schedule(busy, 0.1) == pytest.approx(wait)
    assert ticker.schedule(busy, 0.0) == 0.0


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 60))
def test_the_schedule_only_rises_and_is_bounded(one: float, two: float, flush: float) -> None:
    low, high = ticker.schedule(min(one, two), flush), ticker.schedule(max(one, two), flush)
    assert 0.0 <= low <= high <= flush


# The load


class Clocks:
    """A wall clock and a CPU clock that the test moves."""

    def __init__(self) -> None:
        self.wall, self.cpu = 50.0, 5.0
        self.load = ticker.Load(lambda: self.wall, lambda: self.cpu, window=0.5)

    def after(self, wall: float, cpu: float) -> float:
        self.wall += wall
        self.cpu += cpu
        return self.load.sample()


def test_the_load_is_the_share_of_cpu_smoothed() -> None:
    clocks = Clocks()
    assert clocks.load.sample() == 0.0
    assert clocks.after(0.5, 0.4) == pytest.approx(0.4)
    assert clocks.after(0.5, 0.4) == pytest.approx(0.6)
    assert clocks.after(0.5, 0.0) == pytest.approx(0.3)


def test_the_load_is_measured_once_a_window() -> None:
    clocks = Clocks()
    assert clocks.after(0.25, 0.25) == 0.0
    assert clocks.after(0.125, 0.125) == 0.0
    assert clocks.after(0.125, 0.125) == pytest.approx(0.5)
    assert clocks.after(0.25, 0.0) == pytest.approx(0.5)


def test_the_load_is_never_over_one() -> None:
    clocks = Clocks()
    for _ in range(20):
        assert clocks.after(0.5, 0.75) <= 1.0
    assert clocks.load.busy == pytest.approx(1.0, abs=0.001)


def test_an_old_load_counts_for_nothing() -> None:
    clocks = Clocks()
    clocks.after(2.5, 2.5)
    assert clocks.load.busy == pytest.approx(0.5)
    assert clocks.after(3.0, 0.75) == pytest.approx(0.25)


def test_the_load_is_measured_five_times_a_second_by_itself() -> None:
    times = iter([0.0, 0.0, 0.19, 0.21, 0.2])  # wall and cpu, wall, wall and cpu
    load = ticker.Load(lambda: next(times), lambda: next(times))
    assert load.sample() == 0.0
    assert load.sample() == pytest.approx(0.2 / 0.21 / 2)


def test_the_load_of_this_thread_is_a_share() -> None:
    assert 0.0 <= ticker.Load().sample() <= 1.0


# The ticker


@simulated.timed
async def test_on_an_idle_node_a_tick_goes_at_once() -> None:
    async with pens.ticking(busy=0.3) as node:
        [pen] = await node.pens(1)
        pen.write("a")
        await simulated.idle()
        assert (pen.results, node.log.times) == ([base.Ok()], [0.0])
        assert await pen.written() == ["a"]
        await asyncio.sleep(5)
        assert len(node.log.ticks) == 1


@simulated.timed
async def test_all_who_were_touched_go_together_in_their_order() -> None:
    async with pens.ticking() as node:
        one, two, three = await node.pens(3)
        two.write("b")
        one.write("a")
        two.write("c")
        await simulated.idle()
        assert node.streams == [[two.stream, one.stream]]
        assert await two.written() == ["b", "c"]
        three.write("d")
        one.write("e")
        await simulated.idle()
        assert node.streams[1:] == [[three.stream, one.stream]]
        assert (node.ticker.ticks, node.ticker.batches) == (2, 4)


@simulated.timed
async def test_while_a_tick_is_in_flight_the_next_gathers() -> None:
    async with pens.ticking() as node:
        one, two = await node.pens(2)
        gate = asyncio.Event()
        node.log.script.append(gate)
        one.write("a")
        await simulated.idle()
        one.write("b")
        two.write("c")
        one.write("d")
        await simulated.idle()
        assert len(node.log.ticks) == 1
        gate.set()
        await simulated.idle()
        assert node.streams == [[one.stream], [one.stream, two.stream]]
        assert await one.written() == ["a", "b", "d"]


@simulated.timed
async def test_who_is_touched_by_a_verdict_goes_with_the_next_tick() -> None:
    async with pens.ticking() as node:
        [pen] = await node.pens(1)
        original = pen.settled

        def settled(result: base.Result) -> None:
            original(result)
            if len(pen.results) < 3:
                pen.write("more")

        pen.settled = settled  # type: ignore[method-assign]
        pen.write("first")
        await simulated.idle()
        assert await pen.written() == ["first", "more", "more"]


@simulated.timed
async def test_events_have_the_time_of_their_tick() -> None:
    async with pens.ticking(busy=1.0) as node:
        [pen] = await node.pens(1)
        await asyncio.sleep(2.5)
        pen.write("a")
        await asyncio.sleep(1)
        assert pen.taken_at == [2600]
        assert [event.ts for event in await node.log.events(pen.stream)] == [0, 2600]


@simulated.timed
async def test_the_wall_clock_is_the_clock_where_none_is_given() -> None:
    log = scripted.Log()
    tick = ticker.Ticker(log, flush_interval=pens.FLUSH, patience=pens.PATIENCE)
    pen = pens.Pen(*await log.begin(), tick, log)
    pen.write("a")
    task = asyncio.create_task(tick.run())
    await asyncio.sleep(1)
    task.cancel()
    [ts] = pen.taken_at
    assert ts > 1_600_000_000_000


@simulated.timed
async def test_on_a_busy_node_a_tick_waits_and_takes_all_that_comes() -> None:
    async with pens.ticking(busy=0.4) as node:
        one, two = await node.pens(2)
        one.words.append("a")
        node.ticker.touch(one)
        await asyncio.sleep(0.04)
        two.write("b")
        await asyncio.sleep(0.005)
        assert node.log.ticks == []
        await asyncio.sleep(0.01)
        assert node.log.times == [0.05]
        assert node.streams == [[one.stream, two.stream]]


@simulated.timed
async def test_an_urgent_word_ends_the_wait_for_all() -> None:
    async with pens.ticking(busy=1.0) as node:
        one, two = await node.pens(2)
        one.write("a")
        await asyncio.sleep(0.03)
        two.write("b", urgent=True)
        await asyncio.sleep(0.01)
        assert node.log.times == [0.03]
        assert node.streams == [[one.stream, two.stream]]
        one.write("c")
        await asyncio.sleep(1)
        assert node.log.times == [0.03, 0.14]


@simulated.timed
async def test_a_touched_writer_may_become_urgent() -> None:
    async with pens.ticking(busy=1.0) as node:
        [pen] = await node.pens(1)
        pen.write("a")
        await asyncio.sleep(0.03)
        pen.write("b", urgent=True)
        await simulated.idle()
        assert node.log.times == [0.03]
        assert await pen.written() == ["a", "b"]


@simulated.timed
async def test_an_urgent_word_while_a_tick_is_in_flight_does_not_wait_either() -> None:
    async with pens.ticking(busy=1.0) as node:
        one, two = await node.pens(2)
        gate = asyncio.Event()
        node.log.script.append(gate)
        one.write("a")
        await asyncio.sleep(0.15)
        two.write("b", urgent=True)
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.sleep(0.01)
        assert node.log.times == [0.1, 0.2]


@simulated.timed
async def test_an_urgent_word_that_was_taken_hurries_no_later_tick() -> None:
    async with pens.ticking(busy=0.0) as node:
        [pen] = await node.pens(1)
        pen.write("a", urgent=True)
        await asyncio.sleep(1.0)
        node.load.busy = 1.0
        pen.write("b")
        await asyncio.sleep(1.0)
        assert node.log.times == [0.0, 1.1]


@simulated.timed
async def test_what_gathered_before_it_was_read_waits_no_longer() -> None:
    async with pens.ticking(busy=1.0) as node:
        [pen] = await node.pens(1)
        node.ticker.gathered()  # with nothing to show for it
        pen.write("a")
        await asyncio.sleep(0.05)
        assert node.log.times == []
        node.ticker.gathered()
        await simulated.idle()
        assert node.log.times == [0.05]


@simulated.timed
async def test_what_is_held_stays_held_whatever_was_read() -> None:
    async with pens.ticking(busy=1.0) as node:
        held, free = await node.pens(2)
        held.write("a", hold=5.0)
        node.ticker.gathered()
        await asyncio.sleep(1)
        free.write("b")
        await asyncio.sleep(0.05)
        assert node.log.times == []  # as if there had been no round


@pytest.mark.parametrize(
    ("interval", "busy", "period"),
    [
        (0.1, 0.3, 0),
        (0.1, 0.4, 0.05),
        (0.1, 0.47, 0.085),
        (0.1, 0.49, 0.09),
        (10, 0.3, 0),
        (10, 1, 0.09),
        (0, 1, 0),
    ],
)
@simulated.timed
async def test_reads_are_never_far_apart(interval: float, busy: float, period: float) -> None:
    load = ticker.Load(lambda: 0.0, lambda: 0.0)
    load.busy = busy
    tick = ticker.Ticker(scripted.Log(), flush_interval=interval, patience=1, load=load)
    assert tick.period() == pytest.approx(period)


# Large ticks


@simulated.timed
async def test_a_tick_has_so_many_bytes_and_no_more() -> None:
    async with pens.ticking() as node:
        some = await node.pens(4)
        for pen, size in zip(some, (ticker.TICK_BYTES - 2, 1, 1, 1), strict=True):
            pen.write("x" * size)
        await simulated.idle()
        first, second, third, fourth = (pen.stream for pen in some)
        assert node.streams == [[first, second, third], [fourth]]


@simulated.timed
async def test_who_found_no_room_goes_first_and_waits_no_longer() -> None:
    async with pens.ticking(busy=1.0) as node:
        one, two, three, held = await node.pens(4)
        gate = asyncio.Event()
        node.log.script.append(gate)
        held.write("d", hold=0.15)
        for pen in (one, two, three):
            pen.write("x" * ticker.TICK_BYTES)
        await asyncio.sleep(0.2)
        one.write("a")
        gate.set()
        await asyncio.sleep(0.01)
        assert node.streams[:3] == [[pen.stream] for pen in (one, two, three)]
        assert node.streams[3:] == [[held.stream, one.stream]]
        assert node.log.times == [0.1, 0.2, 0.2, 0.2]


# Held writers


@simulated.timed
async def test_held_words_go_when_they_are_due() -> None:
    async with pens.ticking() as node:
        [pen] = await node.pens(1)
        pen.write("a", hold=0.5)
        await asyncio.sleep(0.2)
        pen.write("b")
        await asyncio.sleep(0.2)
        assert node.log.ticks == []
        await asyncio.sleep(0.2)
        assert (node.log.times, await pen.written()) == ([0.5], ["a", "b"])


@simulated.timed
async def test_held_words_delay_nobody() -> None:
    async with pens.ticking() as node:
        held, free, sooner = await node.pens(3)
        held.write("a", hold=2.0)
        await asyncio.sleep(0.25)
        free.write("b")
        await asyncio.sleep(0.25)
        sooner.write("c", hold=0.25)
        await asyncio.sleep(5)
        assert node.streams == [[free.stream], [sooner.stream], [held.stream]]
        assert node.log.times == [0.25, 0.75, 2.0]


@simulated.timed
async def test_held_words_do_not_go_along_before_they_are_due() -> None:
    async with pens.ticking() as node:
        one, two = await node.pens(2)
        one.write("a", hold=1.0)
        two.write("b", hold=1.0)
        two.due += 0.5
        await asyncio.sleep(5)
        assert node.streams == [[one.stream], [two.stream]]
        assert node.log.times == [1.0, 1.5]


@simulated.timed
async def test_urgency_overrules_a_hold() -> None:
    async with pens.ticking() as node:
        [pen] = await node.pens(1)
        pen.write("a", hold=2.0)
        await asyncio.sleep(0.25)
        pen.due = 0.0
        pen.write("b", urgent=True)
        await asyncio.sleep(5)
        assert (node.log.times, await pen.written()) == ([0.25], ["a", "b"])


class WatchedPen(pens.Pen):
    """Counts how often the ticker looked when it is due."""

    looks = 0

    @property
    def due(self) -> float:
        self.looks += 1
        return self._due

    @due.setter
    def due(self, value: float) -> None:
        self._due = value


@simulated.timed
async def test_a_held_writer_that_says_more_wakes_nobody() -> None:
    async with pens.ticking() as node:
        pen = WatchedPen(*await node.log.begin(), node.ticker, node.log)
        pen.write("a", hold=2.0)
        await simulated.idle()
        looks = pen.looks
        assert looks
        for _ in range(10):
            pen.write("b")
            await simulated.idle()
        assert pen.looks == looks
        await asyncio.sleep(5)
        assert node.log.times == [2.0]


@simulated.timed
async def test_who_has_nothing_after_all_is_left_out() -> None:
    async with pens.ticking() as node:
        one, two = await node.pens(2)
        one.write()
        await simulated.idle()
        assert (node.log.ticks, one.results) == ([], [])
        one.write()
        two.write("a")
        await simulated.idle()
        assert node.streams == [[two.stream]]
        assert (one.results, two.results) == ([], [base.Ok()])
