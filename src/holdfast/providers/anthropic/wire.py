"""The frames of an Anthropic answer, as far as Holdfast reads them.

Strategy: as in the chat format, msgspec decodes straight from the bytes into structs that name
only what is used, and frames that are good enough for people and not for msgspec go the slow
way, through `values.load`. Fields that differ by the type of a block or of a delta, or that are
kept verbatim, are `Any` and looked at with care where they occur, which is seldom.

Format: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

EVENTS = frozenset(
    (
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    )
)
"""The events that exist today; others are left out, whatever they hold."""

DELTAS = frozenset(
    (
        "text_delta",
        "thinking_delta",
        "signature_delta",
        "input_json_delta",
        "citations_delta",
        "compaction_delta",
    )
)
"""The deltas that exist today; others are left out, whatever they hold."""


class Delta(msgspec.Struct, gc=False):
    """What is new in a block, by `type`; or, without a type, how the message ended."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: Any = None
    content: Any = None
    encrypted_content: Any = None
    stop_reason: str | None = None
    stop_sequence: Any = None
    stop_details: Any = None
    container: Any = None


class Event(msgspec.Struct, gc=False):
    """An event; `index` is the place of its block in the message."""

    type: str | None = None
    index: int | None = None
    delta: Delta | None = None
    content_block: Any = None
    message: Any = None
    usage: Any = None
    error: Any = None


decode = msgspec.json.Decoder(Event).decode
"""The fast way. Raises ValueError (which `msgspec.DecodeError` is) or RecursionError."""


def convert(value: Any) -> Event:
    """The slow way's second half. Raises `msgspec.ValidationError`, a ValueError."""
    return msgspec.convert(value, Event, strict=False)


def is_known(value: Any, named: str) -> bool:
    """Whether a decoded frame, of an event of this name, is of a kind that exists today."""
    told = value.get("type") if isinstance(value, dict) else None
    kind = told if isinstance(told, str) and told else named
    delta = value.get("delta") if isinstance(value, dict) else None
    if kind == "content_block_delta" and isinstance(delta, dict):
        type = delta.get("type")
        return not isinstance(type, str) or type in DELTAS
    return kind == "message" or kind in EVENTS
