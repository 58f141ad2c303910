"""The usage of one answer.

Strategy: counts are cumulative, so the newest replaces the earlier one, each by itself: the
start of the message counts the input, and its end repeats only some of them. Anthropic counts
the cached parts of the input apart; here `input_tokens` is all that was sent.

Format: https://platform.claude.com/docs/en/api/messages (usage).
"""

from __future__ import annotations

from typing import Any

from holdfast import events
from holdfast.providers import values

_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_OUTPUT = "output_tokens"
_THINKING = "thinking_tokens"


class Counts:
    """What is known by now, and what is told of it."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._told: events.Usage | None = None

    def note(self, usage: Any) -> None:
        """Takes the counts of a `usage`; what is no count is left out."""
        if not isinstance(usage, dict):
            return
        for name in (*_INPUT, _OUTPUT):
            self._learn(name, values.tokens(usage, name))
        self._learn(_THINKING, values.tokens(usage.get("output_tokens_details"), _THINKING))

    def tell(self, out: list[events.Body]) -> None:
        """Appends the newest usage, unless it is told already."""
        if not self._known:
            return
        sent = sum(self._known.get(name, 0) for name in _INPUT)
        written = self._known.get(_OUTPUT, 0)
        usage = events.Usage(
            input_tokens=sent,
            output_tokens=written,
            total_tokens=sent + written,
            reasoning_tokens=self._known.get(_THINKING),
            cached_tokens=self._known.get("cache_read_input_tokens"),
        )
        if usage != self._told:
            self._told = usage
            out.append(usage)

    def _learn(self, name: str, count: int | None) -> None:
        if count is not None:
            self._known[name] = count
