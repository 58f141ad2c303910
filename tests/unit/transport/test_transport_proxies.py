"""Proxies over real sockets: tunnels for https, absolute targets for http.

Strategy: a small proxy on loopback that relays, or refuses, stalls, cuts or talks nonsense. The
target's name resolves nowhere: only the proxy knows where it leads.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.unit.transport.certificates import Authority
from tests.unit.transport.peers import GUARD, Recorder, Server, echo, on_uvloop, serving

from holdfast import errors, transport


class Proxying:
    """Answers CONNECT with `answer`, then relays to `port` if that opened the tunnel; else it
    goes on as `then` says: "close" or "stall"."""

    def __init__(self, port: int, answer: bytes, then: str) -> None:
        self.answer, self.then, self.to = answer, then, port
        self.heads: list[bytes] = []
        self.port = 0
        self.asked = asyncio.Event()
        self.open = 0
        self.quiet = asyncio.Event()
        self.quiet.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.quiet.clear()
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            self.asked.set()
            writer.write(self.answer)
            if self.then == "relay":
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to)
                await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
            elif self.then == "stall":
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open -= 1
            if not self.open:
                self.quiet.set()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@contextlib.asynccontextmanager
async def proxying(
    port: int,
    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n",
    then: str = "relay",
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[Proxying]:
    made = Proxying(port, answer, then)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
        async with asyncio.timeout(GUARD):
            await made.quiet.wait()


@contextlib.asynccontextmanager
async def through(
    proxy: Proxying, authority: Authority, url: str = "http://127.0.0.1", limit: float = GUARD
) -> AsyncIterator[transport.Transport]:
    proxies = transport.Proxies(f"{url}:{proxy.port}", f"{url}:{proxy.port}", ("direct.test",))
    context = transport.tls_context(authority.file)
    made = transport.Transport(tls=context, proxies=proxies, connect_timeout=limit)
    try:
        yield made
    finally:
        await made.close()
        assert made._held.connections == {}


def request(url: str = "https://h.test/v1?key=secret", body: bytes = b"hello") -> transport.Request:
    return transport.Request("POST", url, (("X-Key", "secret"),), body)


async def exchanged(client: transport.Transport, asked: transport.Request) -> None:
    sink = Recorder()
    await client.open(asked, sink)
    assert await sink.ended() is None
    assert sink.received == asked.body


async def test_https_goes_through_a_tunnel(authority: Authority) -> None:
    async with (
        serving(echo, authority.server("h.test")) as server,
        proxying(server.port) as proxy,
        through(proxy, authority) as client,
    ):
        await exchanged(client, request(body=b"x" * 1_000_000))
        await exchanged(client, request())  # the tunnel stays open for the next
        assert proxy.heads == [
            b"CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\nUser-Agent: holdfast\r\n\r\n"
        ]
        assert server.requests[1].startswith(b"POST /v1?key=secret HTTP/1.1\r\nHost: h.test\r\n")
        assert server.accepted == 1


async def test_credentials_go_to_the_proxy_alone(authority: Authority) -> None:
    async with (
        serving(echo, authority.server("h.test")) as server,
        proxying(server.port) as proxy,
        through(proxy, authority, "http://user:pass@127.0.0.1") as client,
    ):
        await exchanged(client, request())
        assert b"\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n" in proxy.heads[0]
        assert b"secret" not in proxy.heads[0]
        assert b"Proxy-Auth" not in server.requests[0]


async def test_http_goes_in_absolute_form(authority: Authority) -> None:
    async with serving(echo) as server, through_server(server, authority) as client:
        await exchanged(client, request("http://h.test:81/v1?a=b"))
        await exchanged(client, request("http://h.test:81/v1?a=b"))
        head = server.requests[0]
        assert head.startswith(b"POST http://h.test:81/v1?a=b HTTP/1.1\r\nHost: h.test:81\r\n")
        assert b"\r\nProxy-Authorization: Basic dTpw\r\n" in head
        assert server.accepted == 1


@contextlib.asynccontextmanager
async def through_server(
    server: Server, authority: Authority
) -> AsyncIterator[transport.Transport]:
    """A server that is itself the proxy: it answers in place of the target."""
    proxies = transport.Proxies(http=f"u:p@127.0.0.1:{server.port}")
    made = transport.Transport(proxies=proxies)
    try:
        yield made
    finally:
        await made.close()


async def test_a_proxy_may_be_reached_over_tls(authority: Authority) -> None:
    async with (
        serving(echo, authority.server("h.test")) as server,
        proxying(server.port, context=authority.server("127.0.0.1")) as proxy,
        through(proxy, authority, "https://127.0.0.1") as client,
    ):
        await exchanged(client, request(body=b"x" * 1_000_000))
        await exchanged(client, request())
        assert len(proxy.heads) == 1


async def test_a_loopback_target_needs_no_proxy(authority: Authority) -> None:
    async with (
        serving(echo, authority.server("127.0.0.1")) as server,
        proxying(server.port) as proxy,
        through(proxy, authority) as client,
    ):
        await exchanged(client, request(f"https://127.0.0.1:{server.port}/"))
        assert proxy.heads == []


async def refusal(
    client: transport.Transport, kind: type[errors.TransportError] = errors.Unreachable
) -> str:
    sink = Recorder()
    with pytest.raises(kind) as caught:
        await client.open(request(), sink)
    assert sink.calls == []
    assert "secret" not in caught.value.message
    assert "pass@" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("answer", "then", "text"),
    [
        (b"HTTP/1.1 407 Who\r\nContent-Length: 2\r\n\r\nno", "stall", "tunnel to h.test:443 .*407"),
        (b"HTTP/1.1 502 Bad\r\n\r\n", "close", "status 502"),
        (b"HTTP/1.1 302 There\r\nLocation: http://x/\r\n\r\n", "stall", "status 302"),
        (b"", "close", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\n", "close", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\n\r\nunasked", "stall", "goes on after its head"),
        (b"SSH-2.0-x\r\n", "stall", "does not answer as an HTTP proxy"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, "stall", "over 65536 bytes"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel(
    authority: Authority, answer: bytes, then: str, text: str
) -> None:
    async with (
        proxying(0, answer, then) as proxy,
        through(proxy, authority, "http://user:pass@127.0.0.1") as client,
    ):
        message = await refusal(client)
        assert f"proxy 127.0.0.1:{proxy.port}" in message
        with pytest.raises(errors.Unreachable, match=text):
            await client.open(request(), Recorder())


@pytest.mark.parametrize(
    ("url", "wants"),
    [
        ("http://127.0.0.1", "and its URL has none"),
        ("http://user:pass@127.0.0.1", "others than its URL has"),
    ],
)
async def test_a_proxy_that_wants_credentials(authority: Authority, url: str, wants: str) -> None:
    answer = b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n"
    async with proxying(0, answer, "stall") as proxy, through(proxy, authority, url) as client:
        assert await refusal(client) == (
            f"The proxy 127.0.0.1:{proxy.port} refused a tunnel to h.test:443 with status 407: "
            f"it wants credentials, {wants} (user:password@host, percent-encoded)."
        )


async def test_what_breaks_off_in_the_tunnel_is_the_targets(authority: Authority) -> None:
    async with (
        proxying(0, b"HTTP/1.1 200 OK\r\n\r\n", "close") as proxy,
        through(proxy, authority) as client,
    ):
        assert await refusal(client) == "TLS: h.test:443 broke off the handshake."


async def test_the_target_is_verified_through_the_tunnel(authority: Authority) -> None:
    async with (
        serving(echo, authority.server("other.test")) as server,
        proxying(server.port) as proxy,
        through(proxy, authority) as client,
    ):
        assert (await refusal(client)).startswith("TLS: the certificate of h.test:443")


async def test_a_proxy_that_is_not_there(authority: Authority) -> None:
    async with proxying(0) as proxy:
        pass
    async with through(proxy, authority) as client:
        assert await refusal(client) == f"proxy 127.0.0.1:{proxy.port} refused the connection."


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_proxy_that_stalls_has_the_same_time_limit(
    authority: Authority, answer: bytes
) -> None:
    async with (
        proxying(0, answer, "stall") as proxy,
        through(proxy, authority, limit=1.0 if answer else 0.1) as client,
    ):
        message = await refusal(client, errors.DeadlineExceeded)
        where = "h.test:443" if answer else f"proxy 127.0.0.1:{proxy.port}"
        assert message == f"Connecting to {where} took too long."


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n"])
@pytest.mark.parametrize("how", ["cancel", "close"])
async def test_an_open_that_is_given_up_at_the_proxy(
    authority: Authority, answer: bytes, how: str
) -> None:
    async with proxying(0, answer, "stall") as proxy, through(proxy, authority) as client:
        sink = Recorder()
        opening = asyncio.create_task(client.open(request(), sink))
        await proxy.asked.wait()
        if how == "cancel":
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        else:
            await client.close()
            with pytest.raises(errors.Unreachable, match="closed"):
                await opening
        assert client._held.connections == {}
        assert sink.calls == []


async def test_cancelled_at_every_step_nothing_is_left(authority: Authority) -> None:
    async with (
        serving(echo, authority.server("h.test")) as server,
        proxying(server.port, context=authority.server("127.0.0.1")) as proxy,
        through(proxy, authority, "https://127.0.0.1") as client,
    ):
        for steps in range(200):
            sink = Recorder()
            opening = asyncio.create_task(client.open(request(), sink))
            for _ in range(steps):
                await asyncio.sleep(0)
            if opening.done():
                break
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            assert client._held.connections == {}
            assert sink.calls == []
        (await opening).abort()
        assert steps > 5
        assert len(server.requests) <= 1


@pytest.mark.parametrize(
    "scenario",
    [
        test_https_goes_through_a_tunnel,
        test_http_goes_in_absolute_form,
        test_a_proxy_may_be_reached_over_tls,
        test_what_breaks_off_in_the_tunnel_is_the_targets,
        test_cancelled_at_every_step_nothing_is_left,
    ],
)
def test_the_same_on_uvloop(
    scenario: Callable[[Authority], Awaitable[None]], authority: Authority
) -> None:
    on_uvloop(scenario, authority)
