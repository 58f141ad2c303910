"""Keys in the file: every statement that is about them, and about what they leave behind.

Strategy: what is replaced or deleted is overwritten in the file (`secure_delete`), and the copies
that the WAL has of it go with a checkpoint that cuts it off. A plain stream is sealed in one
transaction, segment by segment.

Free pages have more: what was deleted before the file was sealed, and what SQLite leaves behind as
it moves a row to another page, also while that is sealed. So whatever seals something plain says so
in `meta`, and behind the pass that was the last to do so the file is vacuumed. What the file system
still has of it then is not ours to overwrite.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import structlog

from holdfast import events
from holdfast.archive import records, resealing, rows, sealed
from holdfast.archive.sqlite import reports, streams
from holdfast.sealing import codec

_VACUUM = "vacuum"
"""The name in `meta` of what says that free pages have something plain: how often something was
sealed since the last VACUUM."""

_DUE = "vacuum_due"
"""Of what says that the next start is to make it, as a pass could not."""

_SIZE = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"

_log = structlog.get_logger("holdfast")


def settled(db: sqlite3.Connection, seals: sealed.Seals, fresh: bool) -> bytes:
    """Opens the archive's key, makes it where it is time for that, and gives the secret. `fresh`:
    this start has made the file. Raises `errors.SettingsError`."""
    found = seals.settle(*_guarding(db))
    if found.guard is None and found.blob is None:
        return found.secret
    db.execute("BEGIN IMMEDIATE")
    try:
        found = settle_now(db, seals, fresh)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    return found.secret


def settle_now(db: sqlite3.Connection, seals: sealed.Seals, fresh: bool = False) -> sealed.Settled:
    """In a transaction that may write."""
    found = seals.settle(*_guarding(db))
    if found.guard is not None:
        db.execute("INSERT INTO guard VALUES (?, ?)", found.guard)
        if not fresh:
            _was_plain(db)
    if found.blob is not None:
        db.execute("UPDATE meta SET value = ? WHERE name = 'secret'", (found.blob,))
    return found


def _guarding(db: sqlite3.Connection) -> tuple[dict[str, bytes], bytes]:
    """The guards, and the secret as it lies."""
    row = db.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()
    return guards(db), row[0]


def guards(db: sqlite3.Connection) -> dict[str, bytes]:
    return dict(db.execute("SELECT id, blob FROM guard ORDER BY id").fetchall())


def learn(db: sqlite3.Connection, seals: sealed.Seals, found: Sequence[reports.Kept]) -> None:
    """Where another process has turned sealing on meanwhile."""
    if seals.store is None and any(is_sealed for _, is_sealed in found):
        seals.opened(*_guarding(db))


def guard(db: sqlite3.Connection, seals: sealed.Seals, by: str) -> None:
    """So that a start without this key of the ring refuses, before anything is under it."""
    if not by or db.execute("SELECT 1 FROM guard WHERE id = ?", (by,)).fetchone():
        return
    if seals.store is None:
        settle_now(db, seals)
    db.execute("INSERT OR IGNORE INTO guard VALUES (?, ?)", (by, seals.guard(by)))


def drop_guard(db: sqlite3.Connection, seals: sealed.Seals, key_id: str) -> None:
    others, secret = seals.without(guards(db), key_id)
    db.executemany("INSERT INTO guard VALUES (?, ?)", others.items())
    db.execute("DELETE FROM guard WHERE id = ?", (key_id,))
    if secret is not None:
        db.execute("UPDATE meta SET value = ? WHERE name = 'secret'", (secret,))
        db.execute("DELETE FROM connection WHERE sealed")


def wrapped_by(db: sqlite3.Connection) -> dict[str, int]:
    found = db.execute(
        "SELECT CASE WHEN key IS NULL THEN '' ELSE lower(hex(substr(key, ?, ?))) END, count(*) "
        "FROM stream GROUP BY 1",
        (sealed.ID_BEGINS, codec.ID_BYTES),
    )
    return dict(found.fetchall())


# What lies in it


def looked_at(db: sqlite3.Connection, after: str, limit: int) -> list[resealing.Looked]:
    query = "SELECT id, owner, key FROM stream WHERE id > ? ORDER BY id LIMIT ?"
    return [resealing.Looked(*row) for row in db.execute(query, (after, max(0, limit)))]


def seal(db: sqlite3.Connection, seals: sealed.Seals, stream: events.StreamId) -> bool:
    """A plain stream; false where it is none any more. Raises `errors.LogCorrupt`."""
    row = streams.row(db, stream)
    if row is None or row.key is not None:
        return False
    info = seals.info(row)
    by = seals.new(info)
    if by.wrapped is None:
        return False
    guard(db, seals, codec.key_id(by.wrapped))
    places = db.execute("SELECT epoch, first FROM segment WHERE stream = ?", (stream,)).fetchall()
    with sealed.place(stream):
        for place in places:
            segment = records.proven(streams.segment(db, codec.PLAIN, stream, place))
            streams.replace(db, stream, records.packed(by, stream, segment))
    new = sealed.row_of(info, by)
    db.execute("UPDATE stream SET header = ?, key = ? WHERE id = ?", (new.header, new.key, stream))
    _was_plain(db)
    return True


def rewrap(db: sqlite3.Connection, seals: sealed.Seals, some: Sequence[resealing.Rewrap]) -> int:
    """How many had the key that they were said to have."""
    for by in sorted({one.by for one in some}):
        guard(db, seals, by)
    done = db.executemany(
        "UPDATE stream SET key = ? WHERE id = ? AND key = ?",
        [(one.new, one.stream, one.old) for one in some],
    )
    return max(0, done.rowcount)


def seal_connections(db: sqlite3.Connection, seals: sealed.Seals, after: str) -> str | None:
    """Looks at `rows.MAX_ROWS` of them; the id of the last, None at the end."""
    if seals.store is None:
        settle_now(db, seals)
    found = reports.listed(db, after)
    plain = [one for one, is_sealed in found if not is_sealed]
    for one in plain:
        reports.replace(db, one.id, *seals.pack_connection(one))
    if plain:
        _was_plain(db)
    return found[-1][0].id if len(found) == rows.MAX_ROWS else None


def shred(db: sqlite3.Connection, stream: events.StreamId, now: int, keep_out: bool) -> bool:
    found = db.execute("SELECT id, owner FROM stream WHERE id = ?", (stream,)).fetchall()
    streams.let_go(db, found, now)
    if keep_out and not found:
        db.execute("INSERT OR IGNORE INTO tombstone VALUES (?, '', ?)", (stream, now))
    db.execute("DELETE FROM connection WHERE stream = ?", (stream,))
    return bool(found)


# What it leaves behind


def checkpoint(db: sqlite3.Connection) -> bool:
    """Cuts off the WAL, which has what was overwritten; false where a reader still needs it."""
    busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _was_plain(db: sqlite3.Connection) -> None:
    row = "INSERT INTO meta VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
    db.execute(row, (_VACUUM,))


def tidy(db: sqlite3.Connection, path: Path, most: int | None = None) -> None:
    """Not in a transaction: frees the file of what is from before it was sealed, behind a pass one
    of at most so many bytes, and at a start, which gives no such limit, what a pass has left to it;
    and of what a node that died left in the WAL. Waits for nobody: the next start does it."""
    query = "SELECT name, value FROM meta WHERE name IN (?, ?)"
    said = dict(db.execute(query, (_VACUUM, _DUE)).fetchall())
    wanted = _VACUUM in said and (most is not None or _DUE in said)
    waits = db.execute("PRAGMA busy_timeout").fetchone()[0]
    db.execute("PRAGMA busy_timeout = 0")
    try:
        done = False
        with contextlib.suppress(sqlite3.OperationalError):
            done = wanted and _vacuum(db, path, most)
            if checkpoint(db) and done:
                # Unless something was sealed meanwhile.
                values = (_VACUUM, said[_VACUUM])
                db.execute("DELETE FROM meta WHERE name = ? AND value = ?", values)
                db.execute("DELETE FROM meta WHERE name = ?", (_DUE,))
                return
        if wanted:
            with contextlib.suppress(sqlite3.OperationalError):
                db.execute("INSERT OR IGNORE INTO meta VALUES (?, 1)", (_DUE,))
    finally:
        db.execute(f"PRAGMA busy_timeout = {waits}")


def _vacuum(db: sqlite3.Connection, path: Path, most: int | None) -> bool:
    (size,) = db.execute(_SIZE).fetchone()
    if most is not None and size > most:
        return False
    _log.info("store_vacuuming", path=str(path), bytes=size)
    db.execute("VACUUM")
    (size,) = db.execute(_SIZE).fetchone()
    _log.info("store_vacuumed", path=str(path), bytes=size)
    return True
