"""A cluster: keys on all primaries, slots that move under way, a primary that dies.

Strategy: a cluster of this file's own. Slots are moved key by key while writers and readers go on
(`redis_following`), each step when the servers have said that the step before was met: an answer
that sends elsewhere for once, for good, or asks to try again. Who has nothing of it is not told.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import crc
from tests import redis_servers
from tests.faults import redis_following as following
from tests.unit.eventlog.redis import logs

from holdfast import events
from holdfast.eventlog import base
from holdfast.eventlog.redis import address, engine, keys, link
from holdfast.testing.eventlog import parts

LIMIT = 40
"""Seconds for a test of this file."""


@pytest.fixture(scope="module")
def cluster(
    valkey_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[redis_servers.Server]]:
    """Three primaries, whose slots may be moved."""
    servers = redis_servers.cluster(valkey_program, tmp_path_factory.mktemp("moving"))
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
async def log(cluster: list[redis_servers.Server]) -> AsyncIterator[engine.RedisLog]:
    async with opened(cluster) as log:
        yield log


class opened:
    """A node on some servers of a cluster."""

    def __init__(self, servers: list[redis_servers.Server]) -> None:
        hosts = tuple(("127.0.0.1", server.port) for server in servers)
        self.log = engine.RedisLog(address.Address(hosts), seconds=logs.LONG)

    async def __aenter__(self) -> engine.RedisLog:
        await self.log.start()
        return self.log

    async def __aexit__(self, *exc: object) -> None:
        await self.log.close()


def owner(cluster: list[redis_servers.Server], slot: int) -> redis_servers.Server:
    """Who has a slot now, as it says itself."""
    for server in cluster:
        for first, last, primary, *_ in server.do("CLUSTER", "SLOTS"):
            if first <= slot <= last and primary[1] == server.port:
                return server
    raise LookupError(slot)


def met(servers: list[redis_servers.Server], word: str) -> int:
    """How often they have given such an answer."""
    stats = (server.do("INFO", "errorstats") for server in servers)
    return sum(stat.get(f"errorstat_{word}", {"count": 0})["count"] for stat in stats)


async def test_streams_lie_on_all_primaries(
    cluster: list[redis_servers.Server], log: engine.RedisLog
) -> None:
    pens = [await parts.begin(log) for _ in range(60)]
    results = await log.append(tuple(pen.batch(parts.chunk("a")) for pen in pens))
    assert results == 60 * [base.Ok()]
    for server in cluster:
        names = set(server.do("KEYS", "holdfast:{*}"))
        there = [pen for pen in pens if keys.stream(pen.stream) in names]
        assert len(there) > 5
        assert all(keys.entries(pen.stream) in set(server.do("KEYS", "*")) for pen in there)
    assert len(log._session.lines.servers) == 3
    heads = await log.heads([pen.stream for pen in pens])
    assert heads == [base.Head(pen.epoch, 2, False) for pen in pens]


class Move:
    """A slot's way from its primary to the next one."""

    def __init__(self, cluster: list[redis_servers.Server], slot: int) -> None:
        self.cluster, self.slot = cluster, slot
        self.source = owner(cluster, slot)
        others = [server for server in cluster if server is not self.source]
        # Not to who is asked for the map by default, which is to learn of it last.
        first = owner(cluster, 0)
        self.target = next(server for server in reversed(others) if server is not first)
        self.ends = [self.source, self.target]

    def begin(self) -> None:
        source, target = (server.do("CLUSTER", "MYID") for server in self.ends)
        self.target.do("CLUSTER", "SETSLOT", self.slot, "IMPORTING", source)
        self.source.do("CLUSTER", "SETSLOT", self.slot, "MIGRATING", target)

    @contextlib.asynccontextmanager
    async def meeting(self, word: str) -> AsyncIterator[None]:
        """A step after which somebody gets such an answer; waits until then."""
        before = met(self.ends, word)
        yield
        await logs.until(lambda: met(self.ends, word) > before)

    def key(self, name: bytes) -> None:
        self.source.do("MIGRATE", "127.0.0.1", self.target.port, name, 0, 5_000)

    def rest(self) -> None:
        while names := self.source.do("CLUSTER", "GETKEYSINSLOT", self.slot, 100):
            for name in names:
                self.key(name)

    def end(self) -> None:
        """The third primary learns of it by hearsay."""
        target = self.target.do("CLUSTER", "MYID")
        for server in reversed(self.ends):
            server.do("CLUSTER", "SETSLOT", self.slot, "NODE", target)


@pytest.mark.case("1.16")
async def test_a_stream_moves_under_its_writer_and_its_readers(
    cluster: list[redis_servers.Server],
) -> None:
    async with (
        asyncio.timeout(LIMIT),
        opened(cluster) as log,
        opened(cluster) as other,
        asyncio.TaskGroup() as group,
    ):
        writer = following.Writer(await parts.begin(log))
        stream = writer.pen.stream
        readers = [following.Reader(where, stream) for where in (log, other)]
        log.watch(stream, lambda: None)
        for work in (writer.write(), *(reader.read() for reader in readers)):
            group.create_task(work)
        for _ in range(3):
            move = Move(cluster, crc.key_slot(keys.stream(stream)))
            move.begin()
            await further(writer)
            async with move.meeting("TRYAGAIN"):
                move.key(keys.entries(stream))
            async with move.meeting("ASK"):
                move.rest()
            await further(writer)
            async with move.meeting("MOVED"):
                move.end()
            await further(writer)
        writer.over.set()
    assert writer.lost == 0
    for reader in readers:
        assert reader.void == 0
        assert reader.text == [str(n) for n in range(1, writer.number + 1)]
        assert [event.seq for event in reader.found] == list(range(1, writer.pen.last + 1))


def slot_of(writer: following.Writer) -> int:
    return int(crc.key_slot(keys.stream(writer.pen.stream)))


async def further(writer: following.Writer) -> None:
    """Waits until more has been written."""
    number = writer.number
    await logs.until(lambda: writer.number > number + 2)


async def test_who_has_a_slot_now_is_asked_where_all_are(
    cluster: list[redis_servers.Server], log: engine.RedisLog
) -> None:
    """The server that is asked for the map by default may not have heard of it, or stand still."""
    first = owner(cluster, 0)
    while True:
        pen = await parts.begin(log)
        move = Move(cluster, crc.key_slot(keys.stream(pen.stream)))
        if move.source is not first:
            break
    move.begin()
    move.rest()
    move.end()
    before = met(move.ends, "MOVED")
    first.signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(link.PATIENCE / 2):
            for _ in range(2):
                assert await log.heads([pen.stream]) == [base.Head(pen.epoch, 1, False)]
    finally:
        first.signal(signal.SIGCONT)
    assert met(move.ends, "MOVED") == before + 1


async def test_the_nodes_keys_move_under_their_leases(
    cluster: list[redis_servers.Server],
) -> None:
    """Leases, what is held and what has ended, while streams begin, are taken and end."""
    async with asyncio.timeout(LIMIT), opened(cluster) as log:
        gone = opened(cluster)
        await gone.log.start()
        left = {(await parts.begin(gone.log)).stream for _ in range(5)}
        await gone.log.close()
        over = asyncio.Event()
        made: list[parts.Pen] = []
        found: set[events.StreamId] = set()

        async def begin() -> None:
            while not over.is_set():
                pen = await following.again(lambda: parts.begin(log))
                if len(made) % 2:
                    await following.again(functools.partial(pen.write, parts.COMPLETE))
                made.append(pen)

        async def live() -> None:
            while not over.is_set():
                await following.again(log._session.lease._renew)
                for stream in await logs.orphans(log, 2):
                    claim = functools.partial(log.claim, stream, 6_000)
                    if await following.again(claim) is not None:
                        found.add(stream)

        async with asyncio.TaskGroup() as group:
            group.create_task(begin())
            group.create_task(live())
            for name in (keys.LIVES, keys.ARCHIVED, keys.STREAMS):
                move = Move(cluster, crc.key_slot(name))
                move.begin()
                await more(made)
                move.rest()
                await more(made)
                move.end()
                await more(made)
            await logs.until(lambda: left <= found)
            over.set()
        open_ones = {pen.stream for number, pen in enumerate(made) if not number % 2}
        assert open_ones | found == logs.held(log)
        assert not found & {pen.stream for pen in made}  # the rest is what a broken call created


async def more(made: list[parts.Pen]) -> None:
    """Waits until there are some more."""
    count = len(made)
    await logs.until(lambda: len(made) > count + 2)


@pytest.mark.case("1.16")
async def test_a_primary_dies_and_its_replica_takes_over(
    valkey_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams of the other primaries go on meanwhile, those of this one after it. No other server
    says that something is amiss."""
    monkeypatch.setattr(link, "PATIENCE", 1.0)
    servers = await asyncio.to_thread(
        redis_servers.cluster, valkey_program, tmp_path, replicas=True, timeout_ms=1_000
    )
    try:
        for server in servers:
            server.do("CONFIG", "SET", "cluster-require-full-coverage", "no")
        async with (
            asyncio.timeout(LIMIT),
            opened(servers[:3]) as log,
            asyncio.TaskGroup() as group,
        ):
            writers = [following.Writer(await parts.begin(log)) for _ in range(12)]
            readers = [following.Reader(log, writer.pen.stream) for writer in writers]
            for work in (*(w.write() for w in writers), *(r.read() for r in readers)):
                group.create_task(work)
            await asyncio.gather(*map(further, writers))
            its = [w for w in writers if owner(servers, slot_of(w)) is servers[1]]
            assert 0 < len(its) < len(writers)
            servers[1].stop()
            await asyncio.gather(*(further(writer) for writer in writers if writer not in its))
            await asyncio.gather(*map(further, its))
            for writer in writers:
                writer.over.set()
        assert servers[4].do("ROLE")[0] == b"master"
        for writer, reader in zip(writers, readers, strict=True):
            assert reader.text == [str(n) for n in range(1, writer.number + 1)]
            assert [event.seq for event in reader.found] == list(range(1, writer.pen.last + 1))
    finally:
        for server in servers:
            server.stop()
