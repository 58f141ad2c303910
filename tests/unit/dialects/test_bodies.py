"""Bodies: how deep one nests, and what is known of a foreign one.

Strategy: the depth is counted once more, over the decoded value; what is looked at is counted in
calls, never in time.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import errors
from holdfast.dialects import bodies, native

TEXTS = st.text('"\\[]{},:a', max_size=6)
VALUES = st.recursive(
    TEXTS | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=20,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@settings(max_examples=300)
@given(VALUES, st.sampled_from([None, 1]))
def test_brackets_count_outside_strings_alone(value: Any, indent: int | None) -> None:
    levels = depth(value)
    with pytest.MonkeyPatch.context() as patch:
        for most in (levels - 1, levels, levels + 1):
            patch.setattr(bodies, "MAX_DEPTH", most)
            assert bodies._too_deep(json.dumps(value, indent=indent).encode()) == (most < levels)


@pytest.mark.parametrize(
    "many", ["[]", "{}", '{"a":{}}', '"["', '["["]', '"\\\\[\\""', "[" * 95 + "]" * 95]
)
def test_what_is_looked_at_one_by_one_is_few(many: str) -> None:
    """A body of many brackets would hold up everybody else."""
    count, calls = 100_000 // len(many), 0
    tools = ",".join([many] * count)
    body = f'{{"model":"a","messages":[{{"role":"user"}}],"tools":[{{"a":[{tools}]}}]}}'.encode()

    def note(*_: object) -> None:
        nonlocal calls
        calls += 1

    gc.disable()  # what it calls back is not counted
    sys.setprofile(note)
    try:
        native.Native().parse(body)
    finally:
        sys.setprofile(None)
        gc.enable()
    assert calls < len(body) / 20


def test_no_body_of_brackets_alone_is_another_failure() -> None:
    for body in (b"[" * 1000, b"]" * 1000, b"][" * 1000, b'"' * 999, b"", b"[]" * 999, b"\\"):
        with pytest.raises(errors.MalformedBody):
            native.Native().parse(body)


class Known(msgspec.Struct):
    model: str
    n: int = 1


def test_a_foreign_body_is_parted() -> None:
    body = b'{"model": "m", "n": 2, "top_k": 3, "user": {"a": [1]}}'
    assert bodies.parted(body, Known) == (Known("m", 2), {"top_k": 3, "user": {"a": [1]}})


def test_null_counts_as_left_out() -> None:
    assert bodies.parted(b'{"model": "m", "n": null, "top_k": null}', Known) == (Known("m"), {})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"model": 1}', r"Expected `str`, got `int` - at `\$.model`"),
        (b"{}", "missing required field `model`"),
    ],
)
def test_a_field_of_a_wrong_type_is_named(body: bytes, said: str) -> None:
    with pytest.raises(errors.InvalidField, match=said):
        bodies.parted(body, Known)


@pytest.mark.parametrize("body", [b"", b"[]", b'"m"', b"{", b"\xff", b"{" * 200])
def test_what_is_no_object_is_malformed(body: bytes) -> None:
    with pytest.raises(errors.MalformedBody):
        bodies.parted(body, Known)
