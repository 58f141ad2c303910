"""What is kept of an item, and how much of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast.providers.openai_responses import items


def kept(item: dict[str, Any]) -> tuple[Any, int]:
    raw = items.kept(item)
    return msgspec.json.decode(raw), len(bytes(raw))


def test_an_item_is_kept_as_it_came() -> None:
    item = {"type": "web_search_call", "id": "ws", "action": {"query": "a", "n": [1, None]}}
    assert kept(item)[0] == {"item": item}


def test_the_largest_fields_of_a_large_item_are_left_out() -> None:
    item = {
        "type": "image_generation_call",
        "id": "ig_1",
        "size": "1x1",
        "prompt": "p" * 1000,
        "result": "A" * items.MAX_ITEM,
        "preview": "B" * items.MAX_ITEM,
    }
    told, size = kept(item)
    assert told == {"item": {**item, "result": None, "preview": None}, "truncated": True}
    assert size <= items.MAX_ITEM


@pytest.mark.parametrize("beyond", [0, 1])
def test_the_limit_is_exact(beyond: int) -> None:
    frame = len(b'{"item":{"type":"t","result":""}}')
    told, size = kept({"type": "t", "result": "A" * (items.MAX_ITEM - frame + beyond)})
    assert ("truncated" in told) == bool(beyond)
    assert size <= items.MAX_ITEM


def test_encrypted_content_has_more_room() -> None:
    sealed = {"type": "reasoning", "id": "rs", "encrypted_content": "A" * (items.MAX_SEALED // 2)}
    assert kept(sealed)[0] == {"item": sealed}
    sealed["encrypted_content"] = "A" * items.MAX_SEALED
    assert kept(sealed)[0] == {"item": {**sealed, "encrypted_content": None}, "truncated": True}


@pytest.mark.parametrize(
    "item",
    [
        {"type": "t", "id": "i"} | {f"field{n}": n for n in range(10_000)},
        {"type": "t" * 100_000, "id": "i", "more": 1},
    ],
)
def test_an_odd_item_is_kept_by_its_name(item: dict[str, Any]) -> None:
    told, size = kept(item)
    assert told["truncated"]
    assert told["item"]["id"] == "i"
    assert told["item"]["type"] == item["type"][:100]
    assert size <= items.MAX_ITEM


@pytest.mark.parametrize(
    ("item", "for_client"),
    [
        ({"type": "local_shell_call"}, True),
        ({"type": "shell_call"}, True),
        ({"type": "computer_call"}, True),
        ({"type": "apply_patch_call"}, True),
        ({"type": "mcp_approval_request"}, True),
        ({"type": "tool_search_call", "execution": "client"}, True),
        ({"type": "tool_search_call", "execution": "server"}, False),
        ({"type": "web_search_call"}, False),
        ({"type": "mcp_call"}, False),
        ({"type": "code_interpreter_call"}, False),
        ({}, False),
    ],
)
def test_whose_item_it_is(item: dict[str, Any], for_client: bool) -> None:
    assert items.is_for_client(item) == for_client
