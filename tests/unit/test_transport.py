"""The transport against real sockets on loopback, and its parser against any bytes.

Strategy: the other side of each exchange is a bare socket that the test itself moves, step
by step, in the same event loop; nothing sleeps and nothing races. `Recorder` is the sink: it
keeps every call in order, so each test compares all that the sink was told. What asks for an
exact cut of the reads (every byte, every boundary, random) calls `data_received` directly.
The scenarios that touch what event loops do differently run on uvloop as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import ipaddress
import itertools
import socket
import ssl
import struct
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import strategies as st

from holdfast import errors, transport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FIVE = HEAD + b"Content-Length: 5\r\n\r\n"
GUARD = 10.0  # seconds after which a test that hangs fails


class Recorder:
    """A sink that keeps what it is told, and then calls `on_call` with the call's name."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.received = bytearray()
        self.error: errors.TransportError | None = None
        self.on_call: Callable[[str], None] = lambda name: None
        self.changed = asyncio.Event()

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers
        self.called("head")

    def body(self, data: bytes) -> None:
        assert data
        self.received += data
        self.called("body")

    def end(self, error: errors.TransportError | None) -> None:
        self.error = error
        self.called("end")

    def called(self, name: str) -> None:
        self.calls.append(name)
        self.changed.set()
        self.on_call(name)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def has(self, size: int) -> None:
        await self.until(lambda: len(self.received) == size)

    async def ended(self) -> errors.TransportError | None:
        await self.until(lambda: "end" in self.calls)
        return self.error

    def outcome(self) -> tuple[int, Mapping[str, str], bytes, str]:
        return self.status, self.headers, bytes(self.received), repr(self.error)


class Peer:
    """The other side's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def request(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await asyncio.get_running_loop().sock_recv(self.sock, size - len(data))
        return data

    async def send(self, *slices: bytes) -> None:
        for part in slices:
            await asyncio.get_running_loop().sock_sendall(self.sock, part)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def gone(self) -> bool:
        """True once our side has closed: an end or a reset after whatever was sent."""
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(GUARD):
                while await asyncio.get_running_loop().sock_recv(self.sock, 65536):
                    pass
        return True


class World:
    """A listening socket, a transport, and all sinks and sockets that a test has used."""

    def __init__(self, **options: Any) -> None:
        self.transport = transport.Transport(**options)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.sinks: list[Recorder] = []
        self.sockets = [self.listener]

    def request(self, scheme: str = "http", **fields: Any) -> transport.Request:
        url = f"{scheme}://127.0.0.1:{self.listener.getsockname()[1]}/v1?key=secret"
        return transport.Request(**{"method": "GET", "url": url, "headers": (), **fields})

    async def accept(self) -> Peer:
        async with asyncio.timeout(GUARD):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        self.sockets.append(sock)
        return Peer(sock)

    async def open(self) -> tuple[transport.Exchange, Recorder, Peer]:
        sink = Recorder()
        self.sinks.append(sink)
        exchange = await self.transport.open(self.request(), sink)
        return exchange, sink, await self.accept()

    async def answer(self, *slices: bytes) -> Recorder:
        """The sink of an exchange that was answered with these bytes and then closed."""
        _, sink, peer = await self.open()
        with contextlib.suppress(ConnectionError):  # it may have seen enough before the last
            await peer.send(*slices)
            peer.sock.shutdown(socket.SHUT_WR)
        await sink.ended()
        assert await peer.gone()
        return sink


@contextlib.asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    made = World(**options)
    try:
        yield made
        await made.transport.close()
        for sink in made.sinks:
            assert sink.calls.count("end") <= 1
            assert "end" not in sink.calls[:-1]
            assert "head" not in sink.calls[1:]
    finally:
        await made.transport.close()
        for sock in made.sockets:
            sock.close()


def one_byte_each(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


# Requests


def test_the_request_on_the_wire() -> None:
    request = transport.Request(
        "POST", "http://h.example:81/v1/chat?a=b#part", (("Authorization", "Bearer k"),), b"{}"
    )
    assert request.encode() == (
        b"POST /v1/chat?a=b HTTP/1.1\r\nHost: h.example:81\r\nAuthorization: Bearer k\r\n"
        b"Accept-Encoding: identity\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://h", b"GET / HTTP/1.1", b"Host: h"),
        ("https://h:443/", b"GET / HTTP/1.1", b"Host: h"),
        ("https://h:80/", b"GET / HTTP/1.1", b"Host: h:80"),
        ("http://[::1]:8080/a%20b?c", b"GET /a%20b?c HTTP/1.1", b"Host: [::1]:8080"),
        ("http://a_b.c-d.?/?#?", b"GET /?/? HTTP/1.1", b"Host: a_b.c-d."),
        ("http://h/a/@:b#c#d?e", b"GET /a/@:b HTTP/1.1", b"Host: h"),
    ],
)
def test_the_target_and_the_host(url: str, line: bytes, host: bytes) -> None:
    lines = transport.Request("GET", url, ()).encode().split(b"\r\n")
    assert lines[:2] == [line, host]
    assert lines[2:] == [b"Accept-Encoding: identity", b"Connection: close", b"", b""]


@pytest.mark.parametrize(("method", "body"), [("POST", b""), ("DELETE", b"x"), ("PUT", b"xy")])
def test_the_length_of_the_body(method: str, body: bytes) -> None:
    wire = transport.Request(method, "http://h", (), body).encode()
    assert wire.endswith(b"\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.mark.parametrize(
    "url",
    [
        "", "h.example/v1", "ftp://h/", "http://", "http:///v1", "http://:80/", "http://h:x/",
        "http://h:65536/", "http://[::1/", "http://a..b/", f"http://{'a' * 64}/", "http://a<b/",
        "http://user:secret@h/", "http://h/\r\nsecret: 1", "http://h/\n", "http://h/\0",
        "http://h/ x", "http://h/\u00e9", "http://h\t/", "http://secret\\@h/", "http://h:\u0661/",
        "http://h/#\n", "http://h?a\rb", "HTTPS://h/", "http://[::1]x/", "http://\u00e9/",
    ],
)  # fmt: skip
def test_a_bad_url_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="url") as caught:
        transport.Request("GET", url, ())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        ("", "v"), ("a b", "v"), ("a:", "v"), ("a\r\nb", "v"), ("a\0", "v"), ("\u00e9", "v"),
        ("a", "secret\r\nb: c"), ("a", "secret\n"), ("a", "\rsecret"), ("a", "secret\0"),
        ("a", "secret\u2028"), ("Host", "secret"), ("content-length", "1"),
        ("Transfer-Encoding", "chunked"), ("Connection", "keep-alive"),
        ("accept-encoding", "gzip"),
    ],
)  # fmt: skip
def test_a_bad_header_is_refused_and_not_quoted(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"header|value") as caught:
        transport.Request("GET", "http://h/", (header,))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("method", ["", "get", "HEAD", "CONNECT", "GET / HTTP/1.1\r\nX:"])
def test_other_methods_are_refused(method: str) -> None:
    with pytest.raises(ValueError, match="method"):
        transport.Request(method, "http://h/", ())


def test_a_request_shows_no_secret() -> None:
    request = transport.Request("POST", "http://h/?key=secret", (("a", "secret"),), b"secret")
    assert repr(request) == "Request(POST h:80)"


# Responses


async def test_what_was_asked_arrives_whole() -> None:
    async with world() as w:
        request = w.request(method="POST", body=b"x" * 5_000_000)
        opening = asyncio.create_task(w.transport.open(request, Recorder()))
        peer = await w.accept()
        assert await peer.request(len(request.encode())) == request.encode()
        await opening


async def test_content_length_and_chunks() -> None:
    async with world() as w:
        for data, body in [
            (FIVE + b"hello", b"hello"),
            (HEAD + b"Content-Length: 0\r\n\r\n", b""),
            (b"HTTP/1.0 404 No\r\nContent-Length: 2\r\n\r\nno", b"no"),
            (CHUNKED + b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nTrailer: t\r\n\r\n", b"hello!"),
            (b"HTTP/1.1 204 Nothing\r\n\r\n", b""),
            (b"HTTP/1.1 302 There\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", b""),
        ]:
            for slices in ([data], one_byte_each(data)):
                sink = await w.answer(*slices)
                assert sink.error is None
                assert sink.received == body
                assert sink.status == int(data[9:12])


async def test_headers_are_lower_case_and_joined() -> None:
    async with world() as w:
        sink = await w.answer(HEAD + b"X-A: 1\r\nx-a: \xe9\r\nEmpty:\r\nContent-Length: 0\r\n\r\n")
        assert sink.headers == {
            "content-type": "text/event-stream",
            "x-a": "1, \u00e9",
            "empty": "",
            "content-length": "0",
        }


async def test_bytes_after_the_end_are_ignored() -> None:
    async with world() as w:
        for tail in (b"garbage", FIVE + b"again", b"\r\n"):
            sink = await w.answer(FIVE + b"hello" + tail)
            assert sink.error is None
            assert sink.received == b"hello"
            assert sink.calls.count("head") == 1


async def test_interim_heads_are_skipped_up_to_the_limit() -> None:
    interim = b"HTTP/1.1 103 Early\r\nLink: x\r\nContent-Length: 3\r\n\r\n"
    async with world() as w:
        sink = await w.answer(interim * transport.MAX_INTERIM + FIVE + b"hello")
        assert sink.error is None
        assert sink.received == b"hello"
        assert "link" not in sink.headers
        sink = await w.answer(interim * (transport.MAX_INTERIM + 1) + FIVE + b"hello")
        assert isinstance(sink.error, errors.ProtocolViolation)
        assert sink.calls == ["end"]


@pytest.mark.parametrize(
    ("data", "calls", "text"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", ["end"], "not valid HTTP/1.1"),
        (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", ["end"], "HTTP/2.0"),
        (b"HTTP/1.1 101 Up\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", ["end"], "status 101"),
        (b"HTTP/1.1 099 Low\r\n\r\n", ["end"], "status 99"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", ["end"], "Duplicate"),
        (
            HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
            ["head", "end"],
            "ide",
        ),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", ["head", "end"], "chunked"),
        (CHUNKED + b"5\r\nhello\r\nzz\r\n", ["head", "body", "end"], "not valid HTTP/1.1"),
        (CHUNKED + b"f" * 17 + b"\r\n", ["head", "end"], "overflow"),
    ],
)
async def test_violations(data: bytes, calls: list[str], text: str) -> None:
    async with world() as w:
        sink = await w.answer(data)
        assert isinstance(sink.error, errors.ProtocolViolation)
        assert text in sink.error.message
        assert sink.calls == calls


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "before the response's head"),
        (HEAD, "before the response's head"),
        (FIVE, "in the middle"),
        (FIVE + b"hell", "in the middle"),
        (CHUNKED + b"5\r\nhello\r\n", "in the middle"),
        (CHUNKED + b"5\r\nhel", "in the middle"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", "in the middle"),
        (HEAD + b"\r\nhello", "no length"),
        (HEAD + b"Connection: close\r\n\r\nhello", "no length"),
    ],
)
async def test_a_closed_connection_is_no_clean_end(data: bytes, text: str) -> None:
    async with world() as w:
        sink = await w.answer(data)
        assert isinstance(sink.error, errors.Truncated)
        assert text in sink.error.message
        assert bytes(sink.received) in data


async def test_a_reset_is_no_clean_end() -> None:
    async with world() as w:
        _, sink, peer = await w.open()
        await peer.send(FIVE + b"hell")
        await sink.has(4)
        peer.reset()
        error = await sink.ended()
        assert isinstance(error, errors.Truncated)
        assert "was reset in the middle" in error.message


async def test_the_head_has_a_limit() -> None:
    fill = 200 - len(FIVE) - len(b"Fill: \r\n")
    for spare, calls in ((0, ["head", "body", "end"]), (1, ["end"])):
        head = HEAD + b"Fill: " + b"x" * (fill + spare) + b"\r\n" + FIVE[len(HEAD) :]
        for slices in ([head + b"hello"], [head, b"hello"], [*one_byte_each(head), b"hello"]):
            sink = fed(slices, max_head=200)
            assert sink.calls == calls
            assert (sink.error is None) is (spare == 0)
    async with world() as w:
        sink = await w.answer(HEAD, *[b"X: " + b"y" * 1000 + b"\r\n"] * 70)
        assert isinstance(sink.error, errors.ProtocolViolation)
        assert "65536 bytes of head" in sink.error.message


@pytest.mark.parametrize("start", [b"5\r\nhello\r\n0\r\nTrailer: ", b"5;ext="])
async def test_what_brings_no_body_has_a_limit(start: bytes) -> None:
    async with world() as w:
        exchange, sink, peer = await w.open()
        await peer.send(CHUNKED, start)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                await peer.send(b"x" * 65536)
        assert isinstance(await sink.ended(), errors.ProtocolViolation)
        assert exchange.bytes_read < 10 * transport.MAX_HEAD


# Control


async def test_pause_and_resume_lose_nothing() -> None:
    size, window = 16_000_000, bytes(range(256)) * 250
    async with world() as w:
        exchange, sink, peer = await w.open()
        sink.on_call = lambda name: exchange.pause()
        answer = HEAD + b"Content-Length: %d\r\n\r\n" % size + window * (size // len(window))
        sending = asyncio.create_task(peer.send(answer))
        await sink.until(lambda: "body" in sink.calls)
        exchange.pause()
        for _ in range(20):  # others are served meanwhile
            assert (await w.answer(FIVE + b"hello")).error is None
        assert sink.calls == ["head", "body"]
        assert not sending.done()
        sink.on_call = lambda name: None
        exchange.resume()
        exchange.resume()
        assert await sink.ended() is None
        assert sink.received == answer[-size:]
        assert exchange.bytes_read == len(answer)
        await sending
        exchange.pause()  # after the end: nothing
        exchange.resume()


async def test_abort_closes_at_once() -> None:
    async with world() as w:
        for error in (None, errors.DeadlineExceeded("first byte")):
            exchange, sink, peer = await w.open()
            await peer.send(FIVE + b"he")
            await sink.has(2)
            exchange.abort(error)
            before = ["head", "body"] if error is None else ["head", "body", "end"]
            assert sink.calls == before
            assert sink.error is error
            exchange.abort(errors.Truncated())
            assert await peer.gone()
            assert sink.calls == before


@pytest.mark.parametrize("last", ["head", "body"])
async def test_abort_from_within_the_sink(last: str) -> None:
    def stop(name: str) -> None:
        if name == last:
            exchange.abort()

    async with world() as w:
        exchange, sink, peer = await w.open()
        sink.on_call = stop
        await peer.send(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")
        assert await peer.gone()
        assert sink.calls[-1] == last
        assert "end" not in sink.calls


async def test_abort_does_not_wait_for_the_request_to_be_read() -> None:
    async with world() as w:
        sink = Recorder()
        exchange = await w.transport.open(w.request(body=b"x" * 16_000_000), sink)
        peer = await w.accept()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        assert await sink.ended() is None
        assert sink.status == 413
        assert await peer.gone()
        assert exchange.connected


@pytest.mark.parametrize("calls", [["head", "end"], ["head", "body", "end"], ["end"]])
async def test_a_failing_sink_gets_its_end_and_is_reported(calls: list[str]) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    failing = calls[-2:][0]

    def fail(name: str) -> None:
        if name == failing:
            raise RuntimeError(f"a bug in {name}")

    sink, other = Recorder(), Socketless()
    sink.on_call = fail
    exchange = transport.Exchange(b"", sink, transport.MAX_HEAD, lambda exchange: None)
    exchange.connection_made(other)
    exchange.data_received(FIVE + b"hello" if failing != "end" else b"garbage")
    exchange.connection_lost(None)
    assert sink.calls == calls
    assert type(sink.error) is (
        errors.ProtocolViolation if failing == "end" else errors.TransportError
    )
    assert other.calls == ["write", "abort"]
    assert [str(report["exception"]) for report in reports] == [f"a bug in {failing}"]


async def test_close_returns_when_all_sockets_are_closed() -> None:
    async with world() as w:
        silent, started, paused = [await w.open() for _ in range(3)]
        await started[2].send(FIVE + b"he")
        await started[1].has(2)
        paused[0].pause()
        await w.transport.close()
        for _, sink, peer in (silent, started, paused):
            assert isinstance(sink.error, errors.Truncated)
            with contextlib.suppress(ConnectionResetError):
                while peer.sock.recv(65536):  # which does not wait
                    pass
        with pytest.raises(errors.Unreachable, match="closed"):
            await w.transport.open(w.request(), Recorder())
        await w.transport.close()


async def test_close_ends_what_is_connecting() -> None:
    async with world() as w:
        connecting = asyncio.create_task(w.transport.open(w.request("https"), Recorder()))
        stalled = await w.accept()
        await stalled.request(1)
        closing = []
        for _ in range(4):  # each finds the exchange in another state
            closing.append(asyncio.create_task(w.transport.close()))
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*closing), GUARD)
        with pytest.raises(errors.Unreachable, match="closed"):
            await connecting
        assert await stalled.gone()


# No connection


async def test_refused() -> None:
    async with world() as w:
        request = w.request()
        w.listener.close()
        with pytest.raises(errors.Unreachable, match=r"127.0.0.1:\d+ refused") as caught:
            await w.transport.open(request, Recorder())
        assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (["127.0.0.1", "127.0.0.2"], "refused"),
        (["127.255.255.255"], "could not be reached: "),
        ([], "could not be looked up: no such name"),
    ],
)
async def test_what_the_look_up_leads_to(
    found: list[str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(*args: object, **kwargs: object) -> list[Any]:
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 9)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with world() as w:
        with pytest.raises(errors.Unreachable, match=text):
            await w.transport.open(transport.Request("GET", "http://h.test/", ()), Recorder())


async def test_connecting_has_a_time_limit() -> None:
    async with world(connect_timeout=0.01) as w:
        # A queue of one that is full: the kernel answers no further connection.
        w.listener.listen(0)
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(w.listener.getsockname())
            w.sockets.append(waiting)
        for scheme in ("http", "https"):
            with pytest.raises(errors.DeadlineExceeded, match="Connecting to"):
                await w.transport.open(w.request(scheme), Recorder())


async def test_a_tls_handshake_has_the_same_time_limit() -> None:
    async with world(connect_timeout=0.1) as w:
        opening = asyncio.create_task(w.transport.open(w.request("https"), Recorder()))
        peer = await w.accept()
        with pytest.raises(errors.DeadlineExceeded):
            await opening
        assert await peer.gone()


async def test_a_cancelled_open_leaves_nothing() -> None:
    async with world() as w:
        sink = Recorder()
        opening = asyncio.create_task(w.transport.open(w.request("https"), sink))
        peer = await w.accept()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert await peer.gone()
        assert sink.calls == []


async def test_an_open_cancelled_as_it_connects_is_not_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def interrupted(*args: Any, **options: Any) -> None:
        await connect(*args, **options)
        raise asyncio.CancelledError

    monkeypatch.setattr(loop, "create_connection", interrupted)
    async with world() as w:
        sink = Recorder()
        with pytest.raises(asyncio.CancelledError):
            await w.transport.open(w.request(), sink)
        peer = await w.accept()
        assert await peer.gone()
        assert sink.calls == []


@pytest.mark.parametrize("end", ["answer", "close", "reset"])
async def test_https_to_a_plain_port_names_tls(end: str) -> None:
    async with world() as w:
        opening = asyncio.create_task(w.transport.open(w.request("https"), Recorder()))
        peer = await w.accept()
        await peer.request(1)
        if end == "answer":
            await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        elif end == "close":
            peer.sock.shutdown(socket.SHUT_WR)
        else:
            peer.reset()
        with pytest.raises(errors.Unreachable, match="TLS: ") as caught:
            await opening
        assert "secret" not in caught.value.message


# TLS


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate of its own signing, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "identity.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


class TlsServer(asyncio.Protocol):
    """Answers a request at once; `lost` is set when the connection is gone."""

    def __init__(self, answer: bytes, lost: asyncio.Event) -> None:
        self.answer, self.lost = answer, lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.answer)  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


async def over_tls(identity: Path) -> None:
    answer = HEAD + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity)
    lost = asyncio.Event()
    server = await asyncio.get_running_loop().create_server(
        lambda: TlsServer(answer, lost), "127.0.0.1", 0, ssl=context
    )
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    request = transport.Request("GET", url, ())
    trusting = transport.Transport(ssl_context=ssl.create_default_context(cafile=identity))
    sink = Recorder()
    exchange = await trusting.open(request, sink)

    def stutter(name: str) -> None:
        exchange.pause()
        asyncio.get_running_loop().call_soon(exchange.resume)

    sink.on_call = stutter
    assert await sink.ended() is None
    assert sink.received == answer[-3_000_000:]
    await trusting.close()
    await asyncio.wait_for(lost.wait(), GUARD)
    strict = transport.Transport()
    with pytest.raises(errors.Unreachable, match=r"TLS: the certificate of .* self-signed"):
        await strict.open(request, Recorder())
    await strict.close()
    server.close()
    await server.wait_closed()


async def test_tls_is_spoken_and_verified(identity: Path) -> None:
    await over_tls(identity)


# Event loops


@pytest.mark.parametrize(
    "scenario",
    [
        test_what_was_asked_arrives_whole,
        test_content_length_and_chunks,
        test_bytes_after_the_end_are_ignored,
        test_a_reset_is_no_clean_end,
        test_pause_and_resume_lose_nothing,
        test_abort_closes_at_once,
        test_abort_does_not_wait_for_the_request_to_be_read,
        test_close_returns_when_all_sockets_are_closed,
        test_close_ends_what_is_connecting,
        test_refused,
        test_connecting_has_a_time_limit,
        test_a_tls_handshake_has_the_same_time_limit,
        test_a_cancelled_open_leaves_nothing,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await scenario()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("end", ["answer", "close", "reset"])
def test_https_to_a_plain_port_on_uvloop(end: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_https_to_a_plain_port_names_tls(end))


def test_tls_on_uvloop(identity: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(over_tls(identity))


# Any bytes in any cuts


class Socketless(asyncio.Transport):
    """Stands in for the socket where a test itself decides what is called when."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.calls.append("write")

    def abort(self) -> None:
        self.calls.append("abort")


def fed(slices: list[bytes], max_head: int = transport.MAX_HEAD) -> Recorder:
    """The sink of an exchange whose reads were these slices, and whose connection then closed."""
    sink = Recorder()
    exchange = transport.Exchange(b"", sink, max_head, lambda exchange: None)
    exchange.connection_made(Socketless())
    for part in slices:
        bodies = sink.calls.count("body")
        exchange.data_received(part)
        assert sink.calls.count("body") <= bodies + 1
    exchange.connection_lost(None)
    assert sink.calls.count("end") == 1
    assert sink.calls[-1] == "end"
    assert sink.calls.count("head") == ("head" in sink.calls[:1])
    return sink


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 500 X\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Content-Encoding: gzip\r\n",
        b"Connection: close\r\n", b"A: b\r\n", b"\r\n", b"\r", b"\n", b"5\r\nhello\r\n", b"hello",
        b"0\r\n", b"0\r\n\r\n", b"5;e=1\r\n", b"f\r\n", CHUNKED, FIVE, b"HTTP/1.1 204 N\r\n\r\n",
    ]
)  # fmt: skip
RESPONSES = st.one_of(
    st.binary(max_size=200),
    st.builds(b"".join, st.lists(st.one_of(PIECES, PIECES, st.binary(max_size=4)), max_size=12)),
    st.builds(CHUNKED.__add__, st.builds(b"".join, st.lists(PIECES, max_size=8))),
)


@hypothesis.settings(deadline=None)
@hypothesis.given(data=RESPONSES, draw=st.data())
def test_any_bytes_in_any_cuts_end_once_and_the_same_way(data: bytes, draw: st.DataObject) -> None:
    places = st.lists(st.integers(0, len(data)), max_size=8).map(sorted)
    edges = [0, *draw.draw(places, label="cuts"), len(data)]
    random = [data[a:b] for a, b in itertools.pairwise(edges)]
    whole = fed([data]).outcome()
    assert fed([part for part in random if part]).outcome() == whole
    assert fed(one_byte_each(data)).outcome() == whole


def test_one_read_is_one_body() -> None:
    data = CHUNKED + b"5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n"
    sink = fed([data])
    assert sink.calls == ["head", "body", "end"]
    assert sink.received == b"hello world"
    for cut in range(len(data)):
        assert fed([data[:cut], data[cut:]]).outcome() == sink.outcome()


def test_a_connection_that_comes_too_late_sends_no_request() -> None:
    sink, late = Recorder(), Socketless()
    exchange = transport.Exchange(b"GET", sink, transport.MAX_HEAD, lambda exchange: None)
    exchange.abort()
    exchange.pause()
    exchange.connection_made(late)
    exchange.data_received(FIVE)
    exchange.connection_lost(None)
    assert late.calls == ["abort"]
    assert sink.calls == []


@pytest.mark.parametrize("data", [FIVE + b"hello", FIVE + b"h", b"garbage", b""])
def test_an_ended_exchange_leaves_no_garbage_cycle(data: bytes) -> None:
    gc.disable()
    try:
        exchange = transport.Exchange(b"", Recorder(), transport.MAX_HEAD, lambda exchange: None)
        exchange.connection_made(Socketless())
        exchange.data_received(data)
        exchange.connection_lost(None)
        gone = weakref.ref(exchange), weakref.ref(exchange._response)
        del exchange
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()
