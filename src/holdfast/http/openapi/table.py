"""What each call takes and answers: the table beside that of the routes.

Strategy: a row says what a program must know before it calls: parameters, body, answers by
status, refusals. A refusal is named by its class of error, which brings code, status and
sentence, so that the document and the answer cannot differ. What a caller can be
refused for is said once. A route without a row cannot be described (`openapi.document`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from holdfast import errors
from holdfast.access import principal
from holdfast.dialects import native
from holdfast.http import alerts, failures, frames, metrics, reader_metrics, seal, timeline, views
from holdfast.http.openapi import parameters as given
from holdfast.http.openapi import schemas

JSON, SSE = "application/json", "text/event-stream"
PAGES = ("text/plain", "application/openmetrics-text")

Refusal = type[errors.HoldfastError]


class Answer(msgspec.Struct, frozen=True):
    """A success: its bodies by media type, and its headers, each with whether it is always
    there."""

    description: str
    content: Mapping[str, schemas.Schema] = {}
    headers: Mapping[str, bool] = {}


class Described(msgspec.Struct, frozen=True):
    """A call. `id` is its name in generated clients. `follow`: which calls take an id that this one
    answers, as (call, parameter, runtime expression)."""

    id: str
    tag: Literal["streams", "connections", "server"]
    summary: str
    answers: Mapping[int, Answer]
    refusals: tuple[Refusal, ...] = ()
    parameters: tuple[given.Parameter, ...] = ()
    body: type | None = None
    example: Mapping[str, Any] | None = None
    follow: tuple[tuple[str, str, str], ...] = ()


_KEY: tuple[Refusal, ...] = (errors.Unauthorized, errors.Forbidden)
_PASSING: tuple[Refusal, ...] = (errors.RequestLimit, errors.KeysUnavailable)


def access(action: principal.Action) -> tuple[Refusal, ...]:
    """What a call of this action is refused for because of who asks. A reader of events is sent
    away, and not refused, for what passes."""
    if action == "public":
        return ()
    return _KEY if action == "follow" else (*_KEY, *_PASSING)


_LOG: tuple[Refusal, ...] = (errors.LogUnavailable, errors.LogCorrupt, errors.KeyMissing)
_STREAM: tuple[Refusal, ...] = (errors.StreamNotFound, errors.StreamExpired)
_PLACE: tuple[Refusal, ...] = (errors.MalformedPosition, errors.ForeignPosition)


def _json(view: type) -> dict[str, schemas.Schema]:
    return {JSON: schemas.of(view)}


_TEXT: schemas.Schema = {"type": "string"}
_READ_HEADERS = {"Cache-Control": True, "X-Accel-Buffering": True, "Vary": True}
_SSE_HEADERS = {**_READ_HEADERS, "X-Stream-Id": False, "X-Connection-Id": False}
_CREATED_HEADERS = {"Location": True, "X-Stream-Id": True, "RateLimit": False}
_OF_HEADER = "$response.header.X-Stream-Id"
_SHOWN = "$response.header.X-Connection-Id"
_EXAMPLE = {
    "model": "demo",
    "messages": [{"role": "user", "content": "/demo tokens=5 rate=1000\nWhat is a holdfast?"}],
}

CALLS: Mapping[tuple[str, str], Described] = {
    ("POST", "/v1/streams"): Described(
        "createStream",
        "streams",
        "Ask for an answer",
        {
            200: Answer(
                "With `Accept: text/event-stream` the stream's events at once; else the "
                "stream that the `Idempotency-Key` had made before.",
                {SSE: schemas.EVENT, **_json(views.CreatedView)},
                dict.fromkeys((*_SSE_HEADERS, "Location", "RateLimit"), False),
            ),
            201: Answer("It is made.", _json(views.CreatedView), _CREATED_HEADERS),
        },
        refusals=(
            errors.MalformedBody,
            errors.InvalidField,
            errors.UnknownProvider,
            errors.UnknownModel,
            errors.MalformedPosition,
            errors.StreamNotFound,
            errors.StreamExpired,
            errors.BodyTooLarge,
            errors.UnsupportedEncoding,
            errors.IdempotencyMismatch,
            errors.StreamLimit,
            errors.ConnectionLimit,
            errors.TokenLimit,
            errors.CostLimit,
            errors.MissingKey,
            errors.TooManyConnections,
            errors.Overloaded,
            errors.Draining,
            *_LOG,
        ),
        parameters=(
            given.RESUMED,
            given.IDEMPOTENCY_KEY,
            given.COMPRESSION,
            *given.LABELS,
        ),
        body=native.Body,
        example=_EXAMPLE,
        follow=(
            ("showStream", "stream_id", _OF_HEADER),
            ("readEvents", "stream_id", _OF_HEADER),
            ("cancelStream", "stream_id", _OF_HEADER),
            ("linkStream", "stream_id", _OF_HEADER),
            ("listStreamConnections", "stream_id", _OF_HEADER),
            ("showTimeline", "stream_id", _OF_HEADER),
            ("showConnection", "connection_id", _SHOWN),
        ),
    ),
    ("GET", "/v1/streams"): Described(
        "listStreams",
        "streams",
        "List streams",
        {200: Answer("A page of them.", _json(views.StreamPage))},
        refusals=(errors.InvalidField, *_LOG),
        parameters=given.FILTERS,
    ),
    ("GET", "/v1/streams/{stream_id}"): Described(
        "showStream",
        "streams",
        "Show an answer as far as it is written",
        {200: Answer("The answer.", _json(views.StreamView))},
        refusals=(
            errors.InvalidField,
            *_PLACE,
            *_STREAM,
            errors.UnknownPosition,
            errors.Overloaded,
            *_LOG,
        ),
        parameters=(
            given.STREAM_ID,
            given.INCLUDE,
            given.AFTER,
        ),
    ),
    ("GET", "/v1/streams/{stream_id}/events"): Described(
        "readEvents",
        "streams",
        "Read a stream's events as they come",
        {
            200: Answer(
                "The events. An end of the connection before the last chunk of the body: "
                "come back.",
                {SSE: schemas.EVENT},
                _SSE_HEADERS,
            ),
            204: Answer(
                "The stream has ended, and its reader has everything.",
                headers={"X-Stream-Id": True},
            ),
        },
        refusals=(errors.InvalidField, *_PLACE, *_STREAM, errors.LogCorrupt, errors.KeyMissing),
        parameters=(
            given.STREAM_ID,
            given.LAST_EVENT_ID,
            given.AFTER,
            given.COMPRESSION,
            *given.LABELS,
            *given.SIGNED,
        ),
        follow=(("showConnection", "connection_id", _SHOWN),),
    ),
    ("DELETE", "/v1/streams/{stream_id}"): Described(
        "destroyStream",
        "streams",
        "Destroy a stream",
        {
            202: Answer("It will end; ask again.", _json(views.StreamRow)),
            204: Answer("Nothing of it can be read any more."),
        },
        refusals=(*_STREAM, *_LOG),
        parameters=(given.STREAM_ID,),
    ),
    ("POST", "/v1/streams/{stream_id}/cancel"): Described(
        "cancelStream",
        "streams",
        "Cancel a stream",
        {
            200: Answer("It has ended.", _json(views.StreamRow)),
            202: Answer("It will end.", _json(views.StreamRow)),
        },
        refusals=(*_STREAM, *_LOG),
        parameters=(given.STREAM_ID,),
    ),
    ("POST", "/v1/streams/{stream_id}/links"): Described(
        "linkStream",
        "streams",
        "Make a signed URL that reads a stream's events",
        {201: Answer("The URL.", _json(views.LinkView))},
        refusals=(*_STREAM, *_LOG, errors.NotYet),
        parameters=(given.STREAM_ID,),
    ),
    ("GET", "/v1/streams/{stream_id}/connections"): Described(
        "listStreamConnections",
        "connections",
        "List the connections that read a stream",
        {200: Answer("The newest 200.", _json(views.ConnectionPage))},
        refusals=(*_STREAM, *_LOG),
        parameters=(given.STREAM_ID,),
    ),
    ("GET", "/v1/streams/{stream_id}/timeline"): Described(
        "showTimeline",
        "streams",
        "Show what happened to a stream, and when",
        {200: Answer("Its story.", _json(timeline.TimelineView))},
        refusals=(*_STREAM, errors.Overloaded, *_LOG),
        parameters=(given.STREAM_ID,),
    ),
    ("GET", "/v1/connections"): Described(
        "listConnections",
        "connections",
        "List connections",
        {200: Answer("The newest 200.", _json(views.ConnectionPage))},
        refusals=(errors.LogUnavailable,),
    ),
    ("GET", "/v1/connections/{connection_id}"): Described(
        "showConnection",
        "connections",
        "Show a connection, open or closed",
        {200: Answer("The connection.", _json(views.ConnectionView))},
        refusals=(errors.ConnectionNotFound, errors.ArchiveUnavailable, *_LOG),
        parameters=(given.CONNECTION_ID,),
    ),
    ("GET", "/v1/metrics"): Described(
        "showMetrics",
        "server",
        "Show what all nodes have counted",
        {200: Answer("The sums.", _json(metrics.MetricsView))},
        refusals=(errors.InvalidField, errors.ArchiveUnavailable, *_LOG),
        parameters=given.PERIOD,
    ),
    ("GET", "/v1/metrics/live"): Described(
        "watchMetrics",
        "server",
        "Watch how all nodes are, once a second",
        {200: Answer("An event `snapshot` a second.", {SSE: schemas.of(frames.Frame)})},
        refusals=(errors.InvalidField, errors.Overloaded),
        parameters=(given.COMPRESSION,),
    ),
    ("GET", "/v1/streams/{stream_id}/metrics"): Described(
        "showStreamMetrics",
        "streams",
        "Show what a stream's readers were sent",
        {200: Answer("The figures.", _json(reader_metrics.OwnView))},
        refusals=(*_STREAM, *_LOG),
        parameters=(given.STREAM_ID,),
    ),
    ("GET", "/v1/connections/{connection_id}/metrics"): Described(
        "showConnectionMetrics",
        "connections",
        "Show what a reader was sent",
        {200: Answer("The figures.", _json(reader_metrics.OwnView))},
        refusals=(errors.ConnectionNotFound, errors.ArchiveUnavailable, *_LOG),
        parameters=(given.CONNECTION_ID,),
    ),
    ("GET", "/v1/errors"): Described(
        "listErrors",
        "server",
        "List what has failed, with examples",
        {200: Answer("The latest 200 kinds.", _json(failures.ErrorsView))},
        refusals=(errors.LogUnavailable,),
    ),
    ("GET", "/v1/alerts"): Described(
        "listAlerts",
        "server",
        "List the alerts that fire, and the rules",
        {200: Answer("All of them.", _json(alerts.AlertsView))},
    ),
    ("GET", "/v1/seal"): Described(
        "showSeal",
        "server",
        "Show what is sealed by which keys",
        {200: Answer("As it is.", _json(seal.SealView))},
        parameters=(given.COUNTS,),
        refusals=(errors.InvalidField, errors.ArchiveUnavailable, *_LOG),
    ),
    ("POST", "/v1/seal/rewrap"): Described(
        "rewrap",
        "server",
        "Bring all streams under the present keys",
        {202: Answer("It is begun.", _json(seal.SealView))},
        refusals=(errors.AlreadyRunning, errors.ArchiveUnavailable, *_LOG),
    ),
    ("POST", "/v1/seal/shred"): Described(
        "shredTenant",
        "server",
        "Destroy all streams of a tenant",
        {202: Answer("It is begun.", _json(seal.SealView))},
        refusals=(
            errors.MalformedBody,
            errors.InvalidField,
            errors.BodyTooLarge,
            errors.UnsupportedEncoding,
            errors.Overloaded,
            errors.AlreadyRunning,
            errors.ArchiveUnavailable,
            *_LOG,
        ),
        body=seal.ShredBody,
    ),
    ("GET", "/metrics"): Described(
        "scrape",
        "server",
        "What has been counted here, for Prometheus",
        {200: Answer("In its text format, or in OpenMetrics.", dict.fromkeys(PAGES, _TEXT))},
    ),
    ("GET", "/healthz"): Described(
        "checkHealth",
        "server",
        "Whether the process answers",
        {200: Answer("It does.", {JSON: schemas.status("ok")})},
    ),
    ("GET", "/readyz"): Described(
        "checkReadiness",
        "server",
        "Whether new streams are taken",
        {200: Answer("They are.", {JSON: schemas.status("ready")})},
        refusals=(errors.Draining, errors.LogUnavailable),
    ),
    ("GET", "/openapi.json"): Described(
        "describe",
        "server",
        "This document",
        {200: Answer("OpenAPI 3.1.", {JSON: {"type": "object"}})},
    ),
}
