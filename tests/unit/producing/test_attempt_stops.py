"""An attempt's deadlines, and how it is stopped and paused.

Strategy: the deadlines are a pure table; the rest is played on simulated time, as in
`test_attempt`.
"""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs
from tests.unit.producing import scripted
from tests.unit.producing.calls import CUT, HELLO, STREAM, Call

from holdfast import errors, events
from holdfast.producing import attempt
from holdfast.testing import simulated

# The deadlines

LATE = attempt.Deadlines(first_byte=10.0, first_content=20.0, between_contents=30.0, total=100.0)


@pytest.mark.parametrize(
    ("marks", "now", "late"),
    [
        (attempt.Marks(0.0), 10.0, None),
        (attempt.Marks(0.0), 10.1, "no byte for 10 s"),
        (attempt.Marks(5.0), 15.0, None),
        (attempt.Marks(5.0), 15.1, "no byte for 10 s"),
        (attempt.Marks(0.0, first_byte=9.0), 20.0, None),
        (attempt.Marks(0.0, first_byte=9.0), 20.1, "nothing of the answer for 20 s"),
        (attempt.Marks(0.0, 9.0, content=15.0), 45.0, None),
        (attempt.Marks(0.0, 9.0, content=15.0), 45.1, "silent for 30 s"),
        (attempt.Marks(0.0, 9.0, content=99.0), 100.0, None),
        (attempt.Marks(0.0, 9.0, content=99.0), 100.1, "over 100 s in all"),
        (attempt.Marks(0.0), 100.1, "over 100 s in all"),
    ],
)
def test_overdue(marks: attempt.Marks, now: float, late: str | None) -> None:
    told = attempt.overdue(marks, LATE, now)
    assert told is None if late is None else late in (told or "")


# Deadlines under way


@simulated.timed
async def test_no_byte_in_time_ends_it() -> None:
    call = Call()
    exchange = await call.begin()
    await call.sweep(10.0)
    assert call.running
    await call.sweep(0.5)
    assert await call.failure() == (
        errors.ProviderTimeout,
        "The provider sent no byte for 10 s.",
    )
    assert exchange.aborted


@simulated.timed
async def test_the_deadline_holds_while_the_call_is_opened() -> None:
    provider = scripted.Provider()
    provider.gate = asyncio.Event()
    call = Call(provider)
    await call.begin()
    await call.sweep(10.5)
    assert await call.failure() == (
        errors.ProviderTimeout,
        "The provider sent no byte for 10 s.",
    )
    assert provider.interrupted == 1


@simulated.timed
async def test_pings_are_no_content() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    for _ in range(4):
        await call.sweep(5.0)
        exchange.say()
    assert call.running
    await call.sweep(0.5)
    assert (await call.failure())[1].startswith("The provider sent nothing of the answer")
    assert call.said == []


@simulated.timed
async def test_each_content_gives_it_more_time() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    for _ in range(3):
        await call.sweep(19.0)
        exchange.say(HELLO)
    await call.sweep(30.0)
    assert call.running
    await call.sweep(0.5)
    assert (await call.failure())[1].startswith("The provider fell silent for 30 s")


@simulated.timed
async def test_an_answer_has_its_time_in_all() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    for _ in range(10):
        exchange.say(HELLO)
        await call.sweep(10.0)
    assert call.running
    exchange.say(HELLO)
    await call.sweep(0.5)
    assert (await call.failure())[1] == "The answer took over 100 s in all."


@simulated.timed
async def test_a_finished_answer_has_no_deadline_but_the_last() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    await call.sweep(20.0)
    exchange.say(HELLO)
    for _ in range(3):
        await call.sweep(26.0)
        exchange.say(HELLO)
    exchange.say(scripted.stop(), finished=True)
    await call.sweep(2.0)  # 100 s in all have passed
    assert call.running
    await call.sweep(0.25)
    assert await call.outcome() is None


@simulated.timed
async def test_a_sweep_after_the_end_is_nothing() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO, done=True)
    assert await call.outcome() is None
    await call.sweep(1000.0)
    assert await call.outcome() is None
    assert (exchange.released, exchange.aborted) == (2, 0)  # at the marker, and at the end


# Stopping

STOPPED = errors.Cancelled()


@simulated.timed
async def test_stopped_before_it_began_it_makes_no_call() -> None:
    call = Call()
    call.attempt.stop(STOPPED)
    assert await call.attempt.run() is STOPPED
    assert call.provider.opened == 0


@simulated.timed
async def test_stopped_while_opening_it_gives_the_call_up() -> None:
    provider = scripted.Provider()
    provider.gate = asyncio.Event()
    call = Call(provider)
    await call.begin()
    call.attempt.stop(STOPPED)
    call.attempt.stop(errors.LogLost())
    assert await call.outcome() is STOPPED
    assert (provider.opened, provider.interrupted) == (1, 1)


@simulated.timed
async def test_stopped_just_as_the_call_opened_it_ends_the_call() -> None:
    provider = scripted.Provider()
    provider.gate = asyncio.Event()
    call = Call(provider)
    exchange = await call.begin()
    provider.gate.set()
    call.attempt.stop(STOPPED)
    assert await call.outcome() is STOPPED
    assert provider.interrupted + exchange.aborted == 1


@simulated.timed
async def test_stopped_in_mid_answer_it_ends_the_call_at_once() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO)
    exchange.translator.known = [events.Usage(700, 1, 701)]
    call.attempt.stop(STOPPED)
    assert exchange.aborted == 1
    assert await call.outcome() is STOPPED
    assert call.said == [[HELLO], [events.Usage(700, 1, 701)]]  # it is paid for all the same


@simulated.timed
async def test_a_bug_that_a_stop_meets_is_told_and_hurts_nobody_else() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.translator.cut = lambda: {}["a bug"]  # type: ignore[method-assign,index]
    with capture_logs() as logs:
        call.attempt.stop(STOPPED)
    assert await call.outcome() is STOPPED
    told = [(line["event"], line["stream"]) for line in logs]
    assert told == [("translator_failed", STREAM)]


@simulated.timed
async def test_stopped_after_its_end_it_stays_as_it_ended() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO, done=True)
    call.attempt.stop(STOPPED)
    assert await call.outcome() is None
    call.attempt.stop(STOPPED)
    assert await call.outcome() is None


@simulated.timed
async def test_stopped_after_the_call_could_not_be_opened_it_stays_so() -> None:
    provider = scripted.Provider()
    provider.fault = errors.Unreachable("refused")
    call = Call(provider)
    await call.begin()
    call.attempt.stop(STOPPED)
    assert await call.failure() == (errors.ProviderUnreachable, "refused")


@simulated.timed
async def test_a_cancelled_run_ends_the_call() -> None:
    call = Call()
    exchange = await call.begin()
    assert call.task is not None
    call.task.cancel()
    await asyncio.gather(call.task, return_exceptions=True)
    assert call.task.cancelled()
    assert exchange.aborted == 1


@simulated.timed
async def test_a_run_cancelled_while_opening_is_cancelled() -> None:
    provider = scripted.Provider()
    provider.gate = asyncio.Event()
    call = Call(provider)
    await call.begin()
    assert call.task is not None
    call.task.cancel()
    await asyncio.gather(call.task, return_exceptions=True)
    assert call.task.cancelled()
    call.attempt.stop(STOPPED)  # and nothing is left to interrupt


@simulated.timed
async def test_a_call_that_took_too_long_by_its_own_clock_timed_out() -> None:
    provider = scripted.Provider()
    provider.fault = TimeoutError()
    call = Call(provider)
    await call.begin()
    assert (await call.failure())[0] is errors.ProviderTimeout


@simulated.timed
async def test_a_bug_in_a_provider_comes_out() -> None:
    provider = scripted.Provider()
    provider.fault = KeyError("x")
    with pytest.raises(KeyError):
        await Call(provider).attempt.run()


# Before `open` has returned


@simulated.timed
async def test_an_answer_may_be_whole_before_the_call_is_open() -> None:
    provider = scripted.Provider()

    def at_once(exchange: scripted.Exchange) -> None:
        exchange.head()
        exchange.say(HELLO, done=True)

    provider.at_once = at_once
    call = Call(provider)
    exchange = await call.begin()
    assert await call.outcome() is None
    assert (call.said, exchange.released, exchange.aborted) == ([[HELLO]], 1, 0)


@simulated.timed
async def test_before_the_call_is_open_there_is_nothing_to_pause() -> None:
    provider = scripted.Provider()
    provider.gate = asyncio.Event()
    call = Call(provider)
    exchange = await call.begin()
    call.attempt.pause()
    call.attempt.resume()
    assert not exchange.paused
    await call.sweep(10.5)
    assert (await call.failure())[0] is errors.ProviderTimeout


# After the outcome


@simulated.timed
async def test_nothing_is_said_after_the_outcome() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO, done=True)
    exchange.say(scripted.content("more"), error=errors.ProviderFailed())
    exchange.translator.held = [scripted.content("held")]
    exchange.end()
    exchange.end(CUT)
    assert await call.outcome() is None
    assert call.said == [[HELLO]]
    assert exchange.translator.fed == [b"data"]


@simulated.timed
async def test_a_refusal_is_refused_once() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head(500)
    exchange.end()
    exchange.end()
    await call.outcome()
    assert len(call.provider.refusals) == 1


# Pausing


@simulated.timed
async def test_content_deadlines_stand_still_while_it_is_paused() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO)
    await call.sweep(20.0)
    call.attempt.pause()
    assert exchange.paused
    await call.sweep(30.0)
    call.attempt.pause()
    await call.sweep(20.0)
    assert call.running
    call.attempt.resume()
    call.attempt.resume()
    assert not exchange.paused
    await call.sweep(10.0)
    assert call.running
    await call.sweep(0.5)
    assert (await call.failure())[1].startswith("The provider fell silent for 30 s")


@simulated.timed
async def test_the_time_in_all_goes_on_while_it_is_paused() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO)
    call.attempt.pause()
    await call.sweep(101.0)
    assert call.running
    call.attempt.resume()
    await call.sweep(0.0)
    assert (await call.failure())[1] == "The answer took over 100 s in all."


@simulated.timed
async def test_the_last_two_seconds_stand_still_while_it_is_paused() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO, scripted.stop(), finished=True)
    await call.sweep(1.0)
    call.attempt.pause()
    await call.sweep(50.0)
    assert call.running
    call.attempt.resume()
    await call.sweep(1.0)
    assert call.running
    exchange.say(events.Usage(1, 2, 3))
    await call.sweep(0.25)
    assert await call.outcome() is None
    assert call.said[1:] == [[events.Usage(1, 2, 3)]]


@simulated.timed
async def test_a_pause_before_any_content_moves_nothing() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    call.attempt.pause()
    await call.sweep(15.0)
    call.attempt.resume()
    assert call.attempt.marks.content is None
    await call.sweep(5.5)
    assert (await call.failure())[1].startswith("The provider sent nothing of the answer")


@simulated.timed
async def test_an_answer_without_end_is_ended() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    read = b"x" * (1 << 26)
    for _ in range(attempt.MAX_BODY // len(read)):
        exchange.sink.body(read)
    await simulated.idle()
    assert call.running
    exchange.sink.body(b"x")
    assert await call.failure() == (
        errors.ProviderMalformed,
        f"The provider sent over {attempt.MAX_BODY} bytes.",
    )
    assert exchange.aborted


@simulated.timed
async def test_what_is_gathered_to_be_told_later_is_a_sign_of_life() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO)
    for _ in range(3):
        await call.sweep(scripted.DEADLINES.between_contents * 0.9)
        assert call.running
        exchange.translator.gathered += 1
        exchange.say()
    await call.sweep(scripted.DEADLINES.between_contents + 1)
    assert (await call.failure())[0] is errors.ProviderTimeout


@simulated.timed
async def test_a_finish_that_is_taken_back_has_its_deadlines_again() -> None:
    call = Call()
    exchange = await call.begin()
    exchange.head()
    exchange.say(HELLO, scripted.stop(), finished=True)
    await call.sweep(attempt.LINGER * 0.9)
    exchange.translator.finished = False
    exchange.say(HELLO)
    await call.sweep(attempt.LINGER * 2)
    assert call.running
    exchange.say(done=True)
    assert await call.outcome() is None
