"""From a listening socket to the last goodbye: uvicorn's server, with an end of its own.

Strategy: one subclass of it drains before it waits, as that would wait for open SSE responses for
ever. Whatever a client has not taken soon after is cut, before uvicorn would cancel its task. A
signal ends serving, not the process, and the node can end it too. The settings are uvicorn's own
wherever they say enough; what they do not say is in the `protocol`, which gets one `door` here for
all sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from holdfast.http.server import door, protocol

GRACE = 1
"""Seconds that readers have to take their goodbye before their connections are cut."""

BACKLOG = 4096
"""Connections that may wait to be accepted."""

EARS = 4
"""Descriptors of a listening socket. libuv accepts one connection of each in a turn of the loop,
so with one alone a loop whose turns take 20 ms would accept 50 a second; with many, more is read
at once of those who send much than is bounded otherwise."""


class Server(uvicorn.Server):
    """`stop` ends it from within. `serves` is called as it begins: from then on a signal ends it as
    it should. When it shuts down it awaits `drain` first; a second signal calls `hurry`."""

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Awaitable[None]],
        hurry: Callable[[], None],
        serves: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._drain, self._hurry, self._serves = drain, hurry, serves
        self.failure: str | None = None

    def stop(self, why: str) -> None:
        """Shuts down because the node cannot go on."""
        self.failure = why
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal shuts down, the next one does not wait."""
        if self.should_exit:
            self._hurry()
        self.should_exit = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Returns after a signal too, where uvicorn would raise it anew."""
        with self.capture_signals():
            await self._serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if sockets is not None:
            sockets = [ear for one in sockets for ear in (one, *_duplicates(one))]
        await super().startup(sockets)
        self._serves()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        await self._drain()
        # Before uvicorn's own deadline, which cancels tasks and logs each as an error.
        cutting = asyncio.get_running_loop().call_later(GRACE, self._cut)
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()

    def _cut(self) -> None:
        """Ends what a client has not taken in time."""
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, protocol.Protocol):
                connection.transport.abort()


def _duplicates(listening: socket.socket) -> list[socket.socket]:
    """As many as the system has room for; they are closed with the servers that are made of
    them."""
    made: list[socket.socket] = []
    with contextlib.suppress(OSError):
        for _ in range(EARS - 1):
            made.append(listening.dup())
    return made


def config(app: ASGIApp, max_sockets: int) -> uvicorn.Config:
    """Our choice of uvicorn's settings, with so many sockets from clients. The service starts
    before the server and stops after it, so that its errors are told as such; therefore no
    lifespan here. What clients send is no reason for a line in the log, of which they could
    then write as much as they like; and their address is that of the socket, whatever is said."""
    return uvicorn.Config(
        app,
        http=functools.partial(protocol.Protocol, door=door.Door(max_sockets)),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE + 1,
    )


def resolved(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    """Where `listen` listens: family and address. Raises OSError for a name without an address."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    return family, address


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises OSError. Port 0 takes any that is free."""
    family, address = resolved(host, port)
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        # Two processes may bind one port, but only one may listen.
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound
