"""Requests behind each other on one connection, and clients that do not take their answers.

Strategy: an application that answers as a test says stands on our server, so that an answer can
be larger than what a kernel holds, or wait, when the test needs that. A connection of the server's
tells when it may write no more, and when it is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from starlette import applications, routing
from tests.integration import asking, harness, raw_sockets
from tests.integration.test_crowded import closed_at_once

from holdfast import app
from holdfast.http import mounted, sockets
from holdfast.http.server import door, protocol

ALIVE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST /behind HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
MOST = protocol.MAX_PIPELINED
LARGE = 8 << 20
"""Bytes of an answer that no kernel holds."""


class Seen(protocol.Protocol):
    """Tells what becomes of it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.full, self.gone, self.most = asyncio.Event(), asyncio.Event(), 0
        super().connection_made(transport)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.most = max(self.most, len(self.pipeline))

    def pause_writing(self) -> None:
        super().pause_writing()
        self.full.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gone.set()


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Seen]]:
    """The connections, in the order in which they came."""
    found: list[Seen] = []

    class Noted(Seen):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            found.append(self)

    monkeypatch.setattr(protocol, "Protocol", Noted)
    yield found
    found.clear()


class Application:
    """`/large` is answered with a body of `LARGE` bytes; `/parts` with that and small pieces, which
    wait for `go`, and `/events` too, as an event stream; all else with them once `go` is set.
    `heard` is set when an answer with small pieces has ended."""

    def __init__(self) -> None:
        self.go, self.begun, self.heard, self.lost = asyncio.Event(), 0, asyncio.Event(), 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        path, connection = scope["path"], sockets.socket_of(scope)
        assert connection is not None
        if path == "/events":
            connection.on_lost(self._is_lost)
        head = [(b"content-length", b"%d" % LARGE)] if path == "/large" else []
        if path not in ("/large", "/parts", "/events"):
            await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": head})
        if path in ("/large", "/parts", "/events"):
            last = path == "/large"
            await send(_body(b"x" * LARGE, more=not last))
            if last:
                return
            await self.go.wait()
        for number in range(20):
            await send(_body(b"y", more=True))
            if number == 9:
                await asyncio.sleep(0)  # a loss is told meanwhile
        await send(_body(b""))
        self.heard.set()

    def _is_lost(self) -> None:
        self.lost += 1


def _body(data: bytes, more: bool = False) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": more}


@contextlib.asynccontextmanager
async def served(max_sockets: int = 100) -> AsyncIterator[tuple[harness.Running, Application]]:
    application = Application()
    service = app.asgi(harness.configured(), fatal=lambda why: None).service
    alone = applications.Starlette(routes=[routing.Mount("/", application)])
    async with harness.serving(
        mounted.App(lambda: service, lambda _: alone), max_sockets
    ) as server:
        yield server, application


def get(*paths: str, close: bool = False) -> bytes:
    end = "Connection: close\r\n" if close else ""
    return b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n{end}\r\n".encode() for path in paths)


async def waited(event: asyncio.Event) -> None:
    async with asyncio.timeout(harness.PATIENCE):
        await event.wait()


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# How many


@pytest.mark.case("4.14")
async def test_so_many_requests_may_wait_behind_one(made: list[Seen]) -> None:
    async with harness.running(harness.configured()) as server:
        answer = await raw_sockets.raw(server.port, ALIVE * MOST + CLOSE)
        assert answer.count(b"HTTP/1.1 200 ") == MOST + 1
        assert await raw_sockets.raw(server.port, ALIVE * (MOST + 1) + CLOSE) == b""
        assert [one.most for one in made] == [MOST, MOST]
        await asking.idle(server)


@pytest.mark.case("4.14")
async def test_thousands_in_one_write_are_not_kept(made: list[Seen]) -> None:
    async with served() as (server, application):
        client = raw_sockets.deaf(server.port, get("/first"))
        await asking.until(lambda: application.begun == 1)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            client.send(ALIVE * 5000)
        await waited(made[0].gone)
        assert made[0].most == MOST
        assert application.begun == 1
        client.close()
        application.go.set()


@pytest.mark.case("4.14")
async def test_what_waits_behind_a_request_counts_until_it_is_its_turn(
    made: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "Door", functools.partial(door.Door, bounds=door.Bounds(8_000)))
    behind = POST % 3000 + b" " * 3000
    async with served() as (server, application):
        # One after the other they are never too much.
        application.go.set()
        both = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        async with asyncio.timeout(harness.PATIENCE):
            for number in range(10):
                reader, writer = both[number % 2]
                writer.write(get("/first") + behind * 2)
                for _ in range(3):
                    await reader.readuntil(b"\r\n0\r\n\r\n")
        for _, writer in both:
            writer.close()
            await writer.wait_closed()
        # Together they are.
        application.go.clear()
        application.begun = 0
        client = raw_sockets.deaf(server.port, get("/first"))
        await asking.until(lambda: application.begun == 1)
        for _ in range(3):
            client.send(behind)
        await waited(made[2].gone)
        client.close()
        application.go.set()


# Who does not read


@pytest.mark.case("4.14")
@pytest.mark.parametrize(
    "request_of", [get("/large", "/large"), get("/parts"), get("/large", close=True)]
)
async def test_who_does_not_take_his_answer_gives_way(made: list[Seen], request_of: bytes) -> None:
    async with served(2) as (server, application):
        deaf = [raw_sockets.deaf(server.port, request_of) for _ in range(2)]
        await asking.until(lambda: len(made) == 2)
        for one in made:
            await waited(one.full)
        application.go.set()
        fresh = await harness.ask(server.port, "GET", "/fresh")
        assert (fresh.status, fresh.clean) == (200, True)
        await waited(made[0].gone)
        assert not made[1].gone.is_set()
        for client in deaf:
            client.close()


@pytest.mark.case("4.14")
async def test_who_takes_it_after_all_is_answered_again(made: list[Seen]) -> None:
    async with served(1) as (server, application):
        client = raw_sockets.deaf(server.port, get("/parts", close=True))
        await asking.until(lambda: len(made) == 1)
        await waited(made[0].full)
        loop, got = asyncio.get_running_loop(), 0
        async with asyncio.timeout(harness.PATIENCE):
            while got < LARGE:
                got += len(await loop.sock_recv(client, harness.READ))
        await asking.until(lambda: not made[0].flow.write_paused)
        assert await closed_at_once(server.port)
        application.go.set()
        assert (await raw_sockets.drained(client)).endswith(b"\r\n0\r\n\r\n")


@pytest.mark.case("4.14")
@pytest.mark.parametrize("behind", [get("/large"), get("/parts"), b""])
async def test_who_never_takes_it_is_closed_in_time(
    made: list[Seen], behind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "FLUSH_SECONDS", 0.1)
    async with served() as (server, application):
        client = raw_sockets.deaf(server.port, get("/large" if behind else "/parts") + behind)
        await asking.until(lambda: len(made) == 1)
        await waited(made[0].gone)
        client.close()
        application.go.set()


@pytest.mark.case("4.14")
async def test_who_takes_it_slowly_is_not_closed(made: list[Seen]) -> None:
    async with served() as (server, application):
        client = raw_sockets.deaf(server.port, get("/large"))
        await asking.until(lambda: len(made) == 1)
        await waited(made[0].full)
        unsent = sockets.unsent(made[0].transport)
        made[0]._look(unsent + 1)  # of which one byte has left
        assert not made[0].transport.is_closing()
        made[0]._look(unsent)
        await waited(made[0].gone)
        client.close()
        application.go.set()


@pytest.mark.case("4.14")
async def test_all_that_is_not_taken_is_bounded(
    made: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = door.Bounds(answers=LARGE * 5 // 2)
    monkeypatch.setattr(door, "Door", functools.partial(door.Door, bounds=bounds))
    async with served() as (server, application):
        deaf = []
        for number in range(4):
            deaf.append(raw_sockets.deaf(server.port, get("/large")))
            await asking.until(lambda number=number: len(made) > number)  # type: ignore[misc]
            await waited(made[number].full)
        await waited(made[0].gone)
        await waited(made[1].gone)
        assert not made[2].gone.is_set()
        # What is taken does not count any more, and what is asked for then does.
        async with asyncio.timeout(harness.PATIENCE):
            got = 0
            while got < LARGE:
                got += len(await asyncio.get_running_loop().sock_recv(deaf[2], harness.READ))
        await asking.until(lambda: not made[2].flow.write_paused)
        deaf.append(raw_sockets.deaf(server.port, get("/large")))
        await asking.until(lambda: len(made) == 5)
        await waited(made[4].full)
        assert not made[2].gone.is_set()
        assert not made[3].gone.is_set()
        for client in deaf:
            client.close()
        application.go.set()


@pytest.mark.case("4.14")
async def test_an_event_stream_behind_it_hides_no_answer_that_is_not_taken(
    made: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = door.Bounds(answers=LARGE * 3 // 2)
    monkeypatch.setattr(door, "Door", functools.partial(door.Door, bounds=bounds))
    async with served() as (server, application):
        first = raw_sockets.deaf(server.port, get("/large"))
        await asking.until(lambda: len(made) == 1)
        await asking.until(lambda: made[0].cycle is not None and made[0].cycle.response_complete)
        first.send(get("/events"))
        await asking.until(lambda: application.begun == 2)
        second = raw_sockets.deaf(server.port, get("/large"))
        await waited(made[0].gone)
        assert not made[1].gone.is_set()
        first.close()
        second.close()
        application.go.set()


async def test_who_takes_slowly_what_came_too_early_is_not_closed(
    made: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.01)
    looks = 0
    linger_on = protocol.Protocol._linger_on

    def look(one: protocol.Protocol) -> None:
        nonlocal looks
        looks += 1
        linger_on(one)

    monkeypatch.setattr(protocol.Protocol, "_linger_on", look)
    half = b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
    async with served() as (server, _):
        client = raw_sockets.deaf(server.port, half)
        await asking.until(lambda: looks > 3)
        assert not made[0].gone.is_set()
        assert (await raw_sockets.drained(client)).endswith(b"x" * LARGE)
        await waited(made[0].gone)


async def test_a_head_that_comes_already_has_its_own_time(made: list[Seen]) -> None:
    async with served() as (server, application):
        head = get("/behind", close=True)
        client = raw_sockets.deaf(server.port, get("/first") + head[:-5])
        await asking.until(lambda: application.begun == 1)
        application.go.set()
        await waited(application.heard)
        await asking.until(lambda: made[0].cycle.response_complete)
        timer = made[0].timeout_keep_alive_task
        assert timer is None or timer.cancelled()
        client.send(head[-5:])
        assert (await raw_sockets.drained(client)).count(b"HTTP/1.1 200 OK") == 2


async def test_the_next_request_is_awaited_from_when_the_answer_is_taken(
    made: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served() as (server, application):
        client = raw_sockets.deaf(server.port, get("/large"))
        await asking.until(lambda: len(made) == 1)
        await waited(made[0].full)
        await asking.until(lambda: made[0].cycle.response_complete)
        timer = made[0].timeout_keep_alive_task
        assert timer is None or timer.cancelled()
        loop, got = asyncio.get_running_loop(), 0
        async with asyncio.timeout(harness.PATIENCE):
            while got < LARGE:
                got += len(await loop.sock_recv(client, harness.READ))
        await asking.until(lambda: not made[0].flow.write_paused)
        timer = made[0].timeout_keep_alive_task
        assert timer is not None
        assert not timer.cancelled()
        client.send(get("/parts", close=True))
        application.go.set()
        assert (await raw_sockets.drained(client)).endswith(b"\r\n0\r\n\r\n")


@pytest.mark.case("4.14")
async def test_an_event_stream_has_a_patience_of_its_own(
    made: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "FLUSH_SECONDS", 0.0)
    async with served(1) as (server, application):
        client = raw_sockets.deaf(server.port, get("/events"))
        await asking.until(lambda: len(made) == 1)
        await waited(made[0].full)
        for _ in range(3):
            assert await closed_at_once(server.port)
        assert not made[0].gone.is_set()
        client.close()
        await waited(made[0].gone)
        assert application.lost == 1
        application.go.set()


# Who goes away


@pytest.mark.parametrize("behind", [b"", ALIVE, ALIVE + ALIVE[:-5]])
async def test_who_goes_away_leaves_no_line_in_the_log(
    made: list[Seen], behind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """What is said to him afterwards is said to nobody."""
    async with served() as (server, application):
        client = raw_sockets.deaf(server.port, get("/first") + behind)
        await asking.until(lambda: application.begun == 1)
        reset(client)
        application.go.set()
        await waited(application.heard)
        await waited(made[0].gone)
        assert application.begun == 1
    assert [record.getMessage() for record in caplog.records] == []


async def test_a_body_that_cannot_be_read_leaves_no_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor does who asked to be told when to send it."""
    head = "Host: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked"
    asked = f"POST /v1/streams HTTP/1.1\r\n{head}\r\n\r\nzz\r\n".encode()
    async with harness.running(harness.configured()) as server:
        assert (await raw_sockets.raw(server.port, asked)).startswith(b"HTTP/1.1 400 ")
        await asking.idle(server)
    assert [record.getMessage() for record in caplog.records] == []
