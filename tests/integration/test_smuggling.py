"""One request within another: what two servers in a row could read in two ways.

Strategy: a request of an odd shape has another one behind it, which a server that reads the first
one differently would take for a request of its own. It goes over a raw socket to a real node,
whole and in pieces. It is answered with one refusal and the end of the connection, so that what is
behind it is never answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
import pytest_asyncio
from tests.integration import asking, harness, raw_sockets

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured()) as running:
        yield running
        await asking.idle(running)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def serves_on(server: harness.Running) -> AsyncIterator[None]:
    """Whatever was sent in a test."""
    yield
    assert (await harness.ask(server.port, "GET", "/healthz")).status == 200


def status(answer: bytes) -> int:
    """Of the one response that an answer is."""
    (found,) = re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(found)


BEHIND = b"GET /healthz HTTP/1.1\r\nHost: smuggled\r\n\r\n"
"""What must never be taken for a request."""

SHAPES = {
    "two lengths": (b"Content-Length: 0\r\nContent-Length: 41\r\n", b""),
    "the same length twice": (b"Content-Length: 0\r\nContent-Length: 0\r\n", b""),
    "a list of lengths": (b"Content-Length: 0, 41\r\n", b""),
    "a length and chunks": (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "chunks and a length": (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "a length with a sign": (b"Content-Length: +0\r\n", b""),
    "a negative length": (b"Content-Length: -1\r\n", b""),
    "a length in hex": (b"Content-Length: 0x0\r\n", b""),
    "a length with a line": (b"Content-Length: 4_1\r\n", b""),
    "a length that overflows": (b"Content-Length: 18446744073709551616\r\n", b""),
    "an empty length": (b"Content-Length:\r\n", b""),
    "two codings": (b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "chunked twice": (b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    "chunks in two fields": (b"Transfer-Encoding: chunked\r\n" * 2, b"0\r\n\r\n"),
    "chunks, then identity": (b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    "identity": (b"Transfer-Encoding: identity\r\n", b""),
    "no known coding": (b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "a quoted coding": (b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"),
    "a tab in the coding": (b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "a blank before the colon": (b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    "a folded field": (b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    "a bare line feed": (b"X: y\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "a bare carriage return": (b"X: y\rTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "a NUL": (b"X: y\x00Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "a head that ends in line feeds": (b"X: y\n\n", b""),
    "two callers": (b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", b""),
    "an upgrade with a body": (
        b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n" % len(BEHIND),
        b"",
    ),
}
CHUNKS = {
    "a size in 0x": b"0x0\r\n\r\n",
    "a size with a sign": b"+0\r\n\r\n",
    "a negative size": b"-1\r\n\r\n",
    "a size with a blank": b"0 \r\n\r\n",
    "no size": b"\r\n\r\n",
    "a size that overflows": b"10000000000000000\r\n\r\n",
    "line feeds alone": b"0\n\n",
    "a line feed in an extension": b"0;x\n\r\n",
    "a carriage return in an extension": b"0;x\ry\r\n\r\n",
    "a line break in a quoted extension": b'0;x="\r\n"\r\n\r\n',
    "more than its size": b"1\r\nab\r\n0\r\n\r\n",
    "a length behind the body": b"0\r\nContent-Length: 41\r\n\r\n",
    "a coding behind the body": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
}


def shapes() -> Iterator[object]:
    for name, (fields, body) in SHAPES.items():
        yield pytest.param(fields + b"\r\n", body, id=name)
    for name, body in CHUNKS.items():
        yield pytest.param(b"Transfer-Encoding: chunked\r\n\r\n", body, id=name)


@pytest.mark.case("4.5")
@pytest.mark.parametrize("cut", ["whole", "after the head", "byte by byte"])
@pytest.mark.parametrize(("fields", "body"), [*shapes()])
async def test_nothing_is_smuggled(
    server: harness.Running, fields: bytes, body: bytes, cut: str
) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nHost: x\r\n" + fields
    sent = head + body + BEHIND
    at = {"whole": [], "after the head": [len(head)], "byte by byte": [*range(1, len(sent))]}[cut]
    answer = await in_pieces(server.port, sent, at)
    # Whole or in parts, the first request may be answered as what it is: unknown.
    assert status(answer) in ((400,) if cut == "whole" else (400, 404))
    assert b'"ok"' not in answer


async def in_pieces(port: int, sent: bytes, at: list[int]) -> bytes:
    """All that comes back to something that is sent in these pieces."""
    got = bytearray()
    async with asyncio.timeout(harness.PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for begin, end in zip([0, *at], [*at, len(sent)], strict=True):
            writer.write(sent[begin:end])
            for _ in range(3):
                await asyncio.sleep(0)  # the server runs in this loop, and reads it by itself
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(harness.READ):
                got += piece
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return bytes(got)


@pytest.mark.case("4.5")
@pytest.mark.parametrize(
    "first",
    [
        b"GET /healthz HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: x\n\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\n",
        b"GET /healthz HTTP/1.1\rHost: x\r\r",
        b"GET\t/healthz\tHTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1 \r\nHost: x\r\n\r\n",
        b" GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/0.9\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_not_quite_http_is_refused(server: harness.Running, first: bytes) -> None:
    answer = await raw_sockets.raw(server.port, first + BEHIND)
    assert status(answer) in (400, 505)


@pytest.mark.case("4.5")
async def test_who_asks_for_another_protocol_is_answered_and_then_on_his_own(
    server: harness.Running,
) -> None:
    """What follows would be that protocol's."""
    asked_for = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
    for protocol in (b"h2c", b"websocket"):
        head = b"GET /healthz HTTP/1.1\r\n" + asked_for % protocol
        answer = await raw_sockets.raw(server.port, head + BEHIND)
        assert status(answer) == 200
        assert b"\r\nconnection: close\r\n" in answer


@pytest.mark.case("4.5")
async def test_what_stands_behind_a_body_is_no_header(server: harness.Running) -> None:
    body = asking.demo("tokens=1")
    names = ("X-Request-Id", "X-Client-Id", "Idempotency-Key", "Host", "Last-Event-ID")
    late = "".join(f"{name}: behind\r\n" for name in names).encode()
    sent = b"POST /v1/streams HTTP/1.1\r\nHost: x\r\nX-Client-Id: early\r\nConnection: close\r\n"
    sent += b"Transfer-Encoding: chunked\r\n\r\n%x;x=y\r\n%b\r\n0\r\n%b\r\n" % (
        len(body),
        body,
        late,
    )
    made = [await raw_sockets.raw(server.port, sent) for _ in range(2)]
    ids = {msgspec.json.decode(one.partition(b"\r\n\r\n")[2])["id"] for one in made}
    assert len(ids) == 2, "the key behind the body was taken"
    for stream in ids:
        shown = await harness.ask(server.port, "GET", f"/v1/streams/{stream}")
        assert b"behind" not in shown.body
    listed = await harness.ask(server.port, "GET", "/v1/streams?client_id=early")
    assert ids <= {one["id"] for one in listed.json()["streams"]}
