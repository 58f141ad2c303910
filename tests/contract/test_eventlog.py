"""Every engine keeps the event log's contract."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.eventlog import base, memory
from holdfast.eventlog.sqlite import engine, schema
from holdfast.testing import eventlog


class TestMemory(eventlog.Contract):
    @pytest.fixture
    async def new_log(self) -> eventlog.NewLog:
        async def make() -> base.EventLog:
            log = memory.MemoryLog()
            await log.start()
            return log

        return make

    async def test_nothing_is_ever_an_orphan(self, new_log: eventlog.NewLog) -> None:
        log = await new_log()
        assert await log.orphans(10) == []


class Sqlite(eventlog.DurableContract):
    """A file a log; a checkpoint every few operations, and a cache that holds little."""

    durability: schema.Durability
    checkpoint_bytes = 600
    cache_bytes = 3_000

    @pytest.fixture
    async def opened(self) -> AsyncIterator[dict[base.EventLog, Path]]:
        opened: dict[base.EventLog, Path] = {}
        yield opened
        for log in opened:
            await log.close()

    async def _open(self, path: Path) -> base.EventLog:
        log = engine.SqliteLog(
            path,
            durability=self.durability,
            checkpoint_bytes=self.checkpoint_bytes,
            cache_bytes=self.cache_bytes,
        )
        await log.start()
        return log

    @pytest.fixture
    def new_log(self, tmp_path: Path, opened: dict[base.EventLog, Path]) -> eventlog.NewLog:
        numbers = itertools.count()

        async def make() -> base.EventLog:
            path = tmp_path / f"{next(numbers)}.db"
            log = await self._open(path)
            opened[log] = path
            return log

        return make

    @pytest.fixture
    def reopen(self, opened: dict[base.EventLog, Path]) -> eventlog.Reopen:
        async def again(log: base.EventLog) -> base.EventLog:
            await log.close()
            path = opened[log]
            log = await self._open(path)
            opened[log] = path
            return log

        return again


class TestSqliteProcess(Sqlite):
    durability = "process"


class TestSqlitePower(Sqlite):
    durability = "power"


class TestSqliteAtItsDefaults(Sqlite):
    durability = "process"
    checkpoint_bytes = engine.CHECKPOINT_BYTES
    cache_bytes = engine.CACHE_BYTES
