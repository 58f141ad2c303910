"""What is kept of an object, and how much of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.providers import kept, values


def size(fields: dict[str, Any]) -> int:
    return len(values.encoded(fields).encode())


@pytest.mark.parametrize("letter", ["y", "é", '"'])
@pytest.mark.parametrize("beyond", [0, 1])
def test_the_limit_is_exact_and_in_bytes(letter: str, beyond: int) -> None:
    fields = {"type": "x", "n": [1.5, None, True], "content": letter * 1000}
    told = kept.bounded(fields, size(fields) - beyond)
    if beyond:
        assert told == {**fields, "content": None, "truncated": True}
    else:
        assert told is fields


def test_the_largest_field_goes_first() -> None:
    fields = {"a": "x" * 2000, "b": "y" * 60_000, "c": "z" * 40_000, "d": [1]}
    assert kept.bounded(fields) == fields | {"b": None, "truncated": True}
    cut = {"a": None, "b": None, "c": None, "d": [1], "truncated": True}
    assert kept.bounded(fields, 1000) == cut


@pytest.mark.parametrize("missing", [0, 1])
def test_the_mark_counts_too(missing: int) -> None:
    fields = {"a": "x" * 3000, "b": "y" * 2000}
    cut = {"a": None, "b": "y" * 2000, "truncated": True}
    assert kept.bounded(fields, size(cut) - missing) == cut | ({"b": None} if missing else {})


def test_long_texts_go_before_what_is_said_about_them() -> None:
    page = {"url": "https://example.org", "pages": ["x" * kept.MAX_KEPT, "short", 5]}
    assert kept.bounded({"type": "t", "result": page}) == {
        "type": "t",
        "result": {"url": "https://example.org", "pages": [None, "short", 5]},
        "truncated": True,
    }


def test_then_the_whole_field_goes() -> None:
    fields = {"a": ["x" * 100] * 1000, "b": ["y" * 100] * 10}
    assert kept.bounded(fields) == fields | {"a": None, "truncated": True}


def test_what_lies_too_deep_goes_too() -> None:
    deep: object = "x" * (kept.MAX_KEPT + 1)
    for _ in range(values.MAX_DEPTH - 2):
        deep = [deep]
    told = kept.bounded({"a": deep, "b": "x" * kept.MAX_KEPT})
    assert told["truncated"]
    assert size(told) <= kept.MAX_KEPT


@pytest.mark.parametrize(
    "fields",
    [
        {f"field{n}": n for n in range(10_000)} | {"type": "t", "id": "i", "status": 5},
        {"type": "t" * 100_000, "id": "i", "more": 1},
    ],
)
def test_an_odd_object_is_kept_by_its_name(fields: dict[str, Any]) -> None:
    assert kept.bounded(fields) == {"type": fields["type"][:100], "id": "i", "truncated": True}


def test_one_without_a_name_leaves_the_mark() -> None:
    assert kept.bounded({f"field{n}": n for n in range(10_000)}) == {"truncated": True}


def test_what_may_not_be_cut_stands_beside() -> None:
    signature = "s" * (kept.MAX_KEPT * 2)
    made = msgspec.json.decode(kept.raw({"text": ""}, signature=signature))
    assert made == {"text": "", "signature": signature}


def test_names_and_texts_are_valid() -> None:
    made = msgspec.json.decode(kept.raw({"a\ud83c": {"b\ud83c": "c\ud83c"}}))
    assert made == {"a\ufffd": {"b\ufffd": "c\ufffd"}}


texts = st.text(max_size=5) | st.sampled_from(["x" * 2000, "é" * 2000])
trees = st.recursive(
    st.none() | st.integers() | texts,
    lambda tree: st.lists(tree, max_size=4) | st.dictionaries(texts, tree, max_size=4),
    max_leaves=8,
)
names = st.text(max_size=8) | st.sampled_from(sorted(kept.NAMES))


@given(st.dictionaries(names, trees, max_size=6), st.integers(1000, 5000))
def test_it_keeps_within_the_limit_or_says_that_it_was_cut(
    fields: dict[str, Any], limit: int
) -> None:
    told = kept.bounded(fields, limit)
    assert size(told) <= limit
    assert (told is fields) == (size(fields) <= limit)
    assert told is fields or told["truncated"] is True
