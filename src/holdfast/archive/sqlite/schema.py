"""The archive's file as a database: what it must be, and how it is brought to this version.

Strategy: `application_id` says that a file is ours, `user_version` how many migrations it has;
the table `migration` tells people when each was applied. Each is applied in a transaction that
begins with the file's write lock and looks anew, so that of many processes one applies it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from holdfast import errors, events
from holdfast.archive import migrations, rows

APPLICATION_ID = 0x484C4441  # "HLDA"

BUSY_SECONDS = 5.0
"""How long another process may be about to share the file."""

AGAIN_SECONDS = 0.01
"""Between two tries of what SQLite itself does not wait for."""

MIGRATIONS = migrations.load("sqlite")

_LIST = """
    CREATE TABLE IF NOT EXISTS migration (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER)"""


def made(db: sqlite3.Connection, path: Path, make: bool = True) -> list[rows.Applied]:
    """Checks that the file is an archive of ours, and applies what it lacks; which that was."""
    with mapped(path):
        with transaction(db, "BEGIN"):
            version = _version(db, path)  # what is not ours is left as it is
        if not (version or make):
            raise errors.ArchiveUnavailable(f"{path} is empty; put a copy back, or start anew.")
        _share(db)
        db.execute("PRAGMA synchronous = FULL")  # a revoked key must stay revoked
        return _upgraded(db, path)


def _upgraded(db: sqlite3.Connection, path: Path) -> list[rows.Applied]:
    """Applies the migrations that the file lacks; which these were."""
    done: list[rows.Applied] = []
    while version_in(db) < len(MIGRATIONS):
        with transaction(db):
            version = _version(db, path)
            if version < len(MIGRATIONS):
                done.append(_apply(db, version, MIGRATIONS[version]))
    return done


def _apply(db: sqlite3.Connection, version: int, migration: migrations.Migration) -> rows.Applied:
    applied = rows.Applied(migration.number, migration.name, events.now_ms())
    for statement in _statements(migration.script):
        db.execute(statement)
    db.execute(_LIST)
    # A file of the first version has no list yet.
    earlier = [(one.number, one.name, None) for one in MIGRATIONS[:version]]
    db.executemany("INSERT OR IGNORE INTO migration VALUES (?, ?, ?)", earlier)
    row = (applied.number, applied.name, applied.applied_at)
    db.execute("INSERT INTO migration VALUES (?, ?, ?)", row)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {migration.number}")
    # Whoever starts it makes the secret, and knows how it is to lie.
    db.execute("INSERT OR IGNORE INTO meta VALUES ('secret', x''), ('revision', 0)")
    return applied


def _statements(script: str) -> Iterator[str]:
    """One by one: SQLite would end the transaction before it executes a script."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def listed(db: sqlite3.Connection, path: Path) -> list[rows.Applied]:
    """What was applied. Raises `errors.SettingsError` for a file that is not ours."""
    with mapped(path), transaction(db, "BEGIN"):
        version = _version(db, path, newer=True)
        known = {one.number: one.name for one in MIGRATIONS}
        found = {n: rows.Applied(n, known.get(n, ""), None) for n in range(1, version + 1)}
        if _tables(db, "AND name = 'migration'"):
            for row in db.execute("SELECT number, name, applied_at FROM migration"):
                found[row[0]] = rows.Applied(*row)
    return [found[number] for number in sorted(found)]


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def unavailable(path: Path, error: Exception) -> errors.HoldfastError:
    """What an error of SQLite's means."""
    if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return errors.LogCorrupt(f"{path}: {error}.")
    return errors.ArchiveUnavailable(f"{path}: {error}.")


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Errors of SQLite's while a file is opened."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
            raise errors.SettingsError(f"{path} is no database.") from error
        raise errors.ArchiveUnavailable(f"{path}: {error}.") from error


def _share(db: sqlite3.Connection) -> None:
    """Lets others read while one writes. SQLite does not wait for a process that is about to do
    the same, so this does."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorname.startswith("SQLITE_BUSY")
            if not busy or time.monotonic() > until:
                raise
        time.sleep(AGAIN_SECONDS)


def _version(db: sqlite3.Connection, path: Path, newer: bool = False) -> int:
    """How many migrations were made. Raises `errors.SettingsError` for a file that is not ours,
    and, unless that is all right, for one of a `newer` version."""
    application, version = _number(db, "application_id"), version_in(db)
    if application != APPLICATION_ID and (application or _tables(db)):
        raise errors.SettingsError(f"{path} is a database, but not an archive.")
    if version > len(MIGRATIONS) and not newer:
        raise errors.SettingsError(migrations.too_new(str(path), version, len(MIGRATIONS)))
    return version


def version_in(db: sqlite3.Connection) -> int:
    return _number(db, "user_version")


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])


def _tables(db: sqlite3.Connection, more: str = "") -> int:
    found = db.execute(f"SELECT count(*) FROM sqlite_master WHERE true {more}")
    return int(found.fetchone()[0])
