"""A plain file that is turned on: whole, clean, and wherever it is cut off."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from tests.unit.eventlog.sqlite import opened
from tests.unit.eventlog.sqlite.test_schema_upgrade import ENDED, OPEN, made_by

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import session
from holdfast.sealing import sealer, stores
from holdfast.testing.eventlog.parts import COMPLETE, begin, chunk, header_of, read_all
from holdfast.testing.eventlog.sealing import OLD, by


@pytest.mark.case("4.25")
@pytest.mark.parametrize("version", [1, 2])
async def test_an_old_file_is_turned_on_whole(path: Path, logs: opened.Logs, version: int) -> None:
    made_by(version, path)
    said = (b'"delta":"whole"', b'"delta":" the ', b'{"q":1}')
    opened.rewrite(path, "INSERT INTO meta VALUES ('left', ?)", opened.CANARIES[0] * 500)
    opened.rewrite(path, "DELETE FROM meta WHERE name = 'left'")
    assert all(
        one in opened.raw(path) for one in (*said, opened.CANARIES[0])
    )  # in its freed pages too
    log = await logs.open(path, sealer=by(OLD))
    assert [event.kind for event in await read_all(log, ENDED)] == ["start", "chunk", "complete"]
    assert len(await read_all(log, OPEN)) == 4
    assert [one for one in said if one in opened.raw(path)] == [said[0]]
    assert opened.ask(path, "SELECT count(*) FROM redo") == [0]
    assert await stores.reseal_all(log) == stores.Resealed(1)
    assert [one for one in (*said, opened.CANARIES[0]) if one in opened.raw(path)] == []
    assert (await header_of(log, await opened.claimed(log, OPEN))).request == b'{"q":1}'
    await log.close()
    log = await logs.open(path, sealer=by(OLD))
    assert len(await read_all(log, ENDED)) == 3
    assert len(await read_all(log, OPEN)) == 5


VACUUMED = ["store_vacuuming", "store_vacuumed"]


def is_clean(path: Path) -> bool:
    return opened.ask(path, "SELECT count(*) FROM meta WHERE name = 'clean'") == [1]


async def test_a_file_is_cleaned_behind_its_last_plain_stream(
    path: Path, logs: opened.Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by(2, path)
    monkeypatch.setattr(session, "PAUSE", 0)
    log = await logs.open(path, sealer=by(OLD))
    assert not is_clean(path)  # a record is plain still
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM record").fetchone()
        with structlog.testing.capture_logs() as lines:
            await log.reseal("", 9)
            await log.close()
            log = await logs.open(path, sealer=by(OLD))  # it serves all the same
        assert [line["event"] for line in lines] == [*VACUUMED, "log_housekeeping_failed"] * 2
        assert not is_clean(path)
    await log.close()
    statements: list[str] = []
    for told in (VACUUMED, []):
        connect = sqlite3.connect

        def traced(*said: Any, connect: Any = connect, **more: Any) -> sqlite3.Connection:
            made: sqlite3.Connection = connect(*said, **more)
            made.set_trace_callback(statements.append)
            return made

        with monkeypatch.context() as patch, structlog.testing.capture_logs() as lines:
            patch.setattr(sqlite3, "connect", traced)
            log = await logs.open(path, sealer=by(OLD))
            await log.reseal("", 9)
            await log.close()
        assert [line["event"] for line in lines] == told
        assert all(line["bytes"] > 4096 for line in lines)
        assert is_clean(path)
        assert statements.count("VACUUM") == 1


async def test_a_file_is_clean_until_its_first_plain_stream(path: Path, logs: opened.Logs) -> None:
    """A start by itself writes nothing, so that it works on a full disk."""
    await (await logs.open(path, sealer=by(OLD))).close()
    log = await logs.open(path, sealer=by(OLD, on=False))
    assert is_clean(path)
    await begin(log)
    assert not is_clean(path)
    await begin(log)
    assert len(await log.find(base.Query())) == 2


async def test_a_large_file_is_cleaned_at_its_next_start(
    path: Path, logs: opened.Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by(2, path)
    monkeypatch.setattr(session, "VACUUM_BYTES", 4096)
    log = await logs.open(path, sealer=by(OLD))
    assert await log.reseal("", 9) == stores.Resealed(1)
    assert not is_clean(path)
    await log.close()
    await logs.open(path, sealer=by(OLD))
    assert is_clean(path)


async def _plain(path: Path, logs: opened.Logs) -> dict[events.StreamId, list[events.Event]]:
    """Streams of each kind in a plain file: in segments, in the redo log alone, ended, recorded;
    it is left as a kill leaves it."""
    log = await logs.open(path)
    pens = [await begin(log, request=opened.CANARIES[0]) for _ in range(4)]
    for pen in pens:
        await pen.write(chunk(opened.ANSWER), chunk("b"))
    await pens[0].write(COMPLETE)
    log._session._checkpoints.begin()
    await opened.quiet(log)
    await pens[1].write(chunk("c"))
    pens.append(await begin(log))
    whole = {pen.stream: await read_all(log, pen.stream) for pen in pens}
    await log.close()
    return whole


def _copy(path: Path, to: Path) -> Path:
    """As a kill at this moment leaves the file."""
    to.mkdir()
    for suffix in ("", "-wal"):
        if Path(f"{path}{suffix}").exists():
            shutil.copy(f"{path}{suffix}", to / f"{path.name}{suffix}")
    return to / path.name


async def _has(path: Path, logs: opened.Logs, whole: dict[Any, Any], by_: sealer.Sealer) -> None:
    log = await logs.open(path, sealer=by_)
    assert {name: await read_all(log, name) for name in whole} == whole
    assert len(await log.find(base.Query())) == len(whole)
    await log.close()


async def test_turning_it_on_loses_nothing_wherever_it_is_cut_off(
    path: Path, logs: opened.Logs, tmp_path: Path
) -> None:
    whole = await _plain(path, logs)
    log = await logs.open(path, sealer=by(OLD))
    copies, after = [_copy(path, tmp_path / "0")], ""
    for number in range(1, 9):
        step = await log.reseal(after, 1)
        copies.append(_copy(path, tmp_path / f"{number}"))
        if step.after is None:
            break
        after = step.after
    assert len(copies) > 4
    await log.close()
    for copy in copies:
        await _has(copy, logs, whole, by(OLD))
        await _has(copy, logs, whole, by(OLD, on=False))
    assert opened.planted(copies[-1]) == []


STATEMENTS = [
    "INSERT OR IGNORE INTO guard",
    "INSERT OR REPLACE INTO meta",
    "DELETE FROM meta",
    "INSERT OR REPLACE INTO seal",
    "DELETE FROM segment",
    "INSERT OR REPLACE INTO segment",
    "DELETE FROM redo",
    "UPDATE meta",
    "COMMIT",
    "VACUUM",
    "INSERT OR IGNORE INTO meta VALUES ('clean'",
]


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_a_start_that_dies_at_any_statement_leaves_a_file_that_opens(
    path: Path, logs: opened.Logs, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    whole = await _plain(path, logs)
    opened.rewrite(path, "DELETE FROM record")  # so that the file is cleaned at this start
    whole = {name: said for name, said in whole.items() if said[-1].kind != "complete"}

    class Dying(sqlite3.Connection):
        def execute(self, *said: Any) -> sqlite3.Cursor:
            if said[0].startswith(statement):
                raise ZeroDivisionError("killed")
            return super().execute(*said)

    connect = sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Dying))
        with pytest.raises(errors.LogUnavailable, match="killed"):
            await logs.open(path, sealer=by(OLD))
    sealed = opened.ask(path, "SELECT count(*) FROM guard") != [0]
    await _has(path, logs, whole, by(OLD) if sealed else sealer.OFF)
    await _has(path, logs, whole, by(OLD))
    assert opened.CANARIES[0] not in opened.raw(path)


Damage = Callable[[Path, events.StreamId], None]
