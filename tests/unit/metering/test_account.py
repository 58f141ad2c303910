"""One account at its limits: what is refused, for how long, what is told, and who is ended.

Strategy: the clock stands still until a test moves it, so every limit has an exact edge, in what is
used and in time.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.metering.counting import Clock, Stops, made, request, used

from holdfast import errors

# Requests


def test_a_request_more_than_the_limit_is_refused() -> None:
    one = made(Clock(), requests_per_minute=3)
    for _ in range(3):
        request(one)
    for _ in range(2):
        with pytest.raises(errors.RequestLimit, match="limit of key:k is reached: 3 requests a m"):
            request(one)
    assert used(one, "requests") == 3


def test_a_refusal_tells_when_there_is_room_again() -> None:
    clock = Clock()
    one = made(clock, requests_per_minute=2)
    request(one)
    clock.passes(17)
    request(one)
    clock.passes(1)
    with pytest.raises(errors.RequestLimit) as refused:
        request(one)
    wait = refused.value.retry_after
    assert wait == 47.0
    clock.passes(wait - 0.001)
    with pytest.raises(errors.RequestLimit):
        request(one)
    clock.passes(0.001)
    request(one)
    with pytest.raises(errors.RequestLimit):
        request(one)


def test_nobody_is_told_to_come_back_at_once() -> None:
    clock = Clock()
    one = made(clock, requests_per_minute=1)
    request(one)
    clock.passes(64.9)
    with pytest.raises(errors.RequestLimit) as refused:
        request(one)
    assert refused.value.retry_after == 1.0


def test_without_a_limit_nothing_is_counted() -> None:
    one = made(Clock())
    for _ in range(10):
        request(one)
    one.check(10**9, 10**15)
    one.use(10**9, 10**15)
    one.settle()
    assert (one.limits, one.left(), one.idle) == ((), [], True)


# What a stream begins with


@pytest.mark.parametrize(
    ("before", "prompt", "fits"),
    [
        (0, 0, True),
        (0, 99, True),
        (0, 100, False),
        (50, 49, True),
        (50, 50, False),
        (99, 0, True),
        (100, 0, False),
        (150, 0, False),
        (0, 10**6, False),
    ],
)
@pytest.mark.parametrize("settled", [True, False])
def test_a_prompt_has_to_leave_room_for_an_answer(
    before: int, prompt: int, fits: bool, settled: bool
) -> None:
    one = made(Clock(), tokens_per_minute=100)
    one.use(before, 0)
    if settled:
        one.settle()
    stops = Stops()
    one.stops.add(stops)
    if not fits:
        alone = prompt >= 100
        kind, said = (errors.Forbidden, "alone") if alone else (errors.TokenLimit, "100 tokens a m")
        with pytest.raises(kind, match=said):
            one.check(prompt, 0)
        return
    one.check(prompt, 0)
    one.use(prompt, 0)
    assert stops.errors == []
    one.use(1, 0)
    assert len(stops.errors) == (before + prompt + 1 >= 100)


@given(
    st.lists(st.tuples(st.integers(0, 90_000), st.integers(0, 60)), max_size=12),
    st.integers(0, 99),
)
def test_the_wait_of_a_prompt_is_right(history: list[tuple[int, int]], prompt: int) -> None:
    clock = Clock()
    one = made(clock, tokens_per_minute=100)
    for passed, amount in history:
        clock.now += passed
        one.use(amount, 0)
        one.settle()
    if used(one) + prompt < 100:
        one.check(prompt, 0)
        return
    with pytest.raises(errors.TokenLimit) as refused:
        one.check(prompt, 0)
    wait = refused.value.retry_after
    assert wait is not None
    assert wait >= 1
    if wait > 1:
        clock.passes(wait - 0.002)
        with pytest.raises(errors.TokenLimit):
            one.check(prompt, 0)
    clock.passes(wait + 0.001)
    one.check(prompt, 0)


def test_a_prompt_over_the_whole_limit_is_refused_for_good() -> None:
    one = made(Clock(), tokens_per_minute=100)
    with pytest.raises(errors.Forbidden, match="100 tokens a minute, however long it waits"):
        one.check(5000, 0)


def test_the_day_s_limit_holds_beside_the_minute_s() -> None:
    clock = Clock()
    one = made(clock, tokens_per_minute=100, tokens_per_day=150)
    one.use(90, 0)
    one.settle()
    clock.passes(70)
    one.check(59, 0)
    with pytest.raises(errors.TokenLimit, match="150 tokens a day") as refused:
        one.check(60, 0)
    assert refused.value.retry_after is not None
    assert 23 * 3600 < refused.value.retry_after <= 25 * 3600
    clock.passes(refused.value.retry_after)
    one.check(60, 0)


@pytest.mark.parametrize(("cost", "fits"), [(1_499_999, True), (1_500_000, False)])
def test_costs_are_told_in_the_currency(cost: int, fits: bool) -> None:
    one = made(Clock(), "tenant:acme", cost_per_day=2_500_000)
    one.use(0, 1_000_000)
    if fits:
        one.check(10**9, cost)
        return
    with pytest.raises(errors.CostLimit, match=r"limit of tenant:acme is reached: 2\.5 cost a day"):
        one.check(0, cost)


def test_as_many_streams_as_may_be() -> None:
    one = made(Clock(), streams=2)
    one.streams = 2
    one.check(0, 0)
    one.streams = 3
    with pytest.raises(errors.StreamLimit, match="2 answers under way") as refused:
        one.check(0, 0)
    assert refused.value.retry_after == 1.0


def test_as_many_event_streams_as_may_be() -> None:
    one = made(Clock(), connections=2)
    for _ in range(2):
        one.check_connections()
        one.connections += 1
    with pytest.raises(errors.ConnectionLimit, match="2 open event streams"):
        one.check_connections()
    one.connections -= 1
    one.check_connections()
    assert one.connections == 1
