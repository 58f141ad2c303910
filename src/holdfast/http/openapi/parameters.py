"""The parameters of all calls, each once.

Strategy: a parameter says what it is for and what is taken, as a schema; where the code refuses
another value the schema is no wider, and where it takes more the schema is no narrower. All but
those of a path may be left out.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.access import signing
from holdfast.http import metrics
from holdfast.http.openapi import schemas


class Parameter(msgspec.Struct, frozen=True):
    """A value that a request brings beside its body."""

    name: str
    place: Literal["path", "query", "header"]
    schema: schemas.Schema
    description: str


def _text(**said: Any) -> dict[str, Any]:
    return {"type": "string", **said}


STREAM_ID = Parameter("stream_id", "path", _text(pattern=schemas.STREAM_ID), "The stream's id.")
CONNECTION_ID = Parameter(
    "connection_id", "path", _text(pattern=schemas.CONNECTION_ID), "The connection's id."
)
AFTER = Parameter(
    "after",
    "query",
    _text(pattern=schemas.SAID_POSITION),
    "The position behind which to begin: the SSE id of the last event, or its part after the "
    "colon.",
)
COMPRESSION = Parameter(
    "compression",
    "query",
    {"enum": ["off"]},
    "The events come as they are, whatever `Accept-Encoding` says.",
)
LAST_EVENT_ID = Parameter(
    "Last-Event-ID",
    "header",
    _text(pattern=schemas.SAID_POSITION),
    "The same; it wins over `after`. An EventSource sends it when it comes back.",
)
RESUMED = Parameter(
    "Last-Event-ID",
    "header",
    _text(pattern=schemas.SAID_EVENT_ID),
    "The SSE id of the last event of a stream: its events go on behind it, nothing is created, "
    "and the body is not read.",
)
INCLUDE = Parameter("include", "query", {"enum": ["events"]}, "Adds a page of the events.")
COUNTS = Parameter("counts", "query", {"enum": ["true", "false"]}, "Whether streams are counted.")
LABELS = (
    Parameter(
        "X-Request-Id", "header", _text(pattern=schemas.TOKEN), "The caller's id of the request."
    ),
    Parameter("X-Client-Id", "header", _text(pattern=schemas.TOKEN), "Which client it is."),
)
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    _text(pattern=schemas.VISIBLE),
    "The same key attaches to the same stream; it goes with one body only.",
)
SIGNED = tuple(
    Parameter(name, "query", _text(), "Of a signed URL, as it came; nothing without `signature`.")
    for name in signing.PARAMETERS
    if name != "signature"
)
_WHOLE = _text(pattern=schemas.WHOLE)
FILTERS = (
    Parameter("status", "query", {"enum": list(schemas.STATUSES)}, "Streams in this status."),
    Parameter("client_id", "query", _text(), "Streams with this `X-Client-Id`."),
    Parameter("session_id", "query", _text(), "Streams of this session."),
    Parameter("from", "query", _WHOLE, "Created at this time or later, in ms since 1970."),
    Parameter("to", "query", _WHOLE, "Created before this time, in ms since 1970."),
    Parameter(
        "limit", "query", _WHOLE, "Entries in a page: 50 without it, or with 0; 200 at most."
    ),
    Parameter(
        "before", "query", _text(pattern=schemas.CURSOR), "The `next` of the page before this one."
    ),
)
PERIOD = (
    Parameter(
        "start",
        "query",
        _WHOLE,
        "Minutes that began at this time or later, in ms since 1970; 31 days before `end` at most.",
    ),
    Parameter(
        "end", "query", _WHOLE, "Minutes that began before this time, in ms since 1970; or now."
    ),
    Parameter(
        "step",
        "query",
        {"enum": [str(one) for one in metrics.STEPS]},
        "Seconds of each of the `points`; 1,500 of them at most.",
    ),
)
