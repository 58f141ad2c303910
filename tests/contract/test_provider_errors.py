"""What each provider says when it refuses, and what becomes of it: class, status, retry.

Strategy: a row is an answer as the provider's own error reference has it, as HTTP and, where
the provider sends such errors after its 200, as an event of its stream. Both must be one class.
References: platform.openai.com/docs/guides/error-codes, docs.claude.com/en/api/errors,
ai.google.dev/gemini-api/docs/troubleshooting, cloud.google.com/apis/design/errors.
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


def openai(message: str, type: str, code: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": type, "param": None, "code": code}


def google(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"code": code, "message": message, "status": status, "details": list(details)}


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
    Row("openai", 403, openai("Country not supported", "x", "y"), errors.ProviderAuth),
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
    return f"{row.kind}-{row.status}-{row.verdict.__name__}"


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
    return b"data: %b\n\n" % json.dumps({"error": error}).encode()


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_the_same_in_a_stream(row: Row) -> None:
    kinds = ("openai_chat", "openai_responses") if row.kind == "openai" else (row.kind,)
    # Without an HTTP status a country that is not served looks like any other refusal.
    if row.error.get("code") == "y" or row.error.get("type") == "request_too_large":
        return
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
