"""The table of all calls.

Strategy: a row names method, path, the action that `principal.may` decides on, and the handler;
the application is made from the rows, and so is `/openapi.json`. A call that is not in the
table does not exist.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from holdfast import errors
from holdfast.access import principal
from holdfast.http import (
    access_log,
    alerts,
    calls,
    connections,
    failures,
    headers,
    metrics,
    openapi,
    problems,
    reader_metrics,
    scraping,
    seal,
    streams,
    timeline,
)
from holdfast.http.foreign import ai_sdk, answering, anthropic, models, openai_responses


class Row(NamedTuple):
    method: str
    path: str
    action: principal.Action
    handler: calls.Handler
    dialect: str = ""
    """The name of another API's dialect, where the route is one of its own."""


async def _alive(call: calls.Call) -> ASGIApp:
    """`GET /healthz`: the process answers."""
    return Response(b'{"status":"ok"}', media_type="application/json")


async def _ready(call: calls.Call) -> ASGIApp:
    """`GET /readyz`: new streams are taken; 503 while the node drains, or lacks its log or keys."""
    service = call.node.service
    service.check_ready()
    if service.access is not None and not service.access.keyring.ready:
        raise errors.KeysUnavailable
    return Response(b'{"status":"ready"}', media_type="application/json")


async def _openapi(call: calls.Call) -> ASGIApp:
    """`GET /openapi.json`: these calls as OpenAPI 3.1."""
    return Response(_description(call.root), media_type="application/json")


@functools.lru_cache(8)
def _description(root: str) -> bytes:
    """Made once for each place where the routes are mounted: it takes as long as ten requests."""
    own = [row for row in ROWS if not row.dialect]  # the others are their vendors' to describe
    rows = [openapi.Row(row.method, row.path, row.action, row.handler.__doc__ or "") for row in own]
    return msgspec.json.encode(openapi.document(rows, root))


ROWS: tuple[Row, ...] = (
    Row("POST", "/v1/streams", "create", streams.create),
    Row("GET", "/v1/streams", "list", streams.list_streams),
    Row("GET", "/v1/streams/{stream_id}", "read", streams.show),
    Row("DELETE", "/v1/streams/{stream_id}", "destroy", seal.destroy),
    Row("GET", "/v1/streams/{stream_id}/events", "follow", streams.read),
    Row("POST", "/v1/streams/{stream_id}/links", "link", streams.link),
    Row("POST", "/v1/streams/{stream_id}/cancel", "cancel", streams.cancel),
    Row("GET", "/v1/streams/{stream_id}/connections", "observe", connections.list_of_stream),
    Row("GET", "/v1/streams/{stream_id}/timeline", "observe", timeline.show),
    Row("GET", "/v1/connections", "observe", connections.list_all),
    Row("GET", "/v1/connections/{connection_id}", "observe", connections.show),
    Row("GET", "/v1/streams/{stream_id}/metrics", "observe", reader_metrics.of_stream),
    Row("GET", "/v1/connections/{connection_id}/metrics", "observe", reader_metrics.of_connection),
    Row("GET", "/v1/metrics", "oversee", metrics.show),
    Row("GET", "/v1/metrics/live", "oversee", metrics.watch),
    Row("GET", "/v1/errors", "oversee", failures.show),
    Row("GET", "/v1/alerts", "oversee", alerts.show),
    Row("GET", "/v1/seal", "seal", seal.show),
    Row("POST", "/v1/seal/rewrap", "seal", seal.rewrap),
    Row("POST", "/v1/seal/shred", "seal", seal.shred),
    Row("POST", "/v1/chat/completions", "create", answering.create, "openai_chat"),
    Row("GET", "/v1/models", "create", models.list_all, "openai_chat"),
    Row("GET", "/v1/models/{model:path}", "create", models.show, "openai_chat"),
    Row("POST", "/v1/responses", "create", answering.create, "openai_responses"),
    Row("GET", "/v1/responses/{stream_id}", "read", openai_responses.read, "openai_responses"),
    Row(
        "POST",
        "/v1/responses/{stream_id}/cancel",
        "cancel",
        openai_responses.cancel,
        "openai_responses",
    ),
    Row("POST", "/v1/messages", "create", anthropic.create, "anthropic"),
    Row("POST", "/api/chat", "create", ai_sdk.create, "ai_sdk"),
    Row("GET", "/api/chat/{chat_id:path}/stream", "follow", ai_sdk.resume, "ai_sdk"),
    Row("POST", "/api/chat/{chat_id:path}/stop", "cancel", ai_sdk.stop, "ai_sdk"),
    Row("GET", "/metrics", "scrape", scraping.show),
    Row("GET", "/healthz", "public", _alive),
    Row("GET", "/readyz", "public", _ready),
    Row("GET", "/openapi.json", "public", _openapi),
)

STAINLESS = (
    "Arch",
    "Async",
    "Helper",
    "Helper-Method",
    "Lang",
    "OS",
    "Package-Version",
    "Poll-Helper",
    "Custom-Poll-Interval",
    "Raw-Response",
    "Read-Timeout",
    "Retry-Count",
    "Runtime",
    "Runtime-Version",
    "Stream-Helper",
    "Timeout",
)
"""What OpenAI's and Anthropic's clients tell of themselves."""

CORS_REQUEST_HEADERS = (
    "Last-Event-ID",
    "Cache-Control",
    "X-Requested-With",
    "Content-Type",
    "Authorization",
    "Idempotency-Key",
    "X-Client-Id",
    "X-Request-Id",
    "Traceparent",
    "Tracestate",
    # What the stock clients of other APIs send; not every browser lets a page say the first.
    "User-Agent",
    "X-Api-Key",
    "Anthropic-Version",
    "Anthropic-Beta",
    "Anthropic-Dangerous-Direct-Browser-Access",
    "OpenAI-Beta",
    "OpenAI-Organization",
    "OpenAI-Project",
    *(f"X-Stainless-{name}" for name in STAINLESS),
)
CORS_RESPONSE_HEADERS = (
    "X-Stream-Id",
    "X-Connection-Id",
    "Location",
    "Retry-After",
    "X-Should-Retry",
    "X-Request-Id",
    "Request-Id",
    "X-Vercel-AI-UI-Message-Stream",
    "RateLimit",
    "RateLimit-Policy",
)


def _of(methods: Mapping[str, calls.Endpoint]) -> calls.Endpoint:
    """The endpoint for a path, which takes HEAD where it takes GET."""

    async def endpoint(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def application(node: calls.Node, beside: Sequence[Route] = ()) -> ASGIApp:
    """The ASGI application of a node. Routes that stand `beside` the table are for everybody."""
    server = node.service.config.server
    by_path: dict[str, dict[str, calls.Endpoint]] = {}
    for row in ROWS:
        dialect = node.foreign[row.dialect] if row.dialect else None
        endpoint = calls.guarded(node, row.action, row.handler, dialect)
        by_path.setdefault(row.path, {})[row.method] = endpoint
    # One route a path, so that a 405 can say all that it allows.
    routes = [Route(path, _of(methods), methods=list(methods)) for path, methods in by_path.items()]
    pages = [
        Middleware(
            CORSMiddleware,
            allow_origins=list(server.cors_origins),
            allow_credentials=server.cors_credentials,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=list(CORS_REQUEST_HEADERS),
            expose_headers=list(CORS_RESPONSE_HEADERS),
        )
    ]
    made = Starlette(
        routes=[*routes, *beside],
        middleware=pages if server.cors_origins else [],
        exception_handlers={
            errors.HoldfastError: problems.on_error,
            HTTPException: problems.on_http_exception,
            ClientDisconnect: problems.on_gone,
            Exception: problems.on_bug,
        },
    )
    # A path with a slash too many is unknown; a redirect would go where `Host` says.
    made.router.redirect_slashes = False
    answering = headers.Headers(made)
    logs = node.service.config.monitoring.access_log
    return access_log.AccessLog(answering) if logs else answering
