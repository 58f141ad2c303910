"""The two ways of reading a frame, and what is kept of a vendor's own fields."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.providers import said as told

from holdfast.providers.openai_chat import wire

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def test_both_ways_read_the_same() -> None:
    for recording in told.FIXTURES:
        for line in recording.wire.splitlines():
            payload = line.removeprefix(b"data: ")
            try:
                fast = wire.decode(payload)
            except (ValueError, RecursionError):
                continue
            assert wire.convert(wire.load(payload.decode())) == fast


@given(values)
def test_a_vendors_field_can_always_be_carried(value: Any) -> None:
    raw = wire.verbatim("field", value)
    assert set(msgspec.json.decode(raw)) == {"field"}
    assert b"\n" not in bytes(raw)


def test_good_values_are_carried_unchanged() -> None:
    value = {"a": [1, -2.5, True, None, "é", {"b": 2**63 - 1}]}
    assert msgspec.json.decode(wire.verbatim("f", value)) == {"f": value}


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
    assert wire.plain(value) == plain
    assert wire.plain([value]) == [plain]


def test_depth_is_bounded() -> None:
    deep: Any = "leaf"
    for _ in range(wire.MAX_DEPTH + 5):
        deep = [deep]
    kept, levels = wire.plain(deep), 0
    while kept is not None:
        (kept,) = kept
        levels += 1
    assert levels == wire.MAX_DEPTH
