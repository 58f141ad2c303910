"""Connections, and metrics by minute, in the file: every statement that is about them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from holdfast import storage
from holdfast.archive import rows, sealed

_CONNECTION = (
    "SELECT id, stream, owner, opened_at, updated_at, data, closed_at, sealed FROM connection"
)

# Of two states the newer one stays: `rows.Connection.age`.
_KEEP = """
    INSERT INTO connection VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET
        stream = excluded.stream, owner = excluded.owner, tenant = excluded.tenant,
        opened_at = excluded.opened_at, updated_at = excluded.updated_at,
        closed_at = excluded.closed_at, data = excluded.data, sealed = excluded.sealed
    WHERE (excluded.updated_at, excluded.closed_at IS NOT NULL)
        >= (connection.updated_at, connection.closed_at IS NOT NULL)"""

Kept = tuple[rows.Connection, bool]
"""A connection, and whether its data are sealed."""


def keep_connections(
    db: sqlite3.Connection, seals: sealed.Seals, connections: Sequence[rows.Connection]
) -> None:
    db.executemany(
        _KEEP,
        [
            (
                one.id,
                one.stream,
                one.owner,
                storage.tenant_of(one.owner),
                one.opened_at,
                one.updated_at,
                one.closed_at,
                *seals.pack_connection(one),
            )
            for one in connections
        ],
    )


def connection(db: sqlite3.Connection, connection_id: str) -> Kept | None:
    row = db.execute(f"{_CONNECTION} WHERE id = ?", (connection_id,)).fetchone()
    return None if row is None else _kept(row)


def listed(db: sqlite3.Connection, after: str) -> list[Kept]:
    """`rows.MAX_ROWS` in the order of their ids."""
    found = db.execute(f"{_CONNECTION} WHERE id > ? ORDER BY id LIMIT ?", (after, rows.MAX_ROWS))
    return [_kept(row) for row in found]


def replace(db: sqlite3.Connection, connection_id: str, data: bytes, is_sealed: bool) -> None:
    query = "UPDATE connection SET data = ?, sealed = ? WHERE id = ?"
    db.execute(query, (data, is_sealed, connection_id))


def _kept(row: tuple[Any, ...]) -> Kept:
    return rows.Connection(*row[:-1]), bool(row[-1])


def connections(db: sqlite3.Connection, sought: rows.Sought) -> list[Kept]:
    terms: dict[str, Any] = {
        "stream = ?": sought.stream,
        "owner = ?": sought.owner,
        "tenant = ?": sought.tenant or None,
    }
    terms = {term: value for term, value in terms.items() if value is not None}
    values: list[Any] = list(terms.values())
    if sought.before is not None:
        terms["(opened_at, id) < (?, ?)"] = None
        values += sought.before
    found = db.execute(
        f"{_CONNECTION} INDEXED BY {_index(sought)} WHERE {' AND '.join(terms) or 'TRUE'}"
        " ORDER BY opened_at DESC, id DESC LIMIT ?",
        (*values, max(0, min(sought.limit, rows.MAX_ROWS))),
    )
    return [_kept(row) for row in found]


def _index(sought: rows.Sought) -> str:
    """The one that holds together what is asked for."""
    if sought.stream is not None:
        return "connection_by_stream"
    if sought.owner is not None:
        return "connection_by_owner"
    return "connection_by_tenant" if sought.tenant else "connection_by_opening"


def keep_minutes(db: sqlite3.Connection, minutes: Sequence[rows.Minute]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO minute VALUES (?, ?, ?)",
        [(one.at, one.node, one.data) for one in minutes],
    )


def minutes(
    db: sqlite3.Connection, start: int, end: int, limit: int, after: tuple[int, str]
) -> list[rows.Minute]:
    found = db.execute(
        "SELECT at, node, data FROM minute WHERE at >= ? AND at < ? AND (at, node) > (?, ?) "
        "ORDER BY at, node LIMIT ?",
        (start, end, *after, max(0, min(limit, rows.MAX_ROWS))),
    )
    return [rows.Minute(*row) for row in found]


def forget(db: sqlite3.Connection, before: int, limit: int) -> int:
    most = max(0, limit)
    late = db.execute(
        "DELETE FROM connection WHERE id IN "
        "(SELECT id FROM connection WHERE updated_at < ? ORDER BY updated_at LIMIT ?)",
        (before, most),
    )
    past = db.execute(
        "DELETE FROM minute WHERE (at, node) IN "
        "(SELECT at, node FROM minute WHERE at < ? ORDER BY at, node LIMIT ?)",
        (before, most),
    )
    return late.rowcount + past.rowcount
