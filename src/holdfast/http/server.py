"""uvicorn, with the little that we add to it.

Strategy: one subclass of its HTTP protocol gives what ASGI does not have: word of a lost
socket without a waiting task, how much is still unsent, and an end of the response that the
client can tell from a finished one. It reaches the application through the scope, so the
application runs on any other ASGI server too, with a task for the first, without the
second, and with that server's own way of breaking off for the third. One subclass of its
server drains before it waits: uvicorn would wait for open SSE responses for ever.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "holdfast.socket"

GRACE = 1
"""Seconds that readers have to take their goodbye before their tasks are cancelled."""


class Protocol(HttpToolsProtocol):
    """One client's connection; also what `socket_of` gives."""

    _lost: Callable[[], None] | None = None

    def on_headers_complete(self) -> None:
        self.scope["extensions"] = {EXTENSION: self}  # type: ignore[dict-item]
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        lost, self._lost = self._lost, None
        if lost is not None:
            lost()

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Calls back once, when the socket is lost; at once if it is lost already."""
        if self.transport.is_closing():
            callback()
        else:
            self._lost = callback

    def unsent(self) -> int:
        """Bytes that are not yet given to the kernel."""
        return 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()

    def end_unclean(self) -> None:
        """Sends what is buffered and closes, without the last chunk of the body."""
        self.cycle.disconnected = True
        self.transport.close()

    def cut(self) -> None:
        """Closes at once; what is buffered is lost."""
        self.transport.abort()


def socket_of(scope: Scope) -> Protocol | None:
    """Our server's connection of this request; None under another server."""
    found = scope.get("extensions", {}).get(EXTENSION)
    return found if isinstance(found, Protocol) else None


def end_unclean(scope: Scope) -> None:
    """Ends the response so that no client takes it for whole. Under another server the
    application just returns: servers close a response that was not completed."""
    connection = socket_of(scope)
    if connection is not None:
        connection.end_unclean()


class Server(uvicorn.Server):
    """`stop` ends it from within; `drain` is called first when it shuts down."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain
        self.failure: str | None = None

    def stop(self, why: str) -> None:
        """Shuts down because the node cannot go on."""
        self.failure = why
        self.should_exit = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Returns after a signal too, where uvicorn would raise it anew."""
        with self.capture_signals():
            await self._serve(sockets)
            self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in self.servers:
            listener.close()
        self._drain()
        await super().shutdown(sockets)


def config(app: ASGIApp) -> uvicorn.Config:
    """Our choice of uvicorn's settings. The service starts before the server and stops after
    it, so that its errors are told as such; therefore no lifespan here."""
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=4096,
        timeout_graceful_shutdown=GRACE,
    )


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; raises OSError. Port 0 takes any that is free."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, proto, _, address = found[0]
    bound = socket.socket(family, kind, proto)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
