"""Errors on native routes: RFC 9457 problem details.

Strategy: one function turns an error of our tree into a response, one handler each for what
Starlette raises by itself and for what nobody expected. `type` is a URN of the code, `title`
the class's own sentence, `detail` the message of this case. An unexpected error tells its
caller nothing but that it happened.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from holdfast import errors
from holdfast.http import access_log

RETRY_AFTER = 1.0
"""Seconds after which a passing refusal may be asked again, where nothing better is known."""

SPREAD = 5
"""So many times there are, a second apart, of which one is drawn for whom a node refuses: who was
refused together does not come back together."""

NO_SUCH_PATH = (
    "No call of this server has this path. For clients of other APIs look at the base URL: "
    "OpenAI's want one that ends with /v1, Anthropic's one without it, and the AI SDK's transport "
    "all of /api/chat."
)

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_log = structlog.get_logger("holdfast")
_encode = msgspec.json.Encoder().encode


class Problem(msgspec.Struct, frozen=True):
    """The body of an error answer."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class Unknown(Problem, frozen=True):
    """That of an unknown path, which has a `message` too: that is what OpenAI's clients show."""

    message: str


def response(error: errors.HoldfastError, headers: Mapping[str, str] = NO_HEADERS) -> Response:
    """The answer to a call that failed, with these headers beside its own."""
    title = (type(error).__doc__ or "").partition("\n")[0]
    problem = Problem(
        f"urn:holdfast:error:{error.code}", title, error.status, error.message, error.code
    )
    return made(error, _encode(problem), "application/problem+json", headers, error.status)


def made(
    error: errors.HoldfastError,
    body: bytes,
    media_type: str,
    headers: Mapping[str, str],
    status: int,
) -> Response:
    """The answer with the headers that belong to the error."""
    answer = Response(body, status, dict(headers), media_type=media_type)
    if error.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if error.status in (429, 503) and error.retryable:
        answer.headers["Retry-After"] = str(retry_after(error, random.random()))
    return answer


def retry_after(error: errors.HoldfastError, chance: float) -> int:
    """The seconds of `Retry-After`. `chance`, from 0 up to 1, draws one of those in which all come
    back whom a node has refused; a caller's own limit, or a provider's, has a time of its own."""
    first = max(1, math.ceil(error.retry_after or RETRY_AFTER))
    crowd = isinstance(error, errors.CapacityError | errors.LogError)
    return first + int(chance * SPREAD) if crowd else first


def told(error: errors.HoldfastError, request_id: str | None = None) -> errors.HoldfastError:
    """The error as the caller of this request may know it."""
    if isinstance(error, errors.LogUnavailable | errors.LogCorrupt | errors.ArchiveUnavailable):
        # Where the log or the archive is, and what is wrong with it, is for the operator.
        _log.warning("log_failed", code=error.code, error=error.message, request_id=request_id)
        return type(error)(retry_after=error.retry_after)
    return error


async def on_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for our own errors."""
    assert isinstance(error, errors.HoldfastError)
    return response(told(error, access_log.named(request.scope)))


async def on_http_exception(_: Request, error: Exception) -> Response:
    """Starlette's handler for an unknown path or a wrong method."""
    assert isinstance(error, HTTPException)
    title = "The path or the method is unknown."
    code = "method_not_allowed" if error.status_code == 405 else "not_found"
    said = (f"urn:holdfast:error:{code}", title, error.status_code)
    problem = (
        Unknown(*said, NO_SUCH_PATH, code, NO_SUCH_PATH)
        if error.status_code == 404
        else Problem(*said, str(error.detail), code)
    )
    return Response(
        _encode(problem),
        error.status_code,
        headers=dict(error.headers or {}),
        media_type="application/problem+json",
    )


async def on_gone(_: Request, error: Exception) -> Response:
    """Starlette's handler for a client that went away in the middle of its request."""
    return Response(status_code=400)


async def on_bug(request: Request, error: Exception) -> Response:
    """Starlette's handler for anything else: a bug of ours."""
    return response(bug(request, error))


def bug(request: Request, error: Exception) -> errors.HoldfastError:
    """What the caller is told of a bug of ours, which is logged."""
    _log.error(
        "request_failed",
        method=request.method,
        path=access_log.path(request.scope),
        request_id=access_log.named(request.scope),
        trace=errors.trace(error),
    )
    return errors.HoldfastError("Something went wrong; the server's log says what.")
