"""The native routes of connections, and how a connection is made for a request."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import ASGIApp

from holdfast import connections, errors, events
from holdfast.access import ids
from holdfast.eventlog import base, reader
from holdfast.http import calls, limits, neighbours, views

USER_AGENT_LIMIT = 256
"""Characters of a user agent that are kept."""


def connection(call: calls.Call, info: base.Info, flag: reader.Flag) -> connections.Connection:
    """A connection for this request's response; it has no slot yet."""
    request, config = call.request, call.node.service.config
    peer = connections.Peer(
        client_id=limits.token(request, "x-client-id") or info.header.client_id,
        user_id=info.header.user_id,
        session_id=info.header.session_id,
        request_id=limits.token(request, "x-request-id") or info.header.request_id,
        user_agent=request.headers.get("user-agent", "")[:USER_AGENT_LIMIT] or None,
        ip=request.client.host if request.client else None,
    )
    options = connections.Options(
        buffer_size=info.header.buffer_size or config.streaming.buffer_size,
        flush_interval_ms=_flush_ms(info.header, config.streaming.flush_interval),
        compression=False,
        encryption=False,
        heartbeat_interval=config.server.heartbeat_interval,
    )
    now = asyncio.get_running_loop().time()
    header = info.header
    return connections.Connection(
        info.stream,
        header.provider,
        header.model,
        peer,
        options,
        flag.set,
        now,
        reader=call.principal,
        owner=header.owner,
        id=ids.new(call.node.service.log.secret, header.owner),
        accounts=call.accounts,
    )


def _flush_ms(header: base.Header, default: float) -> int:
    wanted = header.flush_interval_ms
    return int(default * 1000) if wanted is None else wanted


async def list_all(call: calls.Call) -> ASGIApp:
    """`GET /v1/connections`."""
    return await _page(call, None)


async def list_of_stream(call: calls.Call) -> ASGIApp:
    """`GET /v1/streams/{id}/connections`."""
    return await _page(call, call.info)


async def _page(call: calls.Call, info: base.Info | None) -> Response:
    asked = neighbours.Question(call.principal)
    if info is not None:
        asked = neighbours.Question(call.principal, info.stream, info.header.owner)
    return views.response(views.ConnectionPage(*await _all(call, asked)))


async def _all(
    call: calls.Call, asked: neighbours.Question
) -> tuple[list[views.ConnectionView], list[views.NodeView]]:
    service = call.node.service
    return await neighbours.all_of(service.connections, service.log.nodes, asked)


async def show(call: calls.Call) -> ASGIApp:
    """`GET /v1/connections/{id}`, also once it is closed."""
    service, asker = call.node.service, call.principal
    try:
        id = events.stream_id(call.request.path_params["connection_id"])
    except errors.StreamNotFound:
        raise errors.ConnectionNotFound from None
    # What is foreign and what never was cost the same, as with streams.
    if not ids.may_be(service.log.secret, id, asker):
        raise errors.ConnectionNotFound
    found, _ = await _all(call, neighbours.Question(asker, id=id))
    if not found:
        raise errors.ConnectionNotFound
    return views.response(found[0])
