"""The archive's file: who may open it, and one transaction at a time on it.

Strategy: each call is one transaction in a thread; the file's own locks order the processes.

The file may be replaced under a running node, by a copy that is put back: each call looks whether
the file that is open is still the one at the path, and opens that one. Only a start makes a file:
an empty archive in the place of a lost one would let everybody in.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from holdfast import errors
from holdfast.archive import sealed
from holdfast.archive.sqlite import schema, seals

BUSY_SECONDS = 5.0
"""How long another process may hold the file before a call fails."""

VACUUM_BYTES = 64 * 1024 * 1024
"""A file of at most so many is vacuumed behind a pass: who keeps something waits for that. A larger
one is at the next start."""

T = TypeVar("T")


class File:
    """One connection to the file; further ones of a process are independent of it. `replaced`
    counts how often the file was another one; `by` is opened anew with each."""

    def __init__(self, path: Path, by: sealed.Seals) -> None:
        self.path, self._by = path, by
        self.secret = b""
        self.replaced = 0
        self.db: sqlite3.Connection | None = None
        self._door = threading.Lock()
        self._started = False
        self._file: tuple[int, int] | None = None  # device and inode of what was opened last

    async def start(self, make: bool = True) -> None:
        """`make`: whether the file may be made, and changed to this version."""
        await asyncio.to_thread(self._start, make)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    async def run(
        self, work: Callable[[sqlite3.Connection], T], begin: str = "BEGIN IMMEDIATE"
    ) -> T:
        """One transaction in a thread. Raises `errors.ArchiveUnavailable`, `LogCorrupt`."""
        return await asyncio.to_thread(self._transaction, work, begin)

    async def cut_off(self) -> None:
        """What was overwritten is not in the WAL any more either. Raises
        `errors.ArchiveUnavailable` where somebody has been reading it for too long."""
        await asyncio.to_thread(self._cut_off)

    async def tidy(self) -> None:
        """Behind a pass that has sealed what was plain. Raises `errors.ArchiveUnavailable`."""
        await asyncio.to_thread(self._tidy)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The same, where nothing is changed; it waits for no other process."""
        return await self.run(work, "BEGIN")

    def _transaction(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        with self._door:
            db = self._current()
            with mapped(self.path):
                db.execute(begin)
                try:
                    done = work(db)
                    db.execute("COMMIT")
                finally:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
            return done

    def _cut_off(self) -> None:
        with self._door:
            db = self._current()
            with mapped(self.path):
                if not seals.checkpoint(db):
                    raise errors.ArchiveUnavailable(
                        f"{self.path}: what was destroyed is still in its WAL, as somebody has "
                        f"been reading for {BUSY_SECONDS:.0f} s; it goes with the next try."
                    )

    def _tidy(self) -> None:
        with self._door:
            db = self._current()
            with mapped(self.path):
                seals.tidy(db, self.path, VACUUM_BYTES)

    def _current(self) -> sqlite3.Connection:
        """The file that is at the path by now."""
        if not self._started:
            raise errors.ArchiveUnavailable(f"{self.path} is not open.")
        try:
            there = _identity(self.path)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            said = " is not there any more" if gone else f": {error.strerror}"
            raise errors.ArchiveUnavailable(f"{self.path}{said}.") from error
        if self.db is not None and self._file == there:
            return self.db
        self._let_go()
        try:
            return self._connect(make=False)
        except errors.SettingsError as error:
            raise errors.ArchiveUnavailable(error.message) from error

    def _connect(self, make: bool) -> sqlite3.Connection:
        db, there = connected(self.path, make)
        try:
            secret = self._prepared(db, make)
        except BaseException:
            db.close()
            raise
        self.replaced += self._file not in (None, there)
        self.db, self._file, self.secret = db, there, secret
        return db

    def _prepared(self, db: sqlite3.Connection, make: bool) -> bytes:
        """Brings the file to this version, and gives its secret. Raises `errors.SettingsError`,
        `ArchiveUnavailable`."""
        applied = schema.made(db, self.path, make)
        with schema.mapped(self.path):
            secret = seals.settled(db, self._by, fresh=len(applied) == len(schema.MIGRATIONS))
            if make and self._by.sealer.on:
                seals.tidy(db, self.path)
        return secret

    def _start(self, make: bool) -> None:
        with self._door:
            if not self._started:
                self._connect(make)
                self._started = True

    def _close(self) -> None:
        with self._door:
            self._started = False
            self._let_go()

    def _let_go(self) -> None:
        db, self.db = self.db, None
        if db is not None:
            db.close()


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Errors of SQLite become ours."""
    try:
        yield
    except (sqlite3.Error, OverflowError) as error:
        raise schema.unavailable(path, error) from error
    except msgspec.DecodeError as error:
        raise errors.LogCorrupt(f"{path}: {error}.") from error


def connected(path: Path, make: bool) -> tuple[sqlite3.Connection, tuple[int, int]]:
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
        db.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
    except (OSError, sqlite3.Error) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise errors.ArchiveUnavailable(
            f"{path}: {said}; the folder must exist and be writable."
        ) from error
    return db, there


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
