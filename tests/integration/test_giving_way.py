"""Who is closed for whom, and answers that are there before their request is whole.

Strategy: a server with a handful of sockets, or with deadlines of a moment, and raw sockets whose
requests are as whole as the test wants. Where a client is closed it sees that by itself; that
one is not, by an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from starlette import applications, routing
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from tests.integration import asking, harness, node_with_keys, raw_sockets

from holdfast import app
from holdfast.http import mounted
from holdfast.http.server import door, framing, protocol

ALIVE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST /v1/streams HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
NOWHERE = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
QUIET = {"heartbeat_interval": "50s", "connection_timeout": "100s"}

HALVES = {
    "nothing": b"",
    "half a head": ALIVE[:-5],
    "a head": POST % 9,
    "half a body": POST % 9 + b"{",
    "half a chunk": POST.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked") + b"9\r\n{",
}


class Client:
    """A raw connection, which answers what it is asked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def serves(self) -> bool:
        """Whether a request on it gets a good answer."""
        async with asyncio.timeout(harness.PATIENCE):
            self.writer.write(ALIVE)
            head = await self.reader.readuntil(b"}")
        return head.startswith(b"HTTP/1.1 200 ")

    async def rest(self) -> bytes:
        """All that comes until the server ends it."""
        async with asyncio.timeout(harness.PATIENCE):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
        return b""


@contextlib.asynccontextmanager
async def connected(port: int, sent: bytes = b"") -> AsyncIterator[Client]:
    async with asyncio.timeout(harness.PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def few_sockets(count: int) -> contextlib.AbstractAsyncContextManager[harness.Running]:
    return harness.serving(app.asgi(harness.configured(server=QUIET)), max_sockets=count)


# Places


@pytest.mark.case("4.14")
@pytest.mark.parametrize("sent", [b"", ALIVE[:-5]], ids=["nothing", "half a head"])
async def test_who_waits_the_longest_is_closed_for_a_newcomer(sent: bytes) -> None:
    async with await few_sockets(3) as server, connected(server.port, sent) as first:
        lead = await asking.stalled(server.port)
        async with connected(server.port) as second:
            answer = await harness.ask(server.port, "GET", "/healthz")
            assert answer.status == 200
            assert await first.rest() == b""
            assert await second.serves()
            assert len(server.service.connections) == 1
        await asking.end(server, lead)


@pytest.mark.case("4.14")
@pytest.mark.parametrize("kind", ["a head", "half a body", "half a chunk"])
async def test_who_sends_a_body_is_closed_only_where_nobody_else_waits(kind: str) -> None:
    async with await few_sockets(3) as server, connected(server.port, HALVES[kind]) as first:
        readers = [await asking.stalled(server.port)]
        async with connected(server.port) as second:
            assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
            assert await second.rest() == b""
        readers.append(await asking.stalled(server.port))
        assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
        assert await first.rest() == b""
        assert len(server.service.connections) == 2
        await asking.end(server, *readers)


@pytest.mark.case("4.14")
async def test_who_was_answered_waits_from_then_on() -> None:
    async with (
        await few_sockets(2) as server,
        connected(server.port) as first,
        connected(server.port) as second,
    ):
        assert await first.serves()  # `second` waits longer now
        assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
        assert await second.rest() == b""
        assert await first.serves()
        async with connected(server.port) as third:
            assert await third.serves()  # and now `first` does
            assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
            assert await first.rest() == b""
            assert await third.serves()


@pytest.mark.case("4.14")
async def test_who_is_answered_is_closed_for_nobody() -> None:
    async with await few_sockets(2) as server:
        readers = [await asking.stalled(server.port) for _ in range(2)]
        for _ in range(3):
            async with connected(server.port, CLOSE) as turned_away:
                assert await turned_away.rest() == b""
        assert len(server.service.connections) == 2
        await readers[1].close()
        await asking.until(lambda: len(server.service.connections) == 1)
        assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
        await asking.end(server, *readers)


@pytest.mark.case("4.14")
async def test_a_hundred_half_requests_keep_nobody_out() -> None:
    async with await few_sockets(5) as server, contextlib.AsyncExitStack() as stack:
        kinds = [*HALVES.values()]
        for number in range(100):
            await stack.enter_async_context(connected(server.port, kinds[number % len(kinds)]))
            if not number % 10:
                whole = await asking.finished(server.port, "tokens=1")
                assert whole.clean
        await asking.idle(server)


# Answers before their request is whole


async def early(port: int, head: bytes, body: bytes) -> bytes:
    """The answer to a request whose body goes on, for a client that goes on with it until it
    was sent, and reads only then."""
    loop = asyncio.get_running_loop()
    with socket.socket() as opened:
        opened.setblocking(False)
        async with asyncio.timeout(harness.PATIENCE):
            await loop.sock_connect(opened, ("127.0.0.1", port))
            await loop.sock_sendall(opened, head + body)
            got = bytearray()
            while piece := await loop.sock_recv(opened, harness.READ):
                got += piece
    return bytes(got)


@pytest.mark.case("4.14")
@pytest.mark.parametrize(("head", "status"), [(NOWHERE, 404), (POST, 413)])
async def test_a_body_that_nobody_wants_ends_the_connection_behind_the_answer(
    head: bytes, status: int
) -> None:
    config = harness.configured(server={"max_body": 64 * 1024})
    async with harness.running(config) as server:
        size = 4 << 20
        for sent in (size, size // 2):  # all of it, and a part: the rest never comes
            answer = await early(server.port, head % size, b" " * sent)
            assert answer.startswith(b"HTTP/1.1 %d " % status)
            assert b"\r\nconnection: close\r\n" in answer


@pytest.mark.case("4.14")
async def test_a_body_that_goes_on_for_ever_is_not_read_for_ever() -> None:
    async with harness.running(harness.configured()) as server:
        loop, sent = asyncio.get_running_loop(), 0
        with socket.socket() as opened:
            opened.setblocking(False)
            async with asyncio.timeout(harness.PATIENCE):
                await loop.sock_connect(opened, ("127.0.0.1", server.port))
                await loop.sock_sendall(opened, NOWHERE % (1 << 30))
                with contextlib.suppress(ConnectionError):
                    while sent < 1 << 30:
                        await loop.sock_sendall(opened, b" " * harness.READ)
                        sent += harness.READ
        # More than is read stands in the kernel's buffers.
        assert sent < 4 * protocol.LINGER_BYTES


@pytest.mark.case("4.14")
async def test_who_says_nothing_more_and_stays_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = asyncio.Event()

    class Told(protocol.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(protocol, "Protocol", Told)
    async with (
        harness.running(harness.configured()) as server,
        connected(server.port, NOWHERE % 9) as client,
    ):
        assert (await client.rest()).startswith(b"HTTP/1.1 404 ")
        async with asyncio.timeout(harness.PATIENCE):
            await lost.wait()


async def test_behind_a_request_that_is_whole_the_connection_serves_on() -> None:
    async with harness.running(harness.configured()) as server:
        for head in (NOWHERE, POST.replace(b"/v1/streams", b"/v1/streams/x/cancel")):
            answer = await raw_sockets.raw(server.port, head % 2 + b"{}", seen=b"}", then=CLOSE)
            assert answer.count(b"HTTP/1.1 404 ") == answer.count(b"HTTP/1.1 200 ") == 1
            assert answer.index(b"connection: close") > answer.index(b"HTTP/1.1 200 ")


async def test_a_client_that_waits_for_100_continue_is_asked_to() -> None:
    async with harness.running(harness.configured()) as server:
        body = asking.demo("tokens=1")
        head = (POST % len(body)).replace(b"Host: x", b"Host: x\r\nExpect: 100-continue")
        head = head.replace(b"Host: x", b"Host: x\r\nConnection: close")
        answer = await raw_sockets.raw(server.port, head, seen=b"100 Continue\r\n\r\n", then=body)
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 ")
        await asking.idle(server)


async def test_one_that_speaks_1_0_knows_no_100_continue() -> None:
    async with harness.running(harness.configured()) as server:
        body = asking.demo("tokens=1")
        head = (POST % len(body)).replace(b"HTTP/1.1", b"HTTP/1.0")
        head = head.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue")
        answer = await raw_sockets.raw(server.port, head + body)
        assert answer.startswith(b"HTTP/1.1 201 ")
        await asking.idle(server)


@pytest.mark.case("4.14")
async def test_strangers_bodies_end_no_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anybody has looked who they are."""
    bounds = door.Bounds(bodies=1000)
    monkeypatch.setattr(door, "Door", functools.partial(door.Door, bounds=bounds))
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server)
        body = asking.demo("tokens=1", prompt="x" * 2000)
        said = "".join(f"{name}: {value}\r\n" for name, value in key.headers.items()).encode()
        head = (POST % len(body)).replace(b"Host: x\r\n", b"Host: x\r\n" + said)
        assert (await harness.ask(server.port, "GET", "/v1/streams", key.headers)).status == 200
        async with connected(server.port, head) as upload:
            assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
            for part in (body[:600], body[600:1200]):
                upload.writer.write(part)
                for _ in range(3):
                    stranger = await raw_sockets.raw(server.port, POST % 2000 + b" " * 600)
                    assert stranger.startswith(b"HTTP/1.1 401 ")
            upload.writer.write(body[1200:])
            async with asyncio.timeout(harness.PATIENCE):
                assert (await upload.reader.readline()).startswith(b"HTTP/1.1 201 ")
        await asking.idle(server)


@pytest.mark.case("4.14")
async def test_a_head_has_so_many_fields_at_most() -> None:
    async with harness.running(harness.configured()) as server:
        first, last = b"GET /healthz HTTP/1.1\r\n", b"Connection: close\r\n\r\n"
        for count, status in ((framing.MAX_FIELDS, 200), (framing.MAX_FIELDS + 1, 431)):
            answer = await raw_sockets.raw(server.port, first + b"X: y\r\n" * (count - 1) + last)
            assert answer.startswith(b"HTTP/1.1 %d " % status)
        # Nobody waits for the end of a head that has too many.
        answer = await raw_sockets.raw(server.port, first + b"X: y\r\n" * (framing.MAX_FIELDS + 2))
        assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.case("4.14")
async def test_a_body_that_brings_enough_has_its_time_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[protocol.Protocol] = []

    class Noted(protocol.Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            made.append(self)

    monkeypatch.setattr(protocol, "Protocol", Noted)
    monkeypatch.setattr(protocol, "BODY_BYTES", 6)
    async with harness.running(harness.configured()) as server:
        async with connected(server.port, POST % 99 + b"{" * 5) as client:
            for brings, stays in ((b"{", True), (b"{" * 6, True), (b"{" * 5, False)):
                before = made[0]._brought if made else 0
                client.writer.write(brings)
                await asking.until(
                    lambda before=before, brings=brings: (  # type: ignore[misc]
                        bool(made) and made[0]._brought >= before + len(brings)
                    )
                )
                made[0]._request_is_late()
                assert made[0].transport.is_closing() != stays
            assert await client.rest() == b""
        await asking.idle(server)


# What stands behind


@pytest.mark.case("4.14")
@pytest.mark.parametrize("behind", [*HALVES.values()][1:], ids=[*HALVES][1:])
async def test_half_a_request_in_one_read_with_another_is_not_waited_for(
    behind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.1)
    async with harness.running(harness.configured()) as server:
        answer = await raw_sockets.raw(server.port, ALIVE + behind)
        assert answer.count(b"HTTP/1.1 ") == 1
        await asking.idle(server)


async def test_half_a_request_behind_a_slow_answer_is_late_when_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late, gate = asyncio.Event(), asyncio.Event()

    class Told(protocol.Protocol):
        def _request_is_late(self) -> None:
            super()._request_is_late()
            late.set()

    async def slow(request: Request) -> Response:
        if request.method == "GET":
            await gate.wait()
        with contextlib.suppress(ClientDisconnect):
            await request.body()
        return Response(b"slow")

    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.05)
    monkeypatch.setattr(protocol, "Protocol", Told)
    service = app.asgi(harness.configured(), fatal=lambda why: None).service
    alone = applications.Starlette(
        routes=[routing.Route("/{path:path}", slow, methods=["GET", "POST"])]
    )
    async with (
        harness.serving(mounted.App(lambda: service, lambda _: alone)) as server,
        connected(server.port, ALIVE + HALVES["half a body"]) as client,
    ):
        async with asyncio.timeout(harness.PATIENCE):
            await late.wait()
        gate.set()
        answer = await client.rest()
        assert (answer.count(b"HTTP/1.1 "), answer[-4:]) == (1, b"slow")


@pytest.mark.case("4.5")
@pytest.mark.parametrize(
    "garbage", [b"\x00", b"HELO\r\n\r\n", b"GET / HTTP/1.1\r\nHost: @\r\n\r\n"]
)
async def test_a_refusal_never_stands_in_an_answer(garbage: bytes) -> None:
    async with harness.running(harness.configured(server=QUIET)) as server:
        lead = await asking.stalled(server.port)
        path = f"/v1/streams/{harness.stream_of(lead)}/events"
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        said = await raw_sockets.raw(server.port, request, seen=b"\nid: ", then=garbage)
        assert said.count(b"HTTP/1.1 ") == 1
        assert not said.endswith(b"0\r\n\r\n")
        await asking.end(server, lead)


@pytest.mark.parametrize("reset", [False, True])
async def test_who_resumes_with_a_body_and_goes_is_noticed(reset: bool) -> None:
    """Nobody reads the body, and nobody may stop reading the socket for it."""
    async with harness.running(harness.configured(server=QUIET)) as server:
        lead = await asking.stalled(server.port)
        await lead.until(lambda reader: len(reader.blocks) >= 3)
        id = asking.last_id(bytes(lead.body))
        head = POST.replace(
            b"Host: x", b"Host: x\r\nAccept: text/event-stream\r\nLast-Event-ID: %b"
        )
        sent = head % (id.encode(), 1 << 20) + b" " * (1 << 19)
        async with connected(server.port, sent) as client:
            async with asyncio.timeout(harness.PATIENCE):
                await client.reader.readuntil(b"\r\n\r\n")
            await asking.until(lambda: len(server.service.connections) == 2)
            if reset:
                found = client.writer.get_extra_info("socket")
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await asking.until(lambda: len(server.service.connections) == 1)
        await asking.end(server, lead)
