"""The ticker while the log is away: the tick in flight stays as it is, and everybody is told.

Strategy: `pens` write real streams; the log's script says what it does with each append.
"""

from __future__ import annotations

import asyncio
import itertools

import pytest
from structlog.testing import capture_logs
from tests.unit.producing import pens, scripted

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.producing import ticker
from holdfast.testing import simulated


@simulated.timed
async def test_a_tick_that_failed_is_sent_again_as_it_is() -> None:
    async with pens.ticking() as node:
        one, two = await node.pens(2)
        node.log.script.extend([scripted.AWAY] * 3)
        one.write("a")
        await asyncio.sleep(0.01)
        one.write("b")
        two.write("c", urgent=True)
        await asyncio.sleep(0.2)
        assert node.log.taken == []
        assert one.results == []
        await asyncio.sleep(5)
        ticks = node.log.ticks
        assert len(ticks) == 5
        assert all(tick is ticks[0] for tick in ticks[:4])
        assert [events.draft(scripted.content("a"))] == [*ticks[0][0].drafts]
        assert node.log.times == [0.0, 0.05, 0.15, 0.35, 0.35]
        assert node.streams[4] == [one.stream, two.stream]
        assert (one.results, two.results) == ([base.Ok()] * 2, [base.Ok()])
        assert await one.written() == ["a", "b"]
        assert (node.ticker.ticks, node.ticker.batches) == (2, 3)


@simulated.timed
async def test_a_tick_that_was_taken_in_silence_is_there_once() -> None:
    async with pens.ticking() as node:
        [pen] = await node.pens(1)
        node.log.script.append(scripted.TAKEN_AND_AWAY)
        pen.write("a", "b")
        await asyncio.sleep(1)
        assert len(node.log.taken) == 2
        assert pen.results == [base.Ok()]
        assert await pen.written() == ["a", "b"]


@simulated.timed
async def test_tries_come_in_growing_and_bounded_intervals() -> None:
    async with pens.ticking() as node:
        [pen] = await node.pens(1)
        node.log.script.extend([scripted.AWAY] * 9)
        pen.write("a")
        await asyncio.sleep(10)
        times = node.log.times
        gaps = [round(b - a, 6) for a, b in itertools.pairwise(times)]
        assert gaps == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0]
        node.log.script.append(scripted.AWAY)
        pen.write("b")
        await asyncio.sleep(10)
        times = node.log.times[-2:]
        assert round(times[1] - times[0], 6) == 0.05


@simulated.timed
async def test_failing_is_known_from_its_begin_to_its_end() -> None:
    async with pens.ticking() as node:
        [pen] = await node.pens(1)
        assert (node.ticker.failing_since, node.ticker.failure) == (None, "")
        node.log.script.extend([scripted.AWAY] * 4)
        await asyncio.sleep(1.0)
        pen.write("a")
        await asyncio.sleep(0.5)
        assert node.ticker.failing_since == simulated.BEGIN + 1.0
        await asyncio.sleep(1.0)
        assert pen.results == [base.Ok()]
        assert node.ticker.failing_since is None


@simulated.timed
async def test_after_patience_whoever_waits_for_the_log_is_told() -> None:
    async with pens.ticking() as node:
        waits, came_later, silent = await node.pens(3)
        node.log.script.extend([scripted.AWAY] * 40)
        waits.write("a")
        await asyncio.sleep(5)
        came_later.write("b")
        await asyncio.sleep(pens.PATIENCE - 5)
        assert (waits.strandings, came_later.strandings) == (0, 0)
        await asyncio.sleep(1.5)
        assert waits.strandings >= 1
        assert came_later.strandings >= 1
        assert silent.strandings == 0
        told = waits.strandings
        await asyncio.sleep(30)
        strandings = waits.strandings
        assert strandings > told
        assert (waits.results, came_later.results) == ([base.Ok()], [base.Ok()])
        await asyncio.sleep(30)
        assert waits.strandings == strandings


@simulated.timed
async def test_patience_begins_anew_with_every_outage() -> None:
    async with pens.ticking() as node:
        [pen] = await node.pens(1)
        for _ in range(2):
            node.log.script.extend([scripted.AWAY] * 25)
            pen.write("a")
            await asyncio.sleep(60)
        assert (pen.strandings, pen.results) == (0, [base.Ok()] * 2)


@simulated.timed
async def test_a_stranded_writer_may_add_to_the_next_tick() -> None:
    async with pens.ticking() as node:
        one, two = await node.pens(2)
        one.stranded = lambda: two.write("end", urgent=True)  # type: ignore[method-assign]
        node.log.script.extend([scripted.AWAY] * 40)
        one.write("a")
        await asyncio.sleep(100)
        assert node.streams[-2:] == [[one.stream], [two.stream]]


@simulated.timed
async def test_an_outage_is_logged_at_its_begin_and_its_end() -> None:
    async with pens.ticking() as node:
        [pen] = await node.pens(1)
        node.log.script.extend([scripted.AWAY] * 3)
        with capture_logs() as logs:
            pen.write("a")
            await asyncio.sleep(5)
            pen.write("b")
            await asyncio.sleep(5)
        assert [line["event"] for line in logs] == ["log_failing", "log_recovered"]
        assert logs[0]["error"] == node.ticker.failure == errors.LogUnavailable().message


# An append that hangs


@simulated.timed
async def test_an_append_that_hangs_is_an_outage_too() -> None:
    async with pens.ticking() as node:
        [pen] = await node.pens(1)
        gate = asyncio.Event()
        node.log.script.append(gate)
        node.ticker.sweep(simulated.now())
        pen.write("a")
        await asyncio.sleep(ticker.STALLED)
        node.ticker.sweep(simulated.now())
        assert node.ticker.failing_since is None
        await asyncio.sleep(0.25)
        node.ticker.sweep(simulated.now())
        assert node.ticker.failing_since == simulated.now()
        assert node.ticker.failure == "An append has taken over 2 s."
        await asyncio.sleep(pens.PATIENCE)
        node.ticker.sweep(simulated.now())
        assert pen.strandings == 0
        await asyncio.sleep(0.25)
        node.ticker.sweep(simulated.now())
        assert pen.strandings == 1
        gate.set()
        await simulated.idle()
        assert (pen.results, node.ticker.failing_since) == ([base.Ok()], None)
        await asyncio.sleep(60)
        node.ticker.sweep(simulated.now())
        assert node.ticker.failing_since is None


# A writer that fails


@simulated.timed
async def test_a_writer_that_fails_stops_no_other() -> None:
    async with pens.ticking() as node:
        one, broken, two = await node.pens(3)
        error = KeyError("x")

        def take(now_ms: int) -> base.Batch | None:
            raise error

        broken.take = take  # type: ignore[method-assign]
        with capture_logs() as logs:
            for pen in (one, broken, two):
                pen.write("a")
            await simulated.idle()
        assert node.streams == [[one.stream, two.stream]]
        assert (broken.failures, broken.results) == ([error], [])
        assert (one.results, two.results) == ([base.Ok()], [base.Ok()])
        assert [(line["event"], line["stream"]) for line in logs] == [
            ("writer_failed", broken.stream)
        ]
        assert "KeyError\n" in logs[0]["trace"]
        await asyncio.sleep(5)
        assert len(node.log.ticks) == 1


# Verdicts


@simulated.timed
async def test_each_writer_is_told_its_own_verdict() -> None:
    async with pens.ticking() as node:
        four = await node.pens(4)
        verdicts: list[base.Result] = [
            base.Ok(),
            base.Fenced(),
            base.Ok(cancelled=True),
            base.Lost(3),
        ]
        node.log.script.append(verdicts)
        for pen in four:
            pen.write("a")
        await simulated.idle()
        assert [pen.results for pen in four] == [[verdict] for verdict in verdicts]


@simulated.timed
async def test_a_log_that_answers_too_little_is_no_verdict() -> None:
    node = pens.Node(0.0)
    one, two = await node.pens(2)
    node.log.script.append([base.Ok()])
    one.write("a")
    two.write("b")
    with pytest.raises(ValueError, match="shorter"):
        await node.ticker.run()


@simulated.timed
async def test_a_damaged_log_is_an_outage_too() -> None:
    """The damage may be mended, or the disk be there again."""
    async with pens.ticking() as node:
        [pen] = await node.pens(1)
        healthy, damaged = node.log.append, 3

        async def append(tick: base.Tick) -> list[base.Result]:
            nonlocal damaged
            damaged -= 1
            if damaged >= 0:
                raise errors.LogCorrupt
            return await healthy(tick)

        node.log.append = append  # type: ignore[method-assign]
        pen.write("a")
        await asyncio.sleep(10.0)
        assert damaged == -1
        assert await pen.written() == ["a"]
