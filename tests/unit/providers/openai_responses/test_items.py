"""What is kept of an item, and how much of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast.providers import kept
from holdfast.providers.openai_responses import items


def told(item: dict[str, Any]) -> Any:
    return msgspec.json.decode(items.extra(item))


def test_an_item_is_kept_as_it_came() -> None:
    item = {"type": "web_search_call", "id": "ws", "action": {"query": "a", "n": [1, None]}}
    assert told(item) == {"item": item}


def test_a_cut_item_says_so_itself() -> None:
    item = {"type": "image_generation_call", "id": "ig_1", "result": "A" * kept.MAX_KEPT}
    assert told(item) == {"item": {**item, "result": None, "truncated": True}}


def test_encrypted_content_has_more_room() -> None:
    sealed = {"type": "reasoning", "id": "rs", "encrypted_content": "A" * (kept.MAX_SEALED // 2)}
    assert told(sealed) == {"item": sealed}
    sealed["encrypted_content"] = "A" * kept.MAX_SEALED
    cut = {"encrypted_content": None, "truncated": True}
    assert told(sealed) == {"item": {**sealed, **cut}}


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
