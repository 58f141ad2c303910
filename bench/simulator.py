"""A provider that speaks each kind's wire, over plain HTTP and over TLS.

Run as `python -m bench.simulator PORT TOKENS RATE [--tls PORT CERTIFICATE KEY]`: RATE is tokens a
second of each stream, the files are PEM.

Strategy: the path of a request tells the kind. Each token is a frame, a chunk and a write of
its own, and over TLS a record, because that is how providers send. All streams have one pace,
so the one that spoke longest ago is due first: a queue and one timer serve them all, which is
what lets one Python process stay far from the limit of its core. For the same reason a record
is one call of the `ssl` module on the socket itself (`Secured`), and not three through a loop's.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import os
import re
import resource
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, NoReturn, Protocol, cast

import uvloop

from bench import wires

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
UNKNOWN = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
HOST = "127.0.0.1"
BACKLOG = 4096
"""Connections that may wait at the port: the load opens its streams all at once."""


LATER = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket under TLS says that has nothing, or no room."""


class Pace:
    """Whose turn it is. Every stream says a token each `interval` seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tokens: int, interval: float) -> None:
        self.tokens = tokens
        self._loop, self._interval = loop, interval
        self._due: collections.deque[tuple[float, Connection]] = collections.deque()
        self._armed = False

    def join(self, speaker: Connection) -> None:
        """The speaker says its next token an interval from now."""
        self._due.append((self._loop.time() + self._interval, speaker))
        self._arm()

    def _arm(self) -> None:
        if self._due and not self._armed:
            self._armed = True
            self._loop.call_at(self._due[0][0], self._run)

    def _run(self) -> None:
        self._armed = False
        now = self._loop.time()
        while self._due and self._due[0][0] <= now:
            due, speaker = self._due.popleft()
            if speaker.say():
                # From when it was due and not from now: who is late catches up.
                self._due.append((due + self._interval, speaker))
        self._arm()


class Writes(Protocol):
    """What a connection needs of its transport."""

    def write(self, data: bytes) -> None: ...


class Connection(asyncio.Protocol):
    """One connection, with one request after another."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._transport: Writes | None = None
        self._request = b""
        self._wire = wires.WIRES["chat"]
        self._said: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.over(cast(asyncio.Transport, transport))  # uvloop's has no class in common

    def over(self, transport: Writes) -> None:
        """It is there, and this is how it is written to."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._request += data
        head, end, body = self._request.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
        if end and len(body) >= (int(length[1]) if length else 0):
            self._request = b""
            self._answer(head.split(b" ", 2)[1].decode("latin-1"))

    def _answer(self, path: str) -> None:
        wire = next((wire for wire in wires.WIRES.values() if wire.path in path), None)
        if self._transport is None:
            return
        if wire is None:
            self._transport.write(UNKNOWN)
            return
        self._wire, self._said = wire, []
        self._transport.write(HEAD + (_chunk(wire.opening) if wire.opening else b""))
        if self.say():
            self._pace.join(self)

    def say(self) -> bool:
        """The next token; after the last one the end. False where nothing more follows."""
        if self._transport is None:
            return False
        number = len(self._said)
        if number == self._pace.tokens:
            ending = self._wire.ending(number, "".join(self._said))
            self._transport.write(_chunk(ending) + b"0\r\n\r\n")
            return False
        text = wires.stamp(number, time.monotonic_ns() // 1000)
        self._said.append(text)
        self._transport.write(_chunk(self._wire.token(number, text)))
        return True


def _chunk(frames: str) -> bytes:
    """One chunk of an HTTP/1.1 body."""
    return b"%x\r\n%b\r\n" % (len(frames), frames.encode("ascii"))


class Tls(NamedTuple):
    """Where it is spoken, and with which certificate."""

    port: int
    context: ssl.SSLContext


class Secured:
    """A connection's socket under TLS."""

    def __init__(self, accepted: socket.socket, tls: Tls, connection: Connection) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = tls.context.wrap_socket(
            accepted, server_side=True, do_handshake_on_connect=False
        )
        self._loop, self._connection = asyncio.get_running_loop(), connection
        self._shaken = False
        self._kept = b""
        self._loop.add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        try:
            if not self._shaken:
                self._socket.do_handshake()
                self._shaken = True
                self._connection.over(self)
            while data := self._socket.recv(16 * 1024):
                self._connection.data_received(data)
        except LATER:
            return
        except OSError:
            pass  # it is lost
        self._close()

    def write(self, data: bytes) -> None:
        if self._kept:
            self._kept += data
            return
        sent = self._send(data)
        if sent < len(data):
            self._kept = data[sent:]
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        self._kept = self._kept[self._send(self._kept) :]
        if not self._kept:
            self._loop.remove_writer(self._socket)

    def _send(self, data: bytes) -> int:
        """Bytes that were taken; all of a socket that is lost, as its next read tells."""
        try:
            return self._socket.send(data)
        except LATER:
            return 0
        except OSError:
            return len(data)

    def _close(self) -> None:
        self._connection.connection_lost(None)
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()


def _listen_secured(tls: Tls, connection: Callable[[], Connection]) -> socket.socket:
    """Accepts until it is closed."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind((HOST, tls.port))
    listening.listen(BACKLOG)
    listening.setblocking(False)

    def accept() -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                Secured(listening.accept()[0], tls, connection())

    asyncio.get_running_loop().add_reader(listening, accept)
    return listening


async def serve(port: int, tokens: int, rate: float, tls: Tls | None = None) -> None:
    """Answers on both ports until it is cancelled; the plain one opens last."""
    loop = asyncio.get_running_loop()
    pace = Pace(loop, tokens, 1 / rate)

    def connection() -> Connection:
        return Connection(pace)

    async with contextlib.AsyncExitStack() as opened:
        if tls is not None:
            opened.enter_context(_listen_secured(tls, connection))
        plain = await loop.create_server(connection, HOST, port, backlog=BACKLOG, reuse_port=True)
        await opened.enter_async_context(plain)
        await plain.serve_forever()


def _spread() -> None:
    """Goes on once in a process for each core; the first one ends the others."""
    first, *others = sorted(os.sched_getaffinity(0))
    children = []
    for core in others:
        child = os.fork()
        if not child:
            os.sched_setaffinity(0, {core})
            return
        children.append(child)
    os.sched_setaffinity(0, {first})

    def end(number: int, frame: object) -> NoReturn:
        for child in children:
            os.kill(child, signal.SIGTERM)
        sys.exit()

    signal.signal(signal.SIGTERM, end)


def main() -> None:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulator")
    add = parser.add_argument
    add("port", type=int)
    add("tokens", type=int)
    add("rate", type=float)
    add("--tls", nargs=3, metavar=("PORT", "CERTIFICATE", "KEY"))
    given = parser.parse_args()
    tls = None
    if given.tls:
        port, certificate, key = given.tls
        tls = Tls(int(port), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        tls.context.load_cert_chain(certificate, key)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _spread()
    uvloop.run(serve(given.port, given.tokens, given.rate, tls))


if __name__ == "__main__":
    main()
