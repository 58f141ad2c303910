"""What is kept verbatim for the next request, within bounds.

Strategy: a part that the client need not understand (code that Google ran, its result, a file)
is the whole `extra` of an `opaque` chunk. A picture can have megabytes, so an oversized value
loses its long texts, and says so. A signature is never cut: half of one is worth nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.providers import values

MAX_KEPT = 64 << 10
"""Bytes of JSON of one item that is kept whole."""

_LONG = 1024  # characters of a text that is small beside `MAX_KEPT`


def bounded(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, where their JSON is over `MAX_KEPT` bytes with null for each long text, and
    if that is not enough for each field, and `truncated` beside."""
    if len(values.encoded(fields)) <= MAX_KEPT:
        return fields
    small = {name: _without_long_texts(value) for name, value in fields.items()}
    if len(values.encoded(small)) > MAX_KEPT:
        small = dict.fromkeys(fields)
    return small | {"truncated": True}


def _without_long_texts(value: Any, depth: int = values.MAX_DEPTH) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _LONG else None
    if depth and isinstance(value, dict):
        return {name: _without_long_texts(item, depth - 1) for name, item in value.items()}
    if depth and isinstance(value, list):
        return [_without_long_texts(item, depth - 1) for item in value]
    return None if isinstance(value, (dict, list)) else value


def raw(fields: dict[str, Any], **whole: Any) -> msgspec.Raw:
    """An `extra` of these fields, bounded, and of `whole`, which is never cut."""
    return msgspec.Raw(values.encoded(bounded(fields) | whole).encode())


def part(fields: dict[str, Any], signature: str | None) -> msgspec.Raw:
    """A part as it goes back, bounded, with its signature whole."""
    return raw(fields, thoughtSignature=signature) if signature else raw(fields)
