"""PROTOCOL 6.3: how long a reader may take nothing, and how long a connection may last."""

from __future__ import annotations

import asyncio
import re
import socket
import struct

import pytest
from tests.integration import asking, harness, raw_sockets

from holdfast.eventlog import base
from holdfast.testing import provider as replay
from holdfast.transport import liveness

LARGE = [asking.chunk(f"{n} " * 20_000) for n in range(100, 190)]
"""More than the buffers of two kernels and a server hold."""


def path(answer: harness.Response | harness.Reader) -> str:
    return f"/v1/streams/{harness.stream_of(answer)}/events"


@pytest.mark.case("1.11")
async def test_6_3_who_takes_none_of_what_waits_is_cut_long_before_the_silence_is_over() -> None:
    answer = replay.Answer(body=(*LARGE, asking.STOP))
    async with asking.vendor(answer, server={"write_timeout": "300ms"}) as on:
        whole = await (await harness.begin(on.server.port, harness.wanted("vendor/m"))).rest()
        request = f"GET {path(whole)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        sock = raw_sockets.deaf(on.server.port, request)
        await asking.until(lambda: len(on.server.service.connections) == 1)
        (connection, *_) = on.server.service.connections.all()
        await asking.until(lambda: len(on.server.service.connections) == 0)
        assert connection.status == "disconnected"
        got = await raw_sockets.drained(sock)
        assert not got.endswith(b"0\r\n\r\n")
        ids = re.findall(rb"\nid: (\S+)\n", got)
        last = ids[-1].decode() if ids else ""
        rest = await harness.ask(on.server.port, "GET", path(whole), {"Last-Event-ID": last})
        assert rest.blocks == whole.blocks[len(ids) :]


@pytest.mark.parametrize("end", [asking.STOP, asking.chunk("", error={"message": "no"})])
@pytest.mark.parametrize("waiting", ["last piece", "last chunk of the body"])
@pytest.mark.parametrize("how", ["cut", "reset"])
async def test_6_3_who_goes_while_the_end_waits_has_not_completed(
    how: str, waiting: str, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if waiting != "last piece":
        monkeypatch.setattr(base, "PAGE_BYTES", 1 << 30)
    answer = replay.Answer(body=(asking.chunk("x" * 3_900_000), end))
    patience = "300ms" if how == "cut" else "60s"
    async with asking.vendor(answer, server={"write_timeout": patience}) as on:
        whole = await (await harness.begin(on.server.port, harness.wanted("vendor/m"))).rest()
        request = f"GET {path(whole)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        sock = raw_sockets.deaf(on.server.port, request)
        await asking.until(lambda: len(on.server.service.connections) == 1)
        (connection, *_) = on.server.service.connections.all()
        await asking.until(lambda: connection.bytes_sent > 3_900_000)
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        await asking.until(lambda: len(on.server.service.connections) == 0)
        assert connection.status == "disconnected"
        sent_all = connection.bytes_sent == len(whole.body)
        assert sent_all == (waiting != "last piece")
        sock.close()


async def test_6_3_the_kernel_does_not_judge_who_takes_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """See decision 14."""
    accepted: list[socket.socket] = []
    probe = liveness.probe

    def kept(sock: socket.socket) -> None:
        accepted.append(sock)
        probe(sock)

    monkeypatch.setattr(liveness, "probe", kept)
    async with harness.running(harness.configured()) as server:
        reader = await harness.begin(server.port, asking.STALLED)
        (sock,) = accepted
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
        await reader.close()


async def test_6_3_an_old_connection_is_asked_to_come_back_and_misses_nothing() -> None:
    gate = asyncio.Event()
    body = (asking.chunk("one"), gate, asking.chunk(" two"), asking.STOP)
    aging = {"max_connection_age": "50ms", "heartbeat_interval": "200ms"}
    async with asking.vendor(replay.Answer(body=body), server=aging) as on:
        first = await (await harness.begin(on.server.port, harness.wanted("vendor/m"))).rest()
        assert not first.clean
        assert b'"reason":"max_connection_age"' in first.blocks[-1]
        assert b'"one"' in first.body
        back = await harness.resume(on.server.port, asking.last_id(first.body), "header")
        gate.set()
        rest = await back.rest()
        whole = await harness.ask(on.server.port, "GET", path(first))
        assert harness.durable(first.body) + harness.durable(rest.body) == whole.body
