"""The calls of a stream whose providers fail: whom they go to, when, and what readers are told.

Strategy: two providers that play a script, one answer for each call, and write down when and what
they were asked; a producer on a memory log, in simulated time. What each test looks at is the
stream's events, as a reader would fold them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
import pytest
from tests.unit.producing import scripted
from tests.unit.producing.answering import LIMITS

from holdfast import answer, errors, events, request, transport
from holdfast.producing import breaker, course, fallback, producer, tally, ticker
from holdfast.providers import registry
from holdfast.testing import simulated

Play = Callable[[scripted.Exchange], None]
WANTED = request.Request("m", [request.Message("user", "Say it.")], max_tokens=1000)
TEXT = "The holdfast grips the rock, and the kelp grows twenty metres toward the light."


def whole(text: str, *more: events.Body) -> Play:
    """An answer with this text and a clean end."""

    def play(exchange: scripted.Exchange) -> None:
        exchange.head()
        for piece in (text[:5], text[5:]):
            if piece:
                exchange.say(scripted.content(piece))
        exchange.say(*more, scripted.stop(), finished=True)
        exchange.say(events.Usage(3, 4, 7), done=True)

    return play


def broken(*bodies: events.Body, error: errors.ProviderError | None = None) -> Play:
    """An answer that says this and fails."""

    def play(exchange: scripted.Exchange) -> None:
        exchange.head()
        for body in bodies:
            exchange.say(body)
        exchange.say(error=error or errors.ProviderOverloaded())

    return play


class Provider(scripted.Provider):
    """Plays `plays` in turn, the last one again and again."""

    def __init__(self, name: str, prefill: bool, now: Callable[[], float]) -> None:
        super().__init__()
        self.name, self._prefill, self._now = name, prefill, now
        self.plays: list[Play] = []
        self.asked: list[tuple[float, request.Request]] = []
        self._wanted = WANTED

    def prepare(self, wanted: request.Request, model: str) -> transport.Request:
        self._wanted = wanted
        return scripted.CALL

    def prefills(self, model: str) -> bool:
        return self._prefill

    async def open(self, call: transport.Request, sink: transport.Sink) -> scripted.Exchange:
        self.asked.append((self._now(), self._wanted))
        self.at_once = self.plays[min(len(self.asked), len(self.plays)) - 1]
        return await super().open(call, sink)


class Stage:
    """Two providers, `a` and `b`, and a log."""

    def __init__(self, prefill: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.log = scripted.Log()
        self.a, self.b = (Provider(name, prefill, loop.time) for name in "ab")
        self.begun = loop.time()
        load = ticker.Load(lambda: 0.0, lambda: 0.0)
        self.ticker = ticker.Ticker(self.log, flush_interval=0.1, patience=30.0, load=load)

    async def run(
        self,
        wanted: request.Request = WANTED,
        guards: breaker.Breakers | None = None,
        **policy: Any,
    ) -> answer.Answer:
        """The whole stream, folded."""
        stream, life = await self.log.begin()
        self.stream = stream
        targets = (registry.Target(self.a, "m"), registry.Target(self.b, "n"))
        route = course.Route(targets, "a/m", fallback.Policy(**policy), "⏵")
        work = producer.Work(
            stream, life, wanted, course.Call(0, scripted.CALL), tally.Tally(), route
        )
        written = scripted.producing(work, LIMITS, self.ticker, self.log, guards=guards)
        self.producer = written
        await written.run()
        folded = answer.Answer()
        for event in await self.log.events(stream):
            folded.add(event)
        return folded

    async def kinds(self) -> list[str]:
        found = await self.log.bodies(self.stream)
        return [type(body).__name__ for body in found][1:]

    @property
    def times(self) -> list[tuple[str, float]]:
        """Who was called, and how long after the begin."""
        calls = [(at - self.begun, each.name) for each in (self.a, self.b) for at, _ in each.asked]
        return [(name, round(at, 3)) for at, name in sorted(calls)]


@contextlib.asynccontextmanager
async def stage(prefill: bool = False) -> AsyncGenerator[Stage, None]:
    made = Stage(prefill)
    ticking = asyncio.create_task(made.ticker.run())
    try:
        yield made
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits longer than he must."""
    monkeypatch.setattr("holdfast.producing.course.random.random", lambda: 0.0)


def proved(found: answer.Answer, text: str) -> None:
    """It is complete with exactly this text, and says so."""
    assert found.complete is not None, found.error
    assert found.choice().content == text
    assert found.complete.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert found.complete.attempts == len(found.attempts) + 1


# Before anything is written


@pytest.mark.case("2.26")
@simulated.timed
async def test_a_target_is_asked_three_times_and_then_the_next_one() -> None:
    async with stage() as on:
        on.a.plays, on.b.plays = [broken()], [whole(TEXT)]
        found = await on.run()
        proved(found, TEXT)
        assert on.times == [("a", 0.0), ("a", 1.0), ("a", 3.0), ("b", 3.0)]
        assert found.fallbacks == [events.Fallback("a/m", "b/n", "provider_overloaded", True, 0, 0)]
        assert [(one.number, one.provider, one.error) for one in found.attempts] == [
            (number, "a", "provider_overloaded") for number in (1, 2, 3)
        ]


@simulated.timed
async def test_one_that_recovers_is_stayed_with() -> None:
    async with stage() as on:
        on.a.plays = [broken(), whole(TEXT)]
        found = await on.run()
        proved(found, TEXT)
        assert (on.times, found.fallbacks) == ([("a", 0.0), ("a", 1.0)], [])


@pytest.mark.case("2.6")
@simulated.timed
async def test_all_that_fail_end_the_stream_with_the_last_error() -> None:
    async with stage() as on:
        on.a.plays, on.b.plays = [broken()], [broken(error=errors.ProviderAuth())]
        found = await on.run()
        assert found.error == events.failure(errors.ProviderAuth())
        assert [name for name, _ in on.times] == ["a", "a", "a", "b"]


@simulated.timed
async def test_what_a_provider_cannot_take_the_next_one_may() -> None:
    async with stage() as on:

        def refuse(wanted: request.Request, model: str) -> transport.Request:
            raise errors.MissingKey

        on.a.plays = [broken(error=errors.ProviderAuth())]
        on.b.prepare = refuse  # type: ignore[method-assign]
        found = await on.run()
        assert found.error == events.failure(errors.MissingKey())
        assert on.times == [("a", 0.0)]


@simulated.timed
async def test_a_cancel_ends_the_wait() -> None:
    async with stage() as on:
        on.a.plays = [broken(error=errors.ProviderRateLimited(retry_after=20))]
        running = asyncio.create_task(on.run())
        await asyncio.sleep(5.0)
        on.producer.stop(errors.Cancelled())
        await simulated.idle()
        assert (await running).error == events.failure(errors.Cancelled())
        assert len(on.a.asked) == 1


# In mid-answer


@pytest.mark.case("1.7")
@pytest.mark.parametrize("repeated", [0, 10, 23, 24, 30, 41])
@simulated.timed
async def test_the_next_one_goes_on_where_it_broke_off(repeated: int) -> None:
    async with stage() as on:
        at = 41
        cut = broken(scripted.content(TEXT[:at]), error=errors.ProviderAuth())
        on.a.plays, on.b.plays = [cut], [whole(TEXT[at - repeated :])]
        found = await on.run()
        doubled = TEXT[at - repeated : at] if repeated < 24 else ""
        proved(found, TEXT[:at] + doubled + TEXT[at:])
        trimmed = repeated if repeated >= 24 else 0
        assert found.fallbacks == [
            events.Fallback("a/m", "b/n", "provider_auth", trimmed > 0, trimmed, at)
        ]
        assert found.complete is not None
        assert found.complete.exact is (trimmed > 0)
        kinds = await on.kinds()
        assert kinds.index("Fallback") < len(kinds) - 1 - kinds[::-1].index("Chunk")


@pytest.mark.case("2.24")
@simulated.timed
async def test_what_the_next_one_is_sent() -> None:
    thought = events.Chunk("reasoning", "Nobody else may see this.")
    async with stage() as on:
        said = (thought, scripted.content(TEXT[:40]), events.Usage(10, 400, 410))
        on.a.plays = [broken(*said, error=errors.ProviderAuth())]
        on.b.plays = [whole(TEXT[40:])]
        found = await on.run()
        proved(found, TEXT)
        assert found.attempts[0].usage == events.Tokens(10, 400, 410)
        [(_, asked)] = on.b.asked
        assert asked.messages == [
            *WANTED.messages,
            request.Message("assistant", TEXT[:40]),
            request.Message("user", "⏵"),
        ]
        assert asked.max_tokens == 600


@pytest.mark.case("2.24")
@simulated.timed
async def test_a_prefill_is_gone_on_from_and_one_that_is_refused_is_done_without() -> None:
    async with stage(prefill=True) as on:
        on.a.plays = [broken(scripted.content(TEXT[:30] + " "), error=errors.ProviderAuth())]
        on.b.plays = [broken(error=errors.ProviderRejected()), whole(TEXT[30:])]
        found = await on.run()
        proved(found, TEXT[:30] + " " + TEXT[30:])
        roles = [[message.role for message in asked.messages] for _, asked in on.b.asked]
        assert roles == [["user", "assistant"], ["user", "assistant", "user"]]
        assert on.b.asked[0][1].messages[-1].content == TEXT[:30].rstrip()
        assert on.times == [("a", 0.0), ("b", 0.0), ("b", 0.0)]


@simulated.timed
async def test_two_targets_may_fail_one_after_the_other() -> None:
    async with stage() as on:
        on.a.plays = [broken(scripted.content(TEXT[:20]), error=errors.ProviderAuth())]
        on.b.plays = [broken(scripted.content(TEXT[20:50])), whole(TEXT[50:])]
        found = await on.run()
        proved(found, TEXT)
        assert [(one.from_, one.to, one.at) for one in found.fallbacks] == [
            ("a/m", "b/n", 20),
            ("b/n", "b/n", 50),
        ]


HALF_A_CALL = events.Chunk("tool_call", '{"a"', call=0, id="c", name="f")


@pytest.mark.case("2.23")
@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (HALF_A_CALL, WANTED),
        (events.Chunk("reasoning", "Hm."), WANTED),
        (events.Chunk("refusal", "I can't"), WANTED),
        (
            scripted.content('{"a": '),
            msgspec.structs.replace(WANTED, response_format={"type": "json_object"}),
        ),
        (scripted.content("one"), msgspec.structs.replace(WANTED, n=2)),
    ],
    ids=["tool call", "reasoning", "refusal", "json", "two answers"],
)
@pytest.mark.parametrize("otherwise", ["restart", "error"])
@simulated.timed
async def test_what_cannot_be_continued_is_told_anew_or_ends(
    said: events.Chunk, wanted: request.Request, otherwise: str
) -> None:
    async with stage() as on:
        on.a.plays = [broken(said, error=errors.ProviderQuota())]
        on.b.plays = [whole(TEXT, *([scripted.stop(1)] if wanted.n == 2 else []))]
        found = await on.run(wanted, otherwise=otherwise)
        if otherwise == "error":
            assert found.error == events.failure(errors.ProviderQuota())
            assert on.b.asked == []
            return
        proved(found, TEXT)
        assert found.choice().reasoning == found.choice().refusal == ""
        assert found.choice().tool_calls == {}
        kinds = await on.kinds()
        assert kinds[kinds.index("Fallback") + 1] == "Rewind"
        assert on.b.asked[0][1] == wanted


@pytest.mark.parametrize("mode", ["restart", "none"])
@simulated.timed
async def test_a_request_may_want_it_anew_or_not_at_all(mode: str) -> None:
    async with stage() as on:
        on.a.plays = [broken(scripted.content(TEXT[:40]), error=errors.ProviderQuota())]
        on.b.plays = [whole(TEXT)]
        found = await on.run(mode=mode)
        if mode == "none":
            assert found.error == events.failure(errors.ProviderQuota())
            assert found.choice().content == TEXT[:40]
        else:
            proved(found, TEXT)
            assert found.complete is not None
            assert found.complete.exact is True


LONG = f"{TEXT} {TEXT[::-1]}"


@pytest.mark.parametrize(("begin", "text"), [(LONG[:90], LONG), (LONG[:90] + "X", LONG)])
@simulated.timed
async def test_one_that_starts_over_is_swallowed_or_diverges(begin: str, text: str) -> None:
    async with stage() as on:
        on.a.plays = [broken(scripted.content(begin), error=errors.ProviderQuota())]
        on.b.plays = [whole(text)]
        found = await on.run()
        proved(found, text)
        diverged = begin != LONG[: len(begin)]
        assert ("Rewind" in await on.kinds()) is diverged
        codes = [one.error for one in found.attempts]
        assert ("continuation_diverged" in codes) is diverged
        if not diverged:
            assert found.fallbacks[0].trimmed == len(begin)


@simulated.timed
async def test_a_provider_that_brings_nothing_changes_nothing() -> None:
    async with stage() as on:
        on.a.plays = [broken(scripted.content(TEXT[:40]), error=errors.ProviderQuota())]
        on.b.plays = [broken(error=errors.ProviderQuota())]
        found = await on.run(mode="restart")
        assert found.error == events.failure(errors.ProviderQuota())
        assert found.choice().content == TEXT[:40]
        assert found.fallbacks == []


# Many at once


@simulated.timed
async def test_a_thousand_streams_whose_provider_dies_do_not_come_back_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice = random.Random(1)
    monkeypatch.setattr("holdfast.producing.course.random.random", dice.random)
    guards = breaker.Breakers(breaker.Limits())
    async with stage() as on:
        calls: list[float] = []

        def dies(exchange: scripted.Exchange) -> None:
            calls.append(asyncio.get_running_loop().time() - on.begun)
            exchange.head()
            if len(calls) <= 1000:
                exchange.say(scripted.content(TEXT[:41]))
            exchange.say(error=errors.ProviderOverloaded())

        on.a.plays, on.b.plays = [dies], [whole(TEXT[41:])]
        ends = await asyncio.gather(*(on.run(guards=guards) for _ in range(1000)))
        for found in ends:
            assert found.choice().content == TEXT
            assert found.complete is not None
        assert guards.of("a").state == "open"
        again = calls[1000:]
        assert len(again) < breaker.Limits().failures
        assert len(set(again)) == len(again)
        assert len(on.b.asked) == 1000
