"""`/openapi.json`, from the table of calls and the views.

Strategy: paths come from the routes' rows, bodies from the views' own types, so the document
cannot name a field that an answer does not have. Event streams are described as text; their
wire is PROTOCOL's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast.dialects import native
from holdfast.http import problems, views

_ANSWERS: dict[tuple[str, str], tuple[int, type | None]] = {
    ("POST", "/v1/streams"): (201, views.CreatedView),
    ("GET", "/v1/streams"): (200, views.StreamPage),
    ("GET", "/v1/streams/{stream_id}"): (200, views.StreamView),
    ("POST", "/v1/streams/{stream_id}/cancel"): (200, views.StreamRow),
    ("GET", "/v1/streams/{stream_id}/connections"): (200, views.ConnectionPage),
    ("GET", "/v1/connections"): (200, views.ConnectionPage),
    ("GET", "/v1/connections/{connection_id}"): (200, views.ConnectionView),
}
_STREAMED = {("POST", "/v1/streams"), ("GET", "/v1/streams/{stream_id}/events")}
_PARAMETER = re.compile(r"\{(\w+)\}")


def document(calls: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """OpenAPI 3.1 for these (method, path, summary)."""
    shown = [view for _, view in _ANSWERS.values() if view is not None]
    _, schemas = msgspec.json.schema_components(
        [*shown, native.Body, problems.Problem], ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, Any] = {}
    for method, path, summary in calls:
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, summary)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Holdfast", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(method: str, path: str, summary: str) -> dict[str, Any]:
    status, view = _ANSWERS.get((method, path), (200, None))
    answers: dict[str, Any] = {str(status): {"description": "Done."}}
    if view is not None:
        answers[str(status)]["content"] = {"application/json": {"schema": _ref(view)}}
    if (method, path) in _STREAMED:
        answers["200"] = {
            "description": "The stream's events.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    answers["default"] = {
        "description": "A problem.",
        "content": {"application/problem+json": {"schema": _ref(problems.Problem)}},
    }
    operation: dict[str, Any] = {
        "summary": summary.partition("\n")[0],
        "parameters": [_parameter(name) for name in _PARAMETER.findall(path)],
        "responses": answers,
    }
    if (method, path) == ("POST", "/v1/streams"):
        content = {"application/json": {"schema": _ref(native.Body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _ref(view: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{view.__name__}"}
