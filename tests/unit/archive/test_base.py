"""What a key says of its limits goes over what is usual."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.archive import base

FIELDS = base.Quota.__struct_fields__
USUAL = base.Quota(1, 2, 3, 4, 5, 6)


def test_nothing_said_is_as_usual() -> None:
    assert base.Quota().over(USUAL) == USUAL
    assert base.Quota().over(base.Quota()) == base.Quota()


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [0, 1, 10**12])
def test_what_is_said_takes_the_place_of_this_one_alone(field: str, value: int) -> None:
    """Also 0, which is no limit, and more than is usual."""
    found = base.Quota(**{field: value}).over(USUAL)
    assert found == msgspec.structs.replace(USUAL, **{field: value})


@given(
    said=st.lists(st.none() | st.integers(0, 10**12), min_size=6, max_size=6),
    usual=st.lists(st.none() | st.integers(0, 10**12), min_size=6, max_size=6),
)
def test_each_field_is_judged_by_itself(said: list[int | None], usual: list[int | None]) -> None:
    found = base.Quota(*said).over(base.Quota(*usual))
    chosen = [u if s is None else s for s, u in zip(said, usual, strict=True)]
    assert msgspec.structs.astuple(found) == tuple(chosen)


def test_what_is_usual_is_not_changed() -> None:
    usual = base.Quota(1, 2, 3, 4, 5, 6)
    base.Quota(streams=9).over(usual)
    assert usual == USUAL
