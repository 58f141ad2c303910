"""The side of the log file that writes; one thread uses it, the engine's writer.

Strategy: every statement that changes something is here. Operations go into the redo log, one
row for all that became durable together; what a stream leaves behind goes into segments and
records, in transactions of their own; counters are changed in place. A start reads the
segments and then the redo log once.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from holdfast import events
from holdfast.eventlog import base, counters, streams
from holdfast.eventlog.sqlite import lookups, redo, schema
from holdfast.sealing import codec

_NEVER = 2**63 - 1

# A sum that leaves 64 bits is a float for SQLite, which the limits make a whole number again.
_COUNT = f"""
    INSERT INTO counter VALUES (:name, :slot, :amount, :until)
    ON CONFLICT (name, slot) DO UPDATE SET
        total = max(-{counters.MAX_SUM}, min({counters.MAX_SUM},
            CASE WHEN until > :now THEN total ELSE 0 END + excluded.total)),
        until = max(until, excluded.until)"""


class Loaded(msgspec.Struct):
    """What a start found. `saved`: how far each stream is in segments, (seq, cancelled);
    `row` and `size`: the last redo row, and the bytes of all of them."""

    secret: bytes
    streams: streams.Streams
    saved: dict[events.StreamId, tuple[int, bool]]
    row: int
    size: int


class Segment(msgspec.Struct, frozen=True, gc=False):
    """The tail of an open stream, complete up to the redo row `upto`."""

    stream: events.StreamId
    header: base.Header
    upto: int
    block: redo.Block


class File:
    """The side that writes. Every call raises `errors.LogUnavailable` or `LogCorrupt`, and
    then has changed nothing."""

    def __init__(self, path: Path, durability: schema.Durability) -> None:
        """Opens the file, makes it where it is not there; raises `errors.LogLocked` too."""
        self.path = path
        self._closing = contextlib.ExitStack()
        with self._closing as closing, schema.mapped(path):
            closing.callback(os.close, schema.lock(path))
            # Made here, so that nobody else may read the answers in it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, timeout=schema.BUSY_SECONDS, isolation_level=None)
            closing.callback(self._db.close)
            schema.prepare(self._db, path, durability)
            self._row = schema.number(
                self._db,
                "SELECT max((SELECT coalesce(max(id), 0) FROM redo), value) "
                "FROM meta WHERE name = 'row'",
            )
            self._closing = closing.pop_all()

    def close(self) -> None:
        self._closing.close()

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """What is kept, forgotten or expired in it becomes durable together."""
        return schema.transaction(self._db, self.path)

    def commit(self, encoded: Sequence[bytes]) -> tuple[int, int]:
        """Makes operations durable in one row; gives its id and its size in bytes."""
        blob = redo.pack_group(encoded)
        with schema.mapped(self.path):  # a statement alone is a transaction
            self._db.execute("INSERT INTO redo VALUES (?, ?)", (self._row + 1, blob))
        self._row += 1
        return self._row, len(blob)

    def known(self, stream: events.StreamId) -> base.Header | base.Tombstone | None:
        """What is left of a stream that has ended."""
        with schema.mapped(self.path):
            return lookups.known(self._db, self.path, stream)

    def keep_record(self, stream: streams.Stream) -> None:
        """Writes a finished stream's record in the place of its segments."""
        header, head = stream.header, stream.head
        self._db.execute(
            "INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                stream.id,
                header.owner,
                stream.status,
                header.client_id,
                header.session_id,
                header.created_at,
                stream.ended_at,
                head.epoch,
                head.seq,
                stream.cancelled,
                self._row,
                redo.pack_header(header),
                redo.pack_block(codec.RECORD, redo.cut(stream, 1)),
            ),
        )
        self._db.execute("DELETE FROM segment WHERE stream = ?", (stream.id,))

    def keep_segment(self, segment: Segment) -> None:
        first = segment.block.first
        header = redo.pack_header(segment.header) if first == 1 else None
        block = redo.pack_block(codec.SEGMENT, segment.block)
        self._db.execute(
            "INSERT OR REPLACE INTO segment VALUES (?, ?, ?, ?, ?)",
            (segment.stream, first, segment.upto, header, block),
        )

    def forget_redo(self, upto: int, limit: int) -> int:
        """Deletes at most `limit` redo rows, those with the id `upto` the last; how many."""
        done = self._db.execute(
            "DELETE FROM redo WHERE id IN (SELECT id FROM redo WHERE id <= ? ORDER BY id LIMIT ?)",
            (upto, limit),
        )
        self._db.execute("UPDATE meta SET value = max(value, ?) WHERE name = 'row'", (upto,))
        return done.rowcount

    def expire(self, before: int, limit: int, now: int) -> tuple[list[events.StreamId], bool]:
        """The streams that it removed, and whether the redo log still speaks of one."""
        found = self._db.execute(
            "SELECT stream, owner, redo FROM record WHERE ended_at < ? ORDER BY ended_at LIMIT ?",
            (before, limit),
        ).fetchall()
        oldest = schema.number(self._db, f"SELECT coalesce(min(id), {_NEVER}) FROM redo")
        self._db.executemany(
            "INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?)",
            [(stream, owner, now, row) for stream, owner, row in found],
        )
        self._db.executemany("DELETE FROM record WHERE stream = ?", [row[:1] for row in found])
        self._db.execute(
            "DELETE FROM tombstone WHERE stream IN (SELECT stream FROM tombstone "
            "WHERE expired_at < ? AND redo < ? ORDER BY expired_at LIMIT ?)",
            (now - base.TOMBSTONE_MS, oldest, limit),
        )
        return [row[0] for row in found], any(row[2] >= oldest for row in found)

    def count(self, changes: Sequence[counters.Change], now: int) -> list[Mapping[int, int]]:
        """One call of `counters.Counters`: adds, removes what has expired, and answers."""
        self._db.executemany(
            _COUNT,
            [
                {"name": name, "slot": slot, "amount": amount, "until": until, "now": now}
                for (name, slot), (amount, until) in counters.gathered(changes).items()
            ],
        )
        self._db.execute(
            "DELETE FROM counter WHERE (name, slot) IN "
            "(SELECT name, slot FROM counter WHERE until <= ? ORDER BY until LIMIT ?)",
            (now, counters.REMOVED_A_CHANGE * len(changes)),
        )
        found = {
            name: dict(
                self._db.execute(
                    "SELECT slot, total FROM counter WHERE name = ? AND until > ?", (name, now)
                ).fetchall()
            )
            for name in {change.name for change in changes}
        }
        return [found[change.name] for change in changes]

    def load(self) -> Loaded:
        """Reads the segments, then all of the redo log once."""
        with schema.mapped(self.path):
            secret = self._db.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()[0]
            loaded = Loaded(secret, streams.Streams(), {}, self._row, 0)
            upto = self._load_segments(loaded)
            for row, blob in self._db.execute("SELECT id, operations FROM redo ORDER BY id"):
                loaded.size += len(blob)
                with schema.place(self.path, "redo", row):
                    operations = redo.unpack_group(blob)
                for operation in operations:
                    self._replay(loaded.streams, operation, row, upto)
        return loaded

    def _load_segments(self, loaded: Loaded) -> dict[events.StreamId, int]:
        """Gives the redo row up to which each stream is complete."""
        upto: dict[events.StreamId, int] = {}
        for name, first, row, header, blob in self._db.execute(
            "SELECT stream, first, upto, header, events FROM segment ORDER BY stream, first"
        ):
            with schema.place(self.path, "segment", f"{name} from {first}"):
                stream = loaded.streams.get(name)
                if stream is None:
                    stream = streams.Stream(name, redo.unpack_header(header or b""))
                    loaded.streams.add(stream)
                redo.extend(stream, redo.unpack_block(codec.SEGMENT, blob))
            upto[name] = row
            loaded.saved[name] = (stream.last, stream.cancelled)
        return upto

    def _replay(
        self,
        found: streams.Streams,
        operation: redo.Operation,
        row: int,
        upto: dict[events.StreamId, int],
    ) -> None:
        """Applies an operation as far as it is about streams that lack it."""
        match operation:
            case redo.Append(tick):
                late = tuple(batch for batch in tick if upto.get(batch.stream, 0) < row)
                redo.apply(found, redo.Append(late))
            case redo.Create(stream) if lookups.known(self._db, self.path, stream) is not None:
                pass
            case _ if upto.get(operation.stream, 0) < row:
                redo.apply(found, operation)
