"""How a message ends: reasons and counts."""

from __future__ import annotations

import pytest
from tests.unit.dialects.anthropic import telling

from holdfast import events
from holdfast.dialects.anthropic import ends


@pytest.mark.parametrize(
    ("ours", "word", "reason"),
    [
        ("stop", "end_turn", "end_turn"),
        ("stop", "stop", "end_turn"),
        ("stop", "STOP", "end_turn"),
        ("stop", None, "end_turn"),
        ("stop", "stop_sequence", "stop_sequence"),
        ("length", "max_tokens", "max_tokens"),
        ("length", "length", "max_tokens"),
        ("length", "model_context_window_exceeded", "model_context_window_exceeded"),
        ("length", "stop_sequence", "max_tokens"),
        ("tool_calls", "end_turn", "tool_use"),
        ("content_filter", "SAFETY", "refusal"),
        ("refusal", "refusal", "refusal"),
        ("other", "pause_turn", "pause_turn"),
        ("other", "MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
        ("other", None, "other"),
    ],
)
def test_reasons(ours: events.FinishReason, word: str | None, reason: str) -> None:
    assert ends.reason(telling.complete(ours, word), refused=False) == reason


def test_a_refusal_in_words_is_one_in_the_reason() -> None:
    assert ends.reason(telling.complete("stop", "stop"), refused=True) == "refusal"
    assert ends.reason(telling.complete("length", "length"), refused=True) == "max_tokens"


def test_counts() -> None:
    assert ends.usage(None) == {"input_tokens": 0, "output_tokens": 0}
    assert ends.usage(events.Tokens(10, 5, 15)) == {"input_tokens": 10, "output_tokens": 5}
    assert ends.usage(events.Tokens(10, 5, 15, 2, 4)) == {
        "input_tokens": 6,
        "cache_read_input_tokens": 4,
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 2},
    }
    assert ends.usage(events.Tokens(10, 5, 15, 0, 0)) == {
        "input_tokens": 10,
        "cache_read_input_tokens": 0,
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 0},
    }


def test_more_from_a_cache_than_there_was_is_no_negative_count() -> None:
    assert ends.usage(events.Tokens(3, 1, 4, None, 9))["input_tokens"] == 0
