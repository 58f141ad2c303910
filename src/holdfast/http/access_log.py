"""One log line for each request, when its answer has ended; and by which id it is known.

Strategy: an ASGI wrapper outside everything, which is there only where the settings ask for it. It
looks at what passes: the start of an answer and how much follows. What does not pass is left in the
request's scope: what goes straight to the socket, and the request's id, which is taken from nobody
who was not let in, as anything might stand there. A query is never told: it may hold a signature.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_PATH = 512
"""Characters of a path that are told."""

_REQUEST_ID, _SENT = "holdfast.request_id", "holdfast.sent"
_NAMES = {b"x-stream-id": "stream", b"x-connection-id": "connection"}

_log = structlog.get_logger("holdfast")


def name(scope: Scope, request_id: str | None) -> None:
    """By this id the request is known from now on, unless it has one."""
    if request_id is not None:
        scope.setdefault(_REQUEST_ID, request_id)


def named(scope: Scope) -> str | None:
    """The request's id, if it has one by now."""
    found: str | None = scope.get(_REQUEST_ID)
    return found


def sent(scope: Scope, size: int) -> None:
    """So many bytes of the answer's body have gone out, by whatever way."""
    scope[_SENT] = size


def path(scope: Scope) -> str:
    """What was asked for, without its query."""
    return str(scope["path"][:MAX_PATH])


class AccessLog:
    """An ASGI application that logs the requests of another one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer, time = _Answer(), asyncio.get_running_loop().time
        began = time()

        def sending(message: Message) -> Awaitable[None]:
            answer.passes(message)
            return send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            client = scope.get("client")
            _log.info(
                "request_ended",
                method=scope["method"],
                path=path(scope),
                status=answer.status,
                bytes=0 if scope["method"] == "HEAD" else max(answer.size, scope.get(_SENT, 0)),
                duration_ms=int((time() - began) * 1000),
                request_id=named(scope),
                stream=answer.ids.get("stream"),
                connection=answer.ids.get("connection"),
                client=client[0] if client else None,
            )


class _Answer:
    """What passed of one. There is no `status` where it never began."""

    __slots__ = (
        "ids",
        "size",
        "status",
    )

    def __init__(self) -> None:
        self.status: int | None = None
        self.size = 0
        self.ids: dict[str, str] = {}

    def passes(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        elif message["type"] == "http.response.start":
            self.status = message["status"]
            for name, value in message.get("headers", ()):
                if name in _NAMES:
                    self.ids[_NAMES[name]] = value.decode("latin-1")
