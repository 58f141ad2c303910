"""The application under a server that is not ours: the same ends, by that server's means.

Strategy: stock uvicorn, with both of its parsers, runs the application with its lifespan. What
our own server tells by callbacks comes by a task here, and an unclean end by returning early.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Literal

import pytest
import uvicorn
from tests.integration import asking, harness, raw_sockets

from holdfast import app
from holdfast.http import server as http_server

Parser = Literal["h11", "httptools"]


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    async def startup(self, sockets: object = None) -> None:
        await super().startup(sockets)  # type: ignore[arg-type]
        self.accepting.set()


@contextlib.asynccontextmanager
async def running(parser: Parser, **server: object) -> AsyncIterator[harness.Running]:
    node = app.asgi(harness.configured(server=server))
    config = uvicorn.Config(node, http=parser, ws="none", lifespan="on", log_config=None)
    stock = _Server(config)
    bound = http_server.listen("127.0.0.1", 0)
    task = asyncio.create_task(stock._serve([bound]))
    try:
        async with asyncio.timeout(harness.PATIENCE):
            await stock.accepting.wait()
        yield harness.Running(bound.getsockname()[1], node.service)
        await asking.idle(harness.Running(0, node.service))
    finally:
        stock.should_exit = True
        async with asyncio.timeout(harness.PATIENCE):
            await task
        bound.close()


@pytest.mark.parametrize("parser", ["h11", "httptools"])
async def test_a_whole_answer_ends_cleanly_and_can_be_resumed(parser: Parser) -> None:
    async with running(parser) as server:
        whole = await asking.finished(server.port, "tokens=20", flush_interval_ms=0)
        id = harness.position(whole.blocks[3]) or ""
        target = f"/v1/streams/{harness.stream_of(whole)}/events"
        rest = await harness.ask(server.port, "GET", target, {"Last-Event-ID": id})
        assert rest.clean
        assert rest.blocks == whole.blocks[4:]


@pytest.mark.parametrize("parser", ["h11", "httptools"])
async def test_a_reader_that_is_sent_away_ends_uncleanly(parser: Parser) -> None:
    async with running(parser, max_connections=1) as server:
        whole = await asking.finished(server.port)
        held = await asking.stalled(server.port)
        target = f"/v1/streams/{harness.stream_of(whole)}/events"
        answer = await harness.ask(server.port, "GET", target)
        assert asking.sent_away(answer).data["reason"] == "too_many_connections"
        server.service.connections.dismiss("draining")
        left = await held.rest()
        assert not left.clean
        assert left.blocks[-1].startswith(b"event: reconnect\n")
        await asking.end(server, held)


@pytest.mark.parametrize("parser", ["h11", "httptools"])
async def test_a_reader_that_leaves_gives_its_slot_back(parser: Parser) -> None:
    async with running(parser) as server:
        lead = await asking.stalled(server.port)
        stream = harness.stream_of(lead)
        request = f"GET /v1/streams/{stream}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        async with asyncio.TaskGroup() as group:
            for seen in (b"", b"\r\n\r\n", b"\nid: ") * 10:
                group.create_task(raw_sockets.reset(server.port, request, seen))
        await asking.until(lambda: len(server.service.connections) == 1)
        await asking.end(server, lead)


@pytest.mark.parametrize("parser", ["h11", "httptools"])
async def test_a_reader_that_takes_nothing_is_cut(parser: Parser) -> None:
    impatient = {"heartbeat_interval": "100ms", "connection_timeout": "300ms"}
    async with running(parser, **impatient) as server:
        options = "tokens=60000 rate=100000"
        made = await harness.begin(server.port, asking.demo(options, flush_interval_ms=0))
        whole = await made.rest()
        target = f"/v1/streams/{harness.stream_of(whole)}/events"
        request = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with contextlib.closing(raw_sockets.deaf(server.port, request)):
            await asking.until(lambda: len(server.service.connections) == 1)
            await asking.until(lambda: len(server.service.connections) == 0)
        (newest, *_) = server.service.connections.all()
        assert newest.status == "disconnected"
        assert newest.bytes_sent < len(whole.body)
