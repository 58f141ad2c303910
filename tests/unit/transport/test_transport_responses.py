"""Responses over real sockets on loopback: what is a clean end, and what is not.

Strategy: the test writes the other side's bytes itself, and then closes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from tests.unit.transport.peers import (
    CHUNKED,
    FIVE,
    HEAD,
    Recorder,
    on_uvloop,
    one_byte_each,
    world,
)

from holdfast import errors, transport


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


async def test_a_head_without_end_is_cut_off() -> None:
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


@pytest.mark.parametrize(
    "scenario",
    [
        test_what_was_asked_arrives_whole,
        test_content_length_and_chunks,
        test_bytes_after_the_end_are_ignored,
        test_a_reset_is_no_clean_end,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[[], Awaitable[None]]) -> None:
    on_uvloop(scenario)
