"""Nodes that share a log in Redis, for tests: each with a lease, and each can die.

Strategy: leases are by Redis's clock, so a node that is to live has a long one, and one that is to
die a short one. What takes a lease's whole time otherwise, to count as long there, is set.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from tests import redis_servers

from holdfast import errors, events
from holdfast.eventlog.redis import address, engine, keys
from holdfast.sealing import sealer

LONG, SHORT = 600.0, 0.3
"""Seconds of a lease that does not expire in a test, and of one that does."""

LIMIT = 15.0
"""Seconds after which a test waits no more."""


class Nodes:
    """On one server. `where` is their log."""

    def __init__(self, server: redis_servers.Server) -> None:
        self.server = server
        database = redis_servers.next_database()
        self.where = address.Address((("127.0.0.1", server.port),), database=database)
        self._opened: list[engine.RedisLog] = []

    async def start(
        self,
        seconds: float = LONG,
        *,
        settled: bool = False,
        by: sealer.Sealer = sealer.OFF,
    ) -> engine.RedisLog:
        """A new node; `settled`: as if it had held its lease for long."""
        log = engine.RedisLog(self.where, seconds=seconds, sealer=by)
        await log.start()
        self._opened.append(log)
        if settled:
            self.settle(log)
        return log

    def settle(self, log: engine.RedisLog) -> None:
        """It has held its lease since for ever."""
        self.do("SET", keys.life(life(log)), 0, "XX", "KEEPTTL")

    def do(self, *words: bytes | str | int | float) -> object:
        """A command in the log's own database."""
        with self.server.client() as client:
            client.execute_command("SELECT", self.where.database)  # type: ignore[no-untyped-call]
            return client.execute_command(*words)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        for log in self._opened:
            await log.close()


async def die(log: engine.RedisLog) -> bytes:
    """It says nothing any more, and gives nothing back. Returns its life's name."""
    session, log._opened, log._writing = log._session, None, None
    await session.tasks.close()
    return session.lease.life


def life(log: engine.RedisLog) -> bytes:
    return log._session.lease.life


def held(log: engine.RedisLog) -> set[events.StreamId]:
    """What it believes to hold."""
    return log._session.lease.held


async def orphans(log: engine.RedisLog, limit: int = 100) -> list[events.StreamId]:
    """None where Redis does not answer."""
    with contextlib.suppress(errors.LogUnavailable):
        return await log.orphans(limit)
    return []


async def until(true: Callable[[], object]) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(LIMIT):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def nodes(server: redis_servers.Server) -> AsyncIterator[Nodes]:
    made = Nodes(server)
    try:
        yield made
    finally:
        await made.close()
