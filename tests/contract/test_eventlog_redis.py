"""The Redis engine keeps the event log's contract, on whatever it is that answers as Redis.

Strategy: one suite on a single Valkey, on a cluster of three primaries and on Debian's Redis 7.0.
Each log has a database of its own. A lease that is given back is waited for by nobody, so a log
that was closed leaves orphans at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests import redis_servers

from holdfast.eventlog import base
from holdfast.eventlog.redis import address, engine
from holdfast.sealing import ring, sealer
from holdfast.testing import eventlog


class Redis(eventlog.DurableContract):
    """On `servers`, which are one log."""

    by = sealer.OFF

    @pytest.fixture
    def servers(self) -> list[redis_servers.Server]:
        raise NotImplementedError

    @pytest.fixture
    async def opened(self) -> AsyncIterator[dict[base.EventLog, address.Address]]:
        opened: dict[base.EventLog, address.Address] = {}
        yield opened
        for log in opened:
            await log.close()

    @pytest.fixture
    def new_log(
        self,
        servers: list[redis_servers.Server],
        opened: dict[base.EventLog, address.Address],
    ) -> eventlog.NewLog:
        async def make() -> base.EventLog:
            hosts = tuple(("127.0.0.1", server.port) for server in servers)
            where = address.Address(hosts, database=redis_servers.next_database())
            log = engine.RedisLog(where, sealer=self.by)
            opened[log] = where
            await log.start()
            return log

        return make

    @pytest.fixture
    def reopen(self, opened: dict[base.EventLog, address.Address]) -> eventlog.Reopen:
        async def again(log: base.EventLog) -> base.EventLog:
            await log.close()
            where = opened[log]
            log = engine.RedisLog(where, sealer=self.by)
            opened[log] = where
            await log.start()
            return log

        return again


class TestValkey(Redis):
    @pytest.fixture
    def servers(self, valkey: redis_servers.Server) -> list[redis_servers.Server]:
        return [valkey]


class TestValkeySealed(TestValkey):
    by = sealer.Sealer(ring.Ring((ring.new_key(0),)))


class TestCluster(Redis):
    @pytest.fixture
    def servers(self, valkey_cluster: list[redis_servers.Server]) -> list[redis_servers.Server]:
        return valkey_cluster


class TestRedis7(Redis):
    @pytest.fixture
    def servers(self, redis_7: redis_servers.Server) -> list[redis_servers.Server]:
        return [redis_7]
