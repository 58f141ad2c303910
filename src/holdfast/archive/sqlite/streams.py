"""Finished streams in the file: every statement that is about them.

Strategy: a search goes by an index that begins with whose streams are asked for, so that its time
tells nothing of what others have; a read seeks the segment of its position and loads no more than
its page takes. What is being kept waits in a table of this connection alone (`temp`, which lies in
a file of its own), packed already, so that the archive is locked for the last copy only, however
slowly the events come, and nothing is left of a stream that was not kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast import errors, events, storage
from holdfast.archive import records, rows, sealed
from holdfast.sealing import codec

_WAITING = """
    CREATE TABLE IF NOT EXISTS temp.waiting (
        keep INTEGER, epoch INTEGER, first INTEGER, last INTEGER, ts INTEGER, events TEXT,
        data BLOB, PRIMARY KEY (keep, epoch, first))"""
_INFO = f"SELECT {sealed.COLUMNS} FROM stream"
_SEGMENT = (
    "SELECT epoch, first, last, ts, events, data FROM segment WHERE stream = ? AND (epoch, first)"
)

_numbers = msgspec.json.Decoder(list[tuple[int, int, int, int]])
_json = msgspec.json.Encoder().encode


def is_known(db: sqlite3.Connection, stream: events.StreamId) -> bool:
    """Whether it is there, or was let go."""
    found = db.execute(
        "SELECT 1 FROM stream WHERE id = :id UNION ALL SELECT 1 FROM tombstone WHERE stream = :id",
        {"id": stream},
    )
    return found.fetchone() is not None


def set_aside(
    db: sqlite3.Connection,
    by: codec.Codec,
    stream: events.StreamId,
    keep: int,
    group: Sequence[records.Segment],
) -> None:
    """Segments of a stream that is not whole yet, under the number of its `keep`."""
    db.execute(_WAITING)
    db.executemany(
        "INSERT INTO temp.waiting VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(keep, *_columns(records.packed(by, stream, segment))) for segment in group],
    )


def drop_aside(db: sqlite3.Connection, keep: int) -> None:
    db.execute(_WAITING)
    db.execute("DELETE FROM temp.waiting WHERE keep = ?", (keep,))


def keep_whole(
    db: sqlite3.Connection,
    by: codec.Codec,
    info: storage.Info,
    attempts: Sequence[rows.Attempt],
    keep: int,
    group: Sequence[records.Segment],
) -> bool:
    """The last segments; what was set aside, and all that is known of the stream beside it; whether
    it is new. Raises ValueError for a number that the file cannot hold."""
    if is_known(db, info.stream):
        return False
    try:
        _keep_whole(db, by, info, attempts, keep, group)
    except OverflowError as error:
        raise ValueError("a number does not fit its column") from error
    return True


def _keep_whole(
    db: sqlite3.Connection,
    by: codec.Codec,
    info: storage.Info,
    attempts: Sequence[rows.Attempt],
    keep: int,
    group: Sequence[records.Segment],
) -> None:
    db.execute(_WAITING)
    db.execute(
        "INSERT INTO segment SELECT ?, epoch, first, last, ts, events, data "
        "FROM temp.waiting WHERE keep = ?",
        (info.stream, keep),
    )
    db.executemany(
        "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(info.stream, *_columns(records.packed(by, info.stream, one))) for one in group],
    )
    row = "SELECT coalesce(sum(last - first + 1), 0) FROM segment WHERE stream = ?"
    if db.execute(row, (info.stream,)).fetchone()[0] != info.head.seq:
        # The file was replaced while its events came, and what was set aside went with it.
        raise errors.ArchiveUnavailable("The archive was replaced while a stream was kept.")
    kept = sealed.row_of(info, by)
    db.execute(
        "INSERT INTO stream VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            kept.stream,
            kept.owner,
            storage.tenant_of(kept.owner),
            kept.status,
            kept.client_id,
            kept.session_id,
            kept.provider,
            kept.model,
            kept.created_at,
            kept.ended_at,
            kept.epoch,
            kept.seq,
            kept.cancelled,
            kept.header,
            kept.key,
        ),
    )
    db.executemany(
        "INSERT OR REPLACE INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(info.stream, *rows.flat(attempt)) for attempt in attempts],
    )


def page(
    db: sqlite3.Connection,
    seals: sealed.Seals,
    stream: events.StreamId,
    after: events.Position,
    limit: int,
) -> storage.Page:
    found = row(db, stream)
    if found is None:
        raise errors.StreamNotFound
    by = seals.reading(found)
    pager = records.Pager(found.head, after, limit)
    begin, values = ">=", (0, 0)
    if after.seq:
        where = db.execute(
            "SELECT first, last FROM segment WHERE stream = ? AND epoch = ? AND first <= ? "
            "ORDER BY first DESC LIMIT 1",
            (stream, after.epoch, after.seq),
        ).fetchone()
        if where is None or where[1] < after.seq:
            raise errors.UnknownPosition(f"Stream {stream} holds no event at {after}.")
        begin, values = (">" if where[1] == after.seq else ">="), (after.epoch, where[0])
    if not pager.full:
        rest = f"{_SEGMENT} {begin} (?, ?) ORDER BY epoch, first"
        with sealed.place(stream):
            for part in db.execute(rest, (stream, *values)):
                pager.add(_segment(by, stream, part))
                if pager.full:
                    break
            else:
                raise errors.LogCorrupt("its last segment is missing")
    return pager.page


def segment(
    db: sqlite3.Connection, by: codec.Codec, stream: events.StreamId, place: tuple[int, int]
) -> records.Segment:
    """One by its (epoch, first). Raises `errors.LogCorrupt`."""
    return _segment(by, stream, db.execute(f"{_SEGMENT} = (?, ?)", (stream, *place)).fetchone())


def replace(db: sqlite3.Connection, stream: events.StreamId, one: records.Packed) -> None:
    """A segment that is there, packed anew."""
    epoch, first, last, ts, text, data = _columns(one)
    db.execute(
        "UPDATE segment SET last = ?, ts = ?, events = ?, data = ? "
        "WHERE stream = ? AND epoch = ? AND first = ?",
        (last, ts, text, data, stream, epoch, first),
    )


def row(db: sqlite3.Connection, stream: events.StreamId) -> sealed.Row | None:
    found = db.execute(f"{_INFO} WHERE id = ?", (stream,)).fetchone()
    return None if found is None else sealed.Row(*found)


def heads(db: sqlite3.Connection, wanted: Sequence[events.StreamId]) -> list[storage.Head | None]:
    query = "SELECT epoch, seq FROM stream WHERE id = ?"
    found = [db.execute(query, (stream,)).fetchone() for stream in wanted]
    return [None if row is None else storage.Head(row[0], row[1], True) for row in found]


def stat(
    db: sqlite3.Connection, seals: sealed.Seals, stream: events.StreamId
) -> storage.Info | storage.Tombstone | None:
    found = row(db, stream)
    if found is not None:
        return seals.info(found)
    stone = db.execute(
        "SELECT owner, expired_at FROM tombstone WHERE stream = ?", (stream,)
    ).fetchone()
    return None if stone is None else storage.Tombstone(*stone)


def find(db: sqlite3.Connection, seals: sealed.Seals, query: storage.Query) -> list[storage.Info]:
    terms: dict[str, Any] = {
        "owner = ?": query.owner,
        "tenant = ?": query.tenant or None,
        "status = ?": query.status,
        "client_id = ?": query.client_id,
        "session_id = ?": query.session_id,
        "created_at >= ?": query.created_from,
        "created_at < ?": query.created_to,
    }
    terms = {term: value for term, value in terms.items() if value is not None}
    values: list[Any] = list(terms.values())
    if query.before is not None:
        terms["(created_at, id) < (?, ?)"] = None
        values += query.before
    found = db.execute(
        f"{_INFO} INDEXED BY {_index(query)} WHERE {' AND '.join(terms) or 'TRUE'}"
        " ORDER BY created_at DESC, id DESC LIMIT ?",
        (*values, max(0, query.limit)),
    )
    return [seals.listed(sealed.Row(*row)) for row in found]


def _index(query: storage.Query) -> str:
    """The one that holds together the streams of whom is asked for."""
    if query.owner is not None:
        return "stream_by_owner"
    return "stream_by_tenant" if query.tenant else "stream_by_creation"


def attempts(db: sqlite3.Connection, stream: events.StreamId) -> list[rows.Attempt]:
    found = db.execute("SELECT * FROM attempt WHERE stream = ? ORDER BY number", (stream,))
    return [rows.attempt(*row[1:]) for row in found]


def expire(db: sqlite3.Connection, before: int, limit: int, now: int) -> int:
    found = db.execute(
        "SELECT id, owner FROM stream WHERE ended_at < ? ORDER BY ended_at LIMIT ?",
        (before, max(0, limit)),
    ).fetchall()
    let_go(db, found, now)
    db.execute(
        "DELETE FROM tombstone WHERE stream IN (SELECT stream FROM tombstone "
        "WHERE expired_at < ? ORDER BY expired_at LIMIT ?)",
        (now - storage.TOMBSTONE_MS, max(0, limit)),
    )
    return len(found)


def let_go(db: sqlite3.Connection, some: Sequence[tuple[str, str]], now: int) -> None:
    """Streams, by id and owner; none of them is opened."""
    db.executemany(
        "INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?)",
        [(stream, owner, now) for stream, owner in some],
    )
    for table, column in (("stream", "id"), ("segment", "stream"), ("attempt", "stream")):
        db.executemany(f"DELETE FROM {table} WHERE {column} = ?", [one[:1] for one in some])


def _columns(one: records.Packed) -> tuple[Any, ...]:
    """A segment's row without its stream; `ts` tells nothing of one that is sealed."""
    begun = one.times[0] if one.times else 0
    numbers = zip(one.kinds, one.times, one.sizes, one.crcs, strict=True)
    listed = [(kind, ts - begun, size, crc) for kind, ts, size, crc in numbers]
    return one.epoch, one.first, one.last, begun, _json(listed).decode(), one.data


def _segment(by: codec.Codec, stream: events.StreamId, part: tuple[Any, ...]) -> records.Segment:
    epoch, first, last, begun, text, data = part
    try:
        listed = _numbers.decode(text)
    except msgspec.DecodeError as error:
        raise errors.LogCorrupt(f"its events cannot be read: {error}") from error
    kinds, sizes, crcs = ([one[at] for one in listed] for at in (0, 2, 3))
    times = [begun + one[1] for one in listed]
    packed = records.Packed(epoch, first, last, kinds, times, sizes, crcs, data)
    return records.unpacked(by, stream, packed)
