"""uvicorn, with the little that we add to it.

Strategy: one subclass of its HTTP protocol gives what ASGI does not have: word of a lost
socket without a waiting task, how much is still unsent, an end of the response that the
client can tell from a finished one. It reaches the application through the scope, so the
application runs on any other ASGI server too, with a task for the first, without the
second, and with that server's own way of breaking off for the third. It also limits what
uvicorn does not: the number of sockets, the size of a request's head, how long a request takes
to come, and how long a response that has ended takes to leave. The kernel looks whether the
other side is still there. One subclass of its server drains before it waits: uvicorn would
wait for open SSE responses for ever.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import socket
import sys
import termios
import weakref
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from holdfast.transport import liveness

EXTENSION = "holdfast.socket"

GRACE = 1
"""Seconds that readers have to take their goodbye before their connections are cut."""

BACKLOG = 4096
"""Connections that may wait to be accepted."""

MAX_HEAD = 64 * 1024
"""Bytes of a request's head; what one network read brings beyond is looked at still."""

MAX_UNSENT = 128 * 1024
"""Bytes that the kernel takes for a client beyond what is on its way to it. Without a limit it
takes megabytes for one that reads nothing, and a thousand of those are gigabytes."""

HIGH_WATER = 16 * 1024
"""Bytes that we hold for a client before the next page waits."""

REQUEST_SECONDS = 60.0
"""For a whole request to come, the first one from the connection on."""

FLUSH_SECONDS = 60.0
"""For a client to take what is left of a response that has ended."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class Protocol(HttpToolsProtocol):
    """One client's connection; from every request's scope `socket_of` makes a `Socket`."""

    lost: Callable[[], None] | None = None
    """What to call, once, when the socket is lost while the response lasts that asked for it."""
    _head: int | None = 0
    """Bytes so far of the head that is coming; None while a body is."""
    _arriving: asyncio.TimerHandle | None = None
    _leaving: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, max_sockets: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_sockets = max_sockets

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._max_sockets:
            # Without a word: a status would stop an EventSource for ever, this does not.
            transport.abort()
            return
        accepted = transport.get_extra_info("socket")
        liveness.watch(accepted)
        _bound_unsent(accepted)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
            self._await_request()
        super().data_received(data)
        if self._head is not None and self._head > MAX_HEAD and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()
        # Weak, because the cycle has the scope: what is over is freed without the collector.
        ends = weakref.ref(self), weakref.ref(self.cycle)
        self.scope["extensions"] = {EXTENSION: ends}  # type: ignore[dict-item]
        self.refuse_pipelining()

    def on_message_complete(self) -> None:
        self._head = 0
        _cancel(self._arriving)
        self._arriving = None
        super().on_message_complete()

    def _await_request(self) -> None:
        if self._arriving is None:
            self._arriving = self.loop.call_later(REQUEST_SECONDS, self._request_is_late)

    def _request_is_late(self) -> None:
        self._arriving = None
        cycle = self.cycle
        # What is being answered already may go on.
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.abort()

    def refuse_pipelining(self) -> None:
        """Ends a connection where a request waits behind a response that asked for `lost`: as
        nothing is read meanwhile, nobody would learn that the client has gone."""
        if self.lost is not None and self.pipeline:
            self.transport.abort()

    def on_response_complete(self) -> None:
        self.lost = None
        super().on_response_complete()
        # With a request behind it, it is the next response that sees to what is left.
        if self.cycle is not None and self.cycle.response_complete:
            self.flush(self.cycle)

    def flush(self, cycle: RequestResponseCycle) -> None:
        """Sees to it that what is left of this response leaves, now that it has ended."""
        _cancel(self._leaving)
        if self.transport.get_write_buffer_size():
            self._leaving = self.loop.call_later(FLUSH_SECONDS, self._not_taken, cycle)

    def _not_taken(self, cycle: RequestResponseCycle) -> None:
        if cycle is self.cycle and self.transport.get_write_buffer_size():
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        _cancel(self._arriving)
        _cancel(self._leaving)
        # What was never begun still refers to us, and would wait for the garbage collector.
        self.cycle = None  # type: ignore[assignment]
        self.pipeline.clear()
        _cancel(self.timeout_keep_alive_task)
        lost, self.lost = self.lost, None
        if lost is not None:
            lost()


def _bound_unsent(sock: socket.socket | None) -> None:
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # not every system has it
    if option is not None and sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, option, MAX_UNSENT)


class Socket:
    """What one response may know of its connection, and do to it."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: Protocol, cycle: RequestResponseCycle) -> None:
        self._protocol, self._cycle = protocol, cycle

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Calls back once, when the socket is lost; at once if it is lost already."""

        def lost() -> None:
            self._cycle.disconnected = True  # uvicorn tells the newest request alone
            callback()

        if self._protocol.transport.is_closing():
            lost()
        else:
            self._protocol.lost = lost
            self._protocol.refuse_pipelining()

    def write(self, data: bytes) -> bool:
        """A piece of a chunked body, without the way through ASGI; False where that way must
        be taken: the client is slow or gone, or the body is not chunked."""
        protocol, cycle = self._protocol, self._cycle
        if protocol.flow.write_paused or cycle.disconnected or not cycle.chunked_encoding:
            return False
        protocol.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    def unsent(self) -> int:
        """Bytes that have not left this machine: what we hold, and what the kernel holds."""
        transport = self._protocol.transport
        if transport.is_closing():
            return 0
        waiting = transport.get_write_buffer_size()
        found = transport.get_extra_info("socket")
        if found is not None:
            waiting += int.from_bytes(
                fcntl.ioctl(found.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder
            )
        return waiting

    def end_unclean(self) -> None:
        """Sends what is buffered and closes, without the last chunk of the body."""
        self._cycle.disconnected = True
        self._protocol.transport.close()
        self._protocol.flush(self._cycle)

    def cut(self) -> None:
        """Closes at once; what is buffered is lost."""
        self._protocol.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def socket_of(scope: Scope) -> Socket | None:
    """Our server's connection of this request; None under another server."""
    ends = scope.get("extensions", {}).get(EXTENSION)
    if ends is None:
        return None
    protocol, cycle = (end() for end in ends)
    # They are there as long as the request is.
    return Socket(protocol, cycle) if protocol is not None and cycle is not None else None


def end_unclean(scope: Scope) -> None:
    """Ends the response so that no client takes it for whole. Under another server the
    application just returns: servers close a response that was not completed."""
    connection = socket_of(scope)
    if connection is not None:
        connection.end_unclean()


class Server(uvicorn.Server):
    """`stop` ends it from within. When it shuts down it awaits `drain` first; a second signal
    calls `hurry`."""

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Awaitable[None]],
        hurry: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._drain, self._hurry = drain, hurry
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
            if isinstance(connection, Protocol):
                connection.transport.abort()


def config(app: ASGIApp, max_sockets: int) -> uvicorn.Config:
    """Our choice of uvicorn's settings; beyond `max_sockets` a client is turned away as it
    connects. The service starts before the server and stops after
    it, so that its errors are told as such; therefore no lifespan here."""
    return uvicorn.Config(
        app,
        http=functools.partial(Protocol, max_sockets=max_sockets),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE + 1,
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises OSError. Port 0 takes any that is free."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, proto, _, address = found[0]
    bound = socket.socket(family, kind, proto)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        # Two processes may bind one port, but only one may listen.
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound
