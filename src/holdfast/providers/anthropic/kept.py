"""Blocks that are the provider's own affair, gathered to be given back verbatim.

Strategy: a server-side tool call, its result, redacted thinking, a compaction or a block of a
type that is not known here says nothing that a client must understand, but the next request
may or must repeat it. It is told as a whole, once it is complete. A result can have megabytes
(a fetched page), so what is over the limit loses its big fields and says so. What is worth
nothing unless it is whole (encrypted thinking, a compaction) has a higher limit.
"""

from __future__ import annotations

from typing import Any

from holdfast.providers import values
from holdfast.providers.anthropic import wire

MAX_ITEM = 64 << 10
"""Bytes of JSON of one block, or of one citation, that are kept whole."""

MAX_SEALED = 1 << 20
"""The same for the blocks of `SEALED`."""

SEALED = frozenset(("redacted_thinking", "compaction"))


def bounded(fields: dict[str, Any], limit: int = MAX_ITEM) -> dict[str, Any]:
    """The fields; where their JSON is over `limit` bytes the biggest of them become null, one
    after the other until it fits, and `truncated` is true."""
    sizes = {name: len(values.encoded({name: value})) for name, value in fields.items()}
    total = sum(sizes.values())
    if total <= limit:
        return fields
    small = dict(fields)
    for name in sorted(sizes, key=lambda name: sizes[name], reverse=True):
        if total <= limit:
            break
        small[name] = None
        total -= sizes[name]
    if len(values.encoded(small)) > limit:
        small = {}  # so many fields that their names alone are over it
    return small | {"truncated": True}


class Item:
    """One block of this type under way, at most its limit and as many bytes of its deltas."""

    def __init__(self, type: str, fields: dict[str, Any]) -> None:
        self._limit = MAX_SEALED if type in SEALED else MAX_ITEM
        self._fields = bounded(fields, self._limit)
        self._input: list[str] = []
        self._size = 0

    def add(self, delta: wire.Delta) -> None:
        """A delta of this block; one that does not fit it is left out."""
        if delta.type == "input_json_delta" and delta.partial_json:
            self._size += len(delta.partial_json)
            if self._size <= self._limit:
                self._input.append(delta.partial_json)
        elif delta.type == "compaction_delta":
            # One delta holds the whole of it, as the SDK reads it too.
            news = {"content": delta.content, "encrypted_content": delta.encrypted_content}
            news = {name: value for name, value in news.items() if value is not None}
            self._fields = bounded(self._fields | news, self._limit)

    def whole(self) -> dict[str, Any]:
        """The block as the next request may repeat it."""
        if self._size > self._limit:
            return self._fields | {"input": None, "truncated": True}
        if not self._input:
            return self._fields
        text = "".join(self._input)
        try:
            value = values.load(text)
        except (ValueError, RecursionError):
            value = text
        return bounded(self._fields | {"input": value}, self._limit)
