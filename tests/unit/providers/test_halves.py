"""Halves of signs, against a plain account of what the whole text is."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from holdfast import events
from holdfast.providers import halves

UNITS = st.lists(st.sampled_from(["a", "é", "\ud83d", "\ud83c", "\ude00", "\udf0a", "日", "🌊"]))
LANE: halves.Lane = (0, "content", None)


def joined(text: str) -> str:
    """Pairs joined and lone halves marked, by rewriting the text."""
    pairs = re.sub(
        "[\ud800-\udbff][\udc00-\udfff]",
        lambda pair: chr(0x10000 + ((ord(pair[0][0]) & 0x3FF) << 10) + (ord(pair[0][1]) & 0x3FF)),
        text,
    )
    return re.sub("[\ud800-\udfff]", "\ufffd", pairs)


@given(UNITS)
def test_valid(units: list[str]) -> None:
    assert halves.valid("".join(units)) == joined("".join(units))


@given(st.lists(UNITS.map("".join)))
def test_deltas_add_up_to_the_whole(texts: list[str]) -> None:
    held = halves.Halves()
    deltas = [held.whole(LANE, text) for text in texts]
    deltas += [chunk.delta for chunk in held.release()]
    assert "".join(deltas) == joined("".join(texts))
    assert all(delta.encode() or not delta for delta in deltas)


def test_lanes_do_not_mix() -> None:
    held = halves.Halves()
    lanes: list[halves.Lane] = [
        (0, "content", None),
        (0, "reasoning", None),
        (1, "content", None),
        (0, "tool_call", 0),
        (0, "tool_call", 1),
    ]
    assert [held.whole(lane, f"{n}\ud83d") for n, lane in enumerate(lanes)] == list("01234")
    assert held.whole(lanes[2], "\ude00") == "😀"
    assert list(held.release(0)) == [
        events.Chunk("content", "\ufffd"),
        events.Chunk("reasoning", "\ufffd"),
        events.Chunk("tool_call", "\ufffd", 0, 0),
        events.Chunk("tool_call", "\ufffd", 0, 1),
    ]
    assert list(held.release()) == []
