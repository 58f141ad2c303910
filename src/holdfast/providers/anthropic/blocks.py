"""Blocks that are the provider's own affair, gathered to be given back verbatim.

Strategy: a server-side tool call, its result, redacted thinking, a compaction or a block of a
type that is not known here says nothing that a client must understand, but the next request
may or must repeat it. It is told as a whole, once it is complete, and bounded (`kept`).
"""

from __future__ import annotations

from typing import Any

from holdfast.providers import kept, values
from holdfast.providers.anthropic import wire

SEALED = frozenset(
    ("redacted_thinking", "compaction", "web_search_tool_result", "web_fetch_tool_result")
)
"""Blocks that are worth nothing unless they are whole; what was found in the web is encrypted too,
and a conversation cannot go on without it."""


class Item:
    """One block of this type under way, at most its limit and as many bytes of its deltas."""

    def __init__(self, type: str, fields: dict[str, Any]) -> None:
        self._limit = kept.MAX_SEALED if type in SEALED else kept.MAX_KEPT
        self._fields = kept.bounded(fields, self._limit)
        self._input: list[str] = []
        self._size = 0

    def add(self, delta: wire.Delta) -> int:
        """A delta of this block, and how many characters of it there are; one that does not fit
        it is left out."""
        if delta.type == "input_json_delta" and delta.partial_json:
            self._size += len(delta.partial_json)
            if self._size <= self._limit:
                self._input.append(delta.partial_json)
            return len(delta.partial_json)
        if delta.type == "compaction_delta":
            # One delta holds the whole of it, as the SDK reads it too.
            news = {"content": delta.content, "encrypted_content": delta.encrypted_content}
            news = {name: value for name, value in news.items() if value is not None}
            self._fields = kept.bounded(self._fields | news, self._limit)
            return len(values.encoded(news)) if news else 0
        return 0

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
        return kept.bounded(self._fields | {"input": value}, self._limit)
