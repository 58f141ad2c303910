"""When somebody who was refused may come back: a pure function, and that its chance is drawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors
from holdfast.http import problems

CROWDS = (
    errors.TooManyConnections,
    errors.Overloaded,
    errors.Draining,
    errors.LogUnavailable,
    errors.KeysUnavailable,
    errors.ArchiveUnavailable,
)


@pytest.mark.parametrize("kind", CROWDS)
@pytest.mark.parametrize(
    ("floor", "first"), [(None, 1), (0.0, 1), (0.2, 1), (1.0, 1), (2.0, 2), (2.1, 3), (60.0, 60)]
)
def test_whom_a_node_refuses_comes_back_over_some_seconds(
    kind: type[errors.HoldfastError], floor: float | None, first: int
) -> None:
    error = kind(retry_after=floor)
    found = [problems.retry_after(error, chance / 100) for chance in range(100)]
    assert found == sorted(found)
    assert set(found) == set(range(first, first + problems.SPREAD))
    assert max(found.count(one) for one in found) == 100 // problems.SPREAD


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1e6))
def test_it_is_never_sooner_than_it_may_be(chance: float, floor: float) -> None:
    for kind in (*CROWDS, errors.StreamLimit, errors.ProviderOverloaded):
        found = problems.retry_after(kind(retry_after=floor), chance)
        assert found >= max(1, floor)
        assert found < floor + 1 + problems.SPREAD


@pytest.mark.parametrize(
    "kind", [errors.RequestLimit, errors.StreamLimit, errors.ProviderOverloaded]
)
def test_a_time_that_is_known_is_told_as_it_is(kind: type[errors.HoldfastError]) -> None:
    for chance in (0.0, 0.5, 0.999):
        assert problems.retry_after(kind(retry_after=7.5), chance) == 8


@pytest.mark.parametrize("kind", CROWDS)
def test_each_refusal_draws_anew(kind: type[errors.HoldfastError]) -> None:
    told = {problems.response(kind()).headers["retry-after"] for _ in range(200)}
    assert told == {str(second) for second in range(1, 1 + problems.SPREAD)}
