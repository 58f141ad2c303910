"""The application under a server that is not ours: the same ends, by that server's means.

Strategy: stock uvicorn, with both of its parsers, and hypercorn run the application with its
lifespan, alone and in an application of others with middleware that passes bodies on. What our own
server tells by callbacks comes by a task here, and an unclean end by returning early.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.integration import asking, harness, mounting, other_servers, raw_sockets

from holdfast import app
from holdfast.dialects import native

WAYS = [
    (way, server)
    for way in (mounting.alone, mounting.rewritten)
    for server in other_servers.SERVERS
]
everywhere = pytest.mark.parametrize(
    ("way", "server"), WAYS, ids=[f"{way.__name__}-{server}" for way, server in WAYS]
)


@contextlib.asynccontextmanager
async def running(
    way: mounting.Way, server: str, **table: object
) -> AsyncIterator[mounting.Mounted]:
    host = way(app.asgi(harness.configured(server=table)))
    async with mounting.serving(host, server) as served:
        yield served


async def begun(served: mounting.Mounted, body: bytes = asking.STALLED) -> harness.Reader:
    """A reader of a new answer; of one that stands still after two pieces, without another."""
    fields = {"Accept": "text/event-stream", "Content-Type": "application/json"}
    return await harness.Reader.open(served.port, "POST", f"{served.at}/v1/streams", fields, body)


async def stalled(served: mounting.Mounted) -> harness.Reader:
    """Of one that stands still, read so far."""
    reader = await begun(served)
    return await reader.until(lambda reader: len(asking.content(bytes(reader.body)).split()) >= 2)


def events_of(served: mounting.Mounted, answer: harness.Reader | harness.Response) -> str:
    return f"{served.at}/v1/streams/{harness.stream_of(answer)}/events"


async def end(served: mounting.Mounted, *readers: harness.Reader) -> None:
    for reader in readers:
        await reader.close()
        path = events_of(served, reader).removesuffix("events") + "cancel"
        await harness.ask(served.port, "POST", path)
    await asking.idle(served.server)


@everywhere
async def test_a_whole_answer_ends_cleanly_and_can_be_resumed(
    way: mounting.Way, server: str
) -> None:
    async with running(way, server) as served:
        reader = await begun(served, asking.demo("tokens=20", flush_interval_ms=0))
        whole = await reader.rest()
        assert whole.clean
        id = harness.position(whole.blocks[3]) or ""
        path = events_of(served, whole)
        rest = await harness.ask(served.port, "GET", path, {"Last-Event-ID": id})
        assert rest.clean
        assert rest.blocks == whole.blocks[4:]


@everywhere
async def test_a_reader_that_is_sent_away_ends_uncleanly(way: mounting.Way, server: str) -> None:
    async with running(way, server, max_connections=1) as served:
        whole = await (await begun(served, asking.demo("tokens=5"))).rest()
        held = await stalled(served)
        answer = await harness.ask(served.port, "GET", events_of(served, whole))
        assert asking.sent_away(answer).data["reason"] == "too_many_connections"
        served.server.service.connections.dismiss("draining")
        left = await held.rest()
        assert not left.clean
        assert left.blocks[-1].startswith(b"event: reconnect\n")
        await end(served, held)


@everywhere
async def test_a_reader_that_leaves_gives_its_slot_back(way: mounting.Way, server: str) -> None:
    async with running(way, server) as served:
        lead = await stalled(served)
        request = f"GET {events_of(served, lead)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        async with asyncio.TaskGroup() as group:
            for seen in (b"", b"\r\n\r\n", b"\nid: ") * 10:
                group.create_task(raw_sockets.reset(served.port, request, seen))
        await asking.until(lambda: len(served.server.service.connections) == 1)
        await end(served, lead)


@everywhere
async def test_a_reader_that_takes_nothing_is_cut(way: mounting.Way, server: str) -> None:
    impatient = {"heartbeat_interval": "100ms", "connection_timeout": "300ms"}
    async with running(way, server, **impatient) as served:
        service = served.server.service
        asked = asking.demo("tokens=30000 rate=100000", flush_interval_ms=0)
        made = await harness.ask(served.port, "POST", f"{served.at}/v1/streams", None, asked)
        await asking.idle(served.server)
        stream = harness.stream_of(made)
        render = native.Native().fold(stream).render
        size = sum([len(render(event)) async for event in service.events(stream)])
        request = f"GET {events_of(served, made)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with contextlib.closing(raw_sockets.deaf(served.port, request)):
            await asking.until(lambda: len(service.connections) == 1)
            await asking.until(lambda: len(service.connections) == 0)
        (newest, *_) = service.connections.all()
        assert newest.status == "disconnected"
        assert newest.bytes_sent < size
