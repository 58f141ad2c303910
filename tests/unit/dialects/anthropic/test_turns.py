"""Tool calls one after another: what is told at once, what waits, and for how long."""

from __future__ import annotations

import itertools
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors
from holdfast.dialects.anthropic import turns


def piece(call: int, text: str = "") -> turns.Piece:
    raw = msgspec.Raw(msgspec.json.encode(text)) if text else turns.NOTHING
    return turns.Piece("tool_call", raw, call=call)


def text(one: turns.Piece) -> str:
    return msgspec.json.decode(one.delta, type=str)


def say(found: turns.Turns, *pieces: tuple[int, str]) -> list[tuple[int, str]]:
    """What is told of these, in order."""
    told = [one for call, said in pieces for one in found.take(piece(call, said))]
    return [(one.call or 0, text(one)) for one in told]


def test_calls_that_follow_one_another_wait_for_nothing() -> None:
    given = [(0, ""), (0, '{"a":'), (0, "1}"), (1, ""), (1, '{"b"'), (1, ":2}"), (2, "{}")]
    found = turns.Turns()
    for one in given:
        assert say(found, one) == [one]
    assert found.rest() == []


def test_a_call_waits_until_the_open_one_is_whole() -> None:
    found = turns.Turns()
    assert say(found, (0, '{"a"'), (1, '{"b"')) == [(0, '{"a"')]
    assert say(found, (1, ":1}"), (2, "")) == []
    assert say(found, (0, ":{}")) == [(0, ":{}")]
    assert say(found, (0, "} ")) == [(0, "} "), (1, '{"b"'), (1, ":1}"), (2, "")]
    assert say(found, (2, "{}")) == [(2, "{}")]


def test_a_call_without_arguments_yet_is_not_whole() -> None:
    """Some say first which calls there are, and then what they are called with."""
    found = turns.Turns()
    assert say(found, (0, ""), (1, ""), (0, '{"x":"}"}')) == [(0, ""), (0, '{"x":"}"}'), (1, "")]


@pytest.mark.parametrize("text", ["}", '{"a":"}', '"}"', "[{}", "{}}", '{"a":1'])
def test_what_only_looks_whole_is_not(text: str) -> None:
    assert say(turns.Turns(), (0, text), (1, "{}")) == [(0, text)]


def test_the_rest_comes_in_the_order_in_which_calls_began() -> None:
    found = turns.Turns()
    say(found, (0, "{"), (2, "a"), (1, "b"), (2, "c"))
    assert [(one.call, text(one)) for one in found.rest()] == [(2, "a"), (2, "c"), (1, "b")]
    assert found.rest() == []


def test_a_call_that_has_ended_does_not_go_on() -> None:
    for ended in (0, 1):
        found = turns.Turns()
        say(found, (0, "{"), (1, "{"))
        found.rest()
        assert say(found, (ended, " \n"), (ended, "")) == []
        with pytest.raises(errors.ProviderMalformed, match="went on after"):
            found.take(piece(ended, "x"))


def test_what_waits_is_limited() -> None:
    found = turns.Turns()
    say(found, (0, "{"))
    size = turns.MAX_HELD - 64 - 2
    assert say(found, (1, "x" * size)) == []
    with pytest.raises(errors.StreamTooLarge, match=str(turns.MAX_HELD)):
        found.take(piece(1))


def test_many_pieces_without_text_are_limited_too() -> None:
    found = turns.Turns()
    say(found, (0, "{"))
    most = turns.MAX_HELD // 66
    for call in range(1, most + 1):
        assert found.take(piece(call)) == ()
    with pytest.raises(errors.StreamTooLarge):
        found.take(piece(most + 1))


def test_what_was_told_makes_room() -> None:
    found = turns.Turns()
    long = '{"x":"' + "x" * (turns.MAX_HELD // 2) + '"}'
    for call in range(0, 12, 2):
        assert say(found, (call, "{"), (call + 1, long)) == [(call, "{")]
        assert say(found, (call, "}")) == [(call, "}"), (call + 1, long)]


def test_very_long_arguments_are_taken_for_whole_when_another_call_begins() -> None:
    found = turns.Turns()
    say(found, (0, "x" * turns.MAX_HELD), (0, "x"))
    assert say(found, (1, "{}")) == [(1, "{}")]
    assert len(found._said) < 10


@given(
    st.lists(
        st.sampled_from(['{"a":1}', "{}", '{"b":{"c":[]}}', '{"t":"}\\"{\u00e9"}']),
        min_size=1,
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_however_they_come_each_call_is_told_whole_and_at_one_time(
    texts: list[str], random: Random
) -> None:
    left = {call: list(said) for call, said in enumerate(texts)}
    found = turns.Turns()
    told: list[turns.Piece] = []
    while left:
        call = random.choice(sorted(left))
        told += found.take(piece(call, left[call].pop(0)))
        if not left[call]:
            del left[call]
    told += found.rest()
    order = [call for call, _ in itertools.groupby(one.call for one in told)]
    assert len(order) == len(texts)  # each in one piece
    for call, said in enumerate(texts):
        assert "".join(text(one) for one in told if one.call == call) == said
