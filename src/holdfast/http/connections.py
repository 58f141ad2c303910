"""The native routes of connections, and how a connection is made for a request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import ASGIApp

from holdfast import connections, errors, events, settings
from holdfast.access import ids, principal
from holdfast.archive import rows
from holdfast.eventlog import base, reader
from holdfast.http import calls, coding, limits, neighbours, views

USER_AGENT_LIMIT = 256
"""Characters of a user agent that are kept."""

ARCHIVE_SECONDS = 2.0
"""For the archive. After that a list is told without its part."""

T = TypeVar("T")


def connection(
    call: calls.Call,
    info: base.Info,
    flag: reader.Flag,
    *,
    resumed: bool,
    encoding: coding.Name = "identity",
) -> connections.Connection:
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
        flush_interval_ms=_flush_ms(info.header, config.streaming),
        compression=encoding != "identity",
        encryption=call.node.service.keys.sealer.on,
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
        resumed=resumed,
        encoding=encoding,
    )


def _flush_ms(header: base.Header, chosen: settings.Streaming) -> int:
    wanted = header.flush_interval_ms
    usual = int(chosen.flush_interval * 1000) if wanted is None else wanted
    return max(usual, int(chosen.cadence * 1000))


async def list_all(call: calls.Call) -> ASGIApp:
    """`GET /v1/connections`: of all nodes, those that are open and those that closed lately."""
    asked = neighbours.Readers(call.principal)
    return views.response(
        views.ConnectionPage(*await neighbours.readers_of_all(call.node.service, asked))
    )


async def list_of_stream(call: calls.Call) -> ASGIApp:
    """`GET /v1/streams/{id}/connections`: those too that are in the archive alone."""
    return views.response(await of_stream(call))


async def of_stream(call: calls.Call) -> views.ConnectionPage:
    """Who reads the stream of a call, and who did, as far as the nodes and the archive answer.
    Raises `errors.LogUnavailable`, `LogCorrupt`."""
    service, asker, info = call.node.service, call.principal, call.info
    asked = neighbours.Readers(asker, info.stream, info.header.owner)
    found, nodes = await neighbours.readers_of_all(service, asked)
    known = {one.id for one in found}
    sought = rows.Sought(stream=info.stream, limit=neighbours.LIST_LIMIT)
    try:
        kept = await _soon(service.keeper.archive.connections(sought))
    except errors.ArchiveUnavailable:
        return views.ConnectionPage(found, nodes, False)
    found += [
        views.kept_connection(row)
        for row in kept
        if row.id not in known and principal.owns(asker, row.owner, row.stream)
    ]
    return views.ConnectionPage(neighbours.newest(found), nodes, True)


async def _soon(answer: Awaitable[T]) -> T:
    """What the archive answers. Raises `errors.ArchiveUnavailable`, also where that takes long."""
    try:
        async with asyncio.timeout(ARCHIVE_SECONDS):
            return await answer
    except TimeoutError:
        raise errors.ArchiveUnavailable from None


async def show(call: calls.Call) -> ASGIApp:
    """`GET /v1/connections/{id}`, also once it is closed."""
    return views.response(await found(call))


async def found(call: calls.Call) -> views.ConnectionView:
    """The connection that the path names. Raises `errors.ConnectionNotFound`, `LogUnavailable`,
    `ArchiveUnavailable`, `LogCorrupt`."""
    service, asker = call.node.service, call.principal
    try:
        id = events.stream_id(call.request.path_params["connection_id"])
    except errors.StreamNotFound:
        raise errors.ConnectionNotFound from None
    # What is foreign and what never was cost the same, as with streams.
    if not ids.may_be(service.log.secret, id, asker):
        raise errors.ConnectionNotFound
    here, _ = await neighbours.readers_of_all(service, neighbours.Readers(asker, id=id))
    if here:
        return here[0]
    row = await _soon(service.keeper.archive.connection(id))
    if row is None or not principal.owns(asker, row.owner, row.stream):
        raise errors.ConnectionNotFound
    return views.kept_connection(row)
