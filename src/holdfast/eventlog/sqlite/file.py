"""The side of the log file that writes; one thread uses it, the engine's writer.

Strategy: every statement that changes something is here. Operations go into the redo log, one
row for all that became durable together; what a stream leaves behind goes into segments and
records, in transactions of their own; counters are changed in place. What is about keys is in
`seals`, and what a start reads in `replay`.

A start with sealing gives a key to every open stream that has none. All that is open goes into
segments then, and the redo log, which was plain, ends, in one transaction: a file is of one kind
before it and of the other behind it, wherever it was cut off.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from holdfast import errors, events
from holdfast.eventlog import base, counters, streams
from holdfast.eventlog.sqlite import lookups, redo, replay, schema, seals
from holdfast.sealing import codec, sealer

_NEVER = 2**63 - 1
_log = structlog.get_logger("holdfast")

# A sum that leaves 64 bits is a float for SQLite, which the limits make a whole number again.
_COUNT = f"""
    INSERT INTO counter VALUES (:name, :slot, :amount, :until)
    ON CONFLICT (name, slot) DO UPDATE SET
        total = max(-{counters.MAX_SUM}, min({counters.MAX_SUM},
            CASE WHEN until > :now THEN total ELSE 0 END + excluded.total)),
        until = max(until, excluded.until)"""


class Segment(msgspec.Struct, frozen=True, gc=False):
    """The tail of an open stream, complete up to the redo row `upto`."""

    stream: events.StreamId
    header: base.Header
    upto: int
    block: redo.Block
    by: codec.Codec = codec.PLAIN


class File:
    """The side that writes. Every call raises `errors.LogUnavailable` or `LogCorrupt`, and
    then has changed nothing."""

    def __init__(
        self, path: Path, durability: schema.Durability, by: sealer.Sealer = sealer.OFF
    ) -> None:
        """Opens the file, makes it where it is not there; raises `errors.LogLocked` too, and
        `SettingsError` where the ring lacks a key."""
        self.path, self._sealer = path, by
        self._closing = contextlib.ExitStack()
        with self._closing as closing, schema.mapped(path):
            closing.callback(os.close, schema.lock(path))
            # Made here, so that nobody else may read the answers in it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, timeout=schema.BUSY_SECONDS, isolation_level=None)
            closing.callback(self._db.close)
            schema.prepare(self._db, path, durability)
            self.seals = seals.Seals(self._db, path, by)
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

    def commit(self, encoded: Sequence[bytes], made: Sequence[seals.Seal] = ()) -> tuple[int, int]:
        """Makes operations durable in one row, with the keys of the streams that they create;
        gives its id and its size in bytes."""
        blob = redo.pack_group(encoded)
        if made or self.seals.soils:
            with self.transaction():
                if self.seals.soils:
                    self.seals.soil()
                self.seals.put(made)
                self._insert(blob)
            self.seals.durable(made)
        else:
            with schema.mapped(self.path):  # a statement alone is a transaction
                self._insert(blob)
        self._row += 1
        return self._row, len(blob)

    def _insert(self, blob: bytes) -> None:
        self._db.execute("INSERT INTO redo VALUES (?, ?)", (self._row + 1, blob))

    def known(self, stream: events.StreamId) -> base.Header | base.Tombstone | None:
        """What is left of a stream that has ended."""
        with schema.mapped(self.path):
            return lookups.known(self._db, self.path, stream, self._sealer)

    def keep_record(self, stream: streams.Stream, by: codec.Codec = codec.PLAIN) -> None:
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
                redo.pack_header(header, by),
                redo.pack_block(
                    codec.RECORD, redo.cut(stream, 1), by, redo.place(head.epoch, 1, head.seq)
                ),
            ),
        )
        self._db.execute("DELETE FROM segment WHERE stream = ?", (stream.id,))

    def keep_segment(self, segment: Segment) -> None:
        first, by = segment.block.first, segment.by
        header = redo.pack_header(segment.header, by) if first == 1 else None
        where = redo.place(segment.upto, first, 0)
        block = redo.pack_block(codec.SEGMENT, segment.block, by, where)
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
        oldest = schema.oldest_redo(self._db)
        self._db.executemany(
            "INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?)",
            [(stream, owner, now, row) for stream, owner, row in found],
        )
        self._db.executemany("DELETE FROM record WHERE stream = ?", [row[:1] for row in found])
        self.seals.forget(row[0] for row in found)
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

    def truncate(self) -> bool:
        """Outside of a transaction: what was deleted or replaced is in the write-ahead log no
        more. False while somebody reads what was there before; it waits for nobody, as appends
        wait for it."""
        with schema.mapped(self.path):
            self._db.execute("PRAGMA busy_timeout = 0")
            try:
                busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                self._db.execute(f"PRAGMA busy_timeout = {int(schema.BUSY_SECONDS * 1000)}")
        return not busy

    def vacuum(self, most: int = _NEVER) -> bool:
        """The same; whether it was due: where the last plain stream is sealed, no unused byte of
        a file of at most so many bytes is of one. It takes a second for some 40 MB."""
        with schema.mapped(self.path):
            return self.seals.vacuum(most)

    def _clean(self) -> None:
        """A start that was cut off may have left something too."""
        vacuumed = self.vacuum()
        if not self.truncate():
            raise errors.LogUnavailable(schema.is_read(self.path))
        if vacuumed:
            with schema.mapped(self.path):
                self.seals.cleaned()

    def load(self) -> replay.Loaded:
        """What is open. Ends what cannot be opened; raises `errors.LogCorrupt` for the rest."""
        with schema.mapped(self.path):
            found = replay.Loaded(self.seals.secret(), streams.Streams(), {}, self._row, 0)
            replay.Replay(self._db, self.path, self.seals, found).run()
            self._end_unreadable(found)
            if self._sealer.on:
                self._turn_on(found)
        return found

    def _end_unreadable(self, found: replay.Loaded) -> None:
        """What cannot be opened of a stream is missing in its middle, so it ends there, for all to
        see, in a life of its own; its record has what came before. One whose key does not open
        gets a new one."""
        for name, error in found.unreadable.items():
            stream = found.streams.get(name)
            assert stream is not None
            _log.error("stream_unreadable", stream=name, error=error.message)
            said = type(error)("A part of this answer cannot be read back.")
            end = events.draft(events.failure(said))
            ts = max(events.now_ms(), *stream.times[-1:], 0)
            found.streams.claim(name, events.new_epoch(stream.epoch), (end,), ts)
            with self.transaction():
                if name not in found.codecs:
                    self.seals.forget([name])
                    self.seals.put(self._new_key(found, stream))
                    if self.seals.soils:
                        self.seals.soil()
                self.keep_record(stream, found.codecs.pop(name, codec.PLAIN))
            found.streams.drop(name)
            found.streams.ended.remove(stream)

    def _new_key(self, found: replay.Loaded, stream: streams.Stream) -> list[seals.Seal]:
        """For a stream that has none; nothing where sealing is off."""
        owner = stream.header.owner
        by = self._sealer.new(stream.id, owner, self._sealer.current(owner))
        if by.wrapped is None:
            return []
        found.codecs[stream.id] = by
        return [seals.Seal(stream.id, owner, stream.header.created_at, by.wrapped)]

    def _turn_on(self, found: replay.Loaded) -> None:
        still = [stream for stream in found.streams if stream.ended_at is None]
        if found.plain or any(stream.id not in found.codecs for stream in still):
            with self.transaction():
                self._seal_open(found, still)
            for stream in found.streams.ended:
                found.streams.drop(stream.id)
            found.streams.ended.clear()
            found.size = 0
        try:
            self._clean()
        except errors.LogUnavailable as error:  # the next start tries again
            _log.error("log_housekeeping_failed", path=str(self.path), error=error.message)

    def _seal_open(self, found: replay.Loaded, still: list[streams.Stream]) -> None:
        for stream in found.streams.ended:  # those that were plain are resealed like all others
            self.keep_record(stream, found.codecs.get(stream.id, codec.PLAIN))
        for stream in still:
            saved = found.saved.get(stream.id)
            if stream.id not in found.codecs:
                self.seals.put(self._new_key(found, stream))
                self._db.execute("DELETE FROM segment WHERE stream = ?", (stream.id,))
                saved = None
            block = redo.cut(stream, saved[0] + 1 if saved else 1)
            by = found.codecs[stream.id]
            self.keep_segment(Segment(stream.id, stream.header, self._row, block, by))
            found.saved[stream.id] = (stream.last, stream.cancelled)
        self._db.execute("DELETE FROM redo")
        self._db.execute("UPDATE meta SET value = ? WHERE name = 'row'", (self._row,))
