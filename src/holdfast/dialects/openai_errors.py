"""Errors as OpenAI tells them: `{"error": {message, type, param, code}}`.

Strategy: the message and the code are our own, the type is OpenAI's word for errors of such a
status; clients choose their exception by the status alone.
"""

from __future__ import annotations

import re

import msgspec

from holdfast import errors

_NO_SUCH_MODEL = (errors.UnknownModel, errors.UnknownProvider)

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

_FIELD = re.compile(r"(?:.* at )?`?(?:\$\.)?([a-z_]+(?:\[\d+\]|\.[a-z_]+)*)(?:`(?:$|[ ,:])|: )")

_encode = msgspec.json.Encoder().encode


class Told(msgspec.Struct, frozen=True):
    """What is wrong. `param` is the field that it is about."""

    message: str
    type: str
    param: str | None
    code: str


class Envelope(msgspec.Struct, frozen=True):
    error: Told


def refusal(error: errors.HoldfastError) -> tuple[int, bytes]:
    """The status and the body of an answer to a call that failed."""
    # OpenAI says 404 of a model, and clients have an exception of its own for that.
    status = 404 if isinstance(error, _NO_SUCH_MODEL) else error.status
    param = None
    if isinstance(error, errors.InvalidField) and (found := _FIELD.match(error.message)):
        param = found[1]
    return status, _encode(Envelope(told(error.code, error.message, status, param)))


def told(code: str, message: str, status: int, param: str | None = None) -> Told:
    """The error of an answer with this status."""
    usual = "server_error" if status >= 500 else "invalid_request_error"
    return Told(message, _TYPES.get(status, usual), param, code)
