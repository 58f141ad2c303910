"""Many streams whose provider fails: they do not come back together, and it is left alone.

Strategy: as in `test_course`, with one set of breakers for all streams.
"""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.unit.producing import scripted
from tests.unit.producing.staged import TEXT, broken, proved, stage, whole

from holdfast import errors
from holdfast.producing import breaker
from holdfast.testing import simulated


@simulated.timed
async def test_a_thousand_streams_whose_provider_dies_do_not_come_back_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice = random.Random(1)
    monkeypatch.setattr("holdfast.producing.course.random.random", dice.random)
    guards = breaker.Breakers(breaker.Limits())
    async with stage() as on:
        calls: list[float] = []
        under_way: list[scripted.Exchange] = []

        def dies(exchange: scripted.Exchange) -> None:
            calls.append(asyncio.get_running_loop().time() - on.begun)
            exchange.head()
            under_way.append(exchange)
            if len(calls) <= 1000:
                exchange.say(scripted.content(TEXT[:41]))
            if len(calls) >= 1000:
                for each in under_way:
                    each.say(error=errors.ProviderOverloaded())
                under_way.clear()

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


def slowly(exchange: scripted.Exchange) -> None:
    """A whole answer, a second later."""
    asyncio.get_running_loop().call_later(1.0, whole(TEXT), exchange)


@simulated.timed
async def test_one_stream_alone_tries_a_provider_that_was_left_alone() -> None:
    """Those that were on their way to it meanwhile go to the next one, and count no call."""
    guards = breaker.Breakers(breaker.Limits(failures=1, pause=10.0))

    async with stage() as on:
        on.b.plays = [whole(TEXT)]
        on.a.plays = [broken(error=errors.ProviderAuth()), slowly]
        proved(await on.run(guards=guards), TEXT)
        assert guards.of("a").state == "open"
        await asyncio.sleep(10.0)
        ends = await asyncio.gather(*(on.run(guards=guards) for _ in range(100)))
        assert (len(on.a.asked), len(on.b.asked)) == (2, 100)
        for found in ends:
            proved(found, TEXT)
            assert found.attempts == []
        assert sorted(len(found.fallbacks) for found in ends) == [0, *[1] * 99]
        assert guards.of("a").state == "closed"


@simulated.timed
async def test_where_nobody_is_next_a_provider_is_asked_all_the_same() -> None:
    guards = breaker.Breakers(breaker.Limits(failures=1, pause=10.0))
    async with stage() as on:
        on.a.plays, on.b.plays = [broken()], [broken(), whole(TEXT)]
        proved(await on.run(guards=guards), TEXT)
        assert [name for name, _ in on.times] == ["a", "b", "b"]


@simulated.timed
async def test_one_call_is_one_call_also_where_the_first_was_passed_over() -> None:
    guards = breaker.Breakers(breaker.Limits(failures=1, pause=10.0))

    async with stage() as on:
        on.b.plays = [whole(TEXT)]
        on.a.plays = [broken(error=errors.ProviderAuth()), slowly]
        await on.run(guards=guards, calls=1)
        await asyncio.sleep(10.0)
        ends = await asyncio.gather(*(on.run(guards=guards, calls=1) for _ in range(3)))
        for found in ends:
            proved(found, TEXT)
        assert (len(on.a.asked), len(on.b.asked)) == (2, 2)


@simulated.timed
async def test_one_that_was_left_for_its_breaker_alone_is_come_back_to() -> None:
    guards = breaker.Breakers(breaker.Limits(failures=1, pause=10.0))
    async with stage() as on:
        on.a.plays, on.b.plays = [broken(), whole(TEXT)], [broken(error=errors.ProviderAuth())]
        found = await on.run(guards=guards)
        proved(found, TEXT)
        assert [call.provider for call in found.calls[1:]] == ["b", "a"]
