"""Finished streams in the file: every statement that is about them.

Strategy: a search goes by an index that begins with whose streams are asked for, so that its time
tells nothing of what others have; a read seeks the segment of its position and loads no more than
its page takes. What is being kept waits in a table of this connection alone (`temp`, which lies in
a file of its own), so that the archive is locked for the last copy only, however slowly the events
come, and nothing is left of a stream that was not kept.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from holdfast import errors, events, storage
from holdfast.archive import records, rows

_WAITING = """
    CREATE TABLE IF NOT EXISTS temp.waiting (
        keep INTEGER, epoch INTEGER, first INTEGER, last INTEGER, ts INTEGER, events TEXT,
        data BLOB, PRIMARY KEY (keep, epoch, first))"""
_INFO = "SELECT id, header, epoch, seq, status, cancelled, ended_at FROM stream"
_SEGMENT = "SELECT epoch, first, ts, events, data FROM segment WHERE stream = ? AND (epoch, first)"

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
    stream: events.StreamId,
    keep: int,
    group: Sequence[records.Segment],
) -> None:
    """Segments of a stream that is not whole yet, under the number of its `keep`."""
    db.execute(_WAITING)
    db.executemany(
        "INSERT INTO temp.waiting VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(keep, *_packed(stream, segment)) for segment in group],
    )


def drop_aside(db: sqlite3.Connection, keep: int) -> None:
    db.execute(_WAITING)
    db.execute("DELETE FROM temp.waiting WHERE keep = ?", (keep,))


def keep_whole(
    db: sqlite3.Connection,
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
        _keep_whole(db, info, attempts, keep, group)
    except OverflowError as error:
        raise ValueError("a number does not fit its column") from error
    return True


def _keep_whole(
    db: sqlite3.Connection,
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
        [(info.stream, *_packed(info.stream, segment)) for segment in group],
    )
    row = "SELECT coalesce(sum(last - first + 1), 0) FROM segment WHERE stream = ?"
    if db.execute(row, (info.stream,)).fetchone()[0] != info.head.seq:
        # The file was replaced while its events came, and what was set aside went with it.
        raise errors.ArchiveUnavailable("The archive was replaced while a stream was kept.")
    header, head = info.header, info.head
    db.execute(
        "INSERT INTO stream VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            info.stream,
            header.owner,
            storage.tenant_of(header.owner),
            info.status,
            header.client_id,
            header.session_id,
            header.provider,
            header.model,
            header.created_at,
            info.ended_at,
            head.epoch,
            head.seq,
            info.cancelled,
            records.pack_header(info.stream, header),
        ),
    )
    db.executemany(
        "INSERT OR REPLACE INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(info.stream, *rows.flat(attempt)) for attempt in attempts],
    )


def page(
    db: sqlite3.Connection, stream: events.StreamId, after: events.Position, limit: int
) -> storage.Page:
    found = db.execute("SELECT epoch, seq FROM stream WHERE id = ?", (stream,)).fetchone()
    if found is None:
        raise errors.StreamNotFound
    pager = records.Pager(storage.Head(found[0], found[1], True), after, limit)
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
        with _place(stream):
            for row in db.execute(rest, (stream, *values)):
                pager.add(_segment(stream, row))
                if pager.full:
                    break
            else:
                raise errors.LogCorrupt("its last segment is missing")
    return pager.page


def heads(db: sqlite3.Connection, wanted: Sequence[events.StreamId]) -> list[storage.Head | None]:
    query = "SELECT epoch, seq FROM stream WHERE id = ?"
    found = [db.execute(query, (stream,)).fetchone() for stream in wanted]
    return [None if row is None else storage.Head(row[0], row[1], True) for row in found]


def stat(
    db: sqlite3.Connection, stream: events.StreamId
) -> storage.Info | storage.Tombstone | None:
    row = db.execute(f"{_INFO} WHERE id = ?", (stream,)).fetchone()
    if row is not None:
        return _info(row)
    row = db.execute(
        "SELECT owner, expired_at FROM tombstone WHERE stream = ?", (stream,)
    ).fetchone()
    return None if row is None else storage.Tombstone(*row)


def find(db: sqlite3.Connection, query: storage.Query) -> list[storage.Info]:
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
    return [_info(row) for row in found]


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
    db.executemany(
        "INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?)",
        [(stream, owner, now) for stream, owner in found],
    )
    for table, column in (("segment", "stream"), ("attempt", "stream"), ("stream", "id")):
        db.executemany(f"DELETE FROM {table} WHERE {column} = ?", [row[:1] for row in found])
    db.execute(
        "DELETE FROM tombstone WHERE stream IN (SELECT stream FROM tombstone "
        "WHERE expired_at < ? ORDER BY expired_at LIMIT ?)",
        (now - storage.TOMBSTONE_MS, max(0, limit)),
    )
    return len(found)


def _packed(stream: events.StreamId, segment: records.Segment) -> tuple[Any, ...]:
    begun = segment.times[0]
    numbers = zip(segment.kinds, segment.times, segment.sizes, segment.crcs, strict=True)
    listed = [(kind, ts - begun, size, crc) for kind, ts, size, crc in numbers]
    text = _json(listed).decode()
    data = records.pack_data(stream, segment)
    return segment.epoch, segment.first, segment.last, begun, text, data


def _segment(stream: events.StreamId, row: tuple[Any, ...]) -> records.Segment:
    epoch, first, begun, text, data = row
    try:
        listed = _numbers.decode(text)
    except msgspec.DecodeError as error:
        raise errors.LogCorrupt(f"its events cannot be read: {error}") from error
    return records.Segment(
        epoch,
        first,
        [one[0] for one in listed],
        [begun + one[1] for one in listed],
        [one[2] for one in listed],
        [one[3] for one in listed],
        records.unpack_data(stream, epoch, first, data),
    )


def _info(row: tuple[Any, ...]) -> storage.Info:
    stream, header, epoch, seq, status, cancelled, ended_at = row
    with _place(stream):
        kept = records.unpack_header(stream, header)
    head = storage.Head(epoch, seq, True)
    return storage.Info(stream, kept, head, status, bool(cancelled), ended_at)


@contextlib.contextmanager
def _place(stream: str) -> Iterator[None]:
    """Says where bytes lie that cannot be read back."""
    try:
        yield
    except errors.LogCorrupt as error:
        raise errors.LogCorrupt(f"The archive's stream {stream}: {error.message}.") from error
