"""One account at its limits: what is refused, for how long, what is told, and who is ended.

Strategy: the clock stands still until a test moves it, so every limit has an exact edge, in what is
used and in time.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.metering.counting import BEGIN, Clock, Stops, made, used

from holdfast import errors
from holdfast.metering import account


def fields(told: str) -> dict[str, int]:
    """`r` and `t` of an item of a header."""
    _, *rest = told.split(";")
    return {name: int(value) for name, _, value in (part.partition("=") for part in rest)}


def request(one: account.Account) -> None:
    one.check_requests()
    one.request()


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
    assert (one.limits, one.policy, one.left(), one.idle) == ((), "", [], True)


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
    with pytest.raises(errors.Forbidden, match="however long it waits"):
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
        one.connect()
    with pytest.raises(errors.ConnectionLimit, match="2 open event streams"):
        one.check_connections()
    one.disconnect()
    one.check_connections()
    assert one.connections == 1


# While streams are under way


@pytest.mark.case("4.17")
@pytest.mark.parametrize(
    ("quota", "amounts", "code"),
    [
        ({"tokens_per_minute": 10}, (1, 0), "token_limit"),
        ({"tokens_per_day": 10}, (1, 0), "token_limit"),
        ({"cost_per_day": 10}, (0, 1), "cost_limit"),
    ],
)
def test_every_stream_is_ended_by_the_use_that_reaches_the_limit(
    quota: dict[str, int], amounts: tuple[int, int], code: str
) -> None:
    one, stops = made(Clock(), **quota), [Stops() for _ in range(3)]
    one.stops.update(stops)
    for _ in range(9):
        one.use(*amounts)
        assert not any(stop.errors for stop in stops)
    one.use(*amounts)
    assert [stop.codes for stop in stops] == [[code]] * 3
    [error] = stops[0].errors
    assert error.retry_after is not None
    assert error.retry_after >= 60
    assert error.retryable


def test_a_stream_is_ended_as_soon_as_others_use_is_known() -> None:
    clock, stops = Clock(), Stops()
    one = made(clock, tokens_per_day=100)
    one.stops.add(stops)
    one.use(40, 0)
    [limit] = one.limits
    limit.window.share({}, {limit.window.slot(clock.now): 59}, clock.now)
    one.settle()
    assert stops.codes == []
    limit.window.share({}, {limit.window.slot(clock.now): 60}, clock.now)
    one.settle()
    assert stops.codes == ["token_limit"]


def test_room_comes_back_with_time() -> None:
    clock, stops = Clock(), Stops()
    one = made(clock, tokens_per_minute=100)
    one.stops.add(stops)
    for _ in range(20):
        one.use(99, 0)
        one.settle()
        clock.passes(65)
    assert stops.codes == []


def test_a_clock_that_goes_back_gives_no_room() -> None:
    clock, stops = Clock(), Stops()
    one = made(clock, tokens_per_minute=100)
    one.stops.add(stops)
    one.use(60, 0)
    one.settle()
    clock.passes(-3600)
    one.use(39, 0)
    assert (used(one), stops.codes) == (99, [])
    one.use(1, 0)
    assert stops.codes == ["token_limit"]


def test_many_streams_that_use_something_as_they_end() -> None:
    """What a provider has told so far is counted when its call is cut off."""
    one, ended = made(Clock(), tokens_per_minute=1000), list[int]()

    def stream(number: int) -> account.Stop:
        def stop(error: errors.HoldfastError) -> None:
            if number not in ended:
                ended.append(number)
                one.use(3, 0)

        return stop

    one.stops.update(stream(number) for number in range(2000))
    one.use(1000, 0)
    assert sorted(ended) == list(range(2000))
    assert used(one) == 7000


def test_use_of_two_accounts_ends_streams_of_both_without_end() -> None:
    """A stream that ends by one account's limit passes the other's."""
    clock = Clock()
    key, tenant = made(clock, tokens_per_minute=10), made(clock, "tenant:t", tokens_per_minute=20)
    codes: list[str] = []

    def stop(error: errors.HoldfastError) -> None:
        codes.append(error.message)
        if len(codes) < 100:
            for each in (key, tenant):
                each.use(15, 0)

    for each in (key, tenant):
        each.stops.add(stop)
    for each in (key, tenant):
        each.use(10, 0)
    assert (used(key), used(tenant)) >= (10, 20)
    assert len(codes) < 20
    assert {code.split(" is reached")[0] for code in codes} == {
        "The limit of key:k",
        "The limit of tenant:t",
    }


def test_what_ends_late_does_not_end_what_came_after() -> None:
    """A stream that is gone is not ended."""
    one, gone, there = made(Clock(), tokens_per_minute=10), Stops(), Stops()
    one.stops.update({gone, there})
    one.stops.discard(gone)
    one.use(10, 0)
    assert (gone.codes, there.codes) == ([], ["token_limit"])


# What is told, and what is remembered


def test_what_the_limits_are() -> None:
    one = made(
        Clock(),
        streams=5,
        requests_per_minute=10,
        tokens_per_minute=100,
        tokens_per_day=1000,
        cost_per_day=2_000_000,
    )
    assert one.policy == (
        '"key-requests-minute";q=10;w=60, "key-tokens-minute";q=100;w=60, '
        '"key-tokens-day";q=1000;w=86400, "key-cost-day";q=2000000;w=86400'
    )
    assert (
        made(Clock(), "tenant:a b:c", tokens_per_day=1).policy == '"tenant-tokens-day";q=1;w=86400'
    )
    assert made(Clock(), "user:a/b", requests_per_minute=1).policy.startswith('"user-requests')


def test_what_is_left() -> None:
    clock = Clock()
    one = made(clock, requests_per_minute=10, tokens_per_minute=100)
    assert one.left() == ['"key-requests-minute";r=10;t=0', '"key-tokens-minute";r=100;t=0']
    request(one)
    clock.passes(2.5)
    one.use(30, 0)
    assert one.left() == ['"key-requests-minute";r=9;t=63', '"key-tokens-minute";r=70;t=63']
    one.settle()
    assert one.left()[1] == '"key-tokens-minute";r=70;t=63'
    clock.passes(62.5)
    assert one.left() == ['"key-requests-minute";r=10;t=0', '"key-tokens-minute";r=100;t=0']
    one.use(500, 0)
    assert one.left()[1] == '"key-tokens-minute";r=0;t=65'


@given(
    st.lists(st.tuples(st.integers(0, 90_000), st.integers(-80, 80), st.booleans()), max_size=20)
)
def test_what_is_left_is_from_nothing_to_all(history: list[tuple[int, int, bool]]) -> None:
    """Also where more is taken back than was counted lately, which is the estimate of a long
    answer that its provider told better."""
    clock, stops = Clock(), Stops()
    one = made(clock, tokens_per_minute=100)
    one.stops.add(stops)
    for passed, amount, settles in history:
        clock.now += passed
        one.use(amount, 0)
        if settles:
            one.settle()
            assert used(one) >= 0
            told = fields(one.left()[0])
            assert 0 <= told["r"] <= 100
            assert 0 <= told["t"] <= 65
            assert (told["r"] > 0) or stops.codes


def test_what_is_taken_back_gives_no_leave_to_use_more_later() -> None:
    clock, stops = Clock(), Stops()
    one = made(clock, tokens_per_minute=1000)
    one.stops.add(stops)
    one.use(900, 0)
    one.settle()
    clock.passes(90)
    one.use(-800, 0)
    one.settle()
    one.use(999, 0)
    assert stops.codes == []
    one.use(1, 0)
    assert stops.codes == ["token_limit"]


def test_what_is_taken_back_leaves_room() -> None:
    one = made(Clock(), tokens_per_minute=100)
    one.use(90, 0)
    one.settle()
    one.use(-80, 0)
    one.check(89, 0)
    with pytest.raises(errors.TokenLimit):
        one.check(90, 0)


@pytest.mark.parametrize(
    "busy",
    [
        lambda one: setattr(one, "streams", 1),
        lambda one: one.connect(),
        lambda one: one.use(1, 0),
        lambda one: one.use(0, 1),
        lambda one: one.use(-1, 0),
        lambda one: request(one),
        lambda one: (one.use(1, 0), one.settle()),
    ],
)
def test_one_in_which_something_happens_is_not_idle(busy: Any) -> None:
    one = made(Clock(), requests_per_minute=5, tokens_per_day=100, cost_per_day=100)
    assert one.idle
    busy(one)
    assert not one.idle


def test_when_it_was_used_last() -> None:
    clock = Clock()
    one = made(clock, requests_per_minute=5, tokens_per_day=100)
    assert one.used_at == BEGIN
    for number in range(2):
        clock.passes(10)
        request(one) if number else one.use(1, 0)
        one.settle()
        assert one.used_at == clock.now
    clock.passes(10)
    one.settle()
    assert one.used_at == clock.now - 10_000


@pytest.mark.parametrize(("tokens", "cost"), [(0, 0), (0, 5), (5, 0), (5, 5)])
def test_it_has_a_price_where_it_has_a_limit_of_cost(tokens: int, cost: int) -> None:
    assert made(Clock(), tokens_per_day=tokens, cost_per_day=cost).priced is (cost > 0)
