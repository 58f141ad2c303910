"""The producer and its log: gathering, back-pressure, lost lives and what is too much.

Strategy: as in `test_producer`; the log's script and the limits are small, so that every edge
is a few words away.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.unit.producing import scripted
from tests.unit.producing.answering import LIMITS, PATIENCE, answering, fenced

from holdfast import errors, events, request
from holdfast.eventlog import base
from holdfast.producing import bounds, pending
from holdfast.testing import simulated

EACH = pending.Pending.OVERHEAD


def wanting(**fields: int) -> request.Request:
    return msgspec.structs.replace(scripted.WANTED, **fields)


# Gathering, as the request wishes


@simulated.timed
async def test_without_a_wish_nothing_waits_on_an_idle_node() -> None:
    async with answering() as play:
        exchange = await play.open()
        for word in ("a", "b"):
            exchange.say(scripted.content(word))
            await simulated.idle()
        assert (play.log.times, await play.texts()) == ([0.0, 0.0], ["a", "b"])
        exchange.say(done=True)


@simulated.timed
async def test_a_flush_interval_gathers_for_that_long() -> None:
    async with answering(wanting(flush_interval_ms=500)) as play:
        exchange = await play.open()
        for word in "abcdef":
            exchange.say(scripted.content(word))
            await asyncio.sleep(0.2)
        await asyncio.sleep(1.0)
        assert (play.log.times, await play.texts()) == ([0.5, 1.1], ["abc", "def"])
        exchange.say(scripted.content("g"))
        await asyncio.sleep(0.1)
        exchange.say(done=True)
        await play.terminal()
        assert play.log.times[2:] == [2.3]
        assert await play.texts() == ["abc", "def", "g"]


@simulated.timed
async def test_a_flush_interval_of_nothing_gathers_nothing() -> None:
    async with answering(wanting(flush_interval_ms=0)) as play:
        exchange = await play.open()
        exchange.say(scripted.content("a"), scripted.content("b"))
        await simulated.idle()
        assert (play.log.times, await play.texts()) == ([0.0], ["a", "b"])
        exchange.say(done=True)


@pytest.mark.parametrize("in_request", [False, True])
@simulated.timed
async def test_a_buffer_filled_to_four_fifths_waits_no_longer(in_request: bool) -> None:
    size = EACH + 100
    limits = LIMITS if in_request else msgspec.structs.replace(LIMITS, buffer_size=size)
    wanted = wanting(flush_interval_ms=500, **({"buffer_size": size} if in_request else {}))
    edge = int(size * 0.8) - EACH
    async with answering(wanted, limits) as play:
        exchange = await play.open()
        exchange.say(scripted.content("x" * (edge - 1)))
        await asyncio.sleep(0.1)
        assert play.log.times == []
        exchange.say(scripted.content("y"))
        await simulated.idle()
        assert (play.log.times, await play.texts()) == ([0.1], ["x" * (edge - 1) + "y"])
        exchange.say(scripted.content("z"))
        await asyncio.sleep(1.0)
        assert play.log.times == [0.1, 0.6]
        exchange.say(done=True)


@simulated.timed
async def test_a_full_buffer_is_urgent_on_a_busy_node() -> None:
    limits = msgspec.structs.replace(LIMITS, buffer_size=200)
    async with answering(limits=limits, busy=1.0) as play:
        exchange = await play.open()
        exchange.say(scripted.content("a"))
        await asyncio.sleep(0.05)
        assert play.log.times == []
        exchange.say(scripted.content("x" * 100))
        await simulated.idle()
        assert play.log.times == [0.05]
        exchange.say(done=True)
        await simulated.idle()
        assert play.log.times == [0.05, 0.05]


@simulated.timed
async def test_the_end_waits_for_nothing() -> None:
    async with answering(wanting(flush_interval_ms=60_000), busy=1.0) as play:
        exchange = await play.open()
        exchange.say(scripted.content("a"))
        await asyncio.sleep(1.0)
        exchange.say(error=errors.ProviderFailed("no"))
        await play.terminal()
        assert set(play.log.times) == {1.0}


# A cadence


def keeping(cadence: float, **more: int) -> bounds.Limits:
    return msgspec.structs.replace(LIMITS, cadence=cadence, **more)


@pytest.mark.case("4.24")
@pytest.mark.parametrize("after", [0.01, 0.3, 0.49])
@simulated.timed
async def test_a_cadence_hides_when_a_piece_came(after: float) -> None:
    async with answering(limits=keeping(0.5)) as play:
        exchange = await play.open()
        await asyncio.sleep(after)
        for word in "abc":
            exchange.say(scripted.content(word))
            await asyncio.sleep(0.5)
        exchange.say(done=True)
        await asyncio.sleep(1.0)
        assert play.log.times == [0.5, 1.0, 1.5, 2.0]
        assert await play.texts() == ["a", "b", "c"]


@pytest.mark.case("4.24")
@pytest.mark.parametrize("wanted", [wanting(flush_interval_ms=0), wanting(buffer_size=1)])
@simulated.timed
async def test_no_request_is_oftener_than_the_cadence(wanted: request.Request) -> None:
    async with answering(wanted, keeping(0.5)) as play:
        exchange = await play.open()
        exchange.say(scripted.content("a"), scripted.content("b"))
        await asyncio.sleep(0.2)
        exchange.say(scripted.content("c"))
        await asyncio.sleep(0.8)
        assert (play.log.times, await play.texts()) == ([0.5], ["abc"])
        exchange.say(done=True)
        await asyncio.sleep(0.5)


@simulated.timed
async def test_a_request_may_gather_for_longer_in_whole_cadences() -> None:
    async with answering(wanting(flush_interval_ms=700), keeping(0.5)) as play:
        exchange = await play.open()
        for word in "abcd":
            exchange.say(scripted.content(word))
            await asyncio.sleep(0.4)
        assert (play.log.times, await play.texts()) == ([1.0], ["abc"])
        exchange.say(done=True)
        await asyncio.sleep(0.5)
        assert play.log.times == [1.0, 2.0]
        await play.terminal()


@simulated.timed
async def test_the_end_keeps_the_cadence_too_and_waits_no_longer() -> None:
    async with answering(wanting(flush_interval_ms=60_000), keeping(0.5)) as play:
        exchange = await play.open()
        exchange.say(scripted.content("a"))
        await asyncio.sleep(1.2)
        exchange.say(done=True)
        await simulated.idle()
        assert play.log.times == []
        await asyncio.sleep(0.4)
        await play.terminal()
        assert play.log.times == [1.5]


@simulated.timed
async def test_a_full_buffer_waits_for_no_cadence() -> None:
    async with answering(limits=keeping(0.5, buffer_size=EACH + 100)) as play:
        exchange = await play.open()
        exchange.say(scripted.content("x" * 200))
        await simulated.idle()
        assert play.log.times == [0.0]
        exchange.say(done=True)
        await asyncio.sleep(0.6)
        assert play.log.times == [0.0, 0.5]


# Back-pressure


@simulated.timed
async def test_what_is_not_yet_durable_pauses_the_provider() -> None:
    limits = msgspec.structs.replace(LIMITS, unsaved=4 * EACH + 400)
    async with answering(limits=limits) as play:
        exchange = await play.open()
        first, second = asyncio.Event(), asyncio.Event()
        play.log.script.extend([first, second])
        exchange.say(scripted.content("a" * 100))  # in flight
        await simulated.idle()
        exchange.say(scripted.content("b" * 200, 1))
        exchange.say(scripted.content("c" * 100 + "d" * EACH))
        assert play.account == 4 * EACH + 400
        assert not exchange.paused
        exchange.say(scripted.content("e"))
        assert exchange.paused
        first.set()
        await simulated.idle()
        assert (play.account, exchange.paused) == (3 * EACH + 301, True)
        second.set()
        await simulated.idle()
        assert (play.account, exchange.paused) == (0, False)
        exchange.say(scripted.content("f" * 400))
        assert not exchange.paused
        exchange.say(done=True)


@pytest.mark.parametrize(("waiting", "paused"), [(500, False), (501, True)])
@simulated.timed
async def test_it_goes_on_when_half_of_it_is_durable(waiting: int, paused: bool) -> None:
    limits = msgspec.structs.replace(LIMITS, unsaved=1000)
    async with answering(wanting(flush_interval_ms=1000), limits) as play:
        exchange = await play.open()
        gate = asyncio.Event()
        play.log.script.append(gate)
        exchange.say(scripted.content("a" * (900 - EACH)))
        await asyncio.sleep(1.0)
        await simulated.idle()
        exchange.say(scripted.content("b" * (waiting - EACH)))
        assert exchange.paused
        gate.set()
        await simulated.idle()
        assert (play.account, exchange.paused) == (waiting, paused)
        await asyncio.sleep(1.5)
        assert (play.account, exchange.paused) == (0, False)
        exchange.say(done=True)


@simulated.timed
async def test_it_stays_paused_while_the_log_is_away() -> None:
    limits = msgspec.structs.replace(LIMITS, unsaved=100)
    async with answering(limits=limits) as play:
        exchange = await play.open()
        play.log.script.extend([scripted.AWAY] * 5)
        exchange.say(scripted.content("a" * 100))
        assert exchange.paused
        await asyncio.sleep(1.0)
        assert exchange.paused
        await asyncio.sleep(5.0)
        assert not exchange.paused
        exchange.say(done=True)


@simulated.timed
async def test_the_account_is_what_is_said_and_not_yet_durable() -> None:
    async with answering() as play:
        exchange = await play.open()
        gate = asyncio.Event()
        play.log.script.append(gate)
        exchange.say(scripted.content("abc"))
        assert play.account == EACH + 3
        await simulated.idle()
        exchange.say(scripted.content("de"))
        exchange.say(scripted.content("f"))
        assert play.account == 2 * EACH + 6
        gate.set()
        await simulated.idle()
        assert play.account == 0
        exchange.say(done=True)


# What is too much


@simulated.timed
async def test_a_stream_has_a_largest_size_in_stored_bytes() -> None:
    def stored(*deltas: str) -> int:
        return sum(len(events.draft(scripted.content(delta)).data) for delta in deltas)

    limits = msgspec.structs.replace(LIMITS, stream=stored("🌊" * 30, "b"))
    async with answering(limits=limits) as play:
        exchange = await play.open()
        for word in ("🌊" * 30, "b"):
            exchange.say(scripted.content(word))
            await simulated.idle()
        assert not exchange.aborted
        exchange.say(scripted.content("c"))
        terminal = await play.terminal()
        assert terminal == events.Error(
            "stream_too_large", f"The answer is over {limits.stream} bytes.", False
        )
        assert await play.texts() == ["🌊" * 30, "b", "c"]
        assert exchange.aborted


@simulated.timed
async def test_an_answer_that_is_whole_is_not_too_large() -> None:
    limits = msgspec.structs.replace(LIMITS, stream=10)
    async with answering(limits=limits) as play:
        exchange = await play.open()
        exchange.say(scripted.content("a" * 20), done=True)
        assert isinstance(await play.terminal(), events.Complete)


# A life that is over


@pytest.mark.parametrize("verdict", [base.Fenced(), base.Lost(1)])
@simulated.timed
async def test_a_life_that_was_lost_writes_no_more(verdict: base.Result) -> None:
    async with answering() as play:
        play.ended = False
        exchange = await play.open()
        gate = asyncio.Event()
        play.log.script.extend([gate, [verdict]])
        exchange.say(scripted.content("a"))
        await simulated.idle()
        exchange.say(scripted.content("b"))
        gate.set()
        assert await play.terminal() is None
        assert exchange.aborted
        exchange.say(scripted.content("c"))
        exchange.end()
        await asyncio.sleep(1.0)
        assert len(play.log.ticks) == 2
        assert await play.texts() == ["a"]


@simulated.timed
async def test_a_life_that_was_lost_drops_what_it_gathered() -> None:
    async with answering() as play:
        play.ended = False
        exchange = await play.open()
        gate = asyncio.Event()
        play.log.script.append(gate)
        exchange.say(scripted.content("a"))
        await simulated.idle()
        exchange.say(scripted.content("b"))
        life = await play.log.claim(play.stream, 5)
        gate.set()
        assert life is not None
        assert await play.terminal() is None
        assert play.account == 0
        assert [event.kind for event in await play.log.events(play.stream)] == [
            "start",
            "metadata",
        ]


@simulated.timed
async def test_a_life_that_is_lost_with_its_end_in_flight_has_no_end() -> None:
    async with answering() as play:
        play.ended = False
        exchange = await play.open()
        play.log.script.append(fenced())
        exchange.say(done=True)
        assert await play.terminal() is None


@simulated.timed
async def test_a_life_that_is_lost_with_its_end_waiting_has_no_end() -> None:
    async with answering() as play:
        play.ended = False
        exchange = await play.open()
        gate = asyncio.Event()
        play.log.script.append(gate)
        exchange.say(scripted.content("a"))
        await simulated.idle()
        exchange.say(done=True)
        await simulated.idle()
        assert await play.log.claim(play.stream, 5)
        gate.set()
        assert await play.terminal() is None
        assert len(play.log.ticks) == 1


@simulated.timed
async def test_a_life_that_is_lost_as_its_attempt_fails_says_nothing_more() -> None:
    async with answering() as play:
        play.ended = False
        exchange = await play.open()
        gate = asyncio.Event()
        play.log.script.append(gate)
        exchange.say(scripted.content("a"))
        await simulated.idle()
        assert await play.log.claim(play.stream, 5)
        gate.set()
        exchange.say(error=errors.ProviderFailed("no"))  # the verdict is told first
        assert await play.terminal() is None
        assert len(play.log.ticks) == 1


@simulated.timed
async def test_a_life_that_is_lost_after_a_cancel_ends_too() -> None:
    async with answering() as play:
        play.ended = False
        exchange = await play.open()
        play.log.script.append(fenced())
        exchange.say(scripted.content("a"))
        play.producer.stop(errors.Cancelled())
        assert await play.terminal() is None


@simulated.timed
async def test_a_run_that_is_cancelled_as_its_end_is_written_hurts_no_other() -> None:
    async with answering() as play:
        exchange = await play.open()
        gate = asyncio.Event()
        play.log.script.append(gate)
        exchange.say(done=True)
        await simulated.idle()
        play.task.cancel()
        await asyncio.gather(play.task, return_exceptions=True)
        gate.set()
        await simulated.idle()
        assert not play.ticking.done()


# A log that does not come back


@simulated.timed
async def test_without_its_log_a_stream_ends_when_the_log_returns() -> None:
    async with answering() as play:
        exchange = await play.open()
        play.log.script.extend([scripted.AWAY] * 60)
        exchange.say(scripted.content("a"))
        await asyncio.sleep(PATIENCE - 1)
        assert not exchange.aborted
        await asyncio.sleep(3.0)
        assert exchange.aborted
        assert not play.task.done()
        assert await play.bodies() == []
        await asyncio.sleep(60.0)
        terminal = await play.terminal()
        assert terminal == events.Error(
            "log_lost", "The event log could not be written for too long.", True
        )
        assert await play.bodies() == [scripted.content("a"), terminal]


@simulated.timed
async def test_an_answer_that_is_whole_waits_for_its_log() -> None:
    async with answering() as play:
        exchange = await play.open()
        play.log.script.extend([scripted.AWAY] * 60)
        exchange.say(scripted.content("a"), done=True)
        await asyncio.sleep(100.0)
        assert isinstance(await play.terminal(), events.Complete)


@simulated.timed
async def test_a_tick_of_unknown_fate_is_not_written_twice() -> None:
    async with answering() as play:
        exchange = await play.open()
        play.log.script.extend([scripted.TAKEN_AND_AWAY, scripted.TAKEN_AND_AWAY])
        exchange.say(scripted.content("a"))
        await asyncio.sleep(1.0)
        exchange.say(scripted.content("b"), done=True)
        await asyncio.sleep(1.0)
        assert isinstance(await play.terminal(), events.Complete)
        assert await play.texts() == ["a", "b"]
