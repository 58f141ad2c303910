"""What refusals mean: bodies of every known shape, delays, and the masking of keys.

The recorded refusals lie outside of the repository; they are tried where they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors
from holdfast.providers import failures
from holdfast.testing import recordings

E = errors

RECORDED = {
    "anthropic-400-prompt-too-long": E.ProviderContextLength,
    "anthropic-401": E.ProviderAuth,
    "anthropic-404-model": E.ProviderModelNotFound,
    "bedrock-400-flat-message": E.ProviderModelNotFound,
    "google-429-quota-retryinfo": E.ProviderRateLimited,
    "groq-400-tool-use-failed": E.ProviderRejected,
    "openai-400-context-length": E.ProviderContextLength,
    "openai-401-key-echo": E.ProviderAuth,
    "openrouter-429-upstream-rate-limited": E.ProviderRateLimited,
    "xai-400-bad-key-flat-shape": E.ProviderAuth,
}


def failure(status: int, body: Any, headers: dict[str, str] | None = None) -> E.ProviderError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return failures.Source("vendor").of_response(status, headers or {}, data)


def test_recorded_refusals(shared: Path) -> None:
    found = recordings.load_recordings(shared / "recordings" / "http-errors")
    assert {recording.name for recording in found} >= set(RECORDED)
    for recording in found:
        error = failure(recording.status, recording.wire, dict(recording.headers))
        assert type(error) is RECORDED[recording.name], recording.name
        assert len(error.message) < 350
        assert "invalid-key" not in error.message
        assert error.retry_after == (48.0 if "retryinfo" in recording.name else None)


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (400, {"error": {"message": "bad field", "code": None}}, E.ProviderRejected),
        (400, {"code": "x", "error": "Incorrect API key provided."}, E.ProviderAuth),
        (400, {"error": {"message": "API key not valid."}}, E.ProviderAuth),
        (400, {"error": {"code": "context_length_exceeded"}}, E.ProviderContextLength),
        (400, {"message": "Input is too long for requested model."}, E.ProviderContextLength),
        (400, {"error": {"message": "Model Not Exist"}}, E.ProviderModelNotFound),
        (
            404,
            {"error": {"message": "Item with id 'rs_1' not found.", "code": None}},
            E.ProviderRejected,
        ),
        (
            403,
            {"error": {"message": "x requires moderation on y. Your input was flagged for z."}},
            E.ProviderRejected,
        ),
        (400, {"error": {"message": "credit balance is too low"}}, E.ProviderQuota),
        (400, {"error": {"message": "The model `x` does not exist"}}, E.ProviderModelNotFound),
        (401, {}, E.ProviderAuth),
        (402, {"error": {"message": "Insufficient Balance"}}, E.ProviderQuota),
        (403, b"forbidden", E.ProviderAuth),
        (404, {"detail": "Not Found"}, E.ProviderModelNotFound),
        (408, b"", E.ProviderTimeout),
        (409, {}, E.ProviderRejected),
        (413, {}, E.ProviderRejected),
        (413, {"error": {"code": "rate_limit_exceeded"}}, E.ProviderRejected),
        (418, b"<html>tea</html>", E.ProviderRejected),
        (422, {"object": "error", "message": {"detail": [{"loc": ["n"]}]}}, E.ProviderRejected),
        (429, {"error": {"code": "rate_limit_exceeded"}}, E.ProviderRateLimited),
        (429, {"error": {"type": "insufficient_quota"}}, E.ProviderQuota),
        (429, [{"error": {"status": "RESOURCE_EXHAUSTED"}}], E.ProviderRateLimited),
        (498, {}, E.ProviderOverloaded),
        (500, {"error": {"message": "the context length service died"}}, E.ProviderFailed),
        (500, {"error": {"type": "overloaded_error"}}, E.ProviderOverloaded),
        (502, b"bad gateway", E.ProviderFailed),
        (503, b"", E.ProviderOverloaded),
        (504, b"", E.ProviderTimeout),
        (524, b"", E.ProviderTimeout),
        (529, {"error": {"message": "Overloaded"}}, E.ProviderOverloaded),
        (599, b"", E.ProviderFailed),
        (301, b"", E.ProviderRejected),
        (200, {"error": {"message": "no", "code": 429}}, E.ProviderRateLimited),
        (200, {"choices": []}, E.ProviderMalformed),
        (204, b"", E.ProviderMalformed),
    ],
)
def test_status_and_body_give_the_class(
    status: int, body: Any, verdict: type[E.ProviderError]
) -> None:
    error = failure(status, body)
    assert type(error) is verdict
    assert error.message.startswith("vendor")


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ({"error": {"message": "m", "status_code": 400}}, E.ProviderRejected),
        ({"error": {"message": "m", "code": "429"}}, E.ProviderRateLimited),
        ({"error": {"error": {"type": "overloaded_error"}}}, E.ProviderOverloaded),
        ({"error": {"message": "m", "type": "invalid_request_error"}}, E.ProviderRejected),
        ({"code": "overloaded", "error": {"code": "invalid_api_key"}}, E.ProviderAuth),
        ({"error": "boom"}, E.ProviderFailed),
        ({"error": True}, E.ProviderFailed),
        ("out of order", E.ProviderFailed),
        ("Insufficient credits", E.ProviderQuota),
        (None, E.ProviderFailed),
        ([], E.ProviderFailed),
    ],
)
def test_an_error_in_a_stream_goes_by_the_same_table(
    body: Any, verdict: type[E.ProviderError]
) -> None:
    assert type(failures.Source("vendor").in_stream(body)) is verdict


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": {"message": "inner"}, "message": "outer"}, "inner"),
        ({"code": "c", "error": "flat"}, "flat"),
        ({"message": "bare"}, "bare"),
        ({"detail": "why"}, "why"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too many"}]}, "body.n: too many"),
        ({"message": {"detail": [{"loc": ["body"], "msg": "extra"}]}}, "body: extra"),
        ({"error": {"message": "Failed", "metadata": {"raw": "cause"}}}, "Failed: cause"),
        ("a\nb\x00  c", "a b c"),
    ],
)
def test_the_providers_own_words_are_kept(body: Any, text: str) -> None:
    assert failures.Source("v").in_stream(body).message == f"v: {text}"


def test_words_that_are_no_words_of_the_provider_are_left_out() -> None:
    assert failure(502, b"<!doctype html><p>Bad gateway").message == "vendor: HTTP 502."
    html = {"content-type": "text/html"}
    assert failure(502, b"Bad gateway", html).message == "vendor: HTTP 502."
    assert failure(502, b"Bad gateway").message == "vendor: HTTP 502: Bad gateway"


def test_long_words_are_cut() -> None:
    message = failure(400, {"message": "so " * 5000}).message
    assert message.endswith("…")
    assert len(message) == len("vendor: HTTP 400: ") + failures.MAX_MESSAGE


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "0"}, 0.0),
        ({"retry-after": "1"}, 1.0),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "999999"}, failures.MAX_RETRY_AFTER),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Thu, 21 Oct 1999 07:27:00 GMT"}, 0.0),
        ({"retry-after": "21 Oct 2026 07:28:30", "date": DATE}, 30.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "abc"}, None),
        ({"retry-after": "NaN"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "9" * 50}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert failure(429, {}, headers).retry_after == seconds


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"error": {"details": [{"x": 1}, {"retryDelay": "48s"}]}}, 48.0),
        ({"error": {"details": [{"retryDelay": "48.5s"}]}}, 48.5),
        ({"error": {"details": [{"retryDelay": "a while"}, 3]}}, None),
        ({"error": {"message": "Please try again in 1m20.5s."}}, 80.5),
        ({"error": {"message": "Please retry in 250ms"}}, 0.25),
        ({"error": {"message": "Please retry in 9999m0s"}}, failures.MAX_RETRY_AFTER),
        ({"error": {"message": "Please retry after 30 seconds. Then call."}}, 30.0),
        ({"error": {"message": "Rate limit is exceeded. Try again in 1 second."}}, 1.0),
        ({"error": {"message": "Try again in 2 minutes 5 secs, or later"}}, 125.0),
        ({"error": {"message": "try again in 0h3m4s"}}, 184.0),
        ({"error": {"message": "try again in 2h3m4s"}}, failures.MAX_RETRY_AFTER),
        ({"error": {"message": "Please retry after 1 day"}}, failures.MAX_RETRY_AFTER),
        ({"error": {"message": "Please retry after 86400 seconds"}}, failures.MAX_RETRY_AFTER),
        ({"error": {"message": "Please retry after 3 months"}}, None),
        ({"error": {"message": "Please retry in a while"}}, None),
        ({"error": {"message": "Please retry in 5 \u017f, then 5 Seconds"}}, None),
        ({"error": {"message": "PLEASE RETRY IN 1M 5SEC"}}, 65.0),
    ],
)
def test_delays_told_in_the_body(body: Any, seconds: float | None) -> None:
    assert failure(429, body).retry_after == seconds
    assert failures.Source("v").in_stream(body).retry_after == seconds
    assert failure(429, body, {"retry-after": "3"}).retry_after == 3.0


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcdefgh",
        "sk-ab***********yz",
        "AIzaSyA1234567890",
        "gsk_0123456789abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln",
        "0123456789abcdef0123456789abcdef",
        "invalid-key",
        "abc",
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: {}. See https://x.example/keys.",
        'api_key="{}"',
        "authorization: {}",
        "Bearer {} was refused",
    ],
)
def test_what_looks_like_a_key_is_masked(text: str, key: str) -> None:
    assert key not in failures.masked(text.format(key))


@pytest.mark.parametrize("key", ["sk-proj-abcdefgh", "AIzaSyA1234567890", "f0" * 16])
def test_a_key_is_masked_wherever_it_stands(key: str) -> None:
    assert failures.masked(f"what is {key}?") == "what is ***?"


def test_the_key_that_was_sent_is_masked_whatever_it_looks_like() -> None:
    assert failures.masked("no such plain-word here", "plain-word") == "no such *** here"
    error = failures.Source("v", "plain-word").of_response(401, {}, b"plain-word")
    assert error.message == "v: HTTP 401: ***"


def test_the_beginning_and_the_end_of_the_key_that_was_sent_are_masked_too() -> None:
    key = "plain-word/of+some=length"
    assert failures.masked(f"it was {key[:8]} ... {key[-8:]}!", key) == "it was *** ... ***!"
    assert failures.masked(f"it was {key[:-1]}!", key) == "it was ***!"
    assert failures.masked(f"it was {key[:7]}!", key) == f"it was {key[:7]}!"


@pytest.mark.parametrize(
    "text",
    [
        "claude-3-5-haiku-20241022 is not there",
        "max_tokens: 300 is over 200",
        "See https://platform.example/account/api-keys, your API key at https://x.example.",
        "generate_content_paid_tier_input_token_count",
    ],
)
def test_other_words_are_not_masked(text: str) -> None:
    assert failures.masked(text) == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "code", "status", "details", "metadata", "detail"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from([200, 400, 429, 500]))
def test_no_body_is_too_strange(body: Any, status: int) -> None:
    assert len(failures.Source("v").in_stream(body).message) < 350
    assert len(failure(status, json.dumps(body).encode()).message) < 350


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(body: bytes) -> None:
    assert failure(400, body).message


def test_deep_bodies_are_read_as_text() -> None:
    assert failure(500, b"[" * 60_000).message.startswith("vendor: HTTP 500: [[")
