"""Connections that serve more than once: when they do, when not, and that none is left.

Strategy: bare sockets where the moment matters, a counting server where the number does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from tests.unit.transport.certificates import Authority
from tests.unit.transport.peers import (
    CHUNKED,
    FIVE,
    GUARD,
    HEAD,
    Peer,
    Recorder,
    World,
    echo,
    on_uvloop,
    serving,
    world,
)

from holdfast import errors, transport
from holdfast.testing import simulated


async def served(w: World, answer: bytes = FIVE + b"hello") -> Peer:
    """The other end of a connection that has served once."""
    _, sink, peer = await w.open()
    await peer.head()
    await peer.send(answer)
    assert await sink.ended() is None
    return peer


async def again(w: World, peer: Peer, answer: bytes = FIVE + b"again") -> Recorder:
    """The sink of one more exchange, on this connection."""
    opening, sink = w.begin()
    assert (await peer.head()).startswith(b"GET /v1?key=secret HTTP/1.1\r\n")
    assert not opening.done()
    await peer.send(answer)
    await asyncio.wait_for(opening, GUARD)
    await sink.ended()
    assert w.nobody_came()
    return sink


async def test_a_clean_end_leaves_the_connection_for_the_next() -> None:
    async with world() as w:
        peer = await served(w)
        for answer in (FIVE + b"again", CHUNKED + b"5\r\nagain\r\n0\r\n\r\n", FIVE + b"again"):
            sink = await again(w, peer, answer)
            assert sink.error is None
            assert sink.received == b"again"


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        FIVE + b"hello" + FIVE + b"evil!",
        FIVE + b"hello!",
    ],
)
async def test_other_ends_close_it(answer: bytes) -> None:
    async with world() as w:
        peer = await served(w, answer)
        assert await peer.gone()
        await served(w)


async def test_an_aborted_or_broken_exchange_closes_it() -> None:
    async with world() as w:
        exchange, sink, peer = await w.open()
        await peer.send(FIVE + b"hell")
        await sink.has(4)
        exchange.abort()
        assert await peer.gone()
        _, sink, peer = await w.open()
        await peer.send(CHUNKED + b"zz\r\n")
        assert isinstance(await sink.ended(), errors.ProtocolViolation)
        assert await peer.gone()


async def test_an_early_answer_closes_it() -> None:
    async with world() as w:
        sink = Recorder()
        await w.transport.open(w.request(method="POST", body=b"x" * 16_000_000), sink)
        peer = await w.accept()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        assert await sink.ended() is None
        assert await peer.gone()


async def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    async with world() as w:
        for close in (lambda peer: peer.sock.shutdown(socket.SHUT_WR), Peer.reset):
            peer = await served(w)
            close(peer)
            if peer.sock.fileno() >= 0:
                assert await peer.gone()
            _, sink, fresh = await w.open()
            await fresh.send(HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
            assert await sink.ended() is None


async def test_unasked_bytes_close_it() -> None:
    async with world() as w:
        for data in (b"H", FIVE + b"evil!", b"\r\n"):
            peer = await served(w)
            await peer.send(data)
            assert await peer.gone()
        peer = await served(w)
        assert (await again(w, peer)).received == b"again"


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_used_connection_that_closes_silently_is_replaced_once(how: str) -> None:
    async with world() as w:
        stale = await served(w)
        opening, sink = w.begin()
        await stale.head()
        if how == "close":
            stale.sock.shutdown(socket.SHUT_WR)
        else:
            stale.reset()
        fresh = await w.accept()
        assert (await fresh.head()).startswith(b"GET /v1?key=secret HTTP/1.1\r\n")
        await opening
        assert sink.calls == []
        fresh.sock.shutdown(socket.SHUT_WR)  # and so does the new one
        assert isinstance(await sink.ended(), errors.Truncated)
        assert sink.calls == ["end"]
        assert w.nobody_came()


@pytest.mark.parametrize("how", ["close", "reset"])
@simulated.timed
async def test_a_request_is_not_sent_again_after_it_was_worked_on(how: str) -> None:
    async with world() as w:
        peer = await served(w)
        opening, sink = w.begin()
        await peer.head()
        await asyncio.sleep(2)
        if how == "close":
            peer.sock.shutdown(socket.SHUT_WR)
        else:
            peer.reset()
        await opening
        assert isinstance(await sink.ended(), errors.Truncated)
        assert w.nobody_came()


async def test_a_used_connection_that_breaks_off_is_not_replaced() -> None:
    async with world() as w:
        for data in (b"H", FIVE, FIVE + b"hell"):
            peer = await served(w)
            opening, sink = w.begin()
            await peer.head()
            await peer.send(data)
            peer.sock.shutdown(socket.SHUT_WR)
            assert isinstance(await sink.ended(), errors.Truncated)
            assert (await opening).bytes_read == len(data)
            assert w.nobody_came()


async def test_the_replacement_cannot_connect() -> None:
    async with world() as w:
        stale = await served(w)
        opening, sink = w.begin()
        await stale.head()
        w.listener.close()
        stale.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(errors.Unreachable, match="refused"):
            await opening
        assert sink.calls == []


async def test_an_open_cancelled_on_a_used_connection_leaves_nothing() -> None:
    async with world() as w:
        peer = await served(w)
        opening, sink = w.begin()
        await peer.head()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert await peer.gone()
        assert sink.calls == []


async def test_close_ends_idle_and_waiting_ones() -> None:
    async with world() as w:
        (_, _, idle), (_, _, waiting) = opened = [await w.open(), await w.open()]
        for _, sink, peer in opened:
            await peer.head()
            await peer.send(FIVE + b"hello")
            assert await sink.ended() is None
        opening, unanswered = w.begin()
        await waiting.head()
        await w.transport.close()
        exchange = await opening
        exchange.abort()
        assert isinstance(unanswered.error, errors.Truncated)
        assert waiting.sock.recv(1) == b""  # without waiting
        assert idle.sock.recv(1) == b""


async def test_each_exchange_has_its_own_limits_and_state() -> None:
    interim = b"HTTP/1.1 103 Early\r\n\r\n" * transport.MAX_INTERIM
    async with world(max_head=1000) as w:
        peer = await served(w, interim + FIVE + b"hello")
        for _ in range(3):
            filled = HEAD + b"X: " + b"x" * 800 + b"\r\nContent-Length: 0\r\n\r\n"
            assert (await again(w, peer, filled)).error is None
            sink = await again(w, peer, interim + FIVE + b"again")
            assert sink.error is None
            assert "x" not in sink.headers


async def test_a_paused_exchange_leaves_a_reading_connection() -> None:
    async with world() as w:
        exchange, sink, peer = await w.open()
        sink.on_call = lambda name: exchange.pause()
        await peer.head()
        await peer.send(FIVE + b"hello")
        assert await sink.ended() is None
        assert (await again(w, peer)).received == b"again"


async def test_idle_connections_grow_old() -> None:
    async with world(keep_alive=0.02) as w:
        first, second = await w.open(), await w.open()
        for _, sink, peer in (first, second):
            await peer.head()
            await peer.send(FIVE + b"hello")
            await sink.ended()
        for _, _, peer in (first, second):
            assert await peer.gone()


async def test_without_keep_alive_there_is_none() -> None:
    async with world(keep_alive=0) as w:
        _, sink, peer = await w.open()
        assert b"\r\nConnection: close\r\n" in await peer.head()
        await peer.send(FIVE + b"hello")
        assert await sink.ended() is None
        assert await peer.gone()


async def test_over_max_idle_the_oldest_is_closed() -> None:
    async with world(max_idle=2) as w:
        opened = [await w.open() for _ in range(3)]
        for _, sink, peer in opened:
            await peer.head()
            await peer.send(FIVE + b"hello")
            await sink.ended()
        assert await opened[0][2].gone()
        assert (await again(w, opened[2][2])).error is None


async def test_the_kernel_watches_the_other_side() -> None:
    async with world() as w:
        await w.open()
        made = next(iter(w.transport._held.connections))
        assert made._socket is not None
        sock = made._socket.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


async def a_thousand(authority: Authority | None) -> None:
    """1,000 requests one after the other, then 50 at a time: no connection or task is left."""
    tasks = asyncio.all_tasks()
    context = authority.server("127.0.0.1") if authority is not None else None
    trusted = transport.tls_context(authority.file) if authority is not None else None
    scheme = "https" if authority is not None else "http"
    async with serving(echo, context) as server:
        client = transport.Transport(tls=trusted)

        async def one(number: int) -> None:
            sink, body = Recorder(), b"%d" % number
            url = f"{scheme}://127.0.0.1:{server.port}/"
            await client.open(transport.Request("POST", url, (), body), sink)
            assert await sink.ended() is None
            assert sink.received == body

        for number in range(500):
            await one(number)
        assert server.accepted == 1
        for start in range(0, 500, 50):
            await asyncio.gather(*(one(start + n) for n in range(50)))
        assert server.accepted <= 60
        assert len(server.requests) == 1000
        await client.close()
        await server.empty()
        assert client._held.connections == {}
        assert len(client._held.pool) == 0
        assert client._held.timer is None
    assert asyncio.all_tasks() == tasks


async def test_a_thousand_requests_leave_nothing() -> None:
    await a_thousand(None)


async def test_a_thousand_requests_over_tls_leave_nothing(authority: Authority) -> None:
    await a_thousand(authority)


def test_a_thousand_requests_on_uvloop(authority: Authority) -> None:
    on_uvloop(a_thousand, None)
    on_uvloop(a_thousand, authority)


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_clean_end_leaves_the_connection_for_the_next,
        test_an_early_answer_closes_it,
        test_a_connection_that_was_closed_meanwhile_is_not_used,
        test_unasked_bytes_close_it,
        test_a_used_connection_that_breaks_off_is_not_replaced,
        test_an_open_cancelled_on_a_used_connection_leaves_nothing,
        test_close_ends_idle_and_waiting_ones,
        test_a_paused_exchange_leaves_a_reading_connection,
        test_idle_connections_grow_old,
        test_the_kernel_watches_the_other_side,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[[], Awaitable[None]]) -> None:
    on_uvloop(scenario)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_replacement_on_uvloop(how: str) -> None:
    on_uvloop(test_a_used_connection_that_closes_silently_is_replaced_once, how)
