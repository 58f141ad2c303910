"""A server for one stream, scripted to the byte, and the stream that it tells.

Strategy: `Story` is a stream as a list of events, and writes its own wire: blocks, and whole
responses in chunked coding, as bytes. `Server` keeps one and answers as the protocol says:
a POST from the first event, a GET after Last-Event-ID. Before that each connection plays the
next scene of a script, if there is one: it may cut the response at any byte, send something
else, or send nothing. `Time` stands in for the clock and for sleeping.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from holdfast import client, events, sse

STREAM = events.StreamId("0123456789abcdefghijklmnOP")
OTHER = events.StreamId("ZZZZZZZZZZZZZZZZZZZZZZZZZZ")
EPOCH = 65536 + 7
PROMPT: dict[str, Any] = {"model": "demo", "prompt": "Why?"}
TEXTS = ("Hold", "fast ", "to 𝄞", " — ", "the rock.")


def complete(text: str, **other: object) -> events.Complete:
    data = text.encode()
    fields: dict[str, object] = {
        "finish_reason": "stop",
        "provider_finish_reason": "stop",
        "usage": None,
        "chunks": 1,
        "bytes": len(data),
        "length": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "duration_ms": 1,
        "attempts": 1,
        "exact": True,
    }
    return events.Complete(**{**fields, **other})  # type: ignore[arg-type]


def start() -> events.Start:
    return events.Start(STREAM, "r1", "demo", "demo", "2026-01-01T00:00:00.000Z")


def text(delta: str, choice: int = 0) -> events.Chunk:
    return events.Chunk("content", delta, choice)


@dataclass
class Story:
    """The events of one stream: bodies, at the sequence numbers 1, 2, 3 … of one epoch."""

    bodies: list[events.Body]
    epochs: dict[int, int] = field(default_factory=dict)

    def id(self, seq: int) -> str:
        return f"{STREAM}:{self.epochs.get(seq, EPOCH)}-{seq}"

    def block(self, seq: int) -> bytes:
        draft = events.draft(self.bodies[seq - 1])
        return sse.encode(draft.data, event=draft.kind, id=self.id(seq))

    def blocks(self, after: int = 0) -> list[bytes]:
        return [self.block(seq) for seq in range(after + 1, len(self.bodies) + 1)]

    def response(self, after: int = 0) -> bytes:
        """The whole response after this event, each event a chunk of its own."""
        return begin() + b"".join(map(chunk, self.blocks(after))) + END


def story(*bodies: events.Body) -> Story:
    return Story(list(bodies))


def plain(*texts: str) -> Story:
    """A good answer of these pieces."""
    said = texts or TEXTS
    finish = events.Finish(0, "stop", "stop")
    return story(start(), *map(text, said), finish, complete("".join(said)))


def transient(body: events.Body, retry_ms: int | None = None) -> bytes:
    draft = events.draft(body)
    return sse.encode(draft.data, event=draft.kind, retry_ms=retry_ms)


def away(retry_ms: int) -> bytes:
    return transient(events.Reconnect(retry_ms, "drain"), retry_ms=retry_ms)


HEARTBEAT = transient(events.Heartbeat("2026-01-01T00:00:00.000Z"))
REWIND = transient(events.Rewind("unknown_position"))
END = b"0\r\n\r\n"


def begin(stream_id: str = STREAM, content_type: str = "text/event-stream") -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Type: {content_type}", "Transfer-Encoding: chunked"]
    lines += [f"X-Stream-Id: {stream_id}"] if stream_id else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def refusal(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if status == 204 else body)


@dataclass
class Asked:
    """One request, as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


class Connection:
    """What a scene does with one connection, once its request has been read."""

    def __init__(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.asked = asked
        self._reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    def reset(self) -> None:
        """The end of the connection will be an RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def gone(self) -> None:
        """Returns when the client has left."""
        with contextlib.suppress(ConnectionError):
            await self._reader.read()


Scene = Callable[[Connection], Awaitable[None]]


def says(*parts: bytes, reset: bool = False) -> Scene:
    """Sends these bytes, and closes the connection."""

    async def scene(connection: Connection) -> None:
        await connection.send(*parts)
        if reset:
            connection.reset()

    return scene


def holds(*parts: bytes) -> Scene:
    """Sends these bytes, and waits until the client leaves."""

    async def scene(connection: Connection) -> None:
        await connection.send(*parts)
        await connection.gone()

    return scene


class Server:
    """Serves a story to whoever asks; `scenes` are played first, one a connection."""

    def __init__(self, story: Story, *scenes: Scene) -> None:
        self.story = story
        self.scenes = list(scenes)
        self.asked: list[Asked] = []
        self.port = 0
        self._scheme = "http"
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    async def open(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._scheme = "https" if tls else "http"
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def respond(self, asked: Asked) -> bytes:
        """What the protocol says; 400, a final verdict, to what it does not allow."""
        if asked.line == "POST /v1/streams HTTP/1.1":
            return self.story.response()
        last = asked.headers.get("last-event-id", "")
        after = int(last.rpartition("-")[2] or 0)
        if asked.line != f"GET /v1/streams/{STREAM}/events HTTP/1.1" or (
            last and last != self.story.id(after)
        ):
            return refusal(400, b"", "Content-Type: unexpected")
        if after == len(self.story.bodies):
            return refusal(204)
        return self.story.response(after)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            asked = await self._read(reader)
            self.asked.append(asked)
            scene = self.scenes.pop(0) if self.scenes else says(self.respond(asked))
            await scene(Connection(asked, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has left, or the test has
        finally:
            writer.close()
            self._connections.discard(task)

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> Asked:
        line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (it.partition(": ") for it in rest)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Asked(line, headers, body)


@contextlib.asynccontextmanager
async def serving(story: Story, *scenes: Scene) -> AsyncIterator[Server]:
    server = Server(story, *scenes)
    await server.open()
    try:
        yield server
    finally:
        await server.close()


class Time:
    """A clock that only sleeping moves; `slept` is every sleep, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@contextlib.asynccontextmanager
async def connected(
    server: Server,
    clock: Time | None = None,
    *,
    under: str = "",
    api_key: str | None = None,
    **options: float,
) -> AsyncIterator[client.AsyncClient]:
    """A client of it, `under` a path; it draws the longest delays."""
    clock = clock or Time()
    async with client.AsyncClient(
        server.url + under,
        api_key,
        clock=clock.clock,
        sleep=clock.sleep,
        draw=lambda: 1.0,
        **options,  # type: ignore[arg-type]
    ) as opened:
        yield opened


async def texts(answer: client.AnswerStream) -> list[str]:
    return [text async for text in answer.text_stream]
