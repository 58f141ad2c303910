"""Hundreds of readers who move to another node at once, and what any number of them costs Redis.

Strategy: real nodes on one Valkey, which tells itself what it was asked and by how many
connections. `storm.py` has the same with thousands, and with what it takes in time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests import redis_servers
from tests.faults import served
from tests.faults.storms import losing

from holdfast.eventlog.redis import address, engine, lines
from holdfast.http import sse_body
from holdfast.testing.eventlog import parts

STREAMS, READERS = 10, 200
LIMIT = 120.0

MOST_CONNECTIONS = 20
"""To Redis, of a node: fewer than that."""


@contextlib.asynccontextmanager
async def nodes(valkey: redis_servers.Server, folder: Path, count: int) -> AsyncIterator[Nodes]:
    """So many, on a database of their own."""
    database = redis_servers.next_database()
    url = f"redis://127.0.0.1:{valkey.port}/{database}"
    env = {"HOLDFAST_SERVER__DRAIN_TIMEOUT": "100ms"}
    async with contextlib.AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(losing.Vendor(rate=4))
        losing.configure(folder, vendor, patience=30)
        started = [
            await stack.enter_async_context(served.serving(folder, log=url, env=env))
            for _ in range(count)
        ]
        yield Nodes(valkey, database, vendor, started)


class Nodes:
    """Running nodes, and Valkey's account of them."""

    def __init__(
        self,
        valkey: redis_servers.Server,
        database: int,
        vendor: losing.Vendor,
        nodes: list[served.Server],
    ) -> None:
        self.valkey, self.database, self.vendor, self.nodes = valkey, database, vendor, nodes

    def connections(self) -> int:
        """Of all nodes."""
        listed = self.valkey.do("CLIENT", "LIST").decode().splitlines()
        ours = f" db={self.database} "
        return sum(" name=holdfast " in line and ours in line for line in listed)

    def reads(self) -> int:
        """Reads of entries since the statistics were reset: scripts do that with XRANGE alone."""
        said = self.valkey.do("INFO", "commandstats")
        return int(said.get("cmdstat_xrange", {"calls": 0})["calls"])


@pytest.mark.case("1.13")
async def test_readers_of_a_node_that_goes_are_told_and_have_everything_at_the_other(
    valkey: redis_servers.Server, tmp_path: Path
) -> None:
    async with (
        asyncio.timeout(LIMIT),
        nodes(valkey, tmp_path, 2) as running,
        asyncio.TaskGroup() as group,
    ):
        going, staying = running.nodes
        where = [going.port]
        streams = [await losing.create(staying, f"answer {n}") for n in range(STREAMS)]
        readers = [losing.Reader(streams[n % STREAMS], soonest=False) for n in range(READERS)]
        for reader in readers:
            group.create_task(reader.read(lambda: where[0]))
        await losing.until(lambda: all(reader.seq >= 3 for reader in readers))
        said = sum(map(len, running.vendor.said.values()))
        valkey.do("CONFIG", "RESETSTAT")
        where[0] = staying.port  # as a proxy that has seen `/readyz`
        assert await going.end() == 0, "".join(going.said)
        had = {reader: reader.seq for reader in readers}
        await losing.until(
            lambda: all(reader.responses == 2 and reader.seq > had[reader] for reader in readers)
        )
        said = sum(map(len, running.vendor.said.values())) - said
        # Beside one for what is new in a stream, for all of its readers.
        assert running.reads() - said < READERS / 2
        running.vendor.finish()
    retries = [one.retry for reader in readers for one in reader.away]
    assert [one.reason for reader in readers for one in reader.away] == READERS * ["draining"]
    least, most = sse_body.RETRY_MS
    assert all(least <= retry <= most for retry in retries)
    # Evenly spread, of 4,500 times some are drawn twice.
    assert len(set(retries)) > READERS * 3 // 4
    assert len({retry * 10 // (most + 1) for retry in retries}) >= 9
    for reader in readers:
        label = f"answer {streams.index(reader.stream)}"
        assert reader.text == running.vendor.text(label)
        assert reader.sha256 == reader.ends[0].data["sha256"]


@pytest.mark.case("1.14")
async def test_connections_to_redis_do_not_grow_with_readers(
    valkey: redis_servers.Server, tmp_path: Path
) -> None:
    async with (
        asyncio.timeout(LIMIT),
        nodes(valkey, tmp_path, 1) as running,
        asyncio.TaskGroup() as group,
    ):
        (node,) = running.nodes
        streams = [await losing.create(node, f"answer {n}") for n in range(4 * STREAMS)]
        readers = [losing.Reader(stream) for _ in range(6) for stream in streams]
        counted = []  # not before anybody reads: a connection is made for the first who needs it
        for some in (readers[: len(streams)], readers[len(streams) :]):
            for reader in some:
                group.create_task(reader.read(lambda: node.port))
            await losing.until(lambda some=some: all(one.seq >= 3 for one in some))  # type: ignore[misc]
            counted.append(running.connections())
        running.vendor.finish()
    assert counted[0] < MOST_CONNECTIONS
    assert counted == 2 * counted[:1]
    assert all(reader.responses == 1 for reader in readers)


@pytest.mark.case("1.14")
async def test_a_read_that_takes_its_time_holds_up_no_append(valkey: redis_servers.Server) -> None:
    where = address.Address((("127.0.0.1", valkey.port),), database=redis_servers.next_database())
    log = engine.RedisLog(where)
    await log.start()
    try:
        pen = await parts.begin(log)
        asked = lines.Keyed(b"nothing", ("BLPOP", "nothing", 0))
        slow = asyncio.create_task(log._session.lines.ask([asked], lines.READ))
        async with asyncio.timeout(LIMIT):
            while b"cmd=blpop" not in valkey.do("CLIENT", "LIST"):  # noqa: ASYNC110
                await asyncio.sleep(0)
            for _ in range(20):
                await pen.write(parts.chunk("a"))
            assert not slow.done()
        slow.cancel()
    finally:
        await log.close()
