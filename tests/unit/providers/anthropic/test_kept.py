"""What is kept verbatim keeps within its limit."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.providers import values
from holdfast.providers.anthropic import kept, wire


def test_what_fits_is_not_touched() -> None:
    fields = {"type": "x", "content": "y" * (kept.MAX_ITEM - 40)}
    assert kept.bounded(fields) is fields


def test_the_biggest_field_goes_first() -> None:
    fields = {"a": "x" * 100, "b": "y" * 60_000, "c": "z" * 40_000, "d": [1]}
    assert kept.bounded(fields) == fields | {"b": None, "truncated": True}
    assert kept.bounded(fields, 1000) == {"a": "x" * 100, "b": None, "c": None, "d": [1]} | {
        "truncated": True
    }


def test_the_only_field_can_be_too_big() -> None:
    assert kept.bounded({"b": "y" * kept.MAX_ITEM}) == {"b": None, "truncated": True}


def test_names_alone_can_be_too_many() -> None:
    fields: dict[str, Any] = {f"name{n}": "x" for n in range(20_000)}
    assert kept.bounded(fields) == {"truncated": True}


@pytest.mark.parametrize(
    ("pieces", "input"),
    [
        ([], {"from": "start"}),
        (["", '{"a": ', "1}"], {"a": 1}),
        (['{"a": '], '{"a": '),
        (["[" * 10_000], "[" * 10_000),
        (["x" * kept.MAX_ITEM, "y"], None),
        (['"' + "x" * (kept.MAX_ITEM - 5), '"'], None),
    ],
    ids=["none", "whole", "cut", "deep", "too long", "too long with its name"],
)
def test_the_input_of_a_call(pieces: list[str], input: Any) -> None:
    item = kept.Item(
        "server_tool_use", {"type": "server_tool_use", "id": "a", "input": {"from": "start"}}
    )
    for piece in pieces:
        item.add(wire.Delta(type="input_json_delta", partial_json=piece))
    whole = item.whole()
    assert whole["input"] == input
    assert whole["id"] == "a"
    assert whole.get("truncated", False) == (input is None)
    assert len(values.encoded(whole)) <= kept.MAX_ITEM + 40


def test_what_is_worth_nothing_in_part_has_a_higher_limit() -> None:
    data = "x" * (kept.MAX_ITEM * 2)
    assert kept.Item("redacted_thinking", {"data": data}).whole()["data"] == data
    assert kept.Item("other", {"data": data}).whole()["data"] is None
    over = "x" * kept.MAX_SEALED
    assert kept.Item("redacted_thinking", {"data": over}).whole()["data"] is None


def test_a_compaction_is_what_its_delta_says() -> None:
    item = kept.Item("compaction", {"type": "compaction", "content": None})
    item.add(wire.Delta(type="compaction_delta", content="So far."))
    item.add(wire.Delta(type="compaction_delta", encrypted_content="ZQ=="))
    item.add(wire.Delta(type="text_delta", text="no part of it"))
    assert item.whole() == {"type": "compaction", "content": "So far.", "encrypted_content": "ZQ=="}
    item.add(wire.Delta(type="compaction_delta", content="x" * kept.MAX_SEALED))
    assert item.whole()["content"] is None
