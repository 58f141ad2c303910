"""Keys in PostgreSQL: every statement that is about them.

Strategy: as in the file of SQLite; a row that is changed is locked first. What is replaced or
deleted here cannot be read by anybody who asks the database, but its bytes lie on as dead rows
until their place is taken again, and in the WAL and its archive; nothing is done by force about
those, as only who runs the database knows when (docs/sealing.md has the statements, under whose
locks all nodes wait); in copies, and in the WAL, what was sealed is gone once the ring's key is
destroyed that its data key was wrapped by.

The planner's statistics have values of each column, which anybody may ask for who may read the
table. So behind a pass that sealed something they are made anew, of what is sealed.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast import errors, events
from holdfast.archive import records, resealing, rows, sealed
from holdfast.archive.postgres import keys, pool, reports, streams
from holdfast.sealing import codec

COUNT_SECONDS = 600.0
"""How long it may take to count streams: it reads all of their rows. So does a look at some, where
the disk is slow."""

_GUARD = "INSERT INTO holdfast.guard VALUES ($1, $2) ON CONFLICT DO NOTHING"


async def settled(db: pool.Connection, seals: sealed.Seals) -> tuple[bytes, bytes]:
    """Opens the archive's key, makes it where it is time for that, and gives the secret as it lies,
    and as it is. Raises `errors.SettingsError`."""
    blob, _ = await keys.revision(db)
    found = seals.settle(await guards(db), blob)
    if found.guard is None and found.blob is None:
        return blob, found.secret
    await db.execute("BEGIN")
    # Of nodes that start at once each waits here for the one before, and then finds what it made.
    blob = await db.fetchval("SELECT secret FROM holdfast.meta FOR UPDATE")
    found = seals.settle(await guards(db), blob)
    if found.guard is not None:
        await db.execute(_GUARD, *found.guard)
    if found.blob is not None:
        blob = found.blob
        await db.execute("UPDATE holdfast.meta SET secret = $1", blob)
    await db.execute("COMMIT")
    return blob, found.secret


async def guards(db: pool.Connection) -> dict[str, bytes]:
    found = await db.fetch("SELECT id, blob FROM holdfast.guard ORDER BY id")
    return {row[0]: row[1] for row in found}


async def guard(db: pool.Connection, seals: sealed.Seals, blob: bytes, by: str) -> bool:
    """In the transaction that is about to write something under this key of the ring: a start
    without that refuses from then on, and nobody drops the guard before the transaction has ended.
    `blob` is the secret as the archive's own key was found beside it; false where it is another
    one by now."""
    if await db.fetchval("SELECT true FROM holdfast.guard WHERE id = $1 FOR KEY SHARE", by):
        return True
    # Against who drops guards or settles, not against who keeps.
    if blob != await db.fetchval("SELECT secret FROM holdfast.meta FOR KEY SHARE"):
        return False
    await db.execute(_GUARD, by, seals.guard(by))
    return True


async def drop_guard(db: pool.Connection, seals: sealed.Seals, key_id: str) -> None:
    """In a transaction. The caller saw only what was committed, and a stream may be kept for long:
    so this waits for those that keep one under the key, and raises `errors.ArchiveUnavailable`
    where there is more under it then than there was."""
    before = await _under(db, key_id)
    await db.execute("SELECT FROM holdfast.guard WHERE id = $1 FOR UPDATE", key_id)
    if await _under(db, key_id) > before:
        raise errors.ArchiveUnavailable(
            f"{seals.place}: a stream was just kept under the key {key_id}; try again."
        )
    await db.execute("SELECT FROM holdfast.meta FOR UPDATE")
    others, secret = seals.without(await guards(db), key_id)
    for other in others.items():
        await db.execute(_GUARD, *other)
    await db.execute("DELETE FROM holdfast.guard WHERE id = $1", key_id)
    if secret is not None:
        await db.execute("UPDATE holdfast.meta SET secret = $1", secret)
        await db.execute("DELETE FROM holdfast.connection WHERE sealed")


async def _under(db: pool.Connection, key_id: str) -> int:
    """How many streams are."""
    return (await wrapped_by(db)).get(key_id, 0)


async def wrapped_by(db: pool.Connection) -> dict[str, int]:
    found = await db.fetch(
        "SELECT coalesce(encode(substring(key FROM $1 FOR $2), 'hex'), ''), count(*) "
        "FROM holdfast.stream GROUP BY 1",
        sealed.ID_BEGINS,
        codec.ID_BYTES,
        timeout=COUNT_SECONDS,
    )
    return {row[0]: row[1] for row in found}


# What lies in it; all but the first in a transaction


async def looked_at(db: pool.Connection, after: str, limit: int) -> list[resealing.Looked]:
    query = "SELECT id, owner, key FROM holdfast.stream WHERE id > $1 ORDER BY id LIMIT $2"
    found = await db.fetch(query, pool.packed(after), max(0, limit))
    return [resealing.Looked(row[0], pool.unpacked(row[1]), row[2]) for row in found]


async def seal(
    db: pool.Connection, seals: sealed.Seals, by: codec.Codec, stream: events.StreamId
) -> bool:
    """A plain stream; false where it is none any more. Raises `errors.LogCorrupt`."""
    row = await streams.row(db, stream, alone=True)
    if row is None or row.key is not None:
        return False
    info, place = seals.info(row), (-1, -1)
    with sealed.place(stream):
        while some := await streams.segments(db, codec.PLAIN, stream, place):
            await streams.replace(db, by, stream, list(map(records.proven, some)))
            place = some[-1].epoch, some[-1].first
    new = sealed.row_of(info, by)
    query = "UPDATE holdfast.stream SET header = $2, key = $3 WHERE id = $1"
    await db.execute(query, stream, new.header, new.key)
    return True


async def rewrap(db: pool.Connection, some: Sequence[resealing.Rewrap]) -> int:
    """How many had the key that they were said to have."""
    done = await db.fetch(
        "UPDATE holdfast.stream SET key = new FROM "
        "unnest($1::text[], $2::bytea[], $3::bytea[]) AS wanted (stream, old, new) "
        "WHERE id = stream AND key = old RETURNING id",
        [one.stream for one in some],
        [one.old for one in some],
        [one.new for one in some],
    )
    return len(done)


async def seal_connections(
    db: pool.Connection, seals: sealed.Seals, after: str
) -> tuple[int, str | None]:
    """Looks at `rows.MAX_ROWS` of them; how many were sealed, and the id of the last, None at the
    end."""
    found = await reports.listed(db, after)
    plain = [one for one, is_sealed in found if not is_sealed]
    await reports.replace(db, [(one.id, *seals.pack_connection(one)) for one in plain])
    return len(plain), found[-1][0].id if len(found) == rows.MAX_ROWS else None


async def forget_values(db: pool.Connection) -> None:
    """Not in a transaction: the planner knows of what lies there now alone."""
    tables = "holdfast.stream, holdfast.segment, holdfast.connection, holdfast.meta"
    await db.execute(f"ANALYZE {tables}", timeout=COUNT_SECONDS)


async def shred(db: pool.Connection, stream: events.StreamId, now: int, keep_out: bool) -> bool:
    """Its segments and attempts go with its row."""
    await streams.lock(db, [stream])
    owner = await db.fetchval("DELETE FROM holdfast.stream WHERE id = $1 RETURNING owner", stream)
    if owner is not None or keep_out:
        await db.execute(
            "INSERT INTO holdfast.tombstone VALUES ($1, $2, $3) ON CONFLICT (stream) DO NOTHING",
            stream,
            owner or "",
            now,
        )
    await db.execute("DELETE FROM holdfast.connection WHERE stream = $1", pool.packed(stream))
    return owner is not None
