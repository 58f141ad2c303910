"""A provider made of scripted answers, over real HTTP/1.1 on loopback.

Strategy: a test says slice by slice what goes over the network and how it ends, also where no
honest server would end it, and afterwards reads what was asked and what was still sent when
nobody listened. One request a connection, as the transport makes them.

    body = (b"data: {}\\n\\n", gate, b"data: [DONE]\\n\\n")     # waits for gate.set() in between
    async with ReplayServer([Answer(body=body)]) as server:
        ...     # call server.url
        assert server.requests[0].json()["stream"]
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import msgspec

from holdfast.testing import listening

MAX_BODY = 64 << 20
"""Bytes of a request's body; a longer one is refused with 413."""


_TURNS = 2
# Turns of the event loop before a slice, in which a client in the same loop reads the one
# before, and its going is seen.


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the server plays for one request.

    Each slice of `body` is one write; an event between slices is waited for. `framing` says how
    a client can tell the end: by chunks, by Content-Length, or by the closing alone. `ending`:

    - `clean`: as the framing has it;
    - `fin`: closed before the end, which chunks and Content-Length show;
    - `rst`: the connection is reset;
    - `stall`: nothing more, until the client goes or the server closes.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/event-stream"),)
    body: tuple[bytes | asyncio.Event, ...] = ()
    framing: Literal["chunked", "length", "close"] = "chunked"
    ending: Literal["clean", "fin", "rst", "stall"] = "clean"


class Request(msgspec.Struct, frozen=True):
    """A request as it came; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body decoded. Raises `msgspec.DecodeError`."""
        return msgspec.json.decode(self.body)


class Record(msgspec.Struct):
    """How one answer went.

    `written` counts body bytes; `written_after_gone` those of them that were written when the
    client had closed already; `ended` is set when the server is through with the connection.
    """

    answer: Answer
    ended: asyncio.Event
    written: int = 0
    written_after_gone: int = 0
    gone: bool = False


class ReplayServer(listening.Listener):
    """An HTTP/1.1 server at `url` that plays answers, one a request.

    `answers` are played in turn, and the last one for every further request; or a function
    chooses one for each request. `requests` and `records` fill as requests come.
    """

    def __init__(self, answers: Iterable[Answer] | Callable[[Request], Answer]) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.records: list[Record] = []
        self._choose = answers if callable(answers) else _in_turn(answers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See `Listener.converse`: the request is read whole and answered."""
        asked = await _read(reader)
        self.requests.append(asked)
        too_large = len(asked.body) > MAX_BODY
        answer = Answer(status=413, framing="length") if too_large else self._choose(asked)
        record = Record(answer, asyncio.Event())
        self.records.append(record)
        try:
            await _play(answer, record, reader, writer)
        finally:
            record.gone = record.gone or _gone(reader, writer)
            record.ended.set()


def _in_turn(answers: Iterable[Answer]) -> Callable[[Request], Answer]:
    listed = list(answers)
    if not listed:
        raise ValueError("a ReplayServer needs an answer to play")
    turns: Iterator[Answer] = iter(listed)
    return lambda _: next(turns, listed[-1])


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    length = min(int(headers.get("content-length", 0)), MAX_BODY + 1)
    return Request(method, target, headers, await reader.readexactly(length))


async def _play(
    answer: Answer, record: Record, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.write(_head(answer))
    chunked = answer.framing == "chunked"
    for piece in answer.body:
        if isinstance(piece, asyncio.Event):
            await writer.drain()
            await piece.wait()
            continue
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        record.gone = record.gone or _gone(reader, writer)
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked and piece else piece)
        await writer.drain()
        record.written += len(piece)
        if record.gone:
            record.written_after_gone += len(piece)
    await _end(answer, reader, writer)


def _gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the client has closed or reset the connection."""
    return reader.at_eof() or reader.exception() is not None or writer.is_closing()


def _head(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {'OK' if answer.status == 200 else 'No'}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if answer.framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
    elif answer.framing == "length":
        length = sum(len(piece) for piece in answer.body if isinstance(piece, bytes))
        lines.append(f"Content-Length: {length + (answer.ending != 'clean')}")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


async def _end(answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if answer.ending == "stall":
        await writer.drain()
        await reader.read()
        return
    if answer.ending == "rst":
        linger = struct.pack("ii", 1, 0)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return
    if answer.ending == "clean" and answer.framing == "chunked":
        writer.write(b"0\r\n\r\n")
    writer.close()
    await writer.wait_closed()
