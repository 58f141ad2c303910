"""Finished streams in PostgreSQL: every statement that is about them.

Strategy: as in the file of SQLite: a search goes by an index that begins with whose streams are
asked for, and a read seeks the segment of its position. The planner would go by the index of all
for an owner of many streams, and pass over others'; so that is of an expression, `created_at + 0`,
which only a search of everybody's is written with. Who keeps a stream inserts its row first: a
second one waits there for the first, and then finds it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from holdfast import errors, events, storage
from holdfast.archive import records, rows
from holdfast.archive.postgres import pool

READ_AHEAD = 2
"""Segments that one statement brings: a page seldom lies in more."""

_INFO = "SELECT id, header, epoch, seq, status, cancelled, ended_at FROM holdfast.stream"
_SEGMENTS = """
    SELECT epoch, first, kinds, times, sizes, crcs, data FROM holdfast.segment
    WHERE stream = $1 AND (epoch, first) > ($2, $3) ORDER BY epoch, first LIMIT $4"""


async def is_known(db: pool.Connection, stream: events.StreamId) -> bool:
    """Whether it is there, or was let go."""
    found: bool = await db.fetchval(
        "SELECT EXISTS (SELECT FROM holdfast.stream WHERE id = $1) "
        "OR EXISTS (SELECT FROM holdfast.tombstone WHERE stream = $1)",
        stream,
    )
    return found


async def begin(db: pool.Connection, info: storage.Info) -> bool:
    """The row of a stream that is not there yet; false where it is, or was let go."""
    return info.stream in await _begin_all(db, [info])


async def keep_all(db: pool.Connection, some: Sequence[records.Finished]) -> int:
    """Those that are neither there nor were let go; how many. A statement has the rows of all."""
    # In one order everywhere: of two nodes neither waits for what the other one has.
    wanted = {one.info.stream: one for one in sorted(some, key=lambda one: one.info.stream)}
    begun = await _begin_all(db, [one.info for one in wanted.values()])
    new = [one for stream, one in wanted.items() if stream in begun]
    await _add(db, [(one.info.stream, part) for one in new for part in one.segments])
    await _add_attempts(db, [(one.info.stream, part) for one in new for part in one.attempts])
    return len(new)


async def _begin_all(db: pool.Connection, some: Sequence[storage.Info]) -> set[str]:
    """Which of these are not there yet, and have their rows now."""
    found = await db.fetch(
        "INSERT INTO holdfast.stream SELECT * FROM unnest("
        "$1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], "
        "$8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::boolean[], "
        "$14::bytea[]) ON CONFLICT DO NOTHING RETURNING id",
        *map(list, zip(*map(_row, some), strict=True)),
    )
    begun = {row[0] for row in found}
    # Looked up after the rows are ours: they cannot be let go any more meanwhile.
    gone = await db.fetch(
        "DELETE FROM holdfast.stream WHERE id = ANY ($1::text[]) "
        "AND EXISTS (SELECT FROM holdfast.tombstone WHERE stream = id) RETURNING id",
        list(begun),
    )
    return begun - {row[0] for row in gone}


def _row(info: storage.Info) -> tuple[Any, ...]:
    header, head = info.header, info.head
    return (
        info.stream,
        pool.packed(header.owner),
        pool.packed(storage.tenant_of(header.owner)),
        info.status,
        pool.packed(header.client_id),
        pool.packed(header.session_id),
        pool.packed(header.provider),
        pool.packed(header.model),
        header.created_at,
        info.ended_at,
        head.epoch,
        head.seq,
        info.cancelled,
        records.pack_header(info.stream, header),
    )


async def add(
    db: pool.Connection, stream: events.StreamId, group: Sequence[records.Segment]
) -> None:
    await _add(db, [(stream, one) for one in group])


async def _add(
    db: pool.Connection, some: Sequence[tuple[events.StreamId, records.Segment]]
) -> None:
    await db.executemany(
        "INSERT INTO holdfast.segment VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            (
                stream,
                one.epoch,
                one.first,
                one.last,
                one.kinds,
                one.times,
                one.sizes,
                one.crcs,
                records.pack_data(stream, one),
            )
            for stream, one in some
        ],
    )


async def add_attempts(
    db: pool.Connection, stream: events.StreamId, attempts: Sequence[rows.Attempt]
) -> None:
    await _add_attempts(db, [(stream, one) for one in attempts])


async def _add_attempts(
    db: pool.Connection, some: Sequence[tuple[events.StreamId, rows.Attempt]]
) -> None:
    numbered = {(stream, one.number): one for stream, one in some}
    await db.executemany(
        "INSERT INTO holdfast.attempt "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        [
            (stream, *(pool.packed(part) if isinstance(part, str) else part for part in row))
            for (stream, _), row in zip(numbered, map(rows.flat, numbered.values()), strict=True)
        ],
    )


async def page(
    db: pool.Connection, stream: events.StreamId, after: events.Position, limit: int
) -> storage.Page:
    head = await _head(db, stream)
    pager = records.Pager(head, after, limit)
    place = await _place_of(db, stream, after) if after.seq else (-1, -1)
    if place is None:
        await _head(db, stream)  # it may have expired meanwhile
        raise errors.UnknownPosition(f"Stream {stream} holds no event at {after}.")
    while not pager.full:
        found = await db.fetch(_SEGMENTS, stream, *place, READ_AHEAD)
        with _corrupt(stream):
            for row in found:
                if not pager.full:
                    pager.add(_segment(stream, row))
                place = row[0], row[1]
            if not found:
                await _head(db, stream)
                raise errors.LogCorrupt("its last segment is missing")
    return pager.page


async def _head(db: pool.Connection, stream: events.StreamId) -> storage.Head:
    (head,) = await heads(db, [stream])
    if head is None:
        raise errors.StreamNotFound
    return head


async def _place_of(
    db: pool.Connection, stream: events.StreamId, after: events.Position
) -> tuple[int, int] | None:
    """After which (epoch, first) the segments lie that hold what follows a position; None where no
    segment holds the position itself."""
    row = await db.fetchrow(
        "SELECT first, last FROM holdfast.segment WHERE stream = $1 AND epoch = $2 AND first <= $3 "
        "ORDER BY first DESC LIMIT 1",
        stream,
        after.epoch,
        after.seq,
    )
    if row is None or row[1] < after.seq:
        return None
    return after.epoch, row[0] if row[1] == after.seq else row[0] - 1


async def heads(
    db: pool.Connection, wanted: Sequence[events.StreamId]
) -> list[storage.Head | None]:
    query = "SELECT id, epoch, seq FROM holdfast.stream WHERE id = ANY ($1::text[])"
    found = {row[0]: storage.Head(row[1], row[2], True) for row in await db.fetch(query, wanted)}
    return [found.get(stream) for stream in wanted]


async def stat(
    db: pool.Connection, stream: events.StreamId
) -> storage.Info | storage.Tombstone | None:
    row = await db.fetchrow(f"{_INFO} WHERE id = $1", stream)
    if row is not None:
        return _info(row)
    row = await db.fetchrow(
        "SELECT owner, expired_at FROM holdfast.tombstone WHERE stream = $1", stream
    )
    return None if row is None else storage.Tombstone(pool.unpacked(row[0]), row[1])


async def find(db: pool.Connection, query: storage.Query) -> list[storage.Info]:
    everybodys = query.owner is None and not query.tenant
    created_at = "created_at + 0" if everybodys else "created_at"
    where, values = pool.terms(
        {
            "owner = {}": pool.packed(query.owner),
            "tenant = {}": pool.packed(query.tenant or None),
            "status = {}": query.status,
            "client_id = {}": pool.packed(query.client_id),
            "session_id = {}": pool.packed(query.session_id),
            f"{created_at} >= {{}}": query.created_from,
            f"{created_at} < {{}}": query.created_to,
            f"({created_at}, id) < ({{}}, {{}})": query.before,
        }
    )
    found = await db.fetch(
        f"{_INFO} {where} ORDER BY {created_at} DESC, id DESC LIMIT {max(0, query.limit)}", *values
    )
    return [_info(row) for row in found]


async def attempts(db: pool.Connection, stream: events.StreamId) -> list[rows.Attempt]:
    query = "SELECT * FROM holdfast.attempt WHERE stream = $1 ORDER BY number"
    found = await db.fetch(query, stream)
    return [rows.attempt(*map(pool.unpacked, tuple(row)[1:])) for row in found]


async def expire(db: pool.Connection, before: int, limit: int, now: int) -> int:
    # One that another node lets go just now is left to it.
    found = await db.fetch(
        "WITH gone AS (DELETE FROM holdfast.stream WHERE id IN ("
        "SELECT id FROM holdfast.stream WHERE ended_at < $1 ORDER BY ended_at, id LIMIT $2 "
        "FOR UPDATE SKIP LOCKED) RETURNING id, owner) "
        "INSERT INTO holdfast.tombstone SELECT id, owner, $3 FROM gone ORDER BY id "
        "ON CONFLICT (stream) DO UPDATE SET expired_at = excluded.expired_at RETURNING stream",
        before,
        max(0, limit),
        now,
    )
    await db.execute(
        "DELETE FROM holdfast.tombstone WHERE stream IN (SELECT stream FROM holdfast.tombstone "
        "WHERE expired_at < $1 ORDER BY expired_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        now - storage.TOMBSTONE_MS,
        max(0, limit),
    )
    return len(found)


def _segment(stream: events.StreamId, row: Any) -> records.Segment:
    epoch, first, kinds, times, sizes, crcs, data = row
    whole = records.unpack_data(stream, epoch, first, data)
    return records.Segment(epoch, first, kinds, times, sizes, crcs, whole)


def _info(row: Any) -> storage.Info:
    stream, header, epoch, seq, status, cancelled, ended_at = row
    with _corrupt(stream):
        kept = records.unpack_header(stream, header)
    head = storage.Head(epoch, seq, True)
    return storage.Info(stream, kept, head, status, cancelled, ended_at)


@contextlib.contextmanager
def _corrupt(stream: str) -> Iterator[None]:
    """Says where bytes lie that cannot be read back."""
    try:
        yield
    except errors.LogCorrupt as error:
        raise errors.LogCorrupt(f"The archive's stream {stream}: {error.message}.") from error
