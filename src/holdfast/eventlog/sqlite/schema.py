"""The log file's shape: its lock, its schema, and what its errors mean.

    redo       operations in the order in which they became durable; read at a start only
    segment    checkpoints of open streams, a block each; complete up to the redo row `upto`
    record     finished streams; `redo` is the last redo row that may speak of the stream
    tombstone  streams that have expired, with the record's `redo`
    counter    sums beside the streams, by name and slot; neither the redo log nor a start
               knows of them
    seal       the data key of each stream that is sealed, open or finished, wrapped by a key of
               the ring; without it nothing of the stream can be read
    guard      this file's own key, wrapped by each key of the ring that is in use here
    meta       `secret`, or `sealed_secret`; `row`, the last redo row that was deleted; `clean`,
               where no unused byte can be what was once written in clear

What a record or a tombstone knows is final, so a replay passes over its stream; therefore a
tombstone stays until the redo log has forgotten the stream.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from holdfast import errors

Durability = Literal["process", "power"]
_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}

APPLICATION_ID = 0x484C4446  # "HLDF"
BUSY_SECONDS = 2.0
"""How long another program may hold the file (a backup, say) before a tick fails."""

WAL_BYTES = 16 * 1024 * 1024
"""The write-ahead log is cut down to this many bytes when it was larger for a while."""

STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
        "CREATE TABLE redo (id INTEGER PRIMARY KEY, operations BLOB NOT NULL)",
        """CREATE TABLE segment (
            stream TEXT NOT NULL, first INTEGER NOT NULL, upto INTEGER NOT NULL,
            header BLOB, events BLOB NOT NULL, PRIMARY KEY (stream, first))""",
        """CREATE TABLE record (
            stream TEXT PRIMARY KEY, owner TEXT NOT NULL, status TEXT NOT NULL,
            client_id TEXT, session_id TEXT, created_at INTEGER NOT NULL,
            ended_at INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
            cancelled INTEGER NOT NULL, redo INTEGER NOT NULL,
            header BLOB NOT NULL, events BLOB NOT NULL)""",
        # Holds all that a search filters by, so that it passes over a row without opening it.
        """CREATE INDEX record_by_creation
            ON record (created_at, stream, owner, status, client_id, session_id)""",
        "CREATE INDEX record_by_end ON record (ended_at)",
        """CREATE TABLE tombstone (
            stream TEXT PRIMARY KEY, owner TEXT NOT NULL, expired_at INTEGER NOT NULL,
            redo INTEGER NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX tombstone_by_time ON tombstone (expired_at)",
    ),
    (
        """CREATE TABLE counter (
            name TEXT NOT NULL, slot INTEGER NOT NULL, total INTEGER NOT NULL,
            until INTEGER NOT NULL, PRIMARY KEY (name, slot)) WITHOUT ROWID""",
        "CREATE INDEX counter_by_end ON counter (until)",
    ),
    (
        # A search for one owner's or one tenant's passes over nobody else's.
        """CREATE INDEX record_by_owner
            ON record (owner, created_at, stream, status, client_id, session_id)""",
        """CREATE INDEX record_by_tenant
            ON record (substr(owner, 1, instr(owner, '/')),
                created_at, stream, owner, status, client_id, session_id)""",
    ),
    (
        """CREATE TABLE seal (
            stream TEXT PRIMARY KEY, owner TEXT NOT NULL, created_at INTEGER NOT NULL,
            key BLOB NOT NULL) WITHOUT ROWID""",
        "CREATE TABLE guard (id TEXT PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID",
    ),
)
"""The steps from an empty file to this version; `user_version` counts those that were made."""

_ADVICE = {
    "SQLITE_FULL": "the disk is full; free some space",
    "SQLITE_BUSY": "another program holds the file; let it go",
    "SQLITE_LOCKED": "another program holds the file; let it go",
    "SQLITE_READONLY": "make the file and its folder writable",
    "SQLITE_CANTOPEN": "make the file and its folder writable",
    "SQLITE_PERM": "make the file and its folder writable",
    "SQLITE_IOERR": "the disk fails or is full",
}
_CORRUPT = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the system become ours."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(_CORRUPT):
            raise errors.LogCorrupt(f"{path}: {error}.") from error
        advice = [said for start, said in _ADVICE.items() if name.startswith(start)]
        raise errors.LogUnavailable("; ".join([f"{path}: {error}", *advice]) + ".") from error
    except OSError as error:
        raise errors.LogUnavailable(
            f"{path}: {error.strerror}; the folder must exist, and it and the file be writable."
        ) from error


@contextlib.contextmanager
def place(path: Path, table: str, row: object) -> Iterator[None]:
    """Says where bytes lie that cannot be read back."""
    try:
        yield
    except errors.LogCorrupt as error:
        said = f"{path}: table {table}, row {row}: {error.message.rstrip('.')}."
        raise type(error)(said) from error


def is_read(path: Path) -> str:
    """Why what was destroyed is not gone from the file yet."""
    return f"{path}: another program holds the file, and with it old bytes; let it go."


def lock(path: Path) -> int:
    """The descriptor that owns the file until it is closed; raises `errors.LogLocked`."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except BlockingIOError as error:
        owner = os.read(descriptor, 20).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise errors.LogLocked(
            f"{path} is in use by {f'process {owner}' if owner else 'another process'}; "
            "one process owns a log file. Give this one another, or all of them a redis:// log."
        ) from error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def prepare(db: sqlite3.Connection, path: Path, durability: Durability) -> None:
    """Checks that the file is a log of ours, and brings it to this version."""
    application = number(db, "PRAGMA application_id")
    version = number(db, "PRAGMA user_version")
    empty = number(db, "SELECT count(*) FROM sqlite_master") == 0
    if application != APPLICATION_ID and (application or not empty):
        raise errors.LogCorrupt(f"{path} is a database, but not an event log.")
    if version > len(STEPS):
        raise errors.LogCorrupt(
            f"{path} was made by a newer version of Holdfast: its schema is {version}, "
            f"this version knows {len(STEPS)}."
        )
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise errors.LogUnavailable(f"{path}: its file system cannot hold a log.")
    db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    db.execute("PRAGMA secure_delete = ON")
    if version < len(STEPS):  # else a start writes nothing, so that it works on a full disk
        with transaction(db, path):
            _upgrade(db, version)


def _upgrade(db: sqlite3.Connection, version: int) -> None:
    for statement in itertools.chain.from_iterable(STEPS[version:]):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {len(STEPS)}")
    if not version:
        secret = secrets.token_bytes(32)
        db.execute("INSERT INTO meta VALUES ('secret', ?), ('row', 0)", (secret,))


def number(db: sqlite3.Connection, statement: str) -> int:
    """The one number that a statement gives."""
    return int(db.execute(statement).fetchone()[0])


def oldest_redo(db: sqlite3.Connection) -> int:
    """The first row of the redo log; where it has none, more than any."""
    return number(db, f"SELECT coalesce(min(id), {2**63 - 1}) FROM redo")


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """All that is executed in it becomes durable at its end, or nothing does."""
    with mapped(path):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
