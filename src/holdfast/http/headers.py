"""The headers that every answer has.

Strategy: answers are data, never pages: a browser that is led to one takes it for what it says
it is, runs nothing in it, frames it nowhere and tells nobody where it was. One ASGI wrapper adds
what an answer does not have yet, so that a page with a policy of its own keeps it. It stands
outside everything, so that errors, unknown paths and preflights have the headers too. Of a
response it looks at the start alone; the messages of a body pass without a coroutine of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)
"""Each is added where the answer has none of that name, in lower case."""


class Headers:
    """An ASGI application that adds `ALWAYS` to the answers of another one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        def sending(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message = {**message, "headers": added(message.get("headers", ()))}
            return send(message)

        await self._app(scope, receive, sending)


def added(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """An answer's headers with those of `ALWAYS` that it lacks."""
    own = list(headers)
    names = {name.lower() for name, _ in own}
    return own + [row for row in ALWAYS if row[0] not in names]
