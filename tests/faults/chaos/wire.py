"""One request over a socket of its own, and its answer as it comes: no client of ours.

Strategy: bytes are taken off the socket and the framing of HTTP/1.1 is undone piece by piece,
so that what came before a cut is there, and whether the last chunk came is known. The socket is
gone when the block ends, whatever happened in it. A wait for bytes ends after `SILENCE`: a
server that lives says something more often than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Self

SILENCE = 10.0
"""Seconds without a byte; heartbeats come every second."""

READ = 64 << 10
MAX_BODY = 64 << 20

LOST = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
"""What a lost connection raises; `TimeoutError`, one of them, tells of a silence."""


class Door(NamedTuple):
    """A way to a server, which may have a `name`; `headers` go with every request."""

    port: int
    host: str = "127.0.0.1"
    headers: Mapping[str, str] = MappingProxyType({})
    name: str = ""


Where = Callable[[], Door]
"""Tells, for each request anew, where it goes."""


class Answer:
    """`clean`, once `more` has given nothing: whether the answer came whole."""

    def __init__(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._stream, self._writer = stream, writer
        self._left = 0
        self._chunked = self._begun = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.clean = False

    async def head(self) -> Self:
        """Reads status and headers. Raises one of `LOST`."""
        async with asyncio.timeout(SILENCE):
            head = (await self._stream.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        self.status = int(first.split(" ")[1])
        for name, _, value in (line.partition(":") for line in lines):
            self.headers[name.lower()] = value.strip()
        self._chunked = self.headers.get("transfer-encoding") == "chunked"
        self._left = 0 if self._chunked else int(self.headers.get("content-length", 0))
        self.clean = not self._chunked and self._left == 0
        return self

    async def more(self) -> bytes:
        """The next bytes of the body, none where it has ended, in whatever way. Raises
        `TimeoutError` for a silence."""
        if self.clean:
            return b""
        try:
            async with asyncio.timeout(SILENCE):
                return await (self._chunk() if self._chunked else self._piece())
        except TimeoutError:
            raise
        except LOST:
            return b""

    async def rest(self) -> bytes:
        """The whole body."""
        body = bytearray()
        while (data := await self.more()) and len(body) < MAX_BODY:
            body += data
        return bytes(body)

    async def _piece(self) -> bytes:
        data = await self._stream.read(min(self._left, READ))
        self._left -= len(data)
        self.clean = self._left == 0
        return data

    async def _chunk(self) -> bytes:
        if not self._left:
            if self._begun:
                await self._stream.readexactly(2)
            self._begun = True
            self._left = int(await self._stream.readuntil(b"\r\n"), 16)
            if not self._left:
                await self._stream.readexactly(2)
                self.clean = True
                return b""
        data = await self._stream.read(min(self._left, READ))
        self._left -= len(data)
        return data

    def reset(self) -> None:
        """The connection is to end with RST."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.asynccontextmanager
async def asked(
    door: Door,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> AsyncIterator[Answer]:
    """Sends a request; its answer, of which nothing is read yet. Raises one of `LOST`."""
    async with asyncio.timeout(SILENCE):
        stream, writer = await asyncio.open_connection(door.host, door.port)
    try:
        fields = {"Host": door.host, "Connection": "close", **door.headers, **(headers or {})}
        if method == "POST":
            fields["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        yield Answer(stream, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(
    door: Door,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> tuple[int, bytes]:
    """Status and body of a whole answer. Raises one of `LOST` where it did not come whole."""
    async with asked(door, method, target, headers, body) as answer:
        await answer.head()
        found = await answer.rest()
        if not answer.clean:
            raise ConnectionError("the answer ended before its end")
        return answer.status, found
