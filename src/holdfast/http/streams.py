"""The native routes of streams: create, read, show, list, cancel.

Strategy: a handler turns headers and query into values, calls the service, and answers with
a view or an SSE response; decisions that the protocol makes on positions stand in `place`.
"""

from __future__ import annotations

import re
from typing import get_args

from starlette.responses import Response
from starlette.types import ASGIApp

from holdfast import errors, events
from holdfast.eventlog import base, reader
from holdfast.http import (
    access_log,
    calls,
    coding,
    connections,
    limits,
    quotas,
    sse_body,
    sse_response,
    views,
)
from holdfast.metering import account
from holdfast.producing.opening import Origin
from holdfast.telemetry import tracing

LIST_DEFAULT, LIST_LIMIT = 50, 200
"""Streams in a page of the list: without `limit`, and at most."""

LINK_GRACE = 600
"""Seconds that a signed URL is valid for beside what a stream may take."""

_CURSOR = re.compile(r"(\d{1,16})-([0-9A-Za-z]{26,32})", re.ASCII)
_STATUSES: dict[str, events.Status] = {status: status for status in get_args(events.Status)}


async def create(call: calls.Call) -> ASGIApp:
    """`POST /v1/streams`. With `Last-Event-ID` it resumes and never creates."""
    request, service = call.request, call.node.service
    last = request.headers.get("last-event-id")
    if last:
        return await _resume(call, last)
    await service.surveyed(call.accounts)
    max_body, tenant = service.config.server.max_body, call.principal.tenant
    body = await limits.body(request, max_body, call.node.bodies, tenant)
    encoding = _encoding(call)
    wanted = call.node.native.parse(body)
    origin = Origin(
        owner=call.principal.owner,
        key=call.principal.key,
        request_id=limits.token(request, "x-request-id"),
        client_id=limits.token(request, "x-client-id"),
        idempotency_key=limits.key(request, "idempotency-key"),
        parent=tracing.parent(request.headers),
    )
    streaming = "text/event-stream" in request.headers.get("accept", "")
    if streaming:
        service.check_place(call.accounts, wanted.metadata.priority)
    with account.place(call.accounts if streaming else ()):
        made = await service.create(wanted, origin, call.accounts)
    access_log.name(request.scope, made.header.request_id)
    url = _url(call, made.stream)
    headers = {"Location": url, **quotas.headers(call.accounts)}
    if not streaming:
        view = views.CreatedView(made.stream, url, f"{url}/events")
        headers["X-Stream-Id"] = made.stream
        return views.response(view, 201 if made.fresh else 200, headers)
    info = base.Info(made.stream, made.header, base.Head(0, 0, False), "pending")
    named = tuple((name.lower().encode(), value.encode()) for name, value in headers.items())
    return _sse(call, info, events.BEGIN, encoding, named)


def _encoding(call: calls.Call) -> coding.Name:
    return calls.encoding(call, padded=call.node.native.padded)


def _url(call: calls.Call, stream: events.StreamId) -> str:
    return f"{call.root}/v1/streams/{stream}"


async def _resume(call: calls.Call, last: str) -> ASGIApp:
    stream, after = events.parse_event_id(last)
    if stream is None:
        raise errors.MalformedPosition(
            "A POST resumes only after a whole SSE id, <stream_id>:<epoch>-<seq>."
        )
    encoding = _encoding(call)
    info = await call.node.service.stat(stream, call.principal)
    if _read_whole(info, after):
        return sse_body.head("identity", **{"X-Stream-Id": stream})
    return _sse(call, info, after, encoding)


async def read(call: calls.Call) -> ASGIApp:
    """`GET /v1/streams/{id}/events`: from the start, or after a position."""
    info, request = call.info, call.request
    after = place(
        info.stream, request.headers.get("last-event-id"), request.query_params.get("after")
    )
    encoding = _encoding(call)
    if _read_whole(info, after):
        return Response(status_code=204, headers={"X-Stream-Id": info.stream})
    if request.method == "HEAD":
        return sse_body.head(encoding, **{"X-Stream-Id": info.stream})
    return _sse(call, info, after, encoding)


def place(stream: events.StreamId, header: str | None, query: str | None) -> events.Position:
    """Where a reader of this stream is: the header wins over the query; with neither it
    stands before the first event. Raises `MalformedPosition`, `ForeignPosition`."""
    said = header or query
    if not said:
        return events.BEGIN
    named, after = events.parse_event_id(said)
    if named is not None and named != stream:
        raise errors.ForeignPosition("The position names another stream than the path does.")
    return after


def _read_whole(info: base.Info, after: events.Position) -> bool:
    head = info.head
    return head.closed and after == events.Position(head.epoch, head.seq)


def _sse(
    call: calls.Call,
    info: base.Info,
    after: events.Position,
    encoding: coding.Name,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> ASGIApp:
    node, flag = call.node, reader.Flag()
    resumed = after != events.BEGIN
    connection = connections.connection(call, info, flag, resumed=resumed, encoding=encoding)
    named = (
        (b"x-stream-id", info.stream.encode()),
        (b"x-connection-id", connection.id.encode()),
        *headers,
    )
    source = node.feeds.shared(info.stream, node.native, flag)
    return sse_response.SseResponse(
        node.service, source, node.native, connection, flag, after, named, info.header.trace
    )


async def link(call: calls.Call) -> ASGIApp:
    """`POST /v1/streams/{id}/links`: a URL for who can set no header, as a browser's EventSource:
    whoever has it may read this stream's events."""
    access, stream = call.node.service.access, call.info.stream
    if access is None:
        raise errors.NotYet("Who serves these calls lets everybody in; a link would sign nothing.")
    seconds = call.node.service.config.deadlines.total + LINK_GRACE
    query, expires = access.link(call.principal, stream, seconds)
    view = views.LinkView(f"{_url(call, stream)}/events?{query}", events.rfc3339(expires * 1000))
    return views.response(view, 201)


async def show(call: calls.Call) -> ASGIApp:
    """`GET /v1/streams/{id}`; `?include=events&after=` pages through the events."""
    service, info, query = call.node.service, call.info, call.request.query_params
    after = place(info.stream, None, query.get("after"))
    so_far = await service.get(info.stream, call.principal.tenant)
    page = None
    if query.get("include") == "events":
        page = await service.page(info.stream, after, base.PAGE_EVENTS)
    elif "include" in query:
        raise errors.InvalidField("`include` takes only `events`.")
    return views.response(views.stream(info, so_far, page))


async def list_streams(call: calls.Call) -> ASGIApp:
    """`GET /v1/streams`: those that the caller may see, newest first, by page."""
    query = call.request.query_params
    limit = limits.whole(call.request, "limit") or LIST_DEFAULT
    status = query.get("status")
    if status is not None and status not in _STATUSES:
        raise errors.InvalidField(f"`status` takes one of {', '.join(_STATUSES)}.")
    owner, tenant = call.principal.owners
    asked = base.Query(
        owner=owner,
        tenant=tenant,
        status=None if status is None else _STATUSES[status],
        client_id=query.get("client_id"),
        session_id=query.get("session_id"),
        created_from=limits.whole(call.request, "from"),
        created_to=limits.whole(call.request, "to"),
        before=_cursor(query.get("before")),
        limit=min(limit, LIST_LIMIT),
    )
    found = await call.node.service.find(asked)
    last = found[-1] if len(found) == asked.limit else None
    following = f"{last.header.created_at}-{last.stream}" if last else None
    return views.response(views.StreamPage([views.row(info) for info in found], following))


def _cursor(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise errors.InvalidField("`before` takes the `next` of the page before.")
    return int(match[1]), match[2]


async def cancel(call: calls.Call) -> ASGIApp:
    """`POST /v1/streams/{id}/cancel`: 202 until the terminal event is visible, then 200."""
    service, stream = call.node.service, call.info.stream
    await service.cancel(stream)
    info = await service.stat(stream)  # status and body are of one moment
    return views.response(views.row(info), 200 if info.head.closed else 202)
