"""The archive's file: who may open it, what it must be, and what a node is told that cannot.

Strategy: the contract is in `tests/contract/test_archive.py`; here is the file. Other programs are
connections of SQLite's own, which hold locks or have written something else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from holdfast import errors
from holdfast.archive import base, migrations, sqlite
from holdfast.archive.sqlite import file, schema
from holdfast.eventlog.sqlite import engine

KEY = base.Key("a", b"digest", "name", "acme", "", ("read",), 1000, base.Quota())


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[sqlite.SqliteArchive]:
    archive = sqlite.SqliteArchive(path)
    try:
        await archive.start()
        yield archive
    finally:
        await archive.close()


@contextlib.contextmanager
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program on this file."""
    db = sqlite3.connect(path, 0, isolation_level=None)
    try:
        yield db
    finally:
        db.close()


async def refused(path: Path, kind: type[errors.HoldfastError]) -> str:
    """What is said to who opens this; nothing of it stays open."""
    archive = sqlite.SqliteArchive(path)
    with pytest.raises(kind) as caught:
        await archive.start()
    assert archive._db is None
    with pytest.raises(errors.KeysUnavailable, match="not open"):
        await archive.keys(-1)
    return caught.value.message


# What it is


async def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)  # which would let everybody in
    try:
        async with opened(tmp_path / "a.db") as archive:
            await archive.add(KEY)
            names = os.listdir(tmp_path)
            assert "a.db-wal" in names
            for name in names:
                assert stat.S_IMODE(os.stat(tmp_path / name).st_mode) == 0o600, name
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == ["a.db"]


async def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path):
        pass
    with other(path) as db:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        assert application.to_bytes(4, "big") == b"HLDA"
        assert db.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_change_is_on_the_disk_when_it_is_acknowledged(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as archive:
        assert archive._db is not None
        assert archive._db.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_the_file_holds_no_key(tmp_path: Path) -> None:
    """But only what is said to be kept of it."""
    async with opened(tmp_path / "a.db") as archive:
        await archive.add(KEY)
    with other(tmp_path / "a.db") as db:
        rows = db.execute("SELECT id, digest, created_at, revoked_at FROM key").fetchall()
        assert rows == [("a", b"digest", 1000, None)]
        names = {name for (name,) in db.execute("SELECT name FROM meta")}
        assert names == {"secret", "revision"}


async def test_an_empty_file_becomes_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.touch(0o600)
    async with opened(path) as archive:
        await archive.add(KEY)


async def test_a_file_that_was_hardly_begun_becomes_an_archive(tmp_path: Path) -> None:
    """As a process leaves it that dies in its first start."""
    path = tmp_path / "a.db"
    with other(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")
        for statement in schema._statements(schema.MIGRATIONS[0].script):
            db.execute(statement)
    async with opened(path) as archive:
        await archive.add(KEY)
        assert len(archive.secret) == 32


# What it is not


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize("statement", ["CREATE TABLE t (x)", "PRAGMA application_id = 7"])
async def test_a_database_of_another_program_is_left_as_it_is(
    tmp_path: Path, statement: str, mode: str
) -> None:
    path = tmp_path / "other.db"
    with other(path) as db:
        db.execute(f"PRAGMA journal_mode = {mode}")
        db.execute(statement)
    before = _bytes(path)
    assert "is a database, but not an archive" in await refused(path, errors.SettingsError)
    assert _bytes(path) == before
    assert os.listdir(tmp_path) == ["other.db"]


async def test_an_event_log_is_no_archive(tmp_path: Path) -> None:
    log = engine.SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.close()
    said = await refused(tmp_path / "log.db", errors.SettingsError)
    assert "log.db is a database, but not an archive" in said


@pytest.mark.parametrize(
    "text", [b"Dear diary, " * 1000, b"x" * 512, b"SQLite format 3\0" + b"x" * 500]
)
async def test_what_is_no_database_is_left_as_it_is(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "notes.txt"
    _write(path, text)
    assert "notes.txt is no database" in await refused(path, errors.SettingsError)
    assert _bytes(path) == text


async def test_a_newer_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path):
        pass
    with other(path) as db:
        db.execute("PRAGMA user_version = 99")
    before = _bytes(path)
    assert "newer version of Holdfast" in await refused(path, errors.SettingsError)
    assert _bytes(path) == before


async def test_an_older_file_takes_the_steps_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as archive:
        await archive.add(KEY)
        secret = archive.secret
    later = _more("CREATE TABLE later (x);\nINSERT INTO later VALUES (7);\n")
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    for _ in range(2):
        async with opened(path) as archive:
            assert archive.secret == secret
            found = await archive.keys(-1)
            assert found == base.Keys(1, (KEY,))
        with other(path) as db:
            assert db.execute("SELECT sum(x) FROM later").fetchone() == (7,)
            assert db.execute("PRAGMA user_version").fetchone() == (len(later),)


async def test_a_step_that_fails_leaves_the_file_at_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as archive:
        await archive.add(KEY)
    bad = _more("CREATE TABLE later (x);\nCREATE TABLE later (x);\n")
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", bad)
        assert "later" in await refused(path, errors.KeysUnavailable)
    async with opened(path) as archive:
        assert await archive.keys(-1) == base.Keys(1, (KEY,))


# Where it cannot be reached


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    said = await refused(tmp_path / "missing" / "a.db", errors.KeysUnavailable)
    assert "missing/a.db: No such file or directory; the folder must exist" in said
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["folder", "file/a.db"])
async def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    path = tmp_path / name
    assert str(path) in await refused(path, errors.KeysUnavailable)


async def test_a_path_that_is_too_long_for_sqlite(tmp_path: Path) -> None:
    """The system takes more characters than SQLite does."""
    folder = tmp_path / Path(*["x" * 100] * 6)
    folder.mkdir(parents=True)
    said = await refused(folder / "a.db", errors.KeysUnavailable)
    assert "unable to open database file" in said


async def test_who_is_locked_out_is_told_after_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is let in when the other has gone; nothing is half done."""
    monkeypatch.setattr(file, "BUSY_SECONDS", 0.02)
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.02)
    path = tmp_path / "a.db"
    async with opened(path) as archive:
        await archive.add(KEY)
        with other(path) as db:
            db.execute("BEGIN IMMEDIATE")
            with pytest.raises(errors.KeysUnavailable, match=r"a\.db: database is locked"):
                await archive.add(KEY)
            with pytest.raises(errors.KeysUnavailable, match=r"a\.db: database is locked"):
                await archive.revoke("a", 7)
            assert await archive.keys(-1) == base.Keys(1, (KEY,))  # who reads waits for nobody
            assert await _start(path) == 32  # and who begins, where there is nothing to apply
            db.execute("ROLLBACK")
        found = await archive.revoke("a", 8)
        assert found is not None
        assert found.revoked_at == 8


async def test_a_file_that_another_has_for_himself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "BUSY_SECONDS", 0.02)
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.02)
    path = tmp_path / "a.db"
    async with opened(path):
        pass
    with other(path) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in await refused(path, errors.KeysUnavailable)
    async with opened(path) as archive:
        assert await archive.keys(-1) == base.Keys(0, ())


async def test_who_begins_beside_another_waits_for_him(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself would not, for the change to a file that is shared."""
    path, tried, gone = tmp_path / "a.db", threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        assert seconds == schema.AGAIN_SECONDS
        tried.set()
        gone.wait(5)

    monkeypatch.setattr(time, "sleep", sleep)
    with other(path) as db:
        db.execute("BEGIN IMMEDIATE")
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(_start(path))
            assert await asyncio.to_thread(tried.wait, 5)
            db.execute("ROLLBACK")
            gone.set()
        assert starting.result() == 32


async def test_one_that_another_makes_meanwhile_is_not_taken_for_a_foreign_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is and whether it is empty are looked up at one moment."""
    path, real = tmp_path / "a.db", schema._tables

    def tables(db: sqlite3.Connection, more: str = "") -> int:
        monkeypatch.undo()
        with other(path) as second, contextlib.suppress(sqlite3.OperationalError):
            second.executescript(
                f"BEGIN IMMEDIATE; {schema.MIGRATIONS[0].script};"
                f"PRAGMA application_id = {schema.APPLICATION_ID}; COMMIT"
            )
        return real(db, more)

    monkeypatch.setattr(schema, "_tables", tables)
    assert await _start(path) == 32


async def test_bytes_that_cannot_be_read_are_no_verdict(tmp_path: Path) -> None:
    """Neither for one key nor for all: what can be read might lack a revocation."""
    path = tmp_path / "a.db"
    async with opened(path) as archive:
        await archive.add(KEY)
        with other(path) as db:
            db.execute("UPDATE key SET data = x'c1'")
        with pytest.raises(errors.KeysUnavailable):
            await archive.keys(-1)
        with pytest.raises(errors.KeysUnavailable):
            await archive.revoke("a", 7)
        with other(path) as db:
            assert db.execute("SELECT revoked_at FROM key").fetchone() == (None,)


async def test_a_file_that_was_broken(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as archive:
        await archive.add(KEY)
    whole = _bytes(path)
    _write(path, whole[:100] + b"\xff" * (len(whole) - 100))
    assert "malformed" in await refused(path, errors.KeysUnavailable)


# Closing


async def test_after_a_close_nothing_is_known(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as archive:
        await archive.close()
        for call in (archive.keys(-1), archive.add(KEY), archive.revoke("a", 7)):
            with pytest.raises(errors.KeysUnavailable, match="is not open"):
                await call


async def test_it_may_be_started_twice_and_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as archive:
        db, secret = archive._db, archive.secret
        await archive.start()
        assert archive._db is db
        await archive.add(KEY)
        await archive.close()
        await archive.close()
        await archive.start()
        assert archive.secret == secret
        assert await archive.keys(-1) == base.Keys(1, (KEY,))


async def test_a_close_before_the_start_does_nothing(tmp_path: Path) -> None:
    await sqlite.SqliteArchive(tmp_path / "a.db").close()
    assert os.listdir(tmp_path) == []


async def test_a_second_one_in_the_process_takes_no_lock_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system drops all locks that a process has on a file when it closes one descriptor of
    it, so a start must not open and close one that others use."""
    path = tmp_path / "a.db"
    async with opened(path) as archive:
        real, closed = os.close, []

        def close(descriptor: int) -> None:
            closed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            real(descriptor)

        monkeypatch.setattr(os, "close", close)
        async with opened(path) as second:
            assert second.secret == archive.secret
        monkeypatch.undo()
        assert str(path) not in closed


async def _start(path: Path) -> int:
    async with opened(path) as archive:
        return len(archive.secret)


def _more(script: str) -> tuple[migrations.Migration, ...]:
    """The migrations of a later version."""
    number = len(schema.MIGRATIONS) + 1
    return (*schema.MIGRATIONS, migrations.Migration(number, "later", script))


def _bytes(path: Path) -> bytes:
    return path.read_bytes()


def _write(path: Path, text: bytes) -> None:
    path.write_bytes(text)
