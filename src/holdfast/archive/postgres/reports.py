"""Connections, and metrics by minute, in PostgreSQL: every statement that is about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast import storage
from holdfast.archive import rows, sealed
from holdfast.archive.postgres import pool

_CONNECTION = """
    SELECT id, stream, owner, opened_at, updated_at, data, closed_at, sealed
    FROM holdfast.connection"""

# Of two states the newer one stays: `rows.Connection.age`.
_KEEP = """
    INSERT INTO holdfast.connection AS known VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (id) DO UPDATE SET
        stream = excluded.stream, owner = excluded.owner, tenant = excluded.tenant,
        opened_at = excluded.opened_at, updated_at = excluded.updated_at,
        closed_at = excluded.closed_at, data = excluded.data, sealed = excluded.sealed
    WHERE (excluded.updated_at, excluded.closed_at IS NOT NULL)
        >= (known.updated_at, known.closed_at IS NOT NULL)"""

Kept = tuple[rows.Connection, bool]
"""A connection, and whether its data are sealed."""


async def keep_connections(
    db: pool.Connection, seals: sealed.Seals, connections: Sequence[rows.Connection]
) -> None:
    await db.executemany(
        _KEEP,
        [
            (
                pool.packed(one.id),
                pool.packed(one.stream),
                pool.packed(one.owner),
                pool.packed(storage.tenant_of(one.owner)),
                one.opened_at,
                one.updated_at,
                one.closed_at,
                *seals.pack_connection(one),
            )
            for one in connections
        ],
    )


async def connection(db: pool.Connection, connection_id: str) -> Kept | None:
    row = await db.fetchrow(f"{_CONNECTION} WHERE id = $1", pool.packed(connection_id))
    return None if row is None else _kept(row)


async def listed(db: pool.Connection, after: str) -> list[Kept]:
    """`rows.MAX_ROWS` in the order of their ids; nobody changes them before this transaction has
    ended."""
    query = f"{_CONNECTION} WHERE id > $1 ORDER BY id LIMIT $2 FOR UPDATE"
    return [_kept(row) for row in await db.fetch(query, pool.packed(after), rows.MAX_ROWS)]


async def replace(db: pool.Connection, some: Sequence[tuple[str, bytes, bool]]) -> None:
    """The data of connections, by their ids, and whether they are sealed."""
    await db.executemany(
        "UPDATE holdfast.connection SET data = $2, sealed = $3 WHERE id = $1",
        [(pool.packed(name), data, is_sealed) for name, data, is_sealed in some],
    )


async def connections(db: pool.Connection, sought: rows.Sought) -> list[Kept]:
    before, limit = sought.before, max(0, min(sought.limit, rows.MAX_ROWS))
    everybodys = sought.stream is None and sought.owner is None and not sought.tenant
    opened_at = "opened_at + 0" if everybodys else "opened_at"
    where, values = pool.terms(
        {
            "stream = {}": pool.packed(sought.stream),
            "owner = {}": pool.packed(sought.owner),
            "tenant = {}": pool.packed(sought.tenant or None),
            f"({opened_at}, id) < ({{}}, {{}})": before and (before[0], pool.packed(before[1])),
        }
    )
    found = await db.fetch(
        f"{_CONNECTION} {where} ORDER BY {opened_at} DESC, id DESC LIMIT {limit}", *values
    )
    return [_kept(row) for row in found]


def _kept(row: Any) -> Kept:
    *said, is_sealed = row
    return rows.Connection(*map(pool.unpacked, said)), is_sealed


async def keep_minutes(db: pool.Connection, minutes: Sequence[rows.Minute]) -> None:
    await db.executemany(
        "INSERT INTO holdfast.minute VALUES ($1, $2, $3) "
        "ON CONFLICT (at, node) DO UPDATE SET data = excluded.data",
        [(one.at, pool.packed(one.node), one.data) for one in minutes],
    )


async def minutes(
    db: pool.Connection, start: int, end: int, limit: int, after: tuple[int, str]
) -> list[rows.Minute]:
    found = await db.fetch(
        "SELECT at, node, data FROM holdfast.minute WHERE at >= $1 AND at < $2 "
        "AND (at, node) > ($3, $4) ORDER BY at, node LIMIT $5",
        start,
        end,
        after[0],
        pool.packed(after[1]),
        max(0, min(limit, rows.MAX_ROWS)),
    )
    return [rows.Minute(*map(pool.unpacked, tuple(row))) for row in found]


async def forget(db: pool.Connection, before: int, limit: int) -> int:
    most = max(0, limit)
    late = await db.execute(
        "DELETE FROM holdfast.connection WHERE id IN (SELECT id FROM holdfast.connection "
        "WHERE updated_at < $1 ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        before,
        most,
    )
    past = await db.execute(
        "DELETE FROM holdfast.minute WHERE (at, node) IN (SELECT at, node FROM holdfast.minute "
        "WHERE at < $1 ORDER BY at, node LIMIT $2 FOR UPDATE SKIP LOCKED)",
        before,
        most,
    )
    return sum(int(done.rpartition(" ")[2]) for done in (late, past))
