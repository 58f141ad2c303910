"""What becomes of an output item that is complete.

Strategy: messages, reasoning and the calls of the client's functions are told as text. All
other items are kept whole in the `extra` of an `opaque` chunk, because the next request may, or
must, give them back: what the provider's own tools did, what the client is to carry out in a
way of its own (a shell, a computer, an approval), encrypted reasoning, and whatever is new.

Items: https://platform.openai.com/docs/api-reference/responses/object, `output`
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.providers import kept, values
from holdfast.providers.openai_responses import wire

CALLS: dict[str, str] = {"function_call": "arguments", "custom_tool_call": "input"}
"""Calls of the client's own tools, and where their text stands."""

_CLIENTS = frozenset(
    ("local_shell_call", "shell_call", "computer_call", "apply_patch_call", "mcp_approval_request")
)


def text_of_call(item: dict[str, Any]) -> str:
    """What the model wrote as the input of the call."""
    return wire.arguments(item, CALLS[wire.text(item, "type")])


def is_for_client(item: dict[str, Any]) -> bool:
    """Whether the answer waits for the client to carry this item out."""
    if item.get("type") == "tool_search_call":
        return item.get("execution") == "client"
    return item.get("type") in _CLIENTS


def call_id(item: dict[str, Any]) -> str:
    """What an item and its output have in common."""
    return wire.text(item, "call_id") or wire.text(item, "id")


def worth_keeping(item: dict[str, Any]) -> bool:
    """Whether reasoning can be given back: without either of these a provider that stores
    nothing does not know it any more."""
    return bool(item.get("encrypted_content") or item.get("content"))


def extra(item: dict[str, Any]) -> msgspec.Raw:
    """`{"item": …}` for `extra`, the item bounded. One that has `encrypted_content` is of no use
    without it."""
    limit = kept.MAX_SEALED if wire.text(item, "encrypted_content") else kept.MAX_KEPT
    return values.extra(item=kept.bounded(item, limit))
