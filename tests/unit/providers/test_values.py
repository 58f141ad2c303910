"""What is kept of a vendor's own fields, and how words and counts are read."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.providers import values

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(anything)
def test_a_vendors_field_can_always_be_carried(value: Any) -> None:
    raw = values.extra(field=value)
    assert set(msgspec.json.decode(raw)) == {"field"}
    assert b"\n" not in bytes(raw)


def test_good_values_are_carried_unchanged() -> None:
    value = {"a": [1, -2.5, True, None, "é", {"b": 2**63 - 1}]}
    assert msgspec.json.decode(values.extra(f=value)) == {"f": value}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (2**63, None),
        (-(2**63) - 1, None),
        (math.inf, None),
        (math.nan, None),
        ("a\ud83d", "a\ufffd"),
        ({"\ud83d": 1}, {"\ufffd": 1}),
        (b"bytes", None),
    ],
)
def test_what_json_cannot_carry_becomes_null(value: Any, plain: Any) -> None:
    assert values.plain(value) == plain
    assert values.plain([value]) == [plain]


def test_depth_is_bounded() -> None:
    deep: Any = "leaf"
    for _ in range(values.MAX_DEPTH + 5):
        deep = [deep]
    kept, levels = values.plain(deep), 0
    while kept is not None:
        (kept,) = kept
        levels += 1
    assert levels == values.MAX_DEPTH


def test_a_text_of_json_is_read_leniently() -> None:
    assert values.load('"a\\ud83d\n"') == "a\ud83d\n"
    assert values.encoded({"a": "\ud83d"}) == '{"a":"\ufffd"}'


def test_a_word_is_short_and_valid() -> None:
    assert values.word("x" * 1000) == "x" * values.MAX_WORD
    assert values.word("\ud83d") == "\ufffd"


@pytest.mark.parametrize("count", [-1, 1.0, True, "1", None, 2**53 + 1, [1]])
def test_what_is_no_count_is_none(count: Any) -> None:
    assert values.tokens({"n": count}, "n") is None


@pytest.mark.parametrize("counts", [None, [], "n", 1, {}])
def test_counts_that_are_none(counts: Any) -> None:
    assert values.tokens(counts, "n") is None


def test_a_count() -> None:
    assert [values.tokens({"n": n}, "n") for n in (0, 1, 2**53)] == [0, 1, 2**53]


def test_a_field_has_a_valid_name() -> None:
    assert msgspec.json.decode(values.extra(**{"\ud83d": 1})) == {"\ufffd": 1}
