"""The side of the log file that reads what is finished; one thread uses it, the reader.

Strategy: its own connection, so that a read never waits for a write; each call sees all that
was committed before it began. A search goes by an index that begins with whose streams are asked
for, so that its time tells nothing of what others have. A stream that cannot be opened is listed
with what is in clear of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog

from holdfast import errors, events, told
from holdfast.eventlog import base, streams
from holdfast.eventlog.sqlite import redo, schema
from holdfast.sealing import codec, sealer

T = TypeVar("T")

TOLD = 1024
"""Streams that are remembered as told of, because they could not be opened."""

_KEY = "(SELECT key FROM seal WHERE seal.stream = record.stream)"
_INFO = (
    "SELECT stream, header, epoch, seq, status, cancelled, ended_at, owner, created_at, client_id, "
    f"session_id, {_KEY} FROM record"
)
_log = structlog.get_logger("holdfast")
_TENANT = "substr(owner, 1, instr(owner, '/')) = ?"


class Lookups:
    """The side that reads what is finished; it may be used from one thread at a time."""

    def __init__(self, path: Path, by: sealer.Sealer = sealer.OFF) -> None:
        self.path, self._sealer = path, by
        self._told = told.Told(TOLD)
        with schema.mapped(path):
            self._db = sqlite3.connect(
                path, timeout=schema.BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA query_only = TRUE")

    def close(self) -> None:
        self._db.close()

    def record(self, stream: events.StreamId) -> streams.Stream | None:
        """A finished stream, whole."""
        with schema.mapped(self.path), schema.place(self.path, "record", stream):
            row = self._db.execute(
                f"SELECT owner, epoch, seq, header, events, {_KEY} FROM record WHERE stream = ?",
                (stream,),
            ).fetchone()
            if row is None:
                return None
            owner, epoch, seq, header, block, key = row
            by = self._sealer.open(stream, owner, key)
            found = streams.Stream(stream, redo.unpack_header(header, by))
            where = redo.place(epoch, 1, seq)
            redo.extend(found, redo.unpack_block(codec.RECORD, block, by, where))
            if found.ended_at is None or found.last != seq:
                raise errors.LogCorrupt("its end is missing")
            return found

    def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        with schema.mapped(self.path):
            row = self._db.execute(f"{_INFO} WHERE stream = ?", (stream,)).fetchone()
            if row is not None:
                return self._info(row)
            return _tombstone(self._db, stream)

    def heads(self, wanted: Sequence[events.StreamId]) -> dict[events.StreamId, base.Head]:
        found = {}
        with schema.mapped(self.path):
            for stream in wanted:
                row = self._db.execute(
                    "SELECT epoch, seq FROM record WHERE stream = ?", (stream,)
                ).fetchone()
                if row is not None:
                    found[stream] = base.Head(row[0], row[1], True)
        return found

    def find(self, query: base.Query) -> list[base.Info]:
        """The contract's `find`, among finished streams."""
        terms: dict[str, Any] = {
            "owner = ?": query.owner,
            _TENANT: f"{query.tenant}/" if query.tenant else None,
            "status = ?": query.status,
            "client_id = ?": query.client_id,
            "session_id = ?": query.session_id,
            "created_at >= ?": query.created_from,
            "created_at < ?": query.created_to,
        }
        terms = {term: value for term, value in terms.items() if value is not None}
        values: list[Any] = list(terms.values())
        if query.before is not None:
            terms["(created_at, stream) < (?, ?)"] = None
            values += query.before
        where = " AND ".join(terms) or "TRUE"
        with schema.mapped(self.path):
            rows = self._db.execute(
                f"{_INFO} INDEXED BY {_index(query)} WHERE {where}"
                " ORDER BY created_at DESC, stream DESC LIMIT ?",
                (*values, max(0, query.limit)),
            )
            return [self._listed(row) for row in rows]

    def _info(self, row: tuple[Any, ...], kept: base.Header | None = None) -> base.Info:
        stream, header, epoch, seq, status, cancelled, ended_at, owner, *_, key = row
        if kept is None:
            with schema.place(self.path, "record", stream):
                kept = redo.unpack_header(header, self._sealer.open(stream, owner, key))
        head = base.Head(epoch, seq, True)
        return base.Info(stream, kept, head, status, bool(cancelled), ended_at)

    def _listed(self, row: tuple[Any, ...]) -> base.Info:
        try:
            return self._info(row)
        except errors.LogCorrupt as error:
            if self._told.first(row[0]):
                _log.error("stream_unreadable", stream=row[0], error=error.message)
        owner, created_at, client_id, session_id, _ = row[7:]
        return self._info(
            row,
            base.Header(owner, created_at, "", "", client_id=client_id, session_id=session_id),
        )

    def wrapped_by(self, still_plain: Sequence[str]) -> dict[str, int]:
        """How many streams are under each of the ring's keys; those are in memory, and plain."""
        with schema.mapped(self.path):
            found = dict(
                self._db.execute(
                    "SELECT lower(hex(substr(key, 3, 8))), count(*) FROM seal GROUP BY 1"
                ).fetchall()
            )
            plain = schema.number(
                self._db,
                "SELECT count(*) FROM record "
                "WHERE NOT EXISTS (SELECT 1 FROM seal WHERE seal.stream = record.stream)",
            )
            plain += sum(
                not self._db.execute("SELECT 1 FROM record WHERE stream = ?", (one,)).fetchone()
                for one in still_plain
            )
            return {**found, "": plain} if plain else found

    def guards(self) -> tuple[str, ...]:
        with schema.mapped(self.path):
            return tuple(row[0] for row in self._db.execute("SELECT id FROM guard ORDER BY id"))


def guards_of(path: Path) -> tuple[str, ...]:
    """Of a file that is not open here, and not made by this."""
    return _before(path, Lookups.guards, ())


def wrapped_in(path: Path) -> dict[str, int]:
    """How many streams are under each of the ring's keys in such a file."""
    return _before(path, lambda file: file.wrapped_by(()), {})


def _before(path: Path, question: Callable[[Lookups], T], nothing: T) -> T:
    if not path.exists():
        return nothing
    file = Lookups(path)
    try:
        with schema.mapped(path):
            made = file._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'guard'").fetchone()
        return question(file) if made else nothing
    finally:
        file.close()


def _index(query: base.Query) -> str:
    """The one that holds together the streams of whom is asked for."""
    if query.owner is not None:
        return "record_by_owner"
    return "record_by_tenant" if query.tenant else "record_by_creation"


def ended(db: sqlite3.Connection, stream: events.StreamId) -> bool:
    """Whether a record or a tombstone knows of a stream; nothing is opened."""
    asked = "SELECT 1 FROM {} WHERE stream = ?"
    return any(
        db.execute(asked.format(table), (stream,)).fetchone() for table in ("record", "tombstone")
    )


def known(
    db: sqlite3.Connection, path: Path, stream: events.StreamId, by: sealer.Sealer = sealer.OFF
) -> base.Header | base.Tombstone | None:
    """What is left of a stream that has ended."""
    row = db.execute(
        f"SELECT owner, header, {_KEY} FROM record WHERE stream = ?", (stream,)
    ).fetchone()
    if row is not None:
        owner, header, key = row
        with schema.place(path, "record", stream):
            return redo.unpack_header(header, by.open(stream, owner, key))
    return _tombstone(db, stream)


def _tombstone(db: sqlite3.Connection, stream: events.StreamId) -> base.Tombstone | None:
    row = db.execute(
        "SELECT owner, expired_at FROM tombstone WHERE stream = ?", (stream,)
    ).fetchone()
    return None if row is None else base.Tombstone(*row)
