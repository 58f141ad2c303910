"""`/openapi.json`, from the table of calls.

Strategy: the routes' rows say what there is, `table` what each of them takes and
answers, `schemas` what is in a body; here they become one document. A row that is not
described has no place in it: `document` raises, and a test holds the two tables together.
Every status that a call answers is named, there is no `default`: so a client can be checked
against the document, and so is the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from holdfast import errors
from holdfast.access import principal
from holdfast.http.openapi import parameters as given
from holdfast.http.openapi import schemas, table

PROBLEM = "application/problem+json"

_ABOUT = (
    "Streams LLM answers over server-sent events that survive whatever breaks between. "
    "An error is problem details (RFC 9457), whose `code` is for programs. A path that is not "
    "here is 404 `not_found`; another method than those here is 405 `method_not_allowed`, with "
    "`Allow`. HEAD is taken where GET is. Parameters and headers that are not here are ignored, "
    "fields of a body are not. A server that has no keys serves its own machine, and asks for none."
)
_HEADERS: Mapping[str, str] = {
    "Location": "The stream's URL.",
    "X-Stream-Id": "The stream's id.",
    "X-Connection-Id": "The id of this response as a connection.",
    "Cache-Control": "`no-cache, no-transform`: events are for one reader, at once.",
    "X-Accel-Buffering": "`no`, which has nginx pass the events on at once.",
    "Vary": "`Accept-Encoding`.",
    "WWW-Authenticate": "`Bearer`.",
    "Retry-After": "Seconds after which the same request may be sent again.",
    "RateLimit": "What is left of each limit over a span, and the seconds until it is whole.",
    "RateLimit-Policy": "How much each limit is, over how many seconds.",
}

_SHAPES: Mapping[str, schemas.Schema] = {
    "Location": {"type": "string", "format": "uri-reference"},
    "X-Stream-Id": {"type": "string", "pattern": schemas.STREAM_ID},
    "X-Connection-Id": {"type": "string", "pattern": schemas.CONNECTION_ID},
    "Retry-After": {"type": "integer", "minimum": 0},
}

_SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or a JSON Web Token where the server takes them, with the "
        "scope that a call names; `admin` does where that is `read`.",
    },
    "signature": {
        "type": "apiKey",
        "in": "query",
        "name": "signature",
        "description": "A signed URL, as `linkStream` answers it: for one stream's events, until "
        "it expires. All its parameters belong together.",
    },
}
_TAGS = (
    ("streams", "An answer each: written to its end, whoever reads it."),
    ("connections", "The responses that readers hold open, or held."),
    ("server", "The server itself."),
)
_PARAMETER = re.compile(r"\{(\w+)\}")


class _Refusal(NamedTuple):
    status: int
    code: str
    sentence: str
    retryable: bool


_NOT_FOUND = _Refusal(404, "not_found", "A part of the path is empty or has a slash.", False)


class Row(NamedTuple):
    """A route; `said` is its description."""

    method: str
    path: str
    action: principal.Action
    said: str


def document(rows: Sequence[Row], root: str = "") -> dict[str, Any]:
    """OpenAPI 3.1 for these routes, which begin with `root`. Raises KeyError where one of them is
    not described in `table`."""
    known = {table.CALLS[row.method, row.path].id for row in rows}
    paths: dict[str, Any] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, known)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Holdfast", "version": "1", "description": _ABOUT},
        "servers": [{"url": root or "/"}],
        "tags": [{"name": name, "description": said} for name, said in _TAGS],
        "paths": paths,
        "components": {"schemas": schemas.components(), "securitySchemes": _SCHEMES},
    }


def _operation(row: Row, known: set[str]) -> dict[str, Any]:
    call = table.CALLS[row.method, row.path]
    links = {
        operation: {"operationId": operation, "parameters": {parameter: expression}}
        for operation, parameter, expression in call.follow
        if operation in known
    }
    answers = {str(status): _answer(one) for status, one in call.answers.items()}
    for status, one in answers.items():
        if links and status != "204":
            one["links"] = links
    operation: dict[str, Any] = {
        "operationId": call.id,
        "tags": [call.tag],
        "summary": call.summary,
        "description": " ".join(row.said.partition("\n\n")[0].split()),
        "parameters": [_parameter(one) for one in call.parameters],
        "responses": answers | _refused(_refusals(row, call)),
        "security": _security(row.action),
    }
    if call.body is not None:
        content: dict[str, Any] = {"schema": schemas.of(call.body)}
        if call.example is not None:
            content["examples"] = {"demo": {"value": call.example}}
        operation["requestBody"] = {"required": True, "content": {table.JSON: content}}
    return operation


def _security(action: principal.Action) -> list[dict[str, list[str]]]:
    """The ways to be let in, one of which is enough; by a key with this scope."""
    scope = principal.NEEDS[action]
    if scope is None:
        return []
    ways: list[dict[str, list[str]]] = [{"key": [scope]}]
    return [*ways, {"signature": []}] if action == "follow" else ways


def _parameter(one: given.Parameter) -> dict[str, Any]:
    return {
        "name": one.name,
        "in": one.place,
        "required": one.place == "path",
        "description": one.description,
        "schema": one.schema,
    }


def _answer(one: table.Answer) -> dict[str, Any]:
    said: dict[str, Any] = {"description": one.description}
    if one.content:
        said["content"] = {kind: {"schema": schema} for kind, schema in one.content.items()}
    if one.headers:
        said["headers"] = {name: _header(name, always) for name, always in one.headers.items()}
    return said


def _header(name: str, always: bool) -> dict[str, Any]:
    schema = _SHAPES.get(name, {"type": "string"})
    return {"description": _HEADERS[name], "required": always, "schema": schema}


def _refusals(row: Row, call: table.Described) -> list[_Refusal]:
    """All that a call can be refused for."""
    classes: tuple[table.Refusal, ...]
    classes = (*table.access(row.action), *call.refusals, errors.HoldfastError)
    found = [
        _Refusal(one.status, one.code, (one.__doc__ or "").partition("\n")[0], one.retryable)
        for one in classes
    ]
    return [*found, _NOT_FOUND] if _PARAMETER.search(row.path) else found


def _refused(refusals: Iterable[_Refusal]) -> dict[str, Any]:
    """The refusals as responses, one a status."""
    answers: dict[str, Any] = {}
    by_status: dict[int, list[_Refusal]] = {}
    for one in refusals:
        by_status.setdefault(one.status, []).append(one)
    for status, same in sorted(by_status.items()):
        schema = schemas.problem(status, [one.code for one in same])
        answers[str(status)] = {
            "description": "\n".join(f"- `{one.code}`: {one.sentence}" for one in same),
            "content": {PROBLEM: {"schema": schema}},
        }
        headers = _refused_headers(status, same)
        if headers:
            answers[str(status)]["headers"] = headers
    return answers


def _refused_headers(status: int, same: Sequence[_Refusal]) -> dict[str, Any]:
    always = all(one.retryable for one in same)
    said = {
        401: {"WWW-Authenticate": True},
        429: {"Retry-After": always, "RateLimit": False, "RateLimit-Policy": False},
        503: {"Retry-After": always},
    }
    return {name: _header(name, there) for name, there in said.get(status, {}).items()}
