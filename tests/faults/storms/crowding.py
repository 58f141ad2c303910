"""Crowds at the door: clients that reset at once, more than there are descriptors, and churn.

Strategy: as in `storming`. These clients are no readers of answers, only sockets; what is
looked at is the server: that it lets go of everything, keeps serving, and is not kept busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import statistics
from pathlib import Path

import msgspec
from tests.faults import served
from tests.faults.storms import reading, storming
from tests.integration import harness, processes

AT_ONCE = 200
"""Sockets that a crowd opens before it lets the server's answers in."""


class Resets(msgspec.Struct, frozen=True):
    count: int = 10_000
    limit: float = 300


class Descriptors(msgspec.Struct, frozen=True):
    """`files`: the server's limit. `share`: of a core that it may use, in one of `windows` of
    `seconds` each, while all hang: one that spins at its limit uses a whole core in each of them.
    `asked`: how often others are served meanwhile."""

    clients: int = 1000
    files: int = 256
    asked: int = 20
    seconds: float = 5
    windows: int = 8
    share: float = 0.3
    limit: float = 120


class Churn(msgspec.Struct, frozen=True):
    """`kb`: what memory may grow by each 1,000 connections, once `settled` of them are over: the
    newest 10,000 are remembered, and the collector is to have been round. None: not looked
    at."""

    connections: int = 100_000
    settled: int = 50_000
    kb: float | None = 100
    limit: float = 600


def knock(port: int, said: bytes) -> None:
    """Connects, says this, and resets the connection."""
    with socket.create_connection(("127.0.0.1", port), processes.PATIENCE) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reading.RESET)
        if said:
            opened.sendall(said)


async def _ended(port: int) -> reading.Stream:
    """A short stream that has ended."""
    stream = await storming.create(port, "/demo tokens=20 rate=10000")
    await read_whole(port, stream)
    return stream


async def read_whole(port: int, stream: reading.Stream) -> None:
    reader = reading.Reader(stream)
    await reading.follow(reader, reading.Where(port), random.Random(1))
    assert reader.seq == len(stream.blocks)


async def reset(size: Resets, folder: Path) -> storming.Figures:
    """Half reset before they say a word, the others once they have asked."""
    async with asyncio.timeout(size.limit), served.serving(folder) as server:
        stream = await _ended(server.port)
        waiting = await storming.create(server.port, "/demo stall_at=3 tokens=9")
        before = await server.held()
        post = harness.wanted("demo", messages=[{"role": "user", "content": "/demo tokens=3"}])
        head = b"POST /v1/streams HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(post)
        asked = [reading.Reader(stream).request(), reading.Reader(waiting).request(), head + post]

        def crowd(first: int) -> None:
            for number in range(first, min(first + AT_ONCE, size.count)):
                said = b"" if number % 2 else asked[number // 2 % len(asked)]
                knock(server.port, said)

        for first in range(0, size.count, AT_ONCE):
            await asyncio.to_thread(crowd, first)
        await server.until_idle()
        await read_whole(server.port, stream)
        figures = storming.told(before, await server.back_at(before))
        return figures | {"resets": size.count, "open afterwards": await server.open()}


async def exhaust(size: Descriptors, folder: Path) -> storming.Figures:
    """Far more clients than descriptors hang on, and go."""
    async with (
        asyncio.timeout(size.limit),
        served.serving(folder, files=size.files) as server,
    ):
        waiting = await storming.create(server.port, "/demo stall_at=3 tokens=9")
        request = reading.Reader(waiting).request()
        before, most = await server.held(), 0
        clients: list[socket.socket] = []
        try:
            for number in range(size.clients):
                clients.append(socket.create_connection(("127.0.0.1", server.port), 10))
                if number % 2:  # the others say nothing, and keep their sockets the longer
                    with contextlib.suppress(ConnectionError):
                        clients[-1].sendall(request)
            shares: list[float] = []
            while len(shares) < size.windows and min(shares, default=1) >= size.share:
                cpu = server.cpu_seconds()
                for _ in range(10):
                    await asyncio.sleep(size.seconds / 10)
                    most = max(most, server.files())
                shares.append((server.cpu_seconds() - cpu) / size.seconds)
            for _ in range(size.asked):
                for path in ("/healthz", f"/v1/streams/{waiting.id}"):
                    assert (await harness.ask(server.port, "GET", path)).status == 200
        finally:
            for client in clients:
                client.close()
        await server.until_idle()
        # It has a place for one stream only.
        await harness.ask(server.port, "POST", f"/v1/streams/{waiting.id}/cancel")
        figures = storming.told(before, await server.back_at(before))
        await read_whole(server.port, await storming.create(server.port, "/demo tokens=9"))
        figures |= {"clients": size.clients, "limit": size.files, "descriptors at most": most}
        figures["share of a core"] = min(shares)
        assert most < size.files * 3 / 4, figures  # the log can still open what it needs
        assert min(shares) < size.share, (shares, figures)
        return figures


async def churn(size: Churn, folder: Path) -> storming.Figures:
    """Connect, read, go: again and again."""
    async with asyncio.timeout(size.limit), served.serving(folder) as server:
        stream = await _ended(server.port)
        before = await server.held()
        figures: storming.Figures = {"MB at start": server.memory_mb()}
        points: list[tuple[float, float]] = []
        step = max(1, size.connections // 30 // AT_ONCE) * AT_ONCE
        for done in range(0, size.connections, AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(read_whole(server.port, stream))
            if done >= size.settled and not done % step:
                points.append((done / 1000, server.memory_mb() * 1024))
        await server.until_idle()
        figures |= {"MB at most": server.memory_mb("VmHWM"), "MB afterwards": server.memory_mb()}
        figures |= storming.told(before, await server.back_at(before))
        figures["connections"] = size.connections
        if size.kb is not None:
            figures["KB each 1,000"] = statistics.linear_regression(*zip(*points, strict=True))[0]
            assert figures["KB each 1,000"] < size.kb, figures
        return figures
