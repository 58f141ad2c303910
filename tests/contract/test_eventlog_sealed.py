"""Every engine with a store seals what it writes, and keeps the rest of the contract with it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests import redis_servers

from holdfast.eventlog import base
from holdfast.eventlog.redis import address
from holdfast.eventlog.redis import engine as redis_engine
from holdfast.eventlog.sqlite import engine
from holdfast.sealing import sealer
from holdfast.testing import eventlog


class TestSqlite(eventlog.Sealing):
    """A checkpoint every few operations, and a cache that holds little."""

    @pytest.fixture
    async def open_by(self, tmp_path: Path) -> AsyncIterator[eventlog.OpenBy]:
        opened: dict[base.EventLog, Path] = {}
        numbers = itertools.count()

        async def make(by: sealer.Sealer, log: base.EventLog | None = None) -> base.EventLog:
            if log is not None:
                await log.close()
            path = tmp_path / f"{next(numbers)}.db" if log is None else opened[log]
            made = engine.SqliteLog(path, checkpoint_bytes=600, cache_bytes=3_000, sealer=by)
            await made.start()
            opened[made] = path
            return made

        yield make
        for log in opened:
            await log.close()


class Redis(eventlog.Sealing):
    @pytest.fixture
    def servers(self) -> list[redis_servers.Server]:
        raise NotImplementedError

    @pytest.fixture
    async def open_by(self, servers: list[redis_servers.Server]) -> AsyncIterator[eventlog.OpenBy]:
        opened: dict[base.EventLog, address.Address] = {}

        async def make(by: sealer.Sealer, log: base.EventLog | None = None) -> base.EventLog:
            if log is not None:
                await log.close()
            hosts = tuple(("127.0.0.1", server.port) for server in servers)
            if log is None:
                where = address.Address(hosts, database=redis_servers.next_database())
            else:
                where = opened[log]
            made = redis_engine.RedisLog(where, sealer=by)
            opened[made] = where
            await made.start()
            return made

        yield make
        for log in opened:
            await log.close()


class TestValkey(Redis):
    @pytest.fixture
    def servers(self, valkey: redis_servers.Server) -> list[redis_servers.Server]:
        return [valkey]


class TestCluster(Redis):
    @pytest.fixture
    def servers(self, valkey_cluster: list[redis_servers.Server]) -> list[redis_servers.Server]:
        return valkey_cluster
