"""The other sides of an exchange: what the tests of the transport share.

Strategy: `Recorder` is the sink: it keeps every call in order, so each test compares all that
the sink was told. `Peer` is a bare socket that the test itself moves, step by step, in the same
event loop; nothing sleeps and nothing races. Where many requests are made, `Server` answers
them and counts connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any

import uvloop

from holdfast import errors, transport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FIVE = HEAD + b"Content-Length: 5\r\n\r\n"
GUARD = 10.0  # seconds after which a test that hangs fails


class Recorder:
    """A sink that keeps what it is told, and then calls `on_call` with the call's name."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.received = bytearray()
        self.error: errors.TransportError | None = None
        self.on_call: Callable[[str], None] = lambda name: None
        self.changed = asyncio.Event()

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers
        self.called("head")

    def body(self, data: bytes) -> None:
        assert data
        assert isinstance(data, bytes)
        self.received += data
        self.called("body")

    def end(self, error: errors.TransportError | None) -> None:
        self.error = error
        self.called("end")

    def called(self, name: str) -> None:
        self.calls.append(name)
        self.changed.set()
        self.on_call(name)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def has(self, size: int) -> None:
        await self.until(lambda: len(self.received) == size)

    async def ended(self) -> errors.TransportError | None:
        await self.until(lambda: "end" in self.calls)
        return self.error

    def outcome(self) -> tuple[int, Mapping[str, str], bytes, str]:
        return self.status, self.headers, bytes(self.received), repr(self.error)


class Peer:
    """The other side's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def request(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await asyncio.get_running_loop().sock_recv(self.sock, size - len(data))
        return data

    async def head(self) -> bytes:
        """What comes up to the end of a head, which nothing follows yet."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += await self.request(1)
        return data

    async def send(self, *slices: bytes) -> None:
        for part in slices:
            await asyncio.get_running_loop().sock_sendall(self.sock, part)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def gone(self) -> bool:
        """True once our side has closed: an end or a reset after whatever was sent."""
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(GUARD):
                while await asyncio.get_running_loop().sock_recv(self.sock, 65536):
                    pass
        return True


class World:
    """A listening socket, a transport, and all sinks and sockets that a test has used."""

    def __init__(self, **options: Any) -> None:
        self.transport = transport.Transport(**options)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.sinks: list[Recorder] = []
        self.sockets = [self.listener]

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def request(self, scheme: str = "http", **fields: Any) -> transport.Request:
        url = f"{scheme}://127.0.0.1:{self.port}/v1?key=secret"
        return transport.Request(**{"method": "GET", "url": url, "headers": (), **fields})

    async def accept(self) -> Peer:
        async with asyncio.timeout(GUARD):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        self.sockets.append(sock)
        return Peer(sock)

    def nobody_came(self) -> bool:
        """Whether no connection waits to be accepted."""
        try:
            sock, _ = self.listener.accept()
        except BlockingIOError:
            return True
        self.sockets.append(sock)
        return False

    def begin(self) -> tuple[asyncio.Task[transport.Exchange], Recorder]:
        """An exchange that is being opened."""
        sink = Recorder()
        self.sinks.append(sink)
        return asyncio.create_task(self.transport.open(self.request(), sink)), sink

    async def open(self) -> tuple[transport.Exchange, Recorder, Peer]:
        """An exchange on a new connection."""
        opening, sink = self.begin()
        return await opening, sink, await self.accept()

    async def answer(self, *slices: bytes) -> Recorder:
        """The sink of an exchange that was answered with these bytes and then closed."""
        _, sink, peer = await self.open()
        with contextlib.suppress(ConnectionError):  # it may have seen enough before the last
            await peer.send(*slices)
            peer.sock.shutdown(socket.SHUT_WR)
        await sink.ended()
        assert await peer.gone()
        return sink


@contextlib.asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    made = World(**options)
    try:
        yield made
        await made.transport.close()
        for sink in made.sinks:
            assert sink.calls.count("end") <= 1
            assert "end" not in sink.calls[:-1]
            assert "head" not in sink.calls[1:]
    finally:
        await made.transport.close()
        for sock in made.sockets:
            sock.close()


class Answering(asyncio.Protocol):
    """The server's side of one connection: it answers each whole request of `server`."""

    def __init__(self, server: Server) -> None:
        self.server, self.held = server, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport: Any = transport
        self.server.accepted += 1
        self.server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self.held += data
        while b"\r\n\r\n" in self.held:
            head, _, rest = self.held.partition(b"\r\n\r\n")
            found = re.search(rb"Content-Length: (\d+)", head)
            size = int(found[1]) if found else 0
            if len(rest) < size:
                return
            self.held = rest[size:]
            self.server.requests.append(head)
            self.transport.write(self.server.answer(head, rest[:size]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        self.server.changed.set()


class Server:
    """Answers every request with what `answer` (head, body) returns, and keeps connections."""

    def __init__(self, answer: Callable[[bytes, bytes], bytes]) -> None:
        self.answer = answer
        self.accepted = 0
        self.requests: list[bytes] = []
        self.connections: set[Answering] = set()
        self.changed = asyncio.Event()
        self.port = 0

    async def empty(self) -> None:
        """Returns when no connection is open."""
        async with asyncio.timeout(GUARD):
            while self.connections:
                self.changed.clear()
                await self.changed.wait()


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[bytes, bytes], bytes], context: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """A server on loopback; under TLS with a `context`."""
    made = Server(answer)
    server = await asyncio.get_running_loop().create_server(
        lambda: Answering(made), "127.0.0.1", 0, ssl=context, backlog=200
    )
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for each in list(made.connections):
            each.transport.abort()
        await made.empty()
        await server.wait_closed()


def echo(head: bytes, body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def one_byte_each(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def on_uvloop(scenario: Callable[..., Awaitable[None]], *args: Any) -> None:
    async def run() -> None:
        await scenario(*args)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        work: Coroutine[Any, Any, None] = run()
        runner.run(work)
