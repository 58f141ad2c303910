"""A meter that ends the stream of a real producer, in whatever state that is.

Strategy: two scripted providers, a memory log and simulated time, as in the tests of the course.
The limit is passed by this stream or by another one of its account, at a moment that the test
chooses. Each time the log holds one gapless stream with one terminal event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.unit.metering.counting import Clock, made, used
from tests.unit.producing import scripted
from tests.unit.producing.answering import LIMITS
from tests.unit.producing.staged import TEXT, WANTED, Stage, broken, proved, stage, whole

from holdfast import answer, errors, events
from holdfast.metering import account, meter, prices
from holdfast.producing import course, fallback, producer, tally
from holdfast.providers import registry
from holdfast.testing import simulated

Play = Callable[[scripted.Exchange], None]


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits longer than he must."""
    monkeypatch.setattr("holdfast.producing.course.random.random", lambda: 0.0)


def limited(most: int = 100) -> account.Account:
    return made(Clock(), tokens_per_minute=most)


class Metered:
    """A stream of this account on a stage, from its begin to what the log holds of it."""

    def __init__(self, on: Stage, one: account.Account, asked: int = 10) -> None:
        self.on, self.one = on, one
        self.meter = meter.Meter([one], prices.Prices(), asked)
        self.meter.call("a", "m")

    async def begin(self, **policy: object) -> None:
        on = self.on
        self.stream, life = await on.log.begin()
        targets = (registry.Target(on.a, "m"), registry.Target(on.b, "n"))
        route = course.Route(targets, "a/m", fallback.Policy(**policy), "⏵")  # type: ignore[arg-type]
        first = course.Call(0, scripted.CALL)
        work = producer.Work(self.stream, life, WANTED, first, tally.Tally(), route, 0, self.meter)
        self.producer = scripted.producing(work, LIMITS, on.ticker, on.log)
        self.task = asyncio.create_task(self.producer.run())

    async def end(self) -> answer.Answer:
        await self.task
        before = self.one.streams
        self.meter.close()
        assert (self.one.streams, len(self.one.stops)) == (before - 1, before - 1)
        folded = answer.Answer()
        for event in await self.on.log.events(self.stream):
            folded.add(event)
        return folded


def cut(found: answer.Answer, text: str) -> None:
    """It has ended at the limit, with this text."""
    assert found.complete is None
    assert found.error is not None
    assert (found.error.code, found.error.retryable) == ("token_limit", True)
    assert found.choice().content == text


def says(*bodies: events.Body) -> Play:
    """An answer that says this and goes on for ever."""

    def play(exchange: scripted.Exchange) -> None:
        exchange.head()
        for body in bodies:
            exchange.say(body)

    return play


def words(count: int) -> list[events.Body]:
    return [scripted.content("word ")] * count


@pytest.mark.case("4.17")
@simulated.timed
async def test_by_its_own_words() -> None:
    async with stage() as on:
        one = limited()
        on.a.plays = [says(*words(1000))]
        stream = Metered(on, one)
        await stream.begin()
        cut(await stream.end(), "word " * 90)
        assert used(one) == 100
        assert len(on.a.asked) == 1
        assert on.a.exchange.aborted


@simulated.timed
async def test_by_one_read_that_is_whole_in_the_log_before_what_is_told_of_it() -> None:
    """What the provider has told by then comes behind what it has said by then."""
    async with stage() as on:
        one = limited()

        def play(exchange: scripted.Exchange) -> None:
            exchange.head()
            exchange.translator.known = [events.Usage(11, 500, 511)]
            exchange.say(*words(200))

        on.a.plays = [play]
        stream = Metered(on, one)
        await stream.begin()
        cut(await stream.end(), "word " * 200)
        kinds = [type(body).__name__ for body in await on.log.bodies(stream.stream)]
        assert kinds[-2:] == ["Usage", "Error"]
        assert used(one) == 511


@simulated.timed
async def test_before_it_has_begun() -> None:
    async with stage() as on:
        one = limited()
        stream = Metered(on, one)
        one.use(90, 0)
        await stream.begin()
        cut(await stream.end(), "")
        assert on.a.asked == []


@simulated.timed
async def test_before_its_producer_was_let_run() -> None:
    async with stage() as on:
        one = limited()
        stream = Metered(on, one)
        await stream.begin()
        one.use(90, 0)
        cut(await stream.end(), "")
        assert on.a.asked == []


@simulated.timed
async def test_while_its_call_opens() -> None:
    async with stage() as on:
        one = limited()
        on.a.gate = asyncio.Event()
        on.a.plays = [lambda exchange: None]
        stream = Metered(on, one)
        await stream.begin()
        await simulated.idle()
        assert len(on.a.asked) == 1
        one.use(90, 0)
        cut(await stream.end(), "")
        assert on.a.interrupted == 1


@simulated.timed
async def test_while_it_waits_to_ask_again() -> None:
    async with stage() as on:
        one = limited()
        on.a.plays = [broken(), whole(TEXT)]
        stream = Metered(on, one)
        await stream.begin(attempts=3)
        await simulated.idle()
        assert len(on.a.asked) == 1
        one.use(90, 0)
        begun = simulated.now()
        cut(await stream.end(), "")
        assert simulated.now() == begun
        assert (len(on.a.asked), on.b.asked) == (1, [])


@simulated.timed
async def test_by_the_prompt_of_its_next_call() -> None:
    """That call is not made."""
    async with stage() as on:
        one = limited(25)
        on.a.plays = [broken()]
        stream = Metered(on, one)
        await stream.begin(attempts=5)
        found = await stream.end()
        assert used(one) == 30
        cut(found, "")
        assert len(on.a.asked) == 2
        assert [attempt.number for attempt in found.attempts] == [1, 2]


@simulated.timed
async def test_while_the_log_is_away() -> None:
    async with stage() as on:
        one = limited()
        on.a.plays = [says(*words(5))]
        on.log.script.extend([scripted.AWAY] * 3)
        stream = Metered(on, one)
        await stream.begin()
        await simulated.idle()
        one.use(90, 0)
        cut(await stream.end(), "word " * 5)


@simulated.timed
async def test_while_its_last_events_are_on_their_way() -> None:
    """It is whole, and stays so."""
    async with stage() as on:
        one, gate = limited(), asyncio.Event()
        on.a.plays = [whole(TEXT)]
        stream = Metered(on, one)
        await stream.begin()
        await simulated.idle()
        on.log.script.append(gate)
        one.use(500, 0)
        await simulated.idle()
        gate.set()
        proved(await stream.end(), TEXT)


@simulated.timed
async def test_after_every_choice_has_finished() -> None:
    """The usage that it waits for is more than there is."""
    async with stage() as on:
        one = limited()

        def play(exchange: scripted.Exchange) -> None:
            exchange.head()
            exchange.say(*words(5), scripted.stop(), finished=True)

        on.a.plays = [play]
        stream = Metered(on, one)
        await stream.begin()
        await simulated.idle()
        one.use(500, 0)
        on.a.exchange.say(events.Usage(5, 5000, 5005), done=True)
        proved(await stream.end(), "word " * 5)
        assert used(one) == 5505


@simulated.timed
async def test_when_it_was_cancelled_before() -> None:
    """The first word holds."""
    async with stage() as on:
        one = limited()
        on.a.plays = [says(*words(5))]
        stream = Metered(on, one)
        await stream.begin()
        await simulated.idle()
        stream.producer.stop(errors.Cancelled())
        one.use(90, 0)
        found = await stream.end()
        assert found.error is not None
        assert found.error.code == "cancelled"


@simulated.timed
async def test_a_crowd_whose_providers_tell_their_usage_as_they_are_cut() -> None:
    """Ending one is told of more use, which ends the others, each once."""
    async with stage() as on:
        one = limited(100_000)

        def play(exchange: scripted.Exchange) -> None:
            exchange.head()
            exchange.say(*words(2))
            exchange.translator.known = [events.Usage(10, 90, 100)]

        on.a.plays = [play]
        streams = [Metered(on, one) for _ in range(600)]
        for stream in streams:
            await stream.begin()
        await simulated.idle()
        one.use(100_000, 0)
        for stream in streams:
            cut(await stream.end(), "word " * 2)
        assert used(one) == 100_000 + 600 * 100


@simulated.timed
async def test_a_reserve_that_is_asked_is_charged_for_itself_alone() -> None:
    async with stage() as on:
        one = limited(1000)
        on.a.plays, on.b.plays = [broken(scripted.content("The h"))], [whole(TEXT)]
        stream = Metered(on, one)
        await stream.begin(attempts=1, mode="restart")
        proved(await stream.end(), TEXT)
        assert used(one) == 10 + 1 + 7
