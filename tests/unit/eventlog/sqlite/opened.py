"""Logs that a test opens, ways to wait for their housekeeping, and a file as others see it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from holdfast import events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import engine
from holdfast.testing.eventlog import parts


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


CANARIES = (b"a planted prompt", b"a planted answer")


PROMPT, ANSWER = (canary.decode() for canary in CANARIES)


def raw(path: Path) -> bytes:
    """The file and all beside it, as they lie there."""
    return b"".join(one.read_bytes() for one in sorted(path.parent.glob(f"{path.name}*")))


def planted(path: Path) -> list[bytes]:
    found = raw(path)
    return [canary for canary in CANARIES if canary in found]


def wal_bytes(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


def rewrite(path: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = OFF")
        assert db.execute(statement, values).rowcount


def broken(blob: bytes) -> bytes:
    return blob[:-1] + bytes((blob[-1] ^ 1,))


async def claimed(log: base.EventLog, stream: events.StreamId) -> parts.Pen:
    life = await log.claim(stream, 6_000)
    assert life is not None
    return parts.Pen(log, stream, life)


def spoil_key(path: Path, victim: events.StreamId) -> None:
    (key,) = ask(path, f"SELECT key FROM seal WHERE stream = '{victim}'")
    rewrite(path, "UPDATE seal SET key = ? WHERE stream = ?", broken(key), victim)
