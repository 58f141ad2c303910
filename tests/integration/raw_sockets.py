"""Clients that work on a socket as it is, and see or do what no reader of ours would.

Strategy: a request is written as it stands, whether it is one or not, and nothing is read into
what comes back. So a client can send what HTTP forbids, read nothing at all, or go with a reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from tests.integration import harness


def posting(body: bytes) -> bytes:
    """A whole request for a new stream and its events."""
    head = "POST /v1/streams HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def raw(port: int, request: bytes, *, seen: bytes = b"", then: bytes = b"") -> bytes:
    """Everything that comes back, until the server closes; `then` is sent once `seen` came."""
    got = bytearray()
    async with asyncio.timeout(harness.PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(harness.READ):
                got += piece
                if then and seen in got:
                    writer.write(then)
                    then = b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return bytes(got)


async def reset(port: int, request: bytes, answer: bytes = b"") -> None:
    """Sends a request, waits until these bytes are in its answer, and resets the connection."""
    async with asyncio.timeout(harness.PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        if answer:
            await reader.readuntil(answer)
        linger = struct.pack("ii", 1, 0)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def deaf(port: int, request: bytes) -> socket.socket:
    """A client with a small buffer that does not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(request)
    sock.setblocking(False)
    return sock


async def drained(sock: socket.socket) -> bytes:
    """What is in the socket, to its end."""
    loop, data = asyncio.get_running_loop(), bytearray()
    async with asyncio.timeout(harness.PATIENCE):
        with contextlib.suppress(ConnectionResetError):
            while piece := await loop.sock_recv(sock, harness.READ):
                data += piece
    sock.close()
    return bytes(data)
