"""Logs that a test opens, and ways to wait for their housekeeping."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from holdfast.eventlog.sqlite import engine


class Logs:
    """Opens logs, and closes them at the end of a test."""

    def __init__(self) -> None:
        self._opened: list[engine.SqliteLog] = []

    async def open(self, path: Path, **options: Any) -> engine.SqliteLog:
        log = engine.SqliteLog(path, **options)
        self._opened.append(log)
        await log.start()
        return log

    async def close(self) -> None:
        for log in self._opened:
            await log.close()


async def quiet(log: engine.SqliteLog) -> engine.SqliteLog:
    """Returns when all housekeeping is done: jobs are done in their order."""
    await log.expire(0, 0)
    while log._session._checkpoints._running:
        await log.expire(0, 0)
    return log


def ask(path: Path, statement: str) -> list[Any]:
    """The rows of a statement, one column as values, as another program reads them."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        rows = db.execute(statement).fetchall()
    return [row[0] if len(row) == 1 else row for row in rows]
