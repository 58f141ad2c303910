"""The producer: what it writes, what it counts, and how a stream ends.

Strategy: `answering` plays one stream and checks what holds on every path; the numbers of
`complete` are compared with those counted over the log's own events.
"""

from __future__ import annotations

import asyncio
import hashlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.producing import scripted
from tests.unit.producing.answering import LIMITS, answering

from holdfast import answer, errors, events, request
from holdfast.producing import course, producer, tally
from holdfast.testing import simulated

TWO = msgspec.structs.replace(scripted.WANTED, n=2)


def proof(text: str) -> tuple[int, str]:
    return len(text.encode()), hashlib.sha256(text.encode()).hexdigest()


# A whole answer


@simulated.timed
async def test_an_answer_is_written_and_counted() -> None:
    async with answering() as play:
        exchange = await play.open()
        exchange.say(events.Chunk("reasoning", "Hm."))
        await asyncio.sleep(1.0)
        exchange.say(scripted.content("The "), scripted.content("sea "))
        await asyncio.sleep(1.0)
        exchange.say(scripted.content("é🌊"))
        exchange.say(events.Finish(0, "length", "max_tokens"), finished=True)
        exchange.say(events.Usage(3, 4, 7), done=True)
        length, sha256 = proof("The sea é🌊")
        complete = events.Complete(
            finish_reason="length",
            provider_finish_reason="max_tokens",
            usage=events.Tokens(3, 4, 7),
            chunks=3,
            bytes=3 + length,
            length=length,
            sha256=sha256,
            duration_ms=2000,
            attempts=1,
            exact=True,
        )
        assert await play.terminal() == complete
        assert await play.bodies() == [
            events.Chunk("reasoning", "Hm."),
            scripted.content("The sea "),
            scripted.content("é🌊"),
            events.Finish(0, "length", "max_tokens"),
            events.Usage(3, 4, 7),
            complete,
        ]
        assert exchange.released


@simulated.timed
async def test_what_one_read_says_is_one_tick() -> None:
    async with answering() as play:
        exchange = await play.open()
        exchange.say(scripted.content("a"), scripted.stop(), finished=True, done=True)
        await play.terminal()
        assert [len(tick[0].drafts) for tick in play.log.ticks] in ([3], [2, 1])
        assert [tick[0].epoch for tick in play.log.ticks] == [play.life.epoch] * len(play.log.ticks)


@simulated.timed
async def test_an_answer_of_nothing_is_an_answer() -> None:
    async with answering() as play:
        exchange = await play.open()
        exchange.say(done=True)
        complete = await play.terminal()
        assert isinstance(complete, events.Complete)
        assert (complete.finish_reason, complete.provider_finish_reason) == ("other", None)
        assert (complete.chunks, complete.bytes, complete.usage) == (0, 0, None)
        assert (complete.length, complete.sha256) == proof("")
        assert complete.choices is None


@simulated.timed
async def test_each_choice_is_counted_for_itself() -> None:
    async with answering(TWO) as play:
        exchange = await play.open()
        exchange.say(scripted.content("The "), scripted.content("Le ", 1))
        exchange.say(scripted.content("sea"), events.Finish(1, "length", "max"))
        exchange.say(scripted.content("mer", 1), scripted.stop(), done=True)
        complete = await play.terminal()
        assert isinstance(complete, events.Complete)
        assert (complete.length, complete.sha256) == proof("The sea")
        assert complete.finish_reason == "stop"
        assert complete.bytes == len("The seaLe mer")
        assert complete.choices == (
            events.ChoiceEnd(0, "stop", *proof("The sea")),
            events.ChoiceEnd(1, "length", *proof("Le mer")),
        )


@simulated.timed
async def test_a_choice_that_said_nothing_is_counted_too() -> None:
    async with answering(TWO) as play:
        exchange = await play.open()
        exchange.say(scripted.content("a"), scripted.stop(), done=True)
        complete = await play.terminal()
        assert isinstance(complete, events.Complete)
        assert complete.choices == (
            events.ChoiceEnd(0, "stop", *proof("a")),
            events.ChoiceEnd(1, "other", *proof("")),
        )


words = st.lists(
    st.tuples(
        st.sampled_from(["content", "reasoning", "refusal", "tool_call"]),
        st.text(st.sampled_from("aé🌊"), max_size=5),
        st.integers(0, 1),
        st.booleans(),
    ),
    max_size=15,
)


@settings(max_examples=60)
@given(words, st.integers(1, 30))
def test_the_log_proves_what_complete_says(
    said: list[tuple[events.ChunkType, str, int, bool]], buffer_size: int
) -> None:
    async def play_it() -> None:
        limits = msgspec.structs.replace(LIMITS, buffer_size=buffer_size)
        async with answering(TWO, limits, busy=1.0) as play:
            exchange = await play.open()
            for kind, delta, choice, pause in said:
                exchange.say(events.Chunk(kind, delta, choice))
                await asyncio.sleep(0.2 * pause)
            exchange.say(done=True)
            await asyncio.sleep(0.2)
            complete = await play.terminal()
            assert isinstance(complete, events.Complete)
            folded = answer.Answer()
            chunks = []
            for event in await play.log.events(play.stream):
                folded.add(event)
                if isinstance(event.body, events.Chunk):
                    chunks.append(event.body.delta)
            assert (complete.chunks, folded.chunks) == (len(chunks), len(chunks))
            assert complete.bytes == sum(len(delta.encode()) for delta in chunks)
            assert complete.choices is not None
            for end in complete.choices:
                expected = "".join(d for k, d, c, _ in said if (k, c) == ("content", end.choice))
                assert folded.choice(end.choice).content == expected
                assert (end.length, end.sha256) == proof(expected)

    simulated.run(play_it())


# A failed attempt


@simulated.timed
async def test_a_failed_attempt_is_told_and_then_the_error() -> None:
    async with answering() as play:
        exchange = await play.open()
        exchange.say(scripted.content("The"))
        await asyncio.sleep(1.5)
        exchange.say(error=errors.ProviderOverloaded("groq: busy"))
        error = events.Error("provider_overloaded", "groq: busy", True)
        assert await play.terminal() == error
        assert await play.bodies() == [
            scripted.content("The"),
            events.Attempt(1, "scripted", "m", "provider_overloaded", "groq: busy", 1500),
            error,
        ]


@simulated.timed
async def test_a_call_that_could_not_be_opened_is_told_too() -> None:
    async with answering() as play:
        play.provider.fault = errors.Unreachable("refused")
        await play.run()
        error = events.Error("provider_unreachable", "refused", True)
        assert await play.terminal() == error
        attempt = events.Attempt(1, "scripted", "m", "provider_unreachable", "refused")
        assert await play.bodies() == [attempt, error]


@simulated.timed
async def test_a_deadline_ends_the_stream() -> None:
    async with answering() as play:
        play.producer.sweep(simulated.now())  # there is no attempt yet
        await play.open()
        await asyncio.sleep(20.5)
        play.producer.sweep(simulated.now())
        terminal = await play.terminal()
        assert isinstance(terminal, events.Error)
        assert terminal.code == "provider_timeout"


@simulated.timed
async def test_a_bug_in_a_provider_ends_the_stream_and_comes_out() -> None:
    async with answering() as play:
        play.provider.fault = KeyError("x")
        gate = asyncio.Event()
        play.log.script.append(gate)
        await play.run()
        assert not play.task.done()
        gate.set()
        with pytest.raises(KeyError):
            await play.terminal()
        assert await play.bodies() == [
            events.Error("internal", "Something went wrong in Holdfast.", False)
        ]


# Stopping

CANCELLED = events.Error("cancelled", "The stream was cancelled.", False)


@simulated.timed
async def test_cancelled_before_it_runs_it_makes_no_call() -> None:
    async with answering() as play:
        play.producer.stop(errors.Cancelled())
        terminal = await play.producer.run()
        assert terminal == CANCELLED
        assert play.provider.opened == 0
        assert await play.bodies() == [CANCELLED]


@simulated.timed
async def test_cancelled_while_opening_it_gives_the_call_up() -> None:
    async with answering() as play:
        play.provider.gate = asyncio.Event()
        await play.run()
        play.producer.stop(errors.Cancelled())
        assert await play.terminal() == CANCELLED
        assert await play.bodies() == [CANCELLED]
        assert play.provider.interrupted == 1


@simulated.timed
async def test_cancelled_in_mid_answer_it_keeps_what_was_said() -> None:
    async with answering() as play:
        exchange = await play.open()
        exchange.say(scripted.content("The"))
        play.producer.stop(errors.Cancelled())
        exchange.say(scripted.content("sea"))
        assert await play.terminal() == CANCELLED
        assert await play.bodies() == [scripted.content("The"), CANCELLED]
        assert exchange.aborted


@simulated.timed
async def test_cancelled_after_the_finish_it_is_cancelled() -> None:
    async with answering() as play:
        exchange = await play.open()
        exchange.say(scripted.content("The"), scripted.stop(), finished=True)
        await simulated.idle()
        play.producer.stop(errors.Cancelled())
        assert await play.terminal() == CANCELLED


@simulated.timed
async def test_cancelled_after_the_end_marker_it_is_complete() -> None:
    async with answering() as play:
        exchange = await play.open()
        exchange.say(scripted.content("The"), done=True)
        play.producer.stop(errors.Cancelled())
        assert isinstance(await play.terminal(), events.Complete)
        play.producer.stop(errors.Cancelled())
        await simulated.idle()
        assert len(await play.bodies()) == 2


@simulated.timed
async def test_cancelled_while_its_end_is_written_it_is_complete() -> None:
    async with answering() as play:
        exchange = await play.open()
        gate = asyncio.Event()
        play.log.script.append(gate)
        exchange.say(done=True)
        await simulated.idle()
        play.producer.stop(errors.Cancelled())
        gate.set()
        assert isinstance(await play.terminal(), events.Complete)


@pytest.mark.parametrize("runs", [False, True])
@simulated.timed
async def test_the_first_stop_counts(runs: bool) -> None:
    async with answering() as play:
        if runs:
            await play.open()
        play.producer.stop(errors.Cancelled())
        play.producer.stop(errors.LogLost())
        if not runs:
            play.task = asyncio.create_task(play.producer.run())
        assert await play.terminal() == CANCELLED


@simulated.timed
async def test_a_cancel_that_comes_with_a_verdict_ends_it() -> None:
    async with answering() as play:
        exchange = await play.open()
        assert await play.log.request_cancel(play.stream)
        exchange.say(scripted.content("The"))
        assert await play.terminal() == CANCELLED
        assert await play.bodies() == [scripted.content("The"), CANCELLED]


@simulated.timed
async def test_a_cancel_that_comes_with_the_last_verdict_is_too_late() -> None:
    async with answering() as play:
        exchange = await play.open()
        assert await play.log.request_cancel(play.stream)
        exchange.say(done=True)
        assert isinstance(await play.terminal(), events.Complete)


# Numbers


def test_the_buffer_is_urgent_before_it_is_full() -> None:
    assert producer.URGENT_SHARE == 0.8


@pytest.mark.parametrize("finished", [False, True])
@simulated.timed
async def test_the_position_of_a_life_goes_on(finished: bool) -> None:
    """A producer of a later life writes behind what is there."""
    async with answering() as play:
        life = await play.log.claim(play.stream, 5)
        assert life is not None
        first, route = course.Call(0, scripted.CALL), scripted.route(play.provider)
        wanted = request.Request("m", [])
        work = producer.Work(play.stream, life, wanted, first, tally.Tally(), route)
        play.producer = scripted.producing(work, LIMITS, play.ticker, play.log)
        exchange = await play.open()
        exchange.say(scripted.content("a"), finished=finished, done=True)
        await play.terminal()
        found = await play.log.events(play.stream)
        assert [event.epoch for event in found] == [play.life.epoch] + [life.epoch] * 3
