"""One account while streams are under way: whom it ends, what it tells, and what it takes back.

Strategy: the clock stands still until a test moves it, so every limit has an exact edge, in what is
used and in time.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.metering.counting import BEGIN, Clock, Stops, left, made, request, used

from holdfast import errors
from holdfast.metering import account

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
    assert [(limit.name, limit.most, limit.window.span.seconds) for limit in one.limits] == [
        ("key-requests-minute", 10, 60),
        ("key-tokens-minute", 100, 60),
        ("key-tokens-day", 1000, 86400),
        ("key-cost-day", 2_000_000, 86400),
    ]
    for name, kind in (("tenant:a b:c", "tenant"), ("user:a/b", "user")):
        (limit,) = made(Clock(), name, tokens_per_day=1).limits
        assert limit.name == f"{kind}-tokens-day"


def test_what_is_left() -> None:
    clock = Clock()
    one = made(clock, requests_per_minute=10, tokens_per_minute=100)
    assert left(one) == [("key-requests-minute", 10, 0), ("key-tokens-minute", 100, 0)]
    request(one)
    clock.passes(2.5)
    one.use(30, 0)
    assert left(one) == [("key-requests-minute", 9, 63), ("key-tokens-minute", 70, 63)]
    one.settle()
    assert left(one)[1] == ("key-tokens-minute", 70, 63)
    clock.passes(62.5)
    assert left(one) == [("key-requests-minute", 10, 0), ("key-tokens-minute", 100, 0)]
    one.use(500, 0)
    assert left(one)[1] == ("key-tokens-minute", 0, 65)


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
            [(_, rest, seconds)] = left(one)
            assert 0 <= rest <= 100
            assert 0 <= seconds <= 65
            assert rest > 0 or stops.codes


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
        lambda one: setattr(one, "connections", 1),
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
