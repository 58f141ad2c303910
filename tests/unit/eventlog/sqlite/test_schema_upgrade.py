"""Files that an older version made: they open, keep what they hold, and get what they lack."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from tests.unit.eventlog.sqlite import opened

from holdfast import events
from holdfast.eventlog import base, counters
from holdfast.eventlog.sqlite import file, schema
from holdfast.testing.eventlog.parts import COMPLETE, Pen, chunk, read_all

SHAPE = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
OPEN, ENDED, EXPIRED = (
    events.StreamId(name.ljust(26, "0")) for name in ("still0open", "complete", "expired")
)


def made_by(version: int, path: Path) -> None:
    script = Path(__file__).with_name(f"version_{version}.sql").read_text("utf-8")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(script)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_file_of_an_older_version_keeps_its_streams_and_counts(
    path: Path, logs: opened.Logs, version: int
) -> None:
    made_by(version, path)
    assert opened.ask(path, "PRAGMA user_version") == [version]
    log = await logs.open(path)
    assert log.secret == opened.ask(path, "SELECT value FROM meta WHERE name = 'secret'")[0]
    assert opened.ask(path, "PRAGMA user_version") == [len(schema.STEPS)]
    said = [event.data for event in await read_all(log, OPEN)]
    assert said[1:] == [chunk(text).data for text in ("before", " the \u00e9", " upgrade")]
    ended = await read_all(log, ENDED)
    assert [event.kind for event in ended] == ["start", "chunk", "complete"]
    assert isinstance(await log.stat(EXPIRED), base.Tombstone)
    change = counters.Change("a", 1, 5, 9_000)
    counted = 5 if version == 1 else 10  # version 2 had counters, and this one in it
    assert await log.counters.add([change], 8_000) == [{1: counted}]
    for query in (base.Query("me"), base.Query()):
        assert [info.stream for info in await log.find(query)] == [OPEN, ENDED]
    # And it goes on as a log of this version.
    assert await log.orphans(9) == [OPEN]
    life = await log.claim(OPEN, 30_000)
    assert life is not None
    await Pen(log, OPEN, life).write(chunk("!"), COMPLETE)
    await opened.quiet(log)
    await log.close()
    log = await logs.open(path)
    assert await log.counters.add([change], 8_000) == [{1: counted + 5}]
    assert [event.seq for event in await read_all(log, OPEN)] == [1, 2, 3, 4, 5, 6, 7]
    assert await read_all(log, ENDED) == ended


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_that_took_the_steps_is_like_a_new_one(
    path: Path, tmp_path: Path, version: int
) -> None:
    new = tmp_path / "new.db"
    made_by(version, path)
    old = opened.ask(path, SHAPE)
    for each in (path, new):
        file.File(each, "process").close()
    assert opened.ask(path, SHAPE) == opened.ask(new, SHAPE)
    assert [row for row in opened.ask(new, SHAPE) if row in old] == old
