"""A node whose archive cannot be reached, with its log in Redis: what is under way goes on.

Strategy: a real log, and an archive that refuses to be read from the begin. Both sides of the log
are asked about a stream that it does not have, which is what an archive would be asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tests import redis_servers
from tests.integration import harness

from holdfast import app, errors, events
from holdfast import service as holdfast_service
from holdfast.archive import memory
from holdfast.eventlog.redis import address, engine
from holdfast.testing.eventlog import parts


class Away(memory.MemoryArchive):
    """Keeps, and says nothing."""

    async def read(self, *asked: Any, **of: Any) -> Any:
        raise errors.ArchiveUnavailable

    async def heads(self, streams: Sequence[events.StreamId]) -> Any:
        raise errors.ArchiveUnavailable

    async def stat(self, stream: events.StreamId) -> Any:
        raise errors.ArchiveUnavailable


@contextlib.asynccontextmanager
async def serving(where: address.Address) -> AsyncIterator[holdfast_service.Service]:
    config = harness.configured()
    log = engine.RedisLog(where, archived=True)
    async with holdfast_service.Service(
        log, app.providers(config), config, archive=Away()
    ) as service:
        yield service


def database(server: redis_servers.Server) -> address.Address:
    return address.Address((("127.0.0.1", server.port),), database=redis_servers.next_database())


async def test_streams_of_dead_nodes_are_taken_over(valkey: redis_servers.Server) -> None:
    """One of them had died before it made what it had said it would."""
    where = database(valkey)
    dead = engine.RedisLog(where, archived=True)
    await dead.start()
    left = await parts.begin(dead)
    await dead._session.lease.hold(events.new_stream_id())
    await dead.close()
    async with asyncio.timeout(harness.PATIENCE), serving(where) as service:
        said = [event async for event in service.events(left.stream)]
    assert said[-1].kind in events.TERMINAL


async def test_who_reads_what_is_archived_delays_no_other(valkey: redis_servers.Server) -> None:
    async with serving(database(valkey)) as service:
        pen, woken = await parts.begin(service.log), list[int]()
        for stream in (events.new_stream_id(), pen.stream):
            service.watch.add(stream, lambda: woken.append(pen.last))
        await service.watch.poll()
        await service.watch.poll()
        assert woken == [1]
