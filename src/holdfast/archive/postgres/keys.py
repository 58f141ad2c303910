"""API keys in PostgreSQL: every statement that is about them.

Strategy: as in the file of SQLite: a revision counts the changes, and a key is one blob. A database
that was made anew, or put back from a copy of another, has another secret.
"""

from __future__ import annotations

import asyncpg
import msgspec

from holdfast.archive import base
from holdfast.archive.postgres import pool

_decode = msgspec.msgpack.Decoder(base.Key).decode
_encode = msgspec.msgpack.Encoder().encode


async def revision(db: pool.Connection) -> tuple[bytes, int]:
    """The secret as it lies, and the count of changes."""
    row = await db.fetchrow("SELECT secret, revision FROM holdfast.meta")
    if row is None:
        raise asyncpg.InterfaceError("it has no secret; put a copy back")
    return row[0], row[1]


async def all_of(db: pool.Connection) -> tuple[base.Key, ...]:
    query = "SELECT data, revoked_at FROM holdfast.key ORDER BY created_at, id"
    return tuple(_key(*row) for row in await db.fetch(query))


async def add(db: pool.Connection, key: base.Key) -> None:
    try:
        await db.execute(
            "INSERT INTO holdfast.key VALUES ($1, $2, $3, $4, $5)",
            pool.packed(key.id),
            key.digest,
            key.created_at,
            key.revoked_at,
            _encode(key),
        )
    except asyncpg.UniqueViolationError:
        raise ValueError("there is such a key already") from None
    await _changed(db)


async def revoke(db: pool.Connection, key_id: str, now: int) -> base.Key | None:
    name = pool.packed(key_id)
    done = await db.execute(
        "UPDATE holdfast.key SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL", now, name
    )
    if done != "UPDATE 0":
        await _changed(db)
    row = await db.fetchrow("SELECT data, revoked_at FROM holdfast.key WHERE id = $1", name)
    return None if row is None else _key(*row)


async def _changed(db: pool.Connection) -> None:
    await db.execute("UPDATE holdfast.meta SET revision = revision + 1")


def _key(data: bytes, revoked_at: int | None) -> base.Key:
    return msgspec.structs.replace(_decode(data), revoked_at=revoked_at)
