"""One stream's meter: estimates, what takes their place, and when it is ended.

Strategy: a meter is told what a stream is told, in the order of a course: attempts, pieces, usage,
finishes, rewinds. What its account has counted is looked at after each step.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.metering.counting import used
from tests.unit.metering.metered import (
    FINISH,
    MOST,
    TABLE,
    attempt,
    begun,
    failed,
    one_account,
    say,
    sums,
    usage,
)

from holdfast import events, request
from holdfast.metering import meter

# Estimates


@pytest.mark.parametrize(
    ("messages", "tokens"),
    [
        ([], 0),
        ([("user", "")], 0),
        ([("user", "abcd")], 1),
        ([("user", "abcde")], 2),
        ([("system", "ab"), ("user", "cd")], 1),
        ([("user", "\u00e9\u00e9")], 1),
        ([("user", "\U0001f3a3" * 4)], 4),
        ([("user", "\ud83d")], 1),
        ([("user", None)], 0),
        ([("user", [{"type": "text", "text": "abcdefgh"}, {"type": "text", "text": "i"}])], 3),
        ([("user", [{"type": "image_url", "image_url": {"url": "x" * 100}}, {"text": 7}])], 25),
        ([("user", [{"type": "file", "file": {"file_data": "A" * 4_000_000}}])], 10_000),
        ([("user", [{"image_url": {"url": "data:image/png;base64," + "A" * 9000}}])], 1_500),
        ([("user", [{"type": "x" * 400}])], 100),
        ([("user", [{"type": "x" * 32}])], 0),
        ([("user", [{"image_url": {"url": f"data:{'x' * 95}"}}])], 25),
        ([("user", [{"image_url": {"url": f"http{'x' * 99_996}"}}])], 25_000),
        ([("user", [{"text": "x" * 100_000}])], 25_000),
    ],
)
def test_a_prompt_by_its_length(messages: list[tuple[Any, Any]], tokens: int) -> None:
    asked = [request.Message(role, content) for role, content in messages]
    assert meter.estimate(request.Request("m", asked)) == tokens


@pytest.mark.parametrize("where", ["description", "x" * 400])
def test_tools_are_asked_too(where: str) -> None:
    """Their names as well as their words."""
    tool = {"name": "look_up", "parameters": {"properties": {where: "x" * 400}}}
    wanted = request.Request("m", [request.Message("user", "abcd")], tools=[tool])
    least = len(where) // 4 + 100
    assert least < meter.estimate(wanted) < least + 50


def test_whatever_is_asked_counts() -> None:
    """Also what tools were asked and have said, and how the answer is to look."""
    called = {"function": {"name": "look_up", "arguments": "x" * 400}}
    asked = [
        request.Message("assistant", tool_calls=[called]),
        request.Message("tool", "x" * 400, tool_call_id="call_1"),
    ]
    form = {"type": "json_schema", "json_schema": {"schema": {"description": "x" * 400}}}
    wanted = request.Request("m", asked, response_format=form)
    assert 300 < meter.estimate(wanted) < 330


@pytest.mark.parametrize(
    ("letters", "tokens"), [(0, 1), (1, 1), (16, 1), (17, 4), (40, 10), (4000, 1000)]
)
def test_an_answer_by_its_pieces(letters: int, tokens: int) -> None:
    one = one_account()
    stream = begun(one)
    stream.said(say("x" * letters))
    assert used(one) == tokens
    stream.said(
        [events.Chunk("reasoning", "x" * letters), events.Chunk("tool_call", "x" * letters)]
    )
    assert used(one) == 3 * tokens


def test_what_says_nothing_counts_nothing() -> None:
    one = one_account()
    stream = begun(one, 7)
    stream.said([FINISH, events.Citation(url="u"), events.Kept("k"), events.Adopted(1)])
    stream.said([])
    stream.said([events.Fallback("a", "b", "r", True, 0, 0), events.Rewind("r")])
    assert used(one) == 7


# What the provider tells


@pytest.mark.parametrize(("sent", "written"), [(3, 2), (10, 10), (500, 900), (0, 0)])
@pytest.mark.parametrize("together", [True, False])
def test_what_the_provider_tells_takes_the_estimate_s_place(
    sent: int, written: int, together: bool
) -> None:
    """Also where it comes in the same read as what it is about."""
    one = one_account()
    stream = begun(one, 10, "dear")
    pieces = say(count=10)
    if together:
        stream.said([*pieces, FINISH, usage(sent, written)])
    else:
        stream.said(pieces)
        assert sums(one) == (20, 10 * 10 + 10 * 100)
        stream.said([FINISH])
        stream.said([usage(sent, written)])
    assert sums(one) == (sent + written, sent * 10 + written * 100)
    assert one.left()[0][1] == MOST - sent - written


def test_a_provider_that_tells_with_each_piece() -> None:
    one = one_account()
    stream = begun(one, 4, "dear")
    for number in range(1, 50):
        stream.said([*say(), usage(30, number)])
        assert sums(one) == (30 + number, 300 + number * 100)


def test_what_follows_what_was_told_is_added_to_it() -> None:
    """Some tell the prompt's tokens before they answer."""
    one = one_account()
    stream = begun(one, 4, "dear")
    stream.said([usage(30, 1), *say(count=3)])
    assert sums(one) == (34, 300 + 100 + 300)
    stream.said(say(count=2))
    assert sums(one) == (36, 300 + 100 + 500)
    stream.said([usage(30, 4)])
    assert sums(one) == (34, 300 + 400)


def test_a_total_that_is_more_than_its_parts_counts() -> None:
    one = one_account()
    begun(one, 4).said([events.Usage(10, 5, 40)])
    assert used(one) == 40
    other = one_account()
    begun(other, 4).said([events.Usage(10, 5)])
    assert used(other) == 15


def test_what_the_provider_had_kept_costs_less() -> None:
    one = one_account()
    begun(one, 4, "dear").said([usage(100, 1, cached=90)])
    assert used(one, "cost") == 10 * 10 + 90 * 1 + 100


# Several calls


@pytest.mark.parametrize("how", ["fresh", "restart"])
def test_every_call_counts(how: str) -> None:
    one = one_account()
    stream = begun(one, 10, "dear")
    stream.said(say(count=5))
    stream.said([failed("dear")])
    assert sums(one) == (15, 100 + 500)
    stream.said([attempt("dear", how)])
    assert sums(one) == (25, 200 + 500)
    stream.said([events.Rewind("r"), *say(count=7), FINISH])
    stream.said([usage(8, 6)])
    assert sums(one) == (15 + 14, 600 + 80 + 600)


def test_a_call_that_told_its_usage_as_it_failed() -> None:
    one = one_account()
    stream = begun(one, 10)
    stream.said([*say(count=5), usage(9, 3), failed(), attempt("free", "fresh"), *say(count=2)])
    assert used(one) == 12 + 10 + 2


def test_another_model_has_its_own_price() -> None:
    one = one_account()
    stream = begun(one, 10, "dear")
    stream.said([*say(count=2), failed("dear"), attempt("cheap", "fresh"), *say(count=10)])
    assert used(one, "cost") == 100 + 200 + math.ceil(10 * 0.1 + 10 * 0.3)


def test_what_is_gone_on_with_is_asked_too() -> None:
    one = one_account()
    stream = begun(one, 10)
    stream.said(say("x" * 40, 3))
    assert used(one) == 40
    stream.said([failed(), attempt("free", "continue")])
    assert used(one) == 40 + 10 + 30
    stream.said(say())
    stream.said([failed(number=2), attempt("free", "continue", 3)])
    assert used(one) == 81 + 10 + 31


def test_only_what_was_not_forgotten_is_gone_on_with() -> None:
    one = one_account()
    stream = begun(one, 10)
    stream.said([*say(count=50), failed(), attempt("free", "restart"), events.Rewind("r")])
    stream.said([*say(count=3), events.Chunk("reasoning", "x" * 400)])
    before = used(one)
    stream.said([failed(number=2), attempt("free", "continue", 3)])
    assert used(one) - before == 10 + 3


def test_what_a_life_before_wrote_is_gone_on_with() -> None:
    one = one_account()
    stream = meter.Meter([one], TABLE, 10, written=25)
    stream.said([attempt("free", "continue")])
    assert used(one) == 35


def test_a_kept_answer_is_told_again_for_nothing() -> None:
    """What it says that was not said before, its provider writes now."""
    one = one_account()
    stream = begun(one, 10, "dear")
    stream.said([*say(count=5), failed("dear")])
    counted = sums(one)
    stream.said([attempt("dear", "replay")])
    assert sums(one) == counted
    stream.said([usage(10, 5)])
    assert sums(one) == counted
    stream.said([*say(count=2), usage(10, 7)])
    assert sums(one) == (counted[0] + 2, counted[1] + 200)
    stream.said([failed("dear", 2), attempt("dear", "fresh", 3)])
    assert sums(one) == (counted[0] + 12, counted[1] + 300)


def test_a_first_call_that_was_not_made_costs_nothing() -> None:
    """Its provider was left alone, and another one is the first to be asked."""
    one = one_account()
    stream = begun(one, 10, "dear")
    stream.said([attempt("cheap", "fresh", 1)])
    assert sums(one) == (10, 1)


@given(
    st.lists(
        st.one_of(
            st.integers(1, 30).map(lambda n: ("say", n)),
            st.tuples(st.integers(0, 200), st.integers(0, 200)).map(lambda told: ("tell", *told)),
            st.sampled_from(["fresh", "restart", "replay"]).map(lambda how: ("call", how)),
        ),
        max_size=25,
    ),
    st.sampled_from(["dear", "cheap", "free"]),
    st.data(),
)
def test_however_it_is_cut_into_reads(
    steps: list[tuple[Any, ...]], model: str, data: st.DataObject
) -> None:
    """What is counted at last is the same: for each call what was told last, and the pieces after
    it."""
    bodies: list[events.Body] = []
    calls: list[list[int]] = [[10, 0, 0]]  # sent, written, pieces since
    free = False
    for step in steps:
        if step[0] == "say":
            bodies += say(count=step[1])
            calls[-1][2] += step[1]
        elif step[0] == "tell":
            bodies.append(usage(step[1], step[2]))
            if not free:
                calls[-1] = [step[1], step[2], 0]
        else:
            free = step[1] == "replay"
            bodies.append(attempt(model, step[1]))
            calls.append([0 if free else 10, 0, 0])
    one = one_account()
    stream = begun(one, 10, model)
    while bodies:
        size = data.draw(st.integers(1, 12))
        stream.said(bodies[:size])
        bodies = bodies[size:]
    price = TABLE.of("p", model)
    assert price is not None
    cost = sum(
        math.ceil(sent * price.input + written * price.output + pieces * price.output)
        for sent, written, pieces in calls
    )
    assert used(one) == sum(sum(call) for call in calls)
    assert abs(used(one, "cost") - cost) <= len(calls)  # of fractions that no float holds
