"""The fault proxy over TCP, between a client and a server of the test's.

Strategy: what comes when is proved on simulated time (`test_fault_sockets`) and by calculation
(`test_faults`); here are the ends that only TCP has, many connections, and what is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from holdfast.testing import fault_proxy, fault_sockets, faults

PATIENCE = 30.0
"""Seconds that a wait may take before the test fails."""

ANSWER = bytes(range(256)) * 400


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110  # nobody tells, and all of it is in this loop
            await asyncio.sleep(0)


class Client(asyncio.Protocol):
    """What came, and how it ended: `eof`, or closed with an `error` or without."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.eof, self.closed = asyncio.Event(), asyncio.Event()
        self.error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> bool:
        self.eof.set()
        return True  # who ends it, is the test's business

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.eof.set()
        self.closed.set()

    async def has(self, data: bytes) -> None:
        await until(lambda: len(self.got) >= len(data))
        assert self.got == data


class Server:
    """Every connection to it is a `Client` too; `greeting` is what it says at first."""

    def __init__(self, greeting: bytes = b"", echo: bool = False) -> None:
        self.peers: list[Client] = []
        self.greeting, self.echo = greeting, echo
        self.port = 0

    def _made(self) -> Client:
        server = self

        class Peer(Client):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                server.peers.append(self)
                self.transport.write(server.greeting)

            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                if server.echo:
                    self.transport.write(data)

        return Peer()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.get_running_loop().create_server(self._made, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await away(*self.peers)


async def reach(port: int) -> Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(Client, "127.0.0.1", port)
    return client


@contextlib.asynccontextmanager
async def one(
    proxy: fault_proxy.FaultProxy, server: Server
) -> AsyncIterator[tuple[Client, Client]]:
    """A client and the server's side of its connection."""
    before = len(server.peers)
    client = await reach(proxy.port)
    await until(lambda: len(server.peers) > before)
    peer = server.peers[-1]
    try:
        yield client, peer
    finally:
        await away(client, peer)


async def away(*clients: Client) -> None:
    for client in clients:
        client.transport.abort()
    for client in clients:
        await until(client.closed.is_set)


async def test_bytes_pass_both_ways_and_are_counted() -> None:
    async with Server(echo=True) as server, fault_proxy.FaultProxy(server.port) as proxy:
        assert proxy.url == f"http://127.0.0.1:{proxy.port}"
        async with one(proxy, server) as (client, _):
            client.transport.write(ANSWER)
            await client.has(ANSWER)
            assert (proxy.accepted, proxy.open, proxy.cuts) == (1, 1, 0)
            assert proxy.bytes_up == proxy.bytes_down == len(ANSWER)
        await until(lambda: proxy.open == 0)
        assert proxy.bytes_up == proxy.bytes_down == len(ANSWER)


async def test_a_half_close_is_passed_on_as_such() -> None:
    async with Server() as server, fault_proxy.FaultProxy(server.port) as proxy:
        async with one(proxy, server) as (client, peer):
            client.transport.write(b"ask")
            client.transport.write_eof()
            await until(peer.eof.is_set)
            assert (bytes(peer.got), peer.closed.is_set()) == (b"ask", False)
            peer.transport.write(ANSWER)
            await client.has(ANSWER)
            peer.transport.close()
            await until(client.eof.is_set)
            assert client.error is None
        await until(lambda: proxy.open == 0)
        assert proxy.cuts == 0


async def test_a_reset_is_passed_on_as_such() -> None:
    async with (
        Server() as server,
        fault_proxy.FaultProxy(server.port) as proxy,
        one(proxy, server) as (client, peer),
    ):
        reset(client)
        await until(peer.closed.is_set)
        assert isinstance(peer.error, ConnectionResetError)
        assert (proxy.open, proxy.cuts) == (0, 0)


def reset(client: Client) -> None:
    sock = client.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, fault_sockets.NO_LINGER)
    client.transport.abort()


@pytest.mark.parametrize("rst", [False, True])
@pytest.mark.parametrize("after", [0, 1, 30_000])
async def test_a_cut_ends_both_sides_after_its_bytes(rst: bool, after: int) -> None:
    cut = faults.Faults(down=(faults.Cut(after=after, rst=rst),))
    async with (
        Server(ANSWER) as server,
        fault_proxy.FaultProxy(server.port, cut) as proxy,
        one(proxy, server) as (client, peer),
    ):
        for side in (client, peer):
            await until(side.eof.is_set)
            assert isinstance(side.error, ConnectionResetError) == rst
        assert client.got == ANSWER[:after]
        assert (proxy.cuts, proxy.open, proxy.bytes_down) == (1, 0, after)


@pytest.mark.parametrize("rst", [False, True])
async def test_all_or_a_seeded_share_can_be_cut_at_once(rst: bool) -> None:
    async def survivors(seed: int) -> list[bool]:
        async with (
            Server(b"x") as server,
            fault_proxy.FaultProxy(server.port, seed=seed) as proxy,
        ):
            clients = [await reach(proxy.port) for _ in range(40)]
            for client in clients:
                await client.has(b"x")
            assert proxy.cut_all(share=0.0) == 0
            cut = proxy.cut_all(rst, share=0.5)
            assert 0 < cut == proxy.cuts < 40
            await until(lambda: sum(client.eof.is_set() for client in clients) == cut)
            for client in clients:
                assert isinstance(client.error, ConnectionResetError) == (
                    rst and client.eof.is_set()
                )
            left = [not client.eof.is_set() for client in clients]
            assert proxy.cut_all(rst) == 40 - cut
            for client in clients:
                await until(client.eof.is_set)
            await away(*clients)
            assert proxy.open == 0
            return left

    assert await survivors(1) == await survivors(1) != await survivors(2)


async def test_each_connection_has_the_faults_of_its_number() -> None:
    def draw(dice: random.Random) -> faults.Faults:
        return faults.Faults(down=(faults.Cut(after=dice.randrange(len(ANSWER))),))

    async def lengths() -> list[int]:
        found = []
        chosen = faults.seeded(3, draw)
        async with Server(ANSWER) as server, fault_proxy.FaultProxy(server.port, chosen) as proxy:
            for _ in range(10):
                async with one(proxy, server) as (client, _peer):
                    await until(client.eof.is_set)
                    found.append(len(client.got))
        return found

    first = await lengths()
    assert first == await lengths()
    assert len(set(first)) > 5


async def test_faults_can_be_changed_while_connections_are_open() -> None:
    silent = faults.Faults(down=(faults.Stall(),), up=(faults.Stall(),))
    async with (
        Server(echo=True) as server,
        fault_proxy.FaultProxy(server.port) as proxy,
        one(proxy, server) as (client, peer),
    ):
        client.transport.write(b"a")
        await client.has(b"a")
        proxy.set(silent)
        client.transport.write(b"b")
        async with one(proxy, server) as (second, other):  # a new one has them too
            second.transport.write(b"c")
            await until(lambda: proxy.held == 2)
            proxy.set(lambda number: silent if number else faults.NONE)
            await client.has(b"ab")
            assert (bytes(peer.got), bytes(other.got), proxy.held) == (b"ab", b"", 1)


async def test_what_a_client_does_not_read_stays_with_the_server() -> None:
    async with (
        Server() as server,
        fault_proxy.FaultProxy(server.port, buffers=4096) as proxy,
        one(proxy, server) as (client, peer),
    ):
        client.transport.pause_reading()
        peer.transport.write(bytes(16 << 20))
        # What the proxy has passed on stands still while most is with the server.
        seen = -1
        while seen != proxy.bytes_down:
            seen = proxy.bytes_down
            for _ in range(1000):
                await asyncio.sleep(0)
        assert peer.transport.get_write_buffer_size() > 4 << 20
        assert proxy.bytes_down < 1 << 20  # the client's kernel has room, and ours hardly any
        client.transport.resume_reading()
        await client.has(bytes(16 << 20))


async def test_without_a_server_clients_are_reset_until_there_is_one() -> None:
    async with Server(b"x") as server:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # nobody listens
            async with fault_proxy.FaultProxy(closed.getsockname()[1]) as proxy:
                client = await reach(proxy.port)
                await until(client.closed.is_set)
                assert isinstance(client.error, ConnectionResetError)
                assert (proxy.open, proxy.cuts) == (0, 0)
                proxy.target = server.port
                async with one(proxy, server) as (client, _):
                    await client.has(b"x")


async def test_a_thousand_connections_at_once() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = 5000 if hard == resource.RLIM_INFINITY else min(5000, hard)
    count = min(1000, room // 4 - 64)  # four sockets each, all in this process
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, room), hard))
    try:
        async with Server(echo=True) as server, fault_proxy.FaultProxy(server.port) as proxy:
            clients = [await reach(proxy.port) for _ in range(count)]
            for turn in (b"first", b"second"):
                for client in clients:
                    client.transport.write(turn)
            for client in clients:
                await client.has(b"firstsecond")
            assert proxy.open == proxy.accepted == count
            await away(*clients, *server.peers)
            await until(lambda: proxy.open == 0)
            assert proxy.bytes_up == proxy.bytes_down == count * len(b"firstsecond")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_over_its_limit_connections_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_proxy, "MAX_OPEN", 2)
    monkeypatch.setattr(fault_proxy, "REST_SECONDS", 0.001)
    async with Server(b"x") as server, fault_proxy.FaultProxy(server.port) as proxy:
        clients = [await reach(proxy.port) for _ in range(3)]
        await clients[1].has(b"x")
        assert (proxy.open, proxy.accepted) == (2, 2)
        await away(clients[0], server.peers[0])
        await clients[2].has(b"x")
        assert (proxy.open, proxy.accepted) == (2, 3)
        await away(*clients)


async def test_without_descriptors_connections_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_proxy, "REST_SECONDS", 0.001)
    async with Server(b"x") as server, fault_proxy.FaultProxy(server.port) as proxy:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        client = socket.socket()
        client.setblocking(False)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # none below is free
            client.connect_ex(("127.0.0.1", proxy.port))
            await until(lambda: proxy._resting is not None)
            assert proxy.accepted == 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await until(lambda: proxy.bytes_down == 1)
        assert client.recv(9) == b"x"
        client.close()


def descriptors() -> set[int]:
    found = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
    return {number for number in found if Path(f"/proc/self/fd/{number}").exists()}


async def use(server: Server) -> None:
    waiting = faults.Faults(down=(faults.Latency(60.0), faults.Slices(1)))
    proxy = fault_proxy.FaultProxy(server.port, waiting)
    await proxy.close()  # before it began
    await proxy.start()
    clients = [await reach(proxy.port) for _ in range(5)]
    await until(lambda: proxy.open == 5)
    await proxy.close()
    await proxy.close()
    for client in clients:
        await until(client.closed.is_set)
        assert isinstance(client.error, ConnectionResetError)
    assert (proxy.open, proxy.cuts) == (0, 0)
    with pytest.raises(ConnectionRefusedError):
        await reach(proxy.port)


async def test_nothing_is_left_after_closing() -> None:
    async with Server(b"x") as server:
        before, tasks = descriptors(), len(asyncio.all_tasks())
        await use(server)
        for peer in server.peers:
            await until(peer.closed.is_set)
        assert descriptors() == before
        assert len(asyncio.all_tasks()) == tasks
        loop = asyncio.get_running_loop()
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_it_runs_on_either_loop(loop: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    tests: list[Callable[[], Awaitable[None]]] = [
        test_bytes_pass_both_ways_and_are_counted,
        test_a_half_close_is_passed_on_as_such,
        test_a_reset_is_passed_on_as_such,
        test_what_a_client_does_not_read_stays_with_the_server,
    ]

    async def all_of_them() -> None:
        for test in tests:
            await test()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(all_of_them())


async def test_an_address_is_wanted_and_no_name() -> None:
    with pytest.raises(ValueError, match="localhost"):
        fault_proxy.FaultProxy(1, host="localhost")
    async with fault_proxy.FaultProxy(1, host="::1") as proxy:
        assert proxy.url == f"http://[::1]:{proxy.port}"
