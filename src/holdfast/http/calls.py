"""What every route's code gets: the node's parts, the caller, and the stream it is about.

Strategy: a route is written as a function of a `Call`. `guarded` makes the call: it finds out
who asks, loads the stream that the path names, and asks `auth.may`, so that no route can
forget to. A stream that may not be seen is answered exactly like one that never was. Who
reads a stream's events is never refused by status for a passing reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from holdfast import errors, events
from holdfast.dialects import base as dialect_base
from holdfast.eventlog import base
from holdfast.http import auth, feed, sse_response
from holdfast.service import Service


class Node(msgspec.Struct, frozen=True):
    """The parts of a running node that routes use."""

    service: Service
    feeds: feed.Feeds
    native: dialect_base.Dialect


class Call(msgspec.Struct, frozen=True):
    """One request. `stream` is there where the path names one."""

    node: Node
    request: Request
    principal: auth.Principal
    stream: base.Info | None = None

    @property
    def info(self) -> base.Info:
        """The stream of a route whose path names one."""
        if self.stream is None:
            raise TypeError("this route's path names no stream")
        return self.stream


Handler = Callable[[Call], Awaitable[ASGIApp]]
Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(node: Node, action: auth.Action, handler: Handler) -> Endpoint:
    """The endpoint for a handler: nothing runs before `may` has agreed."""

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except errors.LogUnavailable as error:
            if not _reads(request):
                raise
            return sse_response.SentAway(node.native, error.code)  # type: ignore[return-value]

    async def answer(request: Request) -> Response:
        principal = auth.principal_of(request)
        name = request.path_params.get("stream_id")
        stream = None if name is None else await find(node, principal, action, name)
        if stream is None and not auth.may(principal, action, None):
            raise errors.AccessError
        call = Call(node, request, principal, stream)
        return await handler(call)  # type: ignore[return-value]  # any ASGI application will do

    return endpoint


def _reads(request: Request) -> bool:
    """Whether the events are wanted of a stream that is there already."""
    path: str = request.scope["path"]
    if request.method == "POST":
        return path.endswith("/v1/streams") and bool(request.headers.get("last-event-id"))
    return request.method == "GET" and path.endswith("/events")


async def find(node: Node, principal: auth.Principal, action: auth.Action, name: str) -> base.Info:
    """The stream, if the principal may; raises `errors.StreamNotFound`, `StreamExpired`."""
    found = await node.service.stat(events.stream_id(name), principal.owner)
    if not auth.may(principal, action, found.header):
        raise errors.StreamNotFound
    return found
