"""How a message ends: its reason, and what it used.

Strategy: the reason follows from ours. Where Anthropic has a finer word, and the provider said that
one, it stays; so does the word of an end that is none of ours, since no word of this API would be
true. Of the input, what was read from a cache is counted apart, as Anthropic counts it.

Format: https://platform.claude.com/docs/en/api/messages (stop_reason, usage).
"""

from __future__ import annotations

from typing import Any

from holdfast import events

REASONS: dict[events.FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}

FINER: dict[str, events.FinishReason] = {
    "stop_sequence": "stop",
    "model_context_window_exceeded": "length",
}
"""Words of Anthropic's, and the reason of ours that each is a kind of."""


def reason(complete: events.Complete, refused: bool) -> str:
    """The stop reason. `refused`: the model said a refusal, and not only that it ended."""
    ours, word = complete.finish_reason, complete.provider_finish_reason or ""
    if refused and ours == "stop":
        return "refusal"
    if FINER.get(word) == ours:
        return word
    return REASONS.get(ours) or word or "other"


def usage(counted: events.Tokens | None) -> dict[str, Any]:
    """The counts; where the provider told none, zero: clients cannot do without."""
    if counted is None:
        return {"input_tokens": 0, "output_tokens": 0}
    cached = counted.cached_tokens
    told: dict[str, Any] = {
        "input_tokens": max(0, counted.input_tokens - (cached or 0)),
        "output_tokens": counted.output_tokens,
    }
    if cached is not None:
        told["cache_read_input_tokens"] = cached
    if counted.reasoning_tokens is not None:
        told["output_tokens_details"] = {"thinking_tokens": counted.reasoning_tokens}
    return told
