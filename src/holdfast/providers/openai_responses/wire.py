"""The frames of a Responses stream, as far as Holdfast reads them.

Strategy: nearly every frame is a delta that goes on where the one before it stopped. msgspec
decodes straight from the bytes into a struct with the six fields that tell so; everything else
is skipped at C speed. Only a frame that is anything else, of a type that is read at all, is
decoded again as a whole, and its fields are looked at with care: servers fill them in ways of
their own, and what is not of its type counts as missing.

What msgspec refuses (half of a surrogate pair, a raw control character, a number out of range)
goes through `values.load`. Strings that come that way may hold lone surrogates.

Format: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import sse
from holdfast.providers import values


class Delta(msgspec.Struct, gc=False):
    """Where a piece of text belongs, and the piece."""

    type: str = ""
    delta: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    logprobs: Any = None


decode = msgspec.json.Decoder(Delta).decode
"""The fast way. Raises ValueError (which `msgspec.DecodeError` is) or RecursionError."""

_decode_any = msgspec.json.Decoder().decode


def load(frame: sse.Frame) -> Any:
    """The whole frame, any JSON value. Raises ValueError or RecursionError."""
    try:
        return _decode_any(frame.data)
    except (ValueError, RecursionError):
        return values.load(frame.text)


def text(fields: Any, name: str) -> str:
    """The text under this name, "" where there is none."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, str) else ""


def number(fields: dict[str, Any], name: str) -> int | None:
    """The whole number under this name, if there is one."""
    value = fields.get(name)
    return value if type(value) is int else None


def objects(fields: Any, name: str) -> list[dict[str, Any]]:
    """The objects in the list under this name."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def arguments(fields: dict[str, Any], name: str) -> str:
    """The arguments of a call; some servers send an object and not its JSON."""
    value = fields.get(name)
    return values.encoded(value) if isinstance(value, dict) else text(fields, name)
