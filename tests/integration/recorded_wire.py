"""A TCP proxy that keeps what was asked and what was answered, byte for byte.

Strategy: it forwards bytes, and begins a new `Exchange` where a client speaks again on a connection
on which it was answered. So a test reads what a browser was really sent, whatever the browser, the
page or a library made of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from tests import expander

PIECE = 64 << 10

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Exchange:
    """A request and its answer, as they were on the wire; `over` when its connection is."""

    def __init__(self) -> None:
        self.asked, self.answered = bytearray(), bytearray()
        self.over = False

    @property
    def target(self) -> str:
        """Method and path."""
        return " ".join(self.asked.decode("latin-1").split(" ", 2)[:2])

    @property
    def last_event_id(self) -> str | None:
        found = re.search(rb"^last-event-id: (\S+)\r$", self.asked, re.MULTILINE | re.IGNORECASE)
        return found[1].decode() if found else None

    @property
    def encoding(self) -> str:
        """The `Content-Encoding` of the answer."""
        return self._field(b"content-encoding") or "identity"

    def _field(self, name: bytes) -> str | None:
        head = self.answered.partition(b"\r\n\r\n")[0]
        found = re.search(rb"^%b: (\S+)\r?$" % name, head, re.MULTILINE | re.IGNORECASE)
        return found[1].decode() if found else None

    @property
    def said(self) -> bytes:
        """The body as far as it can be read: without what frames and codes it."""
        rest = bytes(self.answered.partition(b"\r\n\r\n")[2])
        if self._field(b"transfer-encoding") != "chunked":
            return rest
        body = b""
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            body, rest = body + rest[:length], rest[length + 2 :] if length else b""
        return expander.Expander(self.encoding).feed(body)

    @property
    def ids(self) -> list[str]:
        """The ids of the whole events in the answer: each stands last in its block."""
        return [id.decode() for id in re.findall(rb"^id: (\S+)\n\n", self.said, re.MULTILINE)]


class Wire:
    """All exchanges, in the order in which they began. No answer to `mute` (method and path) gets
    through while that is set, and none on its connection afterwards. `target` is the port of the
    server, which may be another one later."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.mute = ""
        self.exchanges: list[Exchange] = []
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def readings(self) -> list[Exchange]:
        """Those that brought events."""
        return [one for one in self.exchanges if one.ids]

    def cut(self) -> None:
        """Ends all connections."""
        for task in self._open:
            task.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            far, onward = await asyncio.open_connection("127.0.0.1", self.target)
            try:
                await self._lead((reader, writer), (far, onward))
            finally:
                onward.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._open.discard(task)

    async def _lead(self, near: Ends, far: Ends) -> None:
        """Until either side ends."""
        present = [Exchange()]
        pumps = [
            asyncio.create_task(self._asks(near[0], far[1], present)),
            asyncio.create_task(self._answers(far[0], near[1], present)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            present[0].over = True

    async def _asks(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, present: list[Exchange]
    ) -> None:
        while piece := await reader.read(PIECE):
            if present[0].answered:
                present[0] = Exchange()
            if not present[0].asked:
                self.exchanges.append(present[0])
            present[0].asked += piece
            writer.write(piece)
            await writer.drain()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, present: list[Exchange]
    ) -> None:
        while piece := await reader.read(PIECE):
            if present[0].target == self.mute:
                await asyncio.Event().wait()
            present[0].answered += piece
            writer.write(piece)
            await writer.drain()

    async def close(self) -> None:
        self.cut()
        if self._open:
            await asyncio.wait(self._open)


@contextlib.asynccontextmanager
async def recording(target: int) -> AsyncIterator[Wire]:
    """A proxy on a free port of loopback."""
    wire = Wire(target)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        await wire.close()
        await server.wait_closed()
