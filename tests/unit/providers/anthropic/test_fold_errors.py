"""Anthropic's errors, in a stream and as an answer, are of one class each.

Types and statuses: https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

import json

import pytest
from tests.unit.providers import said as told
from tests.unit.providers.anthropic import wires

from holdfast.providers import failures

TYPES = [
    (400, "invalid_request_error", "messages: at least one message is required", "Rejected"),
    (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", "ContextLength"),
    (
        400,
        "invalid_request_error",
        "input length and `max_tokens` exceed context limit: 9 + 9 > 8",
        "ContextLength",
    ),
    (400, "invalid_request_error", "Your credit balance is too low to access the API.", "Quota"),
    (
        400,
        "invalid_request_error",
        "You have reached your specified API usage limits. You will regain access tomorrow.",
        "Quota",
    ),
    (
        400,
        "invalid_request_error",
        "This model does not support assistant message prefill.",
        "Rejected",
    ),
    (401, "authentication_error", "invalid x-api-key", "Auth"),
    (402, "billing_error", "There is an issue with your payment.", "Quota"),
    (403, "permission_error", "Your key may not.", "Auth"),
    (404, "not_found_error", "model: claude-sonet", "ModelNotFound"),
    (413, "request_too_large", "Request exceeds the maximum size.", "Rejected"),
    (429, "rate_limit_error", "This request would exceed your rate limit.", "RateLimited"),
    (500, "api_error", "Internal server error", "Failed"),
    (504, "timeout_error", "The request timed out.", "Timeout"),
    (529, "overloaded_error", "Overloaded", "Overloaded"),
]


@pytest.mark.parametrize(("status", "type", "text", "verdict"), TYPES)
def test_each_type_has_its_class(status: int, type: str, text: str, verdict: str) -> None:
    body = json.dumps({"type": "error", "error": {"type": type, "message": text}}).encode()
    _, translator = told.play([b"event: error\ndata: %b\n\n" % body], kind=wires.KIND)
    assert told.verdict(translator) == f"Provider{verdict}"
    answered = failures.Source("fixture").of_response(status, {}, body)
    assert answered.__class__.__name__ == f"Provider{verdict}"


def test_how_long_to_wait_is_read() -> None:
    body = json.dumps({"type": "error", "error": {"type": "rate_limit_error", "message": "Slow."}})
    error = failures.Source("fixture").of_response(429, {"retry-after": "12"}, body.encode())
    assert error.retry_after == 12
