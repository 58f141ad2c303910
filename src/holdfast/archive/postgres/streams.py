"""Finished streams in PostgreSQL: every statement that is about them.

Strategy: as in the file of SQLite: a search goes by an index that begins with whose streams are
asked for, and a read seeks the segment of its position. The planner would go by the index of all
for an owner of many streams, and pass over others'; so that is of an expression, `created_at + 0`,
which only a search of everybody's is written with. Who keeps a stream, or shreds it, holds its lock
first: a second one waits there for the first, and then finds what that has left. Segments are
packed in a thread: to compress a megabyte takes as long as many tokens of others.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from holdfast import errors, events, storage
from holdfast.archive import records, rows, sealed
from holdfast.archive.postgres import pool
from holdfast.sealing import codec

READ_AHEAD = 2
"""Segments that one statement brings: a page seldom lies in more."""

_INFO = f"SELECT {sealed.COLUMNS} FROM holdfast.stream"
_SEGMENTS = """
    SELECT epoch, first, last, kinds, times, sizes, crcs, data FROM holdfast.segment
    WHERE stream = $1 AND (epoch, first) > ($2, $3) ORDER BY epoch, first LIMIT $4"""


async def is_known(db: pool.Connection, stream: events.StreamId) -> bool:
    """Whether it is there, or was let go."""
    found: bool = await db.fetchval(
        "SELECT EXISTS (SELECT FROM holdfast.stream WHERE id = $1) "
        "OR EXISTS (SELECT FROM holdfast.tombstone WHERE stream = $1)",
        stream,
    )
    return found


Sealing = Sequence[tuple[storage.Info, codec.Codec]]
"""Streams, and by what each is packed."""


async def begin(db: pool.Connection, by: codec.Codec, info: storage.Info) -> bool:
    """The row of a stream that is not there yet; false where it is, or was let go."""
    return info.stream in await _begin_all(db, [(info, by)])


async def keep_all(
    db: pool.Connection, some: Sequence[tuple[records.Finished, codec.Codec]]
) -> set[events.StreamId]:
    """Those that are neither there nor were let go; a statement has the rows of all of them."""
    # In one order everywhere: of two nodes neither waits for what the other one has.
    ordered = sorted(some, key=lambda one: one[0].info.stream)
    wanted = {one.info.stream: (one, by) for one, by in ordered}
    begun = await _begin_all(db, [(one.info, by) for one, by in wanted.values()])
    new = [pair for stream, pair in wanted.items() if stream in begun]
    await _add(db, [(one.info.stream, by, part) for one, by in new for part in one.segments])
    await _add_attempts(db, [(one.info.stream, part) for one, _ in new for part in one.attempts])
    return begun


async def lock(db: pool.Connection, streams: Iterable[events.StreamId]) -> None:
    """Until this transaction ends nobody else keeps one of these or shreds it, and the next
    statement sees what those have left who did. Rows alone would not do: who shreds sees none that
    is not committed yet, and who keeps no such tombstone."""
    numbers = sorted(map(_lock_of, streams))  # as below: in one order everywhere
    await db.execute(
        "SELECT pg_advisory_xact_lock(number) FROM unnest($1::bigint[]) AS wanted (number)", numbers
    )


def _lock_of(stream: events.StreamId) -> int:
    digest = hashlib.blake2b(b"holdfast " + stream.encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


async def _begin_all(db: pool.Connection, some: Sealing) -> set[events.StreamId]:
    """Which of these are not there yet, and have their rows now."""
    await lock(db, [info.stream for info, _ in some])
    found = await db.fetch(
        "INSERT INTO holdfast.stream SELECT * FROM unnest("
        "$1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], "
        "$8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::boolean[], "
        "$14::bytea[], $15::bytea[]) ON CONFLICT DO NOTHING RETURNING id",
        *map(list, zip(*(_columns(sealed.row_of(*one)) for one in some), strict=True)),
    )
    begun = {events.StreamId(row[0]) for row in found}
    # Looked up after the rows are ours: they cannot be let go any more meanwhile.
    gone = await db.fetch(
        "DELETE FROM holdfast.stream WHERE id = ANY ($1::text[]) "
        "AND EXISTS (SELECT FROM holdfast.tombstone WHERE stream = id) RETURNING id",
        list(begun),
    )
    return begun - {row[0] for row in gone}


def _columns(kept: sealed.Row) -> tuple[Any, ...]:
    return (
        kept.stream,
        pool.packed(kept.owner),
        pool.packed(storage.tenant_of(kept.owner)),
        kept.status,
        pool.packed(kept.client_id),
        pool.packed(kept.session_id),
        pool.packed(kept.provider),
        pool.packed(kept.model),
        kept.created_at,
        kept.ended_at,
        kept.epoch,
        kept.seq,
        kept.cancelled,
        kept.header,
        kept.key,
    )


async def add(
    db: pool.Connection,
    by: codec.Codec,
    stream: events.StreamId,
    group: Sequence[records.Segment],
) -> None:
    await _add(db, [(stream, by, one) for one in group])


Part = tuple[events.StreamId, codec.Codec, records.Segment]


async def _add(db: pool.Connection, some: Sequence[Part]) -> None:
    await db.executemany(
        "INSERT INTO holdfast.segment VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        await asyncio.to_thread(_packed, some),
    )


def _packed(some: Sequence[Part]) -> list[tuple[Any, ...]]:
    return [
        (stream, *msgspec.structs.astuple(records.packed(by, stream, one)))
        for stream, by, one in some
    ]


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
    db: pool.Connection,
    seals: sealed.Seals,
    stream: events.StreamId,
    after: events.Position,
    limit: int,
) -> storage.Page:
    known = await _row(db, stream)
    by = seals.reading(known)
    pager = records.Pager(known.head, after, limit)
    place = await _place_of(db, stream, after) if after.seq else (-1, -1)
    if place is None:
        await _row(db, stream)  # it may have expired meanwhile
        raise errors.UnknownPosition(f"Stream {stream} holds no event at {after}.")
    while not pager.full:
        found = await db.fetch(_SEGMENTS, stream, *place, READ_AHEAD)
        # Sealed meanwhile: what it was opened by is not what it lies under now.
        if known.key is None and found and not found[0][3]:
            by = seals.reading(await _row(db, stream))
        with sealed.place(stream):
            for row in found:
                if not pager.full:
                    pager.add(_segment(by, stream, row))
                place = row[0], row[1]
            if not found:
                await _row(db, stream)
                raise errors.LogCorrupt("its last segment is missing")
    return pager.page


async def row(
    db: pool.Connection, stream: events.StreamId, *, alone: bool = False
) -> sealed.Row | None:
    """`alone`: nobody changes it before this transaction has ended."""
    found = await db.fetchrow(f"{_INFO} WHERE id = $1 {'FOR UPDATE' if alone else ''}", stream)
    return None if found is None else _unpacked(found)


async def _row(db: pool.Connection, stream: events.StreamId) -> sealed.Row:
    found = await row(db, stream)
    if found is None:
        raise errors.StreamNotFound
    return found


def _unpacked(found: Any) -> sealed.Row:
    return sealed.Row(*map(pool.unpacked, tuple(found)))


async def segments(
    db: pool.Connection, by: codec.Codec, stream: events.StreamId, place: tuple[int, int]
) -> list[records.Segment]:
    """Some that follow the one at this (epoch, first). Raises `errors.LogCorrupt`."""
    found = await db.fetch(_SEGMENTS, stream, *place, READ_AHEAD)
    return [_segment(by, stream, row) for row in found]


async def replace(
    db: pool.Connection,
    by: codec.Codec,
    stream: events.StreamId,
    some: Sequence[records.Segment],
) -> None:
    """Segments that are there, packed anew."""
    await db.executemany(
        "UPDATE holdfast.segment SET last = $4, kinds = $5, times = $6, sizes = $7, crcs = $8, "
        "data = $9 WHERE stream = $1 AND epoch = $2 AND first = $3",
        await asyncio.to_thread(_packed, [(stream, by, one) for one in some]),
    )


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
    db: pool.Connection, seals: sealed.Seals, stream: events.StreamId
) -> storage.Info | storage.Tombstone | None:
    found = await row(db, stream)
    if found is not None:
        return seals.info(found)
    stone = await db.fetchrow(
        "SELECT owner, expired_at FROM holdfast.tombstone WHERE stream = $1", stream
    )
    return None if stone is None else storage.Tombstone(pool.unpacked(stone[0]), stone[1])


async def find(
    db: pool.Connection, seals: sealed.Seals, query: storage.Query
) -> list[storage.Info]:
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
    return [seals.listed(_unpacked(row)) for row in found]


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


def _segment(by: codec.Codec, stream: events.StreamId, row: Any) -> records.Segment:
    return records.unpacked(by, stream, records.Packed(*row))
