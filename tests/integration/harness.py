"""A running server in this process, and a reader that shows what is on the wire.

Strategy: the node is built as the command line builds it and served by our own uvicorn
subclass on a free port of loopback, in the loop of the test, so that a test can hold a part of
it still. Nothing of our client or of a library reads the answers: `Reader` takes the bytes off
the socket, undoes the chunks and remembers whether the last one came. A test waits for
what it needs to see, never for a time; every wait ends after `PATIENCE`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Self

import msgspec

from holdfast import app, events, settings
from holdfast import service as holdfast_service
from holdfast.eventlog import base, watch
from holdfast.http import mounted, server

PATIENCE = 30.0
"""Seconds that a wait may take before the test fails; none should take one."""

READ = 64 << 10
"""Bytes that are taken off a socket at once."""

MAX_SOCKETS = 4096

LARGEST = 8 << 20
"""Bytes of an answer; one that repeats itself for ever fails its test soon."""

Headers = Mapping[str, str]


class Running(msgspec.Struct, frozen=True):
    """A server that answers at `port`; `service` is what is inside."""

    port: int
    service: holdfast_service.Service

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Server(server.Server):
    """Tells when it accepts connections, and ends at once; uvicorn looks ten times a second."""

    def __init__(self, node: mounted.App, max_sockets: int) -> None:
        # Not `drain_timeout`: a test's block ends whatever is still under way.
        drain = functools.partial(node.service.drain, 0)
        super().__init__(server.config(node, max_sockets), drain, node.service.hurry)
        self.accepting, self.leaving = asyncio.Event(), asyncio.Event()

    async def main_loop(self) -> None:
        ticking = asyncio.create_task(super().main_loop(), name="ticks of the server under test")
        leaving = asyncio.create_task(self.leaving.wait(), name="end of the server under test")
        both = (ticking, leaving)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        self.should_exit = True
        if ticking.done():
            ticking.result()
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.accepting.set()


@contextlib.asynccontextmanager
async def serving(node: mounted.App, max_sockets: int = MAX_SOCKETS) -> AsyncIterator[Running]:
    """Serves a node until the block ends; raises what ended the server, if it did not."""
    bound = server.listen("127.0.0.1", 0)
    try:
        async with node.service:
            serving = _Server(node, max_sockets)
            # Not `serve`, which would take the signals from pytest.
            task = asyncio.create_task(serving._serve([bound]), name="server under test")
            async with asyncio.timeout(PATIENCE):
                await serving.accepting.wait()
            try:
                yield Running(bound.getsockname()[1], node.service)
            finally:
                serving.leaving.set()
                async with asyncio.timeout(PATIENCE):
                    await task
    finally:
        bound.close()


@contextlib.asynccontextmanager
async def running(config: settings.Settings) -> AsyncIterator[Running]:
    """A server as the command line makes it from these settings."""
    fatal: list[str] = []
    async with serving(app.asgi(config, fatal=fatal.append)) as found:
        yield found
    assert fatal == []


@contextlib.asynccontextmanager
async def running_on(
    log: base.EventLog, config: settings.Settings, poll: float
) -> AsyncIterator[Running]:
    """The same on a log of the test's, asked for news each `poll` seconds."""
    fatal: list[str] = []
    service = holdfast_service.Service(log, app.providers(config), config, fatal=fatal.append)
    service.watch = watch.Watch(log, poll)
    async with serving(app.around(service)) as found:
        yield found
    assert fatal == []


def configured(
    log_url: str = "memory://",
    providers: Mapping[str, Mapping[str, Any]] | None = None,
    **tables: Mapping[str, Any],
) -> settings.Settings:
    """Settings from plain values: a log, providers by name, and other tables. A call that failed
    is not made again, unless `fallback` says so. Nobody is refused because the loop is late, unless
    `server` says so: the clients are in it too."""
    tables.setdefault("fallback", {"attempts": 1})
    server = {"max_lag": 0, **tables.pop("server", {})}
    log = {"url": log_url, **tables.pop("log", {})}
    given: dict[str, Any] = {**tables, "server": server, "log": log, "providers": providers or {}}
    return settings.Settings(**given)


class Response(msgspec.Struct, frozen=True):
    """An answer that has ended. `clean`: its last chunk, or its whole length, was there."""

    status: int
    headers: dict[str, str]
    body: bytes
    clean: bool

    def json(self) -> Any:
        """The body decoded. Raises `msgspec.DecodeError`."""
        return msgspec.json.decode(self.body)

    @property
    def blocks(self) -> list[bytes]:
        return blocks(self.body)


class Reader:
    """One request of ours under way. Header names are in lower case; `body` is what came so
    far, without the framing; `clean` is decided when `ended` is true."""

    def __init__(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._stream, self._writer = stream, writer
        self._raw = bytearray()
        self._chunked = False
        self._left: int | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.ended = self.clean = False

    @classmethod
    async def open(
        cls,
        port: int,
        method: str,
        target: str,
        headers: Headers | None = None,
        body: bytes | None = None,
    ) -> Self:
        """Sends a request and reads the head of its answer."""
        async with asyncio.timeout(PATIENCE):
            reader = cls(*await asyncio.open_connection("127.0.0.1", port))
            fields = {"Host": f"127.0.0.1:{port}", "Connection": "close", **(headers or {})}
            if body is not None:
                fields["Content-Length"] = str(len(body))
            lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items())]
            reader._writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
            await reader._read_head()
        return reader

    async def _read_head(self) -> None:
        head = (await self._stream.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        self.status = int(first.split(" ")[1])
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        self._chunked = self.headers.get("transfer-encoding") == "chunked"
        if not self._chunked:
            self._left = int(self.headers.get("content-length", 0))
            self._settle(self._left == 0)

    def _settle(self, clean: bool) -> None:
        self.ended = self.ended or clean
        self.clean = self.clean or clean

    async def more(self) -> bool:
        """Reads once; false where there is nothing more to come."""
        if self.ended:
            return False
        async with asyncio.timeout(PATIENCE):
            try:
                data = await self._stream.read(READ)
            except ConnectionResetError:
                data = b""
        self._raw += data
        self._take()
        assert len(self.body) <= LARGEST, "the answer does not end"
        self.ended = self.ended or not data
        return not self.ended

    def _take(self) -> None:
        """Moves what is whole from the raw bytes to the body."""
        if not self._chunked:
            assert self._left is not None
            self._left -= len(self._raw)
            self.body += self._raw
            self._raw.clear()
            self._settle(self._left == 0)
            return
        while not self.ended:
            size, found, rest = self._raw.partition(b"\r\n")
            length = int(size, 16) if found else 0
            if not found or len(rest) < length + 2:
                return
            assert rest[length : length + 2] == b"\r\n", "a chunk does not end where it says"
            self.body += rest[:length]
            self._raw = rest[length + 2 :]
            self._settle(length == 0)

    async def until(self, seen: Callable[[Reader], bool]) -> Self:
        """Reads until this is true of the reader; fails where the answer ends before."""
        while not seen(self):
            if not await self.more() and not seen(self):
                raise AssertionError(f"the answer ended before: {bytes(self.body[-300:])!r}")
        return self

    async def rest(self) -> Response:
        """Reads to the end, and closes."""
        while await self.more():
            pass
        await self.close()
        return Response(self.status, self.headers, bytes(self.body), self.clean)

    async def close(self) -> None:
        """Goes away, whatever is still to come. Idempotent."""
        self._writer.close()
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()

    @property
    def blocks(self) -> list[bytes]:
        return blocks(bytes(self.body))


async def ask(
    port: int,
    method: str,
    target: str,
    headers: Headers | None = None,
    body: bytes | None = None,
) -> Response:
    """One request and its whole answer."""
    reader = await Reader.open(port, method, target, headers, body)
    return await reader.rest()


def blocks(body: bytes) -> list[bytes]:
    """The SSE blocks that are whole, each with its blank line; a stream of ours has LF alone
    and no raw line break in its data."""
    *whole, _ = body.split(b"\n\n")
    return [block + b"\n\n" for block in whole]


def position(block: bytes) -> str | None:
    """The SSE id of a block, which is its last line; None for a transient one."""
    last = block[:-2].rpartition(b"\n")[2]
    return last[4:].decode() if last.startswith(b"id: ") else None


def durable(body: bytes) -> bytes:
    """The blocks with an id, as they came."""
    return b"".join(block for block in blocks(body) if position(block) is not None)


class Said(msgspec.Struct, frozen=True):
    """One block, read."""

    event: str
    data: dict[str, Any]
    id: str | None


def said(body: bytes) -> list[Said]:
    """The blocks of a body, read by the letter of PROTOCOL 1.2: event, data, id."""
    found = []
    for block in blocks(body):
        fields = dict(line.split(": ", 1) for line in block[:-2].decode().split("\n"))
        found.append(Said(fields["event"], msgspec.json.decode(fields["data"]), position(block)))
    return found


def wanted(model: str, **fields: object) -> bytes:
    """The body of `POST /v1/streams`, with a question unless `messages` are given."""
    asked = [{"role": "user", "content": "Say it."}]
    return msgspec.json.encode({"model": model, "messages": asked, **fields})


async def begin(port: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> Reader:
    """Asks for a new stream and reads its events."""
    fields = {"Accept": "text/event-stream", "Content-Type": "application/json", **dict(headers)}
    return await Reader.open(port, "POST", "/v1/streams", fields, body)


async def resume(port: int, id: str, way: str) -> Reader:
    """Comes back after an event, in one of `WAYS`."""
    stream, _, after = id.partition(":")
    path = f"/v1/streams/{stream}/events"
    if way == "header":
        return await Reader.open(port, "GET", path, {"Last-Event-ID": id})
    if way == "query":
        return await Reader.open(port, "GET", f"{path}?after={after}")
    fields = {"Accept": "text/event-stream", "Last-Event-ID": id}
    return await Reader.open(port, "POST", "/v1/streams", fields, b"")


WAYS = ("header", "query", "post")
"""The three ways to name a position: PROTOCOL 3.5 and 5.1."""


def stream_of(reader: Reader | Response) -> events.StreamId:
    """The stream that an answer is about."""
    return events.stream_id(reader.headers["x-stream-id"])
