"""A provider in the process of the run: it speaks like OpenAI, and its texts are known.

Strategy: the first message of a request is a label, and the label's text is played at its pace
over a real socket, to its end, a reset, an early end or a silence. Who is to go on with an answer
is sent what there is of it, and goes on exactly there, to the end. Every call, byte and end mark
is written down as it happens, before the bytes leave: what a reader has was marked by then. Who
is to fail in a lull speaks on instead: nothing fails in a lull.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Any

import msgspec
from tests.faults.chaos import book as books
from tests.faults.chaos import texts, wire

from holdfast.testing import history, listening

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)
STALL = 30.0
"""Seconds of silence; the server's deadlines are shorter."""


class Upstream(listening.Listener):
    """Serves at `port` what is in `wanted`, by label."""

    def __init__(self, book: books.Book, host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self.wanted: dict[str, texts.Wanted] = {}
        self._book = book

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        label, said = await self._asked(reader)
        self._book.add(history.Called(self._book.now, label))
        writer.write(HEAD)
        await self._play(self.wanted[label], said, reader, writer)

    async def _asked(self, reader: asyncio.StreamReader) -> tuple[str, str]:
        """The label, and what is said of its text already."""
        async with asyncio.timeout(wire.SILENCE):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length:")[2].split("\r\n")[0])
            body = msgspec.json.decode(await reader.readexactly(length))
        label, *more = [str(message["content"]) for message in body["messages"]]
        return label, more[0] if more else ""

    async def _play(
        self,
        wanted: texts.Wanted,
        said: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        book = self._book
        try:
            pieces = texts.rest(wanted.spoken(), said)
        except ValueError as error:
            book.problem(f"{wanted.label}: {error}")
            return
        half = len(pieces) // 2 if wanted.ending != "clean" and not said else None
        for number, piece in enumerate(pieces):
            if number == half and not book.lull:
                await self._fail(wanted.ending, reader, writer)
                return
            await asyncio.sleep(1 / wanted.rate)
            if reader.at_eof():
                return
            data = _framed({"index": 0, "delta": {"content": piece}})
            book.add(history.Sent(book.now, wanted.label, len(data)))
            writer.write(data)
            await writer.drain()
        book.add(history.Marked(book.now, wanted.label))
        writer.write(_framed({"index": 0, "delta": {}, "finish_reason": "stop"}))
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _fail(
        self, ending: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._book.instant(f"provider {ending}")
        if ending == "stall":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STALL):
                    await reader.read()
        elif ending == "rst":
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _framed(choice: dict[str, Any]) -> bytes:
    data = b"data: %b\n\n" % msgspec.json.encode({"choices": [choice]})
    return b"%x\r\n%b\r\n" % (len(data), data)
