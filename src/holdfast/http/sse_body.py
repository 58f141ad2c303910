"""What the bodies of event streams have in common: their head, a piece, a goodbye.

Strategy: functions over ASGI's `send`. All that is said goes through the response's coding. A
reader that cannot be served now is not refused by status, which would stop an EventSource for ever:
it gets 200, one `reconnect` block and an unclean end (`SentAway`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from holdfast.dialects import base as dialect_base
from holdfast.http import coding, sockets

RETRY_MS = (500, 5000)
"""A reader that is sent away comes back after a random time in this range."""

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"vary", b"Accept-Encoding"),
)

DECODED = 0.1
"""Seconds between a coded goodbye and the end of its connection: clients decode in a thread of
their own (Node's do), and what they have not decoded as the connection breaks off is never told."""


def head(encoding: coding.Name, **more: str) -> Response:
    """The answer to HEAD: what an event stream has before its body."""
    fields = {name.decode(): value.decode() for name, value in _fields(encoding)}
    return Response(b"", 200, fields | more)


def _fields(encoding: str) -> tuple[tuple[bytes, bytes], ...]:
    if encoding == "identity":
        return HEADERS
    return (*HEADERS, (b"content-encoding", encoding.encode()))


async def disconnected(receive: Receive, lost: Callable[[], None]) -> None:
    """Tells of the client's going, where a server says so by a message."""
    while (await receive())["type"] != "http.disconnect":
        pass
    lost()


class SentAway:
    """An ASGI application for a reader that cannot be served now: it may come back."""

    def __init__(
        self,
        dialect: dialect_base.Dialect,
        reason: str,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self._dialect, self._reason, self._headers = dialect, reason, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send, self._headers)
        await send_away(self._dialect, scope, send, self._reason)


async def begin(
    send: Send, headers: tuple[tuple[bytes, bytes], ...], encoding: str = "identity"
) -> None:
    """The head of a stream's response, with `headers` beside its own."""
    all_headers = [*_fields(encoding), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": all_headers})


async def send_away(
    dialect: dialect_base.Dialect,
    scope: Scope,
    send: Send,
    reason: str,
    coder: coding.Coder | None = None,
) -> None:
    said = dialect.reconnect(random.randint(*RETRY_MS), reason)
    await send(piece(coded(said, coder)))
    if coder is not None:
        await asyncio.sleep(DECODED)
    sockets.end_unclean(scope)


def coded(data: bytes, coder: coding.Coder | None) -> bytes:
    """The data as they go over the wire, flushed."""
    return data if coder is None else coder.code(data)


def piece(data: bytes) -> dict[str, object]:
    """The message that has more to come."""
    return {"type": "http.response.body", "body": data, "more_body": True}
