"""Errors as Anthropic tells them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.unit.dialects.anthropic import telling

from holdfast import endings, errors
from holdfast.dialects.anthropic import refusals

TYPES = {
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
}


def _all(kind: type[errors.HoldfastError] = errors.HoldfastError) -> Iterator[type]:
    yield kind
    for below in kind.__subclasses__():
        yield from _all(below)


def refused(error: errors.HoldfastError) -> tuple[int, Any]:
    status, body = refusals.refusal(error, "req_1")
    return status, msgspec.json.decode(body)


@pytest.mark.parametrize("kind", [one for one in _all() if one is not errors.AnswerFailed])
def test_every_error_has_an_envelope(kind: type[errors.HoldfastError]) -> None:
    error = kind("What was wrong.") if kind is not errors.RequestRefused else None
    if error is None:
        error = errors.RequestRefused("What was wrong.", status=418)
    status, body = refused(error)
    assert 400 <= status < 600
    assert body["type"] == "error"
    assert body["request_id"] == "req_1"
    assert body["error"].pop("type") in TYPES
    assert body["error"] == {"message": "What was wrong.", "code": error.code}


@pytest.mark.parametrize(
    ("error", "status", "type"),
    [
        (errors.InvalidField("x"), 400, "invalid_request_error"),
        (errors.ProviderContextLength("x"), 400, "invalid_request_error"),
        (errors.IdempotencyMismatch("x"), 422, "invalid_request_error"),
        (errors.Unauthorized("x"), 401, "authentication_error"),
        (errors.Forbidden("x"), 403, "permission_error"),
        (errors.StreamNotFound("x"), 404, "not_found_error"),
        (errors.UnknownModel("x"), 404, "not_found_error"),
        (errors.UnknownProvider("x"), 404, "not_found_error"),
        (errors.StreamExpired("x"), 410, "not_found_error"),
        (errors.ProviderModelNotFound("x"), 404, "not_found_error"),
        (errors.BodyTooLarge("x"), 413, "request_too_large"),
        (errors.TokenLimit("x"), 429, "rate_limit_error"),
        (errors.ProviderRateLimited("x"), 429, "rate_limit_error"),
        (errors.Cancelled("x"), 499, "api_error"),
        (errors.HoldfastError("x"), 500, "api_error"),
        (errors.ProviderAuth("x"), 502, "api_error"),
        (errors.ProviderFailed("x"), 502, "api_error"),
        (errors.Draining("x"), 503, "overloaded_error"),
        (errors.MissingKey("x"), 503, "api_error"),
        (errors.ProviderTimeout("x"), 504, "timeout_error"),
        (errors.ProviderOverloaded("x"), 529, "overloaded_error"),
    ],
)
def test_statuses_and_types(error: errors.HoldfastError, status: int, type: str) -> None:
    got, body = refused(error)
    assert (got, body["error"]["type"]) == (status, type)


def test_in_the_middle_of_a_stream() -> None:
    (frame,) = telling.frames(refusals.frame(errors.ProviderFailed("It broke."), "req_1"))
    assert frame == {
        "type": "error",
        "error": {"type": "api_error", "message": "It broke.", "code": "provider_failed"},
        "request_id": "req_1",
    }


@pytest.mark.parametrize(
    ("reason", "type"),
    [
        ("draining", "overloaded_error"),
        ("max_connection_age", "overloaded_error"),
        (endings.ACCESS_ENDED, "authentication_error"),
    ],
)
def test_who_is_sent_away_is_told_whether_to_ask_again(reason: str, type: str) -> None:
    (frame,) = telling.frames(telling.DIALECT.reconnect(1000, reason))
    error = frame["error"]
    assert (error["type"], error["code"]) == (type, reason)
    assert f"({reason})" in error["message"]
    assert frame["request_id"] is None
