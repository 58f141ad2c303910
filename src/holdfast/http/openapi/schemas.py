"""The schemas of `/openapi.json`: what is in a body, and what a text in it has to look like.

Strategy: the fields come from the types that the routes decode and encode, so the document
cannot name one that is not there. What those types do not say (that a text is a time, which
fields need each other) is added by the name of the field. Patterns are written for JSON Schema;
the tests hold them to the code that checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import msgspec

from holdfast import events
from holdfast.dialects import native
from holdfast.http import (
    alerts,
    failures,
    frames,
    metrics,
    problems,
    reader_metrics,
    seal,
    timeline,
    views,
)

Schema = Mapping[str, Any]

_ID = "(?:[0-9A-Za-z]{26}|[0-9A-Za-z]{32})"
_NUMBER = "[0-9]{1,20}"
_POSITION = f"{_NUMBER}-{_NUMBER}"

STREAM_ID = f"^{_ID}$"
CONNECTION_ID = STREAM_ID
POSITION = f"^{_POSITION}$"
EVENT_ID = f"^{_ID}:{_POSITION}$"
SAID_POSITION = f"^(?:(?:{_ID}:)?{_POSITION})?$"
"""A position as a reader says it; an empty one is none."""

SAID_EVENT_ID = f"^(?:{_ID}:{_POSITION})?$"
CURSOR = "^[0-9]{1,16}-[0-9A-Za-z]{26,32}$"
WHOLE = "^[0-9]{1,16}$"
TOKEN = "^[A-Za-z0-9._:@/+=-]{1,128}$"
VISIBLE = "^[!-~]{1,255}$"

_REFERENCE = "#/components/schemas/"

_EVENTS: Mapping[events.Kind, Any] = {
    "start": events.Start,
    "chunk": events.Chunk,
    "metadata": events.Metadata,
    "rewind": events.Rewind,
    "error": events.Error,
    "complete": events.Complete,
    "heartbeat": events.Heartbeat,
    "reconnect": events.Reconnect,
}

_DURABLE = tuple(kind for kind in _EVENTS if kind not in ("heartbeat", "reconnect"))

_TIME = {"format": "date-time"}
_LINK = {"format": "uri-reference"}
ADDED: Mapping[str, Schema] = {
    **dict.fromkeys(
        ("created_at", "completed_at", "connected_at", "last_activity", "updated_at", "expires_at"),
        _TIME,
    ),
    "ts": _TIME,
    "closed_at": _TIME,
    "EntryView.at": _TIME,
    "ExampleView.at": _TIME,
    "first_at": _TIME,
    "AlertView.since": _TIME,
    "last_at": _TIME,
    "waiting_since": _TIME,
    "MetricsView.start": _TIME,
    "MetricsView.end": _TIME,
    "timestamp": _TIME,
    "url": _LINK,
    "events_url": _LINK,
    "stream_id": {"pattern": STREAM_ID},
    "CreatedView.id": {"pattern": STREAM_ID},
    "StreamView.id": {"pattern": STREAM_ID},
    "StreamRow.id": {"pattern": STREAM_ID},
    "ConnectionView.id": {"pattern": CONNECTION_ID},
    "EventView.id": {"pattern": EVENT_ID},
    "EventView.event": {"enum": list(_DURABLE)},
    "request_id": {"pattern": TOKEN},
    "client_id": {"pattern": TOKEN},
    "position": {"pattern": POSITION},
    "next_after": {"pattern": POSITION},
    "next": {"pattern": CURSOR},
    "sha256": {"pattern": "^[0-9a-f]{64}$"},
    "finish_reason": {"enum": list(get_args(events.FinishReason))},
    "Problem.type": {"pattern": "^urn:holdfast:error:[a-z_]+$"},
}
"""What a text of this name is, everywhere or in one schema."""

STATUSES: tuple[str, ...] = get_args(events.Status)

EVENT: Schema = {"$ref": f"{_REFERENCE}SentEvent"}
"""An event on the wire; a schema of `text/event-stream` is one of each event, by convention."""

_EITHER = (
    {"required": ["messages"], "properties": {"messages": {"minItems": 1}}},
    {"required": ["context"], "properties": {"context": {"type": "object"}}},
)


def components() -> dict[str, Any]:
    """All schemas by name."""
    bodies, _ = _event_bodies()
    found = {**_answered(), **_told(), **_asked(), "SentEvent": _sent(bodies)}
    found["EventView"]["oneOf"] = [
        {"properties": {"event": {"const": kind}, "data": bodies[kind]}} for kind in _DURABLE
    ]
    return found


def _sent(bodies: Mapping[events.Kind, Schema]) -> dict[str, Any]:
    """One event of an event stream, its data the JSON of one of these bodies."""
    data = {"type": "string", "contentMediaType": "application/json"}
    return {
        "type": "object",
        "description": "A block of lines, ended by an empty one: `event`, `data` (on one line), "
        "and `id` where it is the stream's and not the connection's alone. With `retry` (ms) "
        "before them a reader comes back after that. Where the server hides lengths, the data of "
        "`chunk` and `metadata` have a text `obfuscation`, too, which says nothing.",
        "properties": {
            "event": {"enum": list(bodies)},
            "data": data,
            "id": {"type": "string", "pattern": EVENT_ID},
            "retry": {"type": "integer", "minimum": 0},
        },
        "required": ["event", "data"],
        "oneOf": [
            {"properties": {"event": {"const": kind}, "data": {**data, "contentSchema": body}}}
            for kind, body in bodies.items()
        ],
    }


def of(view: type) -> dict[str, str]:
    """The reference to a view's schema."""
    return {"$ref": f"{_REFERENCE}{view.__name__}"}


def status(said: str) -> Schema:
    """The body of a call that answers only whether all is well."""
    shape = {"status": {"const": said}}
    return {"type": "object", "properties": shape, "required": ["status"]}


def problem(status: int, codes: Iterable[str]) -> Schema:
    """Problem details with this status and one of these codes."""
    said = {"code": {"enum": sorted(codes)}, "status": {"const": status}}
    return {"allOf": [of(problems.Problem), {"properties": said}]}


VIEWS: tuple[type, ...] = (
    views.CreatedView,
    views.LinkView,
    views.StreamView,
    views.StreamPage,
    views.StreamRow,
    views.ConnectionView,
    views.ConnectionPage,
    metrics.MetricsView,
    reader_metrics.OwnView,
    frames.Frame,
    timeline.TimelineView,
    failures.ErrorsView,
    alerts.AlertsView,
    seal.SealView,
    problems.Problem,
)


def _answered() -> dict[str, Any]:
    _, found = msgspec.json.schema_components(VIEWS, ref_template=f"{_REFERENCE}{{name}}")
    return _sharpened(found)


def _event_bodies() -> tuple[dict[events.Kind, Any], dict[str, Any]]:
    references, found = msgspec.json.schema_components(
        _EVENTS.values(), ref_template=f"{_REFERENCE}Event{{name}}"
    )
    return dict(zip(_EVENTS, references, strict=True)), found


def _told() -> dict[str, Any]:
    _, found = _event_bodies()
    return _sharpened({f"Event{name}": schema for name, schema in found.items()})


def _asked() -> dict[str, Any]:
    asked = (native.Body, seal.ShredBody)
    _, found = msgspec.json.schema_components(asked, ref_template=f"{_REFERENCE}{{name}}")
    body = found["Body"]
    body["properties"]["model"] = body["properties"]["model"]["anyOf"][0]
    body |= {"required": ["model"], "anyOf": [dict(one) for one in _EITHER]}
    return {name: _tidied(schema) for name, schema in found.items()}


def _sharpened(found: dict[str, Any]) -> dict[str, Any]:
    """With what is known of the fields beyond their types; no whole number is below zero."""
    for name, schema in found.items():
        for field, said in schema["properties"].items():
            more = ADDED.get(f"{name}.{field}") or ADDED.get(field, {})
            for branch in said.get("anyOf", [said]):
                if branch.get("type") == "string":
                    branch |= more
                elif branch.get("type") == "integer":
                    branch["minimum"] = 0
    return {name: _tidied(schema) for name, schema in found.items()}


def _tidied(schema: dict[str, Any]) -> dict[str, Any]:
    """With the description on one line, as it is not a docstring any more."""
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    return schema
