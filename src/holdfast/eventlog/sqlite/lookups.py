"""The side of the log file that reads what is finished; one thread uses it, the reader.

Strategy: its own connection, so that a read never waits for a write; each call sees all that
was committed before it began. A search goes by an index that begins with whose streams are asked
for, so that its time tells nothing of what others have.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast import events
from holdfast.eventlog import base, streams
from holdfast.eventlog.sqlite import redo, schema
from holdfast.sealing import codec

_INFO = "SELECT stream, header, epoch, seq, status, cancelled, ended_at FROM record"
_TENANT = "substr(owner, 1, instr(owner, '/')) = ?"


class Lookups:
    """The side that reads what is finished; it may be used from one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
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
                "SELECT cancelled, header, events FROM record WHERE stream = ?", (stream,)
            ).fetchone()
            if row is None:
                return None
            found = streams.Stream(stream, redo.unpack_header(row[1]))
            redo.extend(found, redo.unpack_block(codec.RECORD, row[2]))
            return found

    def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        with schema.mapped(self.path):
            row = self._db.execute(f"{_INFO} WHERE stream = ?", (stream,)).fetchone()
            if row is not None:
                return self._info(row)
            left = known(self._db, self.path, stream)
            return left if isinstance(left, base.Tombstone) else None

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
            return [self._info(row) for row in rows]

    def _info(self, row: tuple[Any, ...]) -> base.Info:
        stream, header, epoch, seq, status, cancelled, ended_at = row
        with schema.place(self.path, "record", stream):
            kept = redo.unpack_header(header)
        head = base.Head(epoch, seq, True)
        return base.Info(stream, kept, head, status, bool(cancelled), ended_at)


def _index(query: base.Query) -> str:
    """The one that holds together the streams of whom is asked for."""
    if query.owner is not None:
        return "record_by_owner"
    return "record_by_tenant" if query.tenant else "record_by_creation"


def known(
    db: sqlite3.Connection, path: Path, stream: events.StreamId
) -> base.Header | base.Tombstone | None:
    """What is left of a stream that has ended."""
    row = db.execute("SELECT header FROM record WHERE stream = ?", (stream,)).fetchone()
    if row is not None:
        with schema.place(path, "record", stream):
            return redo.unpack_header(row[0])
    row = db.execute(
        "SELECT owner, expired_at FROM tombstone WHERE stream = ?", (stream,)
    ).fetchone()
    return None if row is None else base.Tombstone(*row)
