"""TLS over real sockets: what is verified, what is refused, and what is delivered.

Strategy: the servers are the event loop's own TLS, with certificates of a private CA.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.unit.transport.certificates import DAY, Authority
from tests.unit.transport.peers import (
    FIVE,
    GUARD,
    HEAD,
    Recorder,
    echo,
    on_uvloop,
    serving,
    world,
)

from holdfast import errors, transport

SIZE = 3_000_000


@asynccontextmanager
async def trusting(authority: Authority) -> AsyncIterator[transport.Transport]:
    made = transport.Transport(tls=transport.tls_context(authority.file))
    try:
        yield made
    finally:
        await made.close()


def request(port: int, host: str = "127.0.0.1", body: bytes = b"") -> transport.Request:
    return transport.Request("POST", f"https://{host}:{port}/v1?key=secret", (), body)


async def test_tls_is_spoken_both_ways(authority: Authority) -> None:
    async with (
        serving(echo, authority.server("127.0.0.1")) as server,
        trusting(authority) as client,
    ):
        for _ in range(2):
            sink, body = Recorder(), b"0123456789abcdef" * (SIZE // 16)
            exchange = await client.open(request(server.port, body=body), sink)
            assert await sink.ended() is None
            assert sink.received == body
            assert exchange.bytes_read > SIZE
        assert server.accepted == 1
        await client.close()
        await server.empty()


async def test_pause_and_resume_lose_nothing_under_tls(authority: Authority) -> None:
    answer = HEAD + b"Content-Length: %d\r\n\r\n" % SIZE + b"x" * SIZE
    async with (
        serving(lambda head, body: answer, authority.server("127.0.0.1")) as server,
        trusting(authority) as client,
    ):
        sink = Recorder()
        exchange = await client.open(request(server.port), sink)

        def stutter(name: str) -> None:
            exchange.pause()
            asyncio.get_running_loop().call_soon(exchange.resume)

        sink.on_call = stutter
        assert await sink.ended() is None
        assert len(sink.received) == SIZE


async def refused(client: transport.Transport, port: int, host: str = "127.0.0.1") -> str:
    sink = Recorder()
    with pytest.raises(errors.Unreachable) as caught:
        await client.open(request(port, host), sink)
    assert sink.calls == []
    assert "secret" not in caught.value.message
    assert f"{host}:{port}" in caught.value.message
    return caught.value.message


async def test_a_certificate_for_another_host_is_refused(authority: Authority) -> None:
    async with (
        serving(echo, authority.server("other.test", "127.0.0.2")) as server,
        trusting(authority) as client,
    ):
        text = await refused(client, server.port)
        assert text.startswith("TLS: the certificate of 127.0.0.1:")
        assert "IP address mismatch" in text
        assert "mismatch" in await refused(client, server.port, "localhost")
        assert server.requests == []


async def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    context = authority.server("127.0.0.1", until=-DAY)
    async with serving(echo, context) as server, trusting(authority) as client:
        text = await refused(client, server.port)
        assert "expired" in text
        assert "ca_file" not in text
        await server.empty()


async def test_an_unknown_ca_is_refused(authority: Authority) -> None:
    client = transport.Transport()
    async with serving(echo, authority.server("127.0.0.1")) as server:
        refusals = await asyncio.gather(*(refused(client, server.port) for _ in range(3)))
        for text in refusals:
            assert "self-signed" in text or "issuer" in text
            assert text.endswith("a node's calls, ca_file (--ca-file) for a client.")
        await server.empty()
    await client.close()


async def test_a_name_is_verified_too(authority: Authority) -> None:
    async with (
        serving(echo, authority.server("localhost")) as server,
        trusting(authority) as client,
    ):
        sink = Recorder()
        await client.open(request(server.port, "localhost", b"x"), sink)
        assert await sink.ended() is None


@pytest.mark.parametrize("sent", [0, 1, 100])
async def test_a_handshake_that_is_cut(sent: int) -> None:
    record = b"\x16\x03\x03\x40\x00" + b"\x02" * 200
    async with world() as w:
        opening = asyncio.create_task(w.transport.open(w.request("https"), Recorder()))
        peer = await w.accept()
        await peer.request(1)
        await peer.send(record[:sent])
        peer.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(errors.Unreachable, match=r"TLS: .* broke off the handshake"):
            await opening
        assert await peer.gone()


class Raw(asyncio.Protocol):
    """A TLS server that answers its first read so, and then ends the connection as `end` says."""

    def __init__(self, answer: bytes, end: str) -> None:
        self.answer, self.end = answer, end
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.answer)
        if self.end == "notify":
            self.transport.close()
        elif self.end == "cut":
            # Below TLS, so that no close_notify is sent.
            sock = self.transport.get_extra_info("socket")
            with socket.socket(fileno=socket.dup(sock.fileno())) as below:
                below.shutdown(socket.SHUT_RDWR)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


@pytest.mark.parametrize("end", ["notify", "cut"])
@pytest.mark.parametrize("answer", [b"", FIVE[:20], FIVE + b"he"])
async def test_an_end_under_tls_in_mid_response(
    authority: Authority, answer: bytes, end: str
) -> None:
    made: list[Raw] = []

    def make() -> Raw:
        made.append(Raw(answer, end))
        return made[-1]

    server = await asyncio.get_running_loop().create_server(
        make, "127.0.0.1", 0, ssl=authority.server("127.0.0.1")
    )
    async with trusting(authority) as client:
        sink = Recorder()
        await client.open(request(server.sockets[0].getsockname()[1]), sink)
        assert isinstance(await sink.ended(), errors.Truncated)
        assert bytes(sink.received) == (b"he" if answer.endswith(b"he") else b"")
        await asyncio.wait_for(made[0].lost, GUARD)
    server.close()
    await server.wait_closed()


async def test_garbage_in_mid_response_is_a_violation(authority: Authority) -> None:
    """The bytes below TLS are the test's own: a relay that adds some."""
    async with serving(echo, authority.server("127.0.0.1")) as server:

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server.port)

            async def there() -> None:
                while data := await reader.read(65536):
                    far_writer.write(data)
                far_writer.close()

            going = asyncio.create_task(there())
            while data := await far_reader.read(65536):
                writer.write(data if not server.requests else b"\x17\x03\x03\x00\x05evil!")
            writer.close()
            await going

        between = await asyncio.start_server(relay, "127.0.0.1", 0)
        async with trusting(authority) as client:
            sink = Recorder()
            await client.open(request(between.sockets[0].getsockname()[1]), sink)
            error = await sink.ended()
            assert isinstance(error, errors.ProtocolViolation)
            assert error.message.startswith("TLS failed: ")
        between.close()
        await between.wait_closed()


async def test_a_server_that_closes_while_idle(authority: Authority) -> None:
    async with (
        serving(echo, authority.server("127.0.0.1")) as server,
        trusting(authority) as client,
    ):
        for accepted in (1, 2):
            sink = Recorder()
            await client.open(request(server.port, body=b"x"), sink)
            assert await sink.ended() is None
            assert server.accepted == accepted
            for each in list(server.connections):
                each.transport.close()
            await server.empty()


async def test_old_connections_are_closed_as_tls_wants_it(authority: Authority) -> None:
    client = transport.Transport(tls=transport.tls_context(authority.file), keep_alive=0.02)
    async with serving(echo, authority.server("127.0.0.1")) as server:
        sink = Recorder()
        await client.open(request(server.port, body=b"x"), sink)
        assert await sink.ended() is None
        await server.empty()
    await client.close()


@pytest.mark.parametrize(
    "scenario",
    [
        test_tls_is_spoken_both_ways,
        test_pause_and_resume_lose_nothing_under_tls,
        test_a_certificate_for_another_host_is_refused,
        test_an_unknown_ca_is_refused,
        test_a_server_that_closes_while_idle,
        test_old_connections_are_closed_as_tls_wants_it,
    ],
)
def test_the_same_on_uvloop(
    scenario: Callable[[Authority], Awaitable[None]], authority: Authority
) -> None:
    on_uvloop(scenario, authority)
