"""What a stream costs, which limits end it, and its place in an account.

Strategy: as in `test_meter`; what ends a stream is written down, with why.
"""

from __future__ import annotations

import pytest
from tests.unit.metering.counting import Clock, Stops, made, used
from tests.unit.metering.metered import (
    FINISH,
    TABLE,
    attempt,
    begun,
    failed,
    one_account,
    say,
    sums,
    usage,
)

from holdfast import errors, events
from holdfast.metering import meter

# Costs


def test_fractions_of_a_millionth_are_not_lost() -> None:
    one = one_account()
    stream = begun(one, 0, "cheap")
    for _ in range(1000):
        stream.said(say())
    assert used(one, "cost") == 300


def test_a_call_is_rounded_up_once() -> None:
    one = one_account()
    stream = begun(one, 1, "cheap")
    assert used(one, "cost") == 1
    stream.said(say())
    assert used(one, "cost") == 1
    stream.said(say(count=2))
    assert used(one, "cost") == 1
    stream.said(say())
    assert used(one, "cost") == 2


@pytest.mark.case("4.17")
def test_a_model_without_a_price_is_refused_where_costs_are_limited() -> None:
    one = one_account()
    stream = meter.Meter([made(Clock()), one], TABLE, 10)
    with pytest.raises(errors.Forbidden, match="other has no price"):
        stream.check("p", "other")
    assert sums(one) == (0, 0)
    unlimited = made(Clock(), tokens_per_day=100)
    meter.Meter([unlimited], TABLE, 10).check("p", "other")


@pytest.mark.case("4.17")
def test_nor_is_it_asked_next_where_another_fails() -> None:
    one, stop = one_account(), Stops()
    stream = begun(one, 10, "dear")
    stream.watch(stop)
    stream.said([failed("dear"), attempt("other", "fresh")])
    assert stop.codes == ["cost_limit"]
    unlimited, stop = made(Clock(), tokens_per_day=100), Stops()
    stream = begun(unlimited, 10, "other")
    stream.watch(stop)
    stream.said([failed("other"), attempt("other", "fresh")])
    assert stop.codes == []


@pytest.mark.parametrize(("asked", "fits"), [(99, True), (100, False)])
def test_a_prompt_has_to_leave_money_for_an_answer(asked: int, fits: bool) -> None:
    one = one_account(cost_per_day=1000)
    stream = meter.Meter([one], TABLE, asked)
    if fits:
        stream.check("p", "dear")
    else:
        with pytest.raises(errors.Forbidden, match="alone"):
            stream.check("p", "dear")
    stream.check("p", "cheap")


def test_no_number_of_a_provider_s_is_too_large() -> None:
    one, stop = one_account(), Stops()
    stream = begun(one, 10, "dear")
    stream.watch(stop)
    stream.said([usage(2**53, 2**53, cached=2**53)])
    assert used(one) == meter.MOST_TOKENS
    assert used(one, "cost") == meter.MOST_TOKENS // 2 * 101
    stream.said([events.Usage(meter.MOST_TOKENS - 1, 1)])
    assert sums(one) == (meter.MOST_TOKENS, (meter.MOST_TOKENS - 1) * 10 + 100)


# Limits


@pytest.mark.case("4.17")
def test_it_is_ended_by_the_read_that_reaches_the_limit() -> None:
    one, stop = one_account(tokens_per_minute=100), Stops()
    stream = begun(one, 10)
    stream.watch(stop)
    for _ in range(89):
        stream.said(say())
    assert stop.codes == []
    stream.said(say())
    assert stop.codes == ["token_limit"]
    assert used(one) == 100


def test_one_read_too_much_at_most() -> None:
    one, stop = one_account(tokens_per_minute=100), Stops()
    stream = begun(one, 10)
    stream.watch(stop)
    stream.said(say(count=1000))
    assert stop.codes == ["token_limit"]
    assert used(one) == 1010


def test_an_estimate_that_the_same_read_corrects_ends_nobody() -> None:
    one, stop = one_account(tokens_per_minute=100), Stops()
    stream = begun(one, 10)
    stream.watch(stop)
    stream.said([*say("x", 200), usage(10, 20)])
    assert (stop.codes, used(one)) == ([], 30)


def test_a_limit_that_another_stream_reaches_ends_it_too() -> None:
    one, stop = one_account(tokens_per_minute=100), Stops()
    first, second = begun(one, 10), begun(one, 10)
    first.watch(stop)
    second.said(say(count=80))
    assert stop.codes == ["token_limit"]
    assert first.over is not None


@pytest.mark.parametrize("choices", [1, 3])
def test_a_whole_answer_is_not_ended(choices: int) -> None:
    """Nor by what its provider tells of it."""
    one, stop = one_account(tokens_per_minute=100), Stops()
    stream = begun(one, 10, choices=choices)
    stream.watch(stop)
    stream.said([events.Finish(number, "stop", "stop") for number in range(choices)])
    stream.said([usage(10, 200)])
    begun_later = meter.Meter([one], TABLE, 0)
    begun_later.watch(ended := Stops())
    begun_later.said(say())
    assert (stop.codes, stream.over) == ([], None)
    assert ended.codes == ["token_limit"]


@pytest.mark.parametrize("order", ["finish first", "usage first"])
def test_nor_by_the_read_that_ends_it(order: str) -> None:
    one, stop = one_account(tokens_per_minute=100), Stops()
    stream = begun(one, 10)
    stream.watch(stop)
    end: list[events.Body] = [FINISH, usage(10, 500)]
    stream.said([*say(count=200), *(end if order == "finish first" else reversed(end))])
    assert stop.codes == []


def test_an_answer_with_a_choice_to_go_is_ended() -> None:
    one, stop = one_account(tokens_per_minute=100), Stops()
    stream = begun(one, 10, choices=2)
    stream.watch(stop)
    stream.said([FINISH, *say(choice=1, count=100)])
    assert stop.codes == ["token_limit"]


def test_an_answer_that_is_written_anew_is_not_whole() -> None:
    one, stop = one_account(tokens_per_minute=100), Stops()
    stream = begun(one, 10)
    stream.watch(stop)
    stream.said([FINISH, failed(), attempt("free", "restart"), events.Rewind("r")])
    stream.said(say(count=100))
    assert stop.codes == ["token_limit"]


def test_a_limit_that_was_reached_before_anybody_listened() -> None:
    one, stop = one_account(tokens_per_minute=100), Stops()
    stream = begun(one, 10)
    begun(one, 89).said(say())
    stream.watch(stop)
    assert stop.codes == ["token_limit"]


def test_the_key_and_the_tenant_both_hold() -> None:
    clock = Clock()
    key, tenant = made(clock, tokens_per_minute=100), made(clock, "tenant:t", tokens_per_minute=50)
    other = made(clock, "key:other", tokens_per_minute=100)
    stop = Stops()
    stream = meter.Meter([key, tenant], TABLE, 10)
    stream.watch(stop)
    stream.call("p", "free")
    meter.Meter([other, tenant], TABLE, 0).said(say(count=40))
    assert [error.message for error in stop.errors] == [
        "The limit of tenant:t is reached: 50 tokens a minute."
    ]
    assert (used(key), used(other), used(tenant)) == (10, 40, 50)
    with pytest.raises(errors.TokenLimit, match="tenant:t"):
        meter.Meter([key, tenant], TABLE, 0).check("p", "free")


# Places


def test_places_come_back_once() -> None:
    clock = Clock()
    one, other = made(clock, streams=2), made(clock, "tenant:t", tokens_per_day=100)
    first, second = (meter.Meter([one, other], TABLE, 3) for _ in range(2))
    first.check("p", "free")
    assert (one.streams, other.streams, len(other.stops)) == (2, 2, 2)
    with pytest.raises(errors.StreamLimit):
        meter.Meter([one, other], TABLE, 3).check("p", "free")
    assert one.streams == 3  # whoever made it closes it
    for _ in range(3):
        first.close()
    assert (one.streams, other.streams, len(other.stops)) == (2, 2, 2)
    second.close()
    first.take_back()
    assert (one.streams, other.streams) == (1, 1)


def test_what_ended_is_neither_counted_nor_ended() -> None:
    one, stop = one_account(tokens_per_minute=100), Stops()
    stream = begun(one, 10)
    stream.watch(stop)
    stream.close()
    stream.said([*say(count=1000), usage(1, 1000)])
    begun(one, 0).said(say(count=95))
    assert (used(one), stop.codes) == (105, [])


def test_a_stream_that_was_not_made_is_taken_back() -> None:
    one = one_account()
    stream = begun(one, 10, "dear")
    assert sums(one) == (10, 100)
    stream.take_back()
    assert sums(one) == (0, 0)
    assert one.streams == 0
    stream.take_back()
    assert (sums(one), one.streams) == ((0, 0), 0)
