"""What the tests of the SQLite engine share."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.eventlog.sqlite import opened

from holdfast.eventlog.sqlite import engine


@pytest.fixture
async def logs() -> AsyncIterator[opened.Logs]:
    made = opened.Logs()
    yield made
    await made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


Held = Callable[[], contextlib.AbstractContextManager[None]]


@pytest.fixture
def held(path: Path) -> Held:
    """`with held():` another program holds the file."""

    @contextlib.contextmanager
    def hold() -> Iterator[None]:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.close()

    return hold


@pytest.fixture
async def log(path: Path, logs: opened.Logs) -> engine.SqliteLog:
    return await logs.open(path)
