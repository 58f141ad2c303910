"""The archive in a file of SQLite, which any number of processes of one machine may share.

Strategy: each call is one transaction in a thread; the file's own locks order the processes. A
revision counts the changes, so that a node that asks every few seconds reads one number. What is
kept of a key beside its id and digest is one blob: it is read whole or not at all.

The file may be replaced under a running node, by a copy that is put back: each call looks whether
the file that is open is still the one at the path, and opens that one. Only a start makes a file:
an empty archive in the place of a lost one would let everybody in.

    key     `id`, `digest` (keyed, of `access.keys`), times in ms, `data`: all of it (msgpack)
    meta    `secret`; `revision`
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from holdfast import errors
from holdfast.archive import base

APPLICATION_ID = 0x484C4441  # "HLDA"
BUSY_SECONDS = 5.0
"""How long another process may hold the file before a call fails."""

FILE_REVISIONS = 2**48
"""Revisions that are set apart for each file that a process has open in turn."""

AGAIN_SECONDS = 0.01
"""Between two tries of what SQLite itself does not wait for."""

STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
        """CREATE TABLE key (
            id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, created_at INTEGER NOT NULL,
            revoked_at INTEGER, data BLOB NOT NULL) WITHOUT ROWID""",
    ),
)
"""The steps from an empty file to this version; `user_version` counts those that were made."""

T = TypeVar("T")

_decode = msgspec.msgpack.Decoder(base.Key).decode
_encode = msgspec.msgpack.Encoder().encode


class SqliteArchive:
    """The contract on one file. May be started again after a close."""

    lasting = True

    def __init__(self, path: str | Path) -> None:
        self.secret = b""
        self.file = Path(path).resolve()
        self._door = threading.Lock()
        self._started = False
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # device and inode of what was opened last
        self._replaced = 0  # how often it was another one

    async def start(self) -> None:
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    async def keys(self, known: int) -> base.Keys | None:
        def read(db: sqlite3.Connection) -> base.Keys | None:
            # A copy has numbers that were used for other keys.
            revision = self._replaced * FILE_REVISIONS + _revision(db)
            if revision == known:
                return None
            rows = db.execute("SELECT data, revoked_at FROM key ORDER BY created_at, id")
            return base.Keys(revision, tuple(_key(*row) for row in rows))

        return await self._run(read, begin="BEGIN")

    async def add(self, key: base.Key) -> None:
        def write(db: sqlite3.Connection) -> None:
            row = (key.id, key.digest, key.created_at, key.revoked_at, _encode(key))
            try:
                db.execute("INSERT INTO key VALUES (?, ?, ?, ?, ?)", row)
            except sqlite3.IntegrityError:
                raise ValueError("there is such a key already") from None
            _changed(db)

        await self._run(write)

    async def revoke(self, key_id: str, now: int) -> base.Key | None:
        def write(db: sqlite3.Connection) -> base.Key | None:
            done = db.execute(
                "UPDATE key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, key_id)
            )
            if done.rowcount:
                _changed(db)
            found = db.execute("SELECT data, revoked_at FROM key WHERE id = ?", (key_id,))
            row = found.fetchone()
            return None if row is None else _key(*row)

        return await self._run(write)

    async def _run(
        self, work: Callable[[sqlite3.Connection], T], begin: str = "BEGIN IMMEDIATE"
    ) -> T:
        """One transaction in a thread."""
        return await asyncio.to_thread(self._transaction, work, begin)

    def _transaction(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        with self._door:
            db = self._current()
            try:
                db.execute(begin)
                try:
                    done = work(db)
                    db.execute("COMMIT")
                finally:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
            except (sqlite3.Error, msgspec.DecodeError) as error:
                raise errors.KeysUnavailable(f"{self.file}: {error}.") from error
            return done

    def _current(self) -> sqlite3.Connection:
        """The file that is at the path by now."""
        if not self._started:
            raise errors.KeysUnavailable(f"{self.file} is not open.")
        try:
            there = _identity(self.file)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            said = " is not there any more" if gone else f": {error.strerror}"
            raise errors.KeysUnavailable(f"{self.file}{said}.") from error
        if self._db is not None and self._file == there:
            return self._db
        self._let_go()
        try:
            return self._connect(make=False)
        except errors.SettingsError as error:
            raise errors.KeysUnavailable(error.message) from error

    def _connect(self, make: bool) -> sqlite3.Connection:
        db, there = _connected(self.file, make)
        try:
            secret = _prepared(db, self.file, make)
        except BaseException:
            db.close()
            raise
        self._replaced += self._file not in (None, there)
        self._db, self._file, self.secret = db, there, secret
        return db

    def _open(self) -> None:
        with self._door:
            if not self._started:
                self._connect(make=True)
                self._started = True

    def _close(self) -> None:
        with self._door:
            self._started = False
            self._let_go()

    def _let_go(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _connected(path: Path, make: bool) -> tuple[sqlite3.Connection, tuple[int, int]]:
    """And what file it is."""
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                # Made here, so that nobody else may read it. One that is there is not opened:
                # closing it would end the locks that this process has on it already.
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                os.close(os.open(path, flags, 0o600))
        # Before it is opened: one that is replaced in between is opened once more, not kept.
        there = _identity(path)
        url = f"{path.as_uri()}?mode=rw"
        db = sqlite3.connect(
            url, BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True
        )
    except (OSError, sqlite3.Error) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise errors.KeysUnavailable(
            f"{path}: {said}; the folder must exist and be writable."
        ) from error
    return db, there


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _prepared(db: sqlite3.Connection, path: Path, make: bool) -> bytes:
    """Checks that the file is an archive of ours, brings it to this version, and gives its
    secret. One that is empty is for who may `make` it."""
    try:
        db.execute("BEGIN")
        version = _version(db, path)  # what is not ours is left as it is
        db.execute("COMMIT")
        if not (version or make):
            raise errors.KeysUnavailable(f"{path} is empty; put a copy back, or start anew.")
        _share(db)
        db.execute("PRAGMA synchronous = FULL")  # a revoked key must stay revoked
        db.execute("BEGIN IMMEDIATE")
        try:
            version = _version(db, path)
            for step in STEPS[version:]:
                for statement in step:
                    db.execute(statement)
            if version < len(STEPS):
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {len(STEPS)}")
                made = (secrets.token_bytes(32), 0)
                db.execute("INSERT OR IGNORE INTO meta VALUES ('secret', ?), ('revision', ?)", made)
            secret: bytes = db.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()[0]
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
            raise errors.SettingsError(f"{path} is no database.") from error
        raise errors.KeysUnavailable(f"{path}: {error}.") from error
    return secret


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


def _version(db: sqlite3.Connection, path: Path) -> int:
    """How many of `STEPS` were made. Raises `errors.SettingsError` for a file that is not ours."""
    application, version = _number(db, "application_id"), _number(db, "user_version")
    if application != APPLICATION_ID and (application or _tables(db)):
        raise errors.SettingsError(f"{path} is a database, but not an archive.")
    if version > len(STEPS):
        raise errors.SettingsError(f"{path} was made by a newer version of Holdfast.")
    return version


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])


def _tables(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _revision(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT value FROM meta WHERE name = 'revision'").fetchone()[0])


def _changed(db: sqlite3.Connection) -> None:
    db.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'")


def _key(data: bytes, revoked_at: int | None) -> base.Key:
    return msgspec.structs.replace(_decode(data), revoked_at=revoked_at)
