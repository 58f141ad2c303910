"""API keys in the file: every statement that is about them.

Strategy: a revision counts the changes, so that a node that asks every few seconds reads one
number. What is kept of a key beside its id and digest is one blob: it is read whole or not at all.
"""

from __future__ import annotations

import sqlite3

import msgspec

from holdfast.archive import base

FILE_REVISIONS = 2**48
"""Revisions that are set apart for each file that a process has open in turn."""

_decode = msgspec.msgpack.Decoder(base.Key).decode
_encode = msgspec.msgpack.Encoder().encode


def all_of(db: sqlite3.Connection, known: int, replaced: int) -> base.Keys | None:
    # A copy has numbers that were used for other keys.
    row = db.execute("SELECT value FROM meta WHERE name = 'revision'").fetchone()
    revision = replaced * FILE_REVISIONS + int(row[0])
    if revision == known:
        return None
    rows = db.execute("SELECT data, revoked_at FROM key ORDER BY created_at, id")
    return base.Keys(revision, tuple(_key(*row) for row in rows))


def add(db: sqlite3.Connection, key: base.Key) -> None:
    row = (key.id, key.digest, key.created_at, key.revoked_at, _encode(key))
    try:
        db.execute("INSERT INTO key VALUES (?, ?, ?, ?, ?)", row)
    except sqlite3.IntegrityError:
        raise ValueError("there is such a key already") from None
    _changed(db)


def revoke(db: sqlite3.Connection, key_id: str, now: int) -> base.Key | None:
    done = db.execute(
        "UPDATE key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, key_id)
    )
    if done.rowcount:
        _changed(db)
    found = db.execute("SELECT data, revoked_at FROM key WHERE id = ?", (key_id,))
    row = found.fetchone()
    return None if row is None else _key(*row)


def _changed(db: sqlite3.Connection) -> None:
    db.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'")


def _key(data: bytes, revoked_at: int | None) -> base.Key:
    return msgspec.structs.replace(_decode(data), revoked_at=revoked_at)
