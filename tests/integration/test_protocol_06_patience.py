"""PROTOCOL 6.3: how long a reader may take nothing, and how long a connection may last."""

from __future__ import annotations

import asyncio
import re

import pytest
from tests.integration import asking, harness, raw_sockets

from holdfast.testing import provider as replay

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
