"""Errors as Anthropic tells them, in an answer of their own or in the middle of a stream.

Strategy: the type follows from the status, as in Anthropic's table; where the provider is
overloaded, or there is no such model, the status is Anthropic's own for that. Our code stands
beside the type.

Format: https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import errors, sse

OVERLOADED = 529
"""Anthropic's status for a model that has too much to do."""

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    410: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}
"""By status; any other is the caller's from 400 up, and from 499 the API's."""

_encode = msgspec.json.Encoder().encode


def refusal(error: errors.HoldfastError, request_id: str) -> tuple[int, bytes]:
    """The status and the body of an answer to a call that failed."""
    return _status(error), _encode(_envelope(error, error.code, request_id))


def frame(error: errors.HoldfastError, request_id: str = "", code: str = "") -> bytes:
    """The event that ends a stream in the middle; `code` stands for the error's own."""
    return sse.encode(_encode(_envelope(error, code or error.code, request_id)), event="error")


def _envelope(error: errors.HoldfastError, code: str, request_id: str) -> dict[str, Any]:
    status = _status(error)
    usual = "invalid_request_error" if 400 <= status < 499 else "api_error"
    type = TYPES.get(status, usual)
    if type == "overloaded_error" and not error.retryable:
        type = "api_error"  # to ask again helps nothing
    told = {"type": type, "message": error.message, "code": code}
    return {"type": "error", "error": told, "request_id": request_id or None}


def _status(error: errors.HoldfastError) -> int:
    if isinstance(error, errors.ProviderOverloaded):
        return OVERLOADED
    return 404 if isinstance(error, errors.UnknownModel | errors.UnknownProvider) else error.status
