"""Opening, stopping and closing, over real sockets on loopback.

Strategy: the other side of each exchange is a bare socket that the test moves step by step.
The scenarios that touch what event loops do differently run on uvloop as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.unit.transport.peers import CHUNKED, FIVE, GUARD, HEAD, Recorder, on_uvloop, world

from holdfast import errors, transport

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


async def test_closed_at_any_moment_nothing_is_left() -> None:
    for steps in range(30):
        async with world() as w:
            opening, sink = w.begin()
            for _ in range(steps):
                await asyncio.sleep(0)
            await asyncio.wait_for(w.transport.close(), GUARD)
            try:
                await opening
            except errors.Unreachable:
                assert sink.calls == []
            else:
                assert isinstance(sink.error, errors.Truncated)


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


# Event loops


@pytest.mark.parametrize(
    "scenario",
    [
        test_pause_and_resume_lose_nothing,
        test_abort_closes_at_once,
        test_abort_does_not_wait_for_the_request_to_be_read,
        test_close_returns_when_all_sockets_are_closed,
        test_close_ends_what_is_connecting,
        test_closed_at_any_moment_nothing_is_left,
        test_refused,
        test_connecting_has_a_time_limit,
        test_a_tls_handshake_has_the_same_time_limit,
        test_a_cancelled_open_leaves_nothing,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[[], Awaitable[None]]) -> None:
    on_uvloop(scenario)


@pytest.mark.parametrize("end", ["answer", "close", "reset"])
def test_https_to_a_plain_port_on_uvloop(end: str) -> None:
    on_uvloop(test_https_to_a_plain_port_names_tls, end)
