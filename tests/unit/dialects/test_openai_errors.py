"""Errors in OpenAI's envelope: which field they are about, and what kind they are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast import errors
from holdfast.dialects import openai_errors


def refused(error: errors.HoldfastError) -> tuple[int, Any]:
    status, body = openai_errors.refusal(error)
    return status, msgspec.json.decode(body)["error"]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("`model` is missing; name one, as model or provider/model.", "model"),
        ("`previous_response_id`: nothing is stored for it here.", "previous_response_id"),
        ("Expected `int`, got `str` - at `$.max_tokens`", "max_tokens"),
        ("Expected `str`, got `int` - at `$.tools[3].type`", "tools[3].type"),
        ("input[1].call_id: must be a text.", "input[1].call_id"),
        ("n: this provider gives one answer at a time. (provider p)", "n"),
        ("What is wrong stands nowhere.", None),
    ],
)
def test_the_field_that_is_wrong(message: str, param: str | None) -> None:
    status, told = refused(errors.InvalidField(message))
    assert (status, told["param"], told["message"]) == (400, param, message)


def test_only_a_field_has_a_name() -> None:
    _, told = refused(errors.ProviderRejected("`model` is not what it was."))
    assert told["param"] is None


@pytest.mark.parametrize(
    ("error", "status", "type"),
    [
        (errors.InvalidField(), 400, "invalid_request_error"),
        (errors.Unauthorized(), 401, "authentication_error"),
        (errors.Forbidden(), 403, "permission_error"),
        (errors.StreamNotFound(), 404, "invalid_request_error"),
        (errors.UnknownModel(), 404, "invalid_request_error"),
        (errors.UnknownProvider(), 404, "invalid_request_error"),
        (errors.UnknownPosition(), 409, "invalid_request_error"),
        (errors.RequestLimit(), 429, "rate_limit_error"),
        (errors.ProviderFailed(), 502, "server_error"),
        (errors.HoldfastError(), 500, "server_error"),
    ],
)
def test_its_kind_follows_from_the_status(
    error: errors.HoldfastError, status: int, type: str
) -> None:
    found, told = refused(error)
    assert (found, told["type"], told["code"]) == (status, type, error.code)
