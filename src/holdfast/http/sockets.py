"""What one response may know of its connection, and do to it.

Strategy: our server puts word of the connection into the request's scope, so that the
application needs nothing but that; under another server it is not there. Weak references,
because the server's part of the request has the scope: what is over is freed without the
collector.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import sys
import termios
from collections.abc import Callable
from typing import Protocol

from starlette.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from holdfast.telemetry import tcp

EXTENSION = "holdfast.socket"
UNFINISHED = "holdfast.unfinished"

MAX_UNSENT = 128 * 1024
"""Bytes that the kernel takes for a client beyond what is on its way to it. Without a limit it
takes megabytes for one that reads nothing, and a thousand of those are gigabytes."""

_TCP_INFO = socket.TCP_INFO if sys.platform == "linux" else 0
"""Elsewhere the name, where it is known, is that of another struct."""


class Line(Protocol):
    """Our server's end of a client's TCP connection, which serves one request after another."""

    transport: asyncio.Transport
    flow: FlowControl
    tenant: str
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None

    def tell_of_loss(self, lost: Callable[[], None]) -> None: ...
    def flush(self) -> None: ...
    def reads(self) -> None: ...
    def linger(self) -> None: ...


class Early:
    """The transport of a response whose request is not whole yet: to close it is not to reset."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: Line) -> None:
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.linger()


class Socket:
    """One response's hold on its line."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: Line, cycle: RequestResponseCycle) -> None:
        self._protocol, self._cycle = protocol, cycle

    @property
    def within(self) -> bool:
        """Whether both ends have one address: it is what a program of this machine has that
        connects to any address of it, and nobody else, since what is sent there stays here."""
        client, server = self._protocol.client, self._protocol.server
        return client is not None and server is not None and client[0] == server[0]

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Calls back once, when the socket is lost; at once if it is lost already."""

        def lost() -> None:
            self._cycle.disconnected = True
            callback()

        if self._protocol.transport.is_closing():
            lost()
        else:
            self._protocol.tell_of_loss(lost)

    def serves(self, tenant: str) -> None:
        """What waits on the line from now on is this tenant's."""
        self._protocol.tenant = tenant

    def reads(self) -> None:
        """The application reads the body of this request from now on."""
        self._protocol.reads()

    @property
    def is_open(self) -> bool:
        """Whether `write` can be called: not where the client is slow or gone, or the body is not
        chunked."""
        cycle = self._cycle
        return not (
            self._protocol.flow.write_paused or cycle.disconnected or not cycle.chunked_encoding
        )

    def write(self, data: bytes) -> None:
        """A piece of a chunked body, without the way through ASGI."""
        self._protocol.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def unsent(self) -> int:
        """See `unsent` below; nothing once the socket closes."""
        transport = self._protocol.transport
        return 0 if transport.is_closing() else unsent(transport)

    def tcp(self) -> tcp.Info | None:
        """What the kernel says of it; None where that is not to be had, as with a Unix socket, or
        once it is closed. Its loss is told of (`on_lost`) while it can still be asked."""
        found = self._protocol.transport.get_extra_info("socket")
        if not _TCP_INFO or found is None or found.fileno() < 0:
            return None
        try:
            return tcp.info(found.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, tcp.SIZE))
        except OSError:
            return None

    def end_unclean(self) -> None:
        """Sends what is buffered and closes, without the last chunk of the body."""
        self._cycle.disconnected = True
        self._cycle.transport.close()
        self._protocol.flush()

    def cut(self) -> None:
        """Closes at once; what is buffered is lost."""
        self._protocol.transport.abort()


def unsent(transport: asyncio.Transport) -> int:
    """Bytes that have not left this machine: what we hold, and what the kernel holds."""
    waiting = transport.get_write_buffer_size()
    found = transport.get_extra_info("socket")
    if found is not None:
        waiting += int.from_bytes(
            fcntl.ioctl(found.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder
        )
    return waiting


def bound_unsent(sock: socket.socket | None) -> None:
    """Keeps the kernel to `MAX_UNSENT`, where it can be told."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # not every system has it
    if option is not None and sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, option, MAX_UNSENT)


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
    application just returns: servers close a response that was not completed; what stands
    between may need to be told (`is_unfinished`)."""
    connection = socket_of(scope)
    if connection is not None:
        connection.end_unclean()
    else:
        scope[UNFINISHED] = True


def is_unfinished(scope: Scope) -> bool:
    """Whether the response of this request was left unfinished on purpose."""
    return UNFINISHED in scope
