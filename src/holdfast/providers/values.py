"""A provider's own JSON: read leniently, kept verbatim, and counted with care.

Strategy: what a format names is decoded by msgspec into structs. This file is for the rest:
text that is good enough for people and not for msgspec (half of a surrogate pair, a raw
control character, a number out of range), fields that are kept for the next request, and
numbers that may be missing, negative or words.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from holdfast.providers import halves

MAX_DEPTH = 32
"""Levels of a vendor's own fields that are kept; what lies deeper becomes null."""

MAX_WORD = 100
"""Characters of a vendor's own word, such as a finish reason, that are kept."""

_MAX_TOKENS = 2**53  # what every JSON reader can hold


def load(text: str) -> Any:
    """Any JSON value, lone surrogates and raw control characters included.

    Raises ValueError or RecursionError.
    """
    return json.loads(text, strict=False)


def plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """The value as JSON can carry it anywhere: valid text, 64-bit integers, finite numbers and
    at most `depth` levels; what is not so becomes null."""
    if isinstance(value, str):
        return halves.valid(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth and isinstance(value, dict):
        return {halves.valid(name): plain(item, depth - 1) for name, item in value.items()}
    if depth and isinstance(value, list):
        return [plain(item, depth - 1) for item in value]
    return None


def extra(**fields: Any) -> msgspec.Raw:
    """A vendor's fields for `events.Chunk.extra`, as far as JSON carries them."""
    return msgspec.Raw(msgspec.json.encode(plain(fields, MAX_DEPTH + 1)))


def encoded(value: Any) -> str:
    """The value as JSON text, as far as JSON carries it."""
    return msgspec.json.encode(plain(value)).decode()


def word(text: str) -> str:
    """A vendor's own word, valid and at most `MAX_WORD` characters."""
    return halves.valid(text[:MAX_WORD])


def tokens(counts: Any, name: str) -> int | None:
    """The number of tokens under this name; None where there is no such count."""
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if type(value) is int and 0 <= value <= _MAX_TOKENS else None
