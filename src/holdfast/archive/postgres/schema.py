"""The archive's schema in PostgreSQL, and how it is brought to this version.

Strategy: all is in the schema `holdfast`, and every statement names it, so that the database may
hold other things and a pooler in between need keep no settings. Each migration is applied in a
transaction that takes an advisory lock and then looks anew, so that of many processes one applies
it. What is up to date is only read: a node then needs no right to change tables.
"""

from __future__ import annotations

from holdfast import events
from holdfast.archive import migrations, rows
from holdfast.archive.postgres import pool

MIGRATIONS = migrations.load("postgres")

LOCK = 0x484C4441
"""The key of the advisory lock: "HLDA"."""

UPGRADE_SECONDS = 600.0
"""How long a migration may take, and another process waits for it."""

_LIST = """
    CREATE TABLE IF NOT EXISTS holdfast.migration (
        number integer PRIMARY KEY, name text NOT NULL, applied_at bigint)"""


async def listed(db: pool.Connection) -> list[rows.Applied]:
    """What was applied."""
    # Not `to_regclass`: it may answer from a cache what was true before the lock was ours.
    there = (
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables "
        "WHERE schemaname = 'holdfast' AND tablename = 'migration')"
    )
    if not await db.fetchval(there):
        return []
    query = "SELECT number, name, applied_at FROM holdfast.migration ORDER BY number"
    return [rows.Applied(*row) for row in await db.fetch(query)]


async def upgraded(db: pool.Connection, place: str) -> list[rows.Applied]:
    """Applies what is pending; which that was. Raises `errors.SettingsError`."""
    done: list[rows.Applied] = []
    while migrations.pending(MIGRATIONS, await listed(db), place):
        await db.execute("BEGIN")
        await db.execute(f"SELECT pg_advisory_xact_lock({LOCK})", timeout=UPGRADE_SECONDS)
        pending = migrations.pending(MIGRATIONS, await listed(db), place)
        if pending:
            done.append(await _apply(db, pending[0]))
        await db.execute("COMMIT")
    return done


async def _apply(db: pool.Connection, migration: migrations.Migration) -> rows.Applied:
    applied = rows.Applied(migration.number, migration.name, events.now_ms())
    await db.execute("CREATE SCHEMA IF NOT EXISTS holdfast")
    await db.execute(_LIST)
    await db.execute(migration.script, timeout=UPGRADE_SECONDS)
    await db.execute(
        "INSERT INTO holdfast.migration VALUES ($1, $2, $3)",
        applied.number,
        applied.name,
        applied.applied_at,
    )
    await db.execute(
        "INSERT INTO holdfast.meta (secret) VALUES ('') ON CONFLICT DO NOTHING",
    )
    return applied
