"""A block that is kept is gathered within its limit."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.providers import kept, values
from holdfast.providers.anthropic import blocks, wire


@pytest.mark.parametrize(
    ("pieces", "input"),
    [
        ([], {"from": "start"}),
        (["", '{"a": ', "1}"], {"a": 1}),
        (['{"a": '], '{"a": '),
        (["[" * 10_000], "[" * 10_000),
        (["x" * kept.MAX_KEPT, "y"], None),
        (['"' + "x" * (kept.MAX_KEPT - 5), '"'], None),
    ],
    ids=["none", "whole", "cut", "deep", "too long", "too long with its name"],
)
def test_the_input_of_a_call(pieces: list[str], input: Any) -> None:
    item = blocks.Item(
        "server_tool_use", {"type": "server_tool_use", "id": "a", "input": {"from": "start"}}
    )
    for piece in pieces:
        item.add(wire.Delta(type="input_json_delta", partial_json=piece))
    whole = item.whole()
    assert whole["input"] == input
    assert whole["id"] == "a"
    assert whole.get("truncated", False) == (input is None)
    assert len(values.encoded(whole)) <= kept.MAX_KEPT + 40


def test_what_is_worth_nothing_in_part_has_a_higher_limit() -> None:
    data = "x" * (kept.MAX_KEPT * 2)
    for type in ("redacted_thinking", "web_search_tool_result"):
        assert blocks.Item(type, {"data": data}).whole()["data"] == data
    assert blocks.Item("other", {"data": data}).whole()["data"] is None
    over = "x" * kept.MAX_SEALED
    assert blocks.Item("redacted_thinking", {"data": over}).whole()["data"] is None


def test_a_compaction_is_what_its_delta_says() -> None:
    item = blocks.Item("compaction", {"type": "compaction", "content": None})
    item.add(wire.Delta(type="compaction_delta", content="So far."))
    item.add(wire.Delta(type="compaction_delta", encrypted_content="ZQ=="))
    item.add(wire.Delta(type="text_delta", text="no part of it"))
    assert item.whole() == {"type": "compaction", "content": "So far.", "encrypted_content": "ZQ=="}
    item.add(wire.Delta(type="compaction_delta", content="x" * kept.MAX_SEALED))
    assert item.whole()["content"] is None
