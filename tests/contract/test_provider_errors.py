"""What each provider says when it refuses, and what becomes of it: class, status, retry.

Strategy: a row is an answer as the provider's own error reference has it, as HTTP and, where
the provider sends such errors after its 200, as an event of its stream. Both must be one class.
References: platform.openai.com/docs/guides/error-codes, docs.claude.com/en/api/errors,
ai.google.dev/gemini-api/docs/troubleshooting, ai.google.dev/gemini-api/docs/api-errors
(Interactions), openrouter.ai/docs/api/reference/errors-and-debugging,
console.groq.com/docs/errors, cloud.google.com/apis/design/errors.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from tests.contract import attempting

from holdfast import errors, request
from holdfast.providers import failures
from holdfast.providers import translator as translators


class Row(NamedTuple):
    kind: str
    status: int
    error: Any
    verdict: type[errors.ProviderError]
    retry_after: float | None = None
    in_stream: bool = True
    """Whether it can come after a 200: not where only the status of HTTP says what it is."""


def openai(message: str, type: str, code: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": type, "param": None, "code": code}


def google(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"code": code, "message": message, "status": status, "details": list(details)}


def interactions(code: str, message: str = "said by the provider") -> dict[str, Any]:
    return {"code": code, "message": message}


def anthropic(type: str, message: str = "said by the provider") -> dict[str, Any]:
    return {"type": type, "message": message}


KEY_INVALID = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
TOO_LONG = "This model's maximum context length is 8192 tokens."

ROWS = [
    Row("openai", 401, openai("Incorrect API key", "auth", "invalid_api_key"), errors.ProviderAuth),
    Row(
        "openai",
        403,
        openai("Country not supported", "x", "y"),
        errors.ProviderAuth,
        in_stream=False,
    ),
    Row(
        "openai",
        403,
        {
            "message": 'x requires moderation on y. Your input was flagged for "violence".',
            "code": 403,
            "metadata": {"reasons": ["violence"], "flagged_input": "a", "provider_name": "y"},
        },
        errors.ProviderRejected,
    ),
    Row(
        "openai",
        404,
        openai(
            "Item with id 'rs_1' not found. Items are not persisted when `store` is false.",
            "invalid_request_error",
        ),
        errors.ProviderRejected,
    ),
    Row(
        "openai",
        400,
        openai(
            "The model `gpt-4` rejected: image_url: 'image/tiff' is not supported",
            "invalid_request_error",
        ),
        errors.ProviderRejected,
    ),
    Row(
        "openai",
        413,
        openai(
            "Request too large for model `x` on tokens per minute (TPM): Limit 6000, "
            "Requested 9000, please reduce your message size and try again.",
            "tokens",
            "rate_limit_exceeded",
        ),
        errors.ProviderRejected,
    ),
    Row(
        "openai",
        429,
        openai(
            "Requests have exceeded the token rate limit. Please retry after 30 seconds.",
            "throttling_error",
            "429",
        ),
        errors.ProviderRateLimited,
        30.0,
    ),
    Row("openai", 404, openai("no", "x", "model_not_found"), errors.ProviderModelNotFound),
    Row(
        "openai",
        400,
        openai(TOO_LONG, "invalid_request_error", "context_length_exceeded"),
        errors.ProviderContextLength,
    ),
    Row("openai", 400, openai("Bad tool", "invalid_request_error"), errors.ProviderRejected),
    Row("openai", 429, openai("pay", "x", "insufficient_quota"), errors.ProviderQuota),
    Row(
        "openai",
        429,
        openai("Limit reached. Please try again in 1.5s.", "tokens", "rate_limit_exceeded"),
        errors.ProviderRateLimited,
        1.5,
    ),
    Row("openai", 500, openai("The server had an error", "server_error"), errors.ProviderFailed),
    Row("openai", 503, openai("Overloaded", "service_unavailable"), errors.ProviderOverloaded),
    Row("anthropic", 400, anthropic("invalid_request_error"), errors.ProviderRejected),
    Row(
        "anthropic",
        400,
        anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        errors.ProviderContextLength,
    ),
    Row(
        "anthropic",
        400,
        anthropic("invalid_request_error", "Your credit balance is too low to access the API."),
        errors.ProviderQuota,
    ),
    Row("anthropic", 401, anthropic("authentication_error"), errors.ProviderAuth),
    Row("anthropic", 402, anthropic("billing_error"), errors.ProviderQuota),
    Row("anthropic", 403, anthropic("permission_error"), errors.ProviderAuth),
    Row("anthropic", 404, anthropic("not_found_error"), errors.ProviderModelNotFound),
    Row("anthropic", 413, anthropic("request_too_large"), errors.ProviderRejected),
    Row("anthropic", 429, anthropic("rate_limit_error"), errors.ProviderRateLimited),
    Row("anthropic", 500, anthropic("api_error"), errors.ProviderFailed),
    Row("anthropic", 504, anthropic("timeout_error"), errors.ProviderTimeout),
    Row("anthropic", 529, anthropic("overloaded_error"), errors.ProviderOverloaded),
    Row(
        "google",
        400,
        google(400, "INVALID_ARGUMENT", "API key not valid.", KEY_INVALID),
        errors.ProviderAuth,
    ),
    Row("google", 400, google(400, "INVALID_ARGUMENT", "Bad field"), errors.ProviderRejected),
    Row(
        "google",
        400,
        google(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1300000) exceeds the maximum number of tokens allowed.",
        ),
        errors.ProviderContextLength,
    ),
    Row(
        "google",
        400,
        google(400, "FAILED_PRECONDITION", "User location is not supported."),
        errors.ProviderRejected,
    ),
    Row("google", 403, google(403, "PERMISSION_DENIED", "no"), errors.ProviderAuth),
    Row("google", 404, google(404, "NOT_FOUND", "no"), errors.ProviderModelNotFound),
    Row(
        "google",
        429,
        google(429, "RESOURCE_EXHAUSTED", "Quota exceeded", RETRY),
        errors.ProviderRateLimited,
        34.5,
    ),
    Row("google", 500, google(500, "INTERNAL", "no"), errors.ProviderFailed),
    Row("google", 503, google(503, "UNAVAILABLE", "overloaded"), errors.ProviderOverloaded),
    Row("google", 504, google(504, "DEADLINE_EXCEEDED", "late"), errors.ProviderTimeout),
    *(
        Row("google_interactions", status, interactions(code), verdict)
        for status, code, verdict in (
            (400, "invalid_request", errors.ProviderRejected),
            (400, "failed_precondition", errors.ProviderRejected),
            (400, "parameter_unknown", errors.ProviderRejected),
            (400, "prohibited_content", errors.ProviderRejected),
            (401, "authentication", errors.ProviderAuth),
            (402, "payment_required", errors.ProviderQuota),
            (403, "permission_denied", errors.ProviderAuth),
            (404, "not_found", errors.ProviderModelNotFound),
            (404, "model_not_found", errors.ProviderModelNotFound),
            (409, "already_exists", errors.ProviderRejected),
            (409, "aborted", errors.ProviderFailed),
            (416, "out_of_range", errors.ProviderRejected),
            (429, "rate_limit_exceeded", errors.ProviderRateLimited),
            (429, "quota_exceeded", errors.ProviderQuota),
            (429, "too_many_requests", errors.ProviderRateLimited),
            (499, "cancelled", errors.ProviderFailed),
            (500, "api_error", errors.ProviderFailed),
            (501, "unimplemented", errors.ProviderRejected),
            (503, "service_unavailable", errors.ProviderOverloaded),
            (504, "deadline_exceeded", errors.ProviderTimeout),
            (504, "gateway_timeout", errors.ProviderTimeout),
        )
    ),
    Row(
        "google_interactions",
        404,
        interactions("not_found", "Failed to get completed interaction: Result not found."),
        errors.ProviderRejected,
    ),
]

RETRYABLE = {
    errors.ProviderAuth: False,
    errors.ProviderQuota: False,
    errors.ProviderModelNotFound: False,
    errors.ProviderContextLength: False,
    errors.ProviderRejected: False,
    errors.ProviderRateLimited: True,
    errors.ProviderOverloaded: True,
    errors.ProviderTimeout: True,
    errors.ProviderFailed: True,
}


def named(row: Row) -> str:
    said = row.error.get("code") if row.kind == "google_interactions" else row.verdict.__name__
    return f"{row.kind}-{row.status}-{said}"


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_a_refused_call(row: Row) -> None:
    body = {"error": row.error}
    if row.kind == "anthropic":
        body = {"type": "error", **body, "request_id": "req_1"}
    found = failures.Source("vendor").of_response(row.status, {}, json.dumps(body).encode())
    assert type(found) is row.verdict
    assert found.retryable is RETRYABLE[row.verdict]
    assert found.retry_after == row.retry_after
    assert found.message.startswith(f"vendor: HTTP {row.status}: ")


# The wire in which each kind tells an error after its 200.
def in_stream(kind: str, error: Any) -> bytes:
    if kind == "anthropic":
        return (
            b"event: error\ndata: %b\n\n" % json.dumps({"type": "error", "error": error}).encode()
        )
    if kind == "openai_responses":
        failed = {"type": "response.failed", "response": {"status": "failed", "error": error}}
        return b"data: %b\n\n" % json.dumps(failed).encode()
    if kind == "google_interactions":
        told = {"event_type": "error", "error": error}
        return b"event: error\ndata: %b\n\n" % json.dumps(told).encode()
    return b"data: %b\n\n" % json.dumps({"error": error}).encode()


def test_a_row_without_a_form_in_a_stream_is_another_class_there() -> None:
    for row in ROWS:
        if not row.in_stream:
            found = failures.Source("vendor").in_stream({"error": row.error})
            assert type(found) is not row.verdict


@pytest.mark.parametrize("row", [row for row in ROWS if row.in_stream], ids=named)
def test_the_same_in_a_stream(row: Row) -> None:
    kinds = ("openai_chat", "openai_responses") if row.kind == "openai" else (row.kind,)
    for kind in kinds:
        source = failures.Source("vendor")
        wanted = request.Request(model="m", messages=[])
        fold = attempting.FORMATS[kind].fold(wanted, source)
        translator = translators.Translator(fold, source)
        translator.feed(in_stream(kind, row.error))
        assert type(translator.error) is row.verdict
        assert translator.error.retry_after == row.retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After-Ms": "1500", "Retry-After": "9"}, 1.5),
        (
            {
                "Date": "Sun, 22 Nov 2026 10:00:00 GMT",
                "Retry-After": "Sun, 22 Nov 2026 10:00:30 GMT",
            },
            30.0,
        ),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "999999"}, failures.MAX_RETRY_AFTER),
    ],
)
def test_how_long_to_wait_is_read_from_the_headers(
    headers: dict[str, str], seconds: float | None
) -> None:
    found = failures.Source("vendor").of_response(429, headers, b"{}")
    assert found.retry_after == seconds
