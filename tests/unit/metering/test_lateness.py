"""How late the loop is, and who is refused for it: the table, and looks one after the other."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.metering import lateness
from holdfast.metering.fair import SHARES

LIMIT = 0.2
PRIORITIES = lateness.LOWEST_FIRST


@pytest.mark.parametrize(
    ("lag", "before", "refused"),
    [
        (0, 0, 0),
        (14.9, 0, 0),
        (15, 0, 1),
        (17.9, 0, 1),
        (18, 0, 2),
        (19.9, 0, 2),
        (20, 0, 3),
        (900, 0, 3),
        # Who is refused stays so down to four fifths of that.
        (16, 3, 3),
        (15.9, 3, 2),
        (14.4, 2, 2),
        (14.3, 3, 1),
        (12, 1, 1),
        (11.9, 3, 0),
        # Who is not refused is not from there on.
        (12, 0, 0),
        (19, 1, 2),
    ],
)
def test_the_table(lag: float, before: int, refused: int) -> None:
    assert lateness.refused(lag, 20, before) == refused


@given(st.floats(0, 100), st.integers(0, 3))
def test_without_a_limit_nobody_is_refused(lag: float, before: int) -> None:
    assert lateness.refused(lag, 0, before) == 0


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1), st.integers(0, 3))
def test_the_later_the_more(one: float, other: float, limit: float, before: int) -> None:
    less, more = sorted((one, other))
    assert lateness.refused(less, limit, before) <= lateness.refused(more, limit, before)
    assert lateness.refused(less, limit, 0) <= lateness.refused(less, limit, before)


def test_what_matters_least_is_refused_first() -> None:
    assert PRIORITIES == ("low", "normal", "high")
    assert set(PRIORITIES) == SHARES.keys()
    late = lateness.Lateness(LIMIT)
    for refused, lag in enumerate((0.0, 0.16, 0.19, 0.3)):
        looks(late, *[lag] * lateness.LOOKS)
        assert late.refused == refused
        assert [late.refuses(one) for one in PRIORITIES] == [
            place < refused for place in range(len(PRIORITIES))
        ]


def looks(late: lateness.Lateness, *seen: float) -> list[int]:
    """How many priorities are refused after each of these looks."""
    found = []
    for one in seen:
        late.look(one)
        found.append(late.refused)
    return found


HALF = lateness.LOOKS // 2


def test_long_pauses_refuse_nobody_and_a_late_loop_does_soon() -> None:
    late = lateness.Lateness(LIMIT)
    assert set(looks(late, *[0.0] * 20, *[60.0] * HALF, *[0.0] * 20)) == {0}
    assert looks(late, *[0.5] * (HALF + 1)) == [*[0] * HALF, 3]
    assert late.lag == 0.5


@given(st.lists(st.sampled_from([0.0, 0.001, 30.0]), min_size=200, max_size=200))
def test_only_most_looks_decide(seen: list[float]) -> None:
    late = lateness.Lateness(LIMIT)
    before = itertools.chain([0.0] * lateness.LOOKS, seen)
    window = list(itertools.islice(before, lateness.LOOKS))
    for one in seen:
        window = [*window[1:], one]
        late.look(one)
        assert late.refused == (3 if sum(x > 1 for x in window) > HALF else 0)


def test_it_is_over_by_itself() -> None:
    late = lateness.Lateness(LIMIT)
    looks(late, *[1.0] * lateness.LOOKS)
    assert late.refused == 3
    assert looks(late, *[0.001] * (HALF + 1)) == [*[3] * HALF, 0]
    assert late.lag == 0.001


def test_around_the_lag_at_which_it_began_it_does_not_flicker() -> None:
    late = lateness.Lateness(LIMIT)
    looks(late, *[0.155] * lateness.LOOKS)
    assert set(looks(late, *[0.145, 0.155] * 50)) == {1}
    assert set(looks(late, *[0.125] * 50)) == {1}
    assert looks(late, *[0.115] * lateness.LOOKS)[-1] == 0
