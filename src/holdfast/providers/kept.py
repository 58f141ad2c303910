"""What of a provider's own fields is kept verbatim, and how much of it.

Strategy: what a client need not understand (a search, its result, code that ran, encrypted
reasoning) goes into an `extra`, and the next request may give it back. It can have megabytes (a
picture, a fetched page), so an object over its limit loses its largest fields, and says so by
`truncated` among its own fields: the mark stays with it wherever it is put. First the long texts
in a field go, so that what is said about them stays, then the field as a whole. The names that
tell what the object is are not taken from it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.providers import values

MAX_KEPT = 64 << 10
"""Bytes of JSON of one object that is kept whole."""

MAX_SEALED = 1 << 20
"""The same where the object is worth nothing unless it is whole, as encrypted reasoning is: a
thousand tokens of it are about 6 KB."""

MAX_TEXT = 1024
"""Characters of a text in a field that is not long."""

NAMES = frozenset(("type", "id", "call_id", "tool_use_id", "name", "status"))
"""What an object is, and which one."""

_MARK = {"truncated": True}


def bounded(fields: dict[str, Any], limit: int = MAX_KEPT) -> dict[str, Any]:
    """The fields; where their JSON is over `limit` bytes, what is left of them within it, and
    `"truncated": true`: null for the largest, or where even that is too much, `NAMES` alone."""
    sizes = {name: _size(name, value) for name, value in fields.items()}
    total = sum(sizes.values()) + 1
    if total <= limit:
        return fields
    small = dict(fields)
    total += _size("truncated", True)
    for shorten in (_without_long_texts, _nothing):
        for name in sorted(sizes.keys() - NAMES, key=lambda name: (-sizes[name], name)):
            if total <= limit:
                return small | _MARK
            small[name] = shorten(small[name])
            total -= sizes[name]
            sizes[name] = _size(name, small[name])
            total += sizes[name]
    if total > limit:  # odd: very many fields, or a very long name
        named = {name: fields[name] for name in sorted(NAMES & fields.keys())}
        small = {name: values.word(text) for name, text in named.items() if isinstance(text, str)}
    return small | _MARK


def raw(fields: dict[str, Any], **whole: Any) -> msgspec.Raw:
    """An `extra` of these fields, bounded, and of `whole`, which is never cut: a signature."""
    return msgspec.Raw(msgspec.json.encode(values.plain(bounded(fields) | whole)))


def _size(name: str, value: Any) -> int:
    """Bytes of a field with its comma."""
    return len(msgspec.json.encode(values.plain({name: value}))) - 1


def _without_long_texts(value: Any, depth: int = values.MAX_DEPTH) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else None
    if depth and isinstance(value, dict):
        return {name: _without_long_texts(item, depth - 1) for name, item in value.items()}
    if depth and isinstance(value, list):
        return [_without_long_texts(item, depth - 1) for item in value]
    return None if isinstance(value, (dict, list)) else value


def _nothing(value: Any) -> None:
    return None
