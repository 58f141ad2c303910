"""Every statement about keys: the file's own, its guards, and those of its streams.

Strategy: a sealed stream's data key lies in a row of its own, so it is replaced, or destroyed,
without its data. The first start with sealing makes the file's key, its guard and the sealed form
of the secret in one transaction, so a start finds all or none. Nothing that is destroyed is opened.

`secure_delete` overwrites what is deleted, and not what SQLite leaves behind as it moves a row to
another page. So a file that had plain streams is clean only once it is vacuumed behind the last of
them, and until the first one after that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from holdfast import errors, events
from holdfast.eventlog.sqlite import redo, schema
from holdfast.sealing import codec, sealer, stores

STEP_BYTES = 1024 * 1024
"""`reseal` ends with the record that reaches so many: appends wait for it."""

_RECORD = "SELECT owner, created_at, epoch, seq, redo, header, events FROM record WHERE stream = ?"
_ANY_PLAIN = (
    "SELECT EXISTS (SELECT 1 FROM record "
    "WHERE NOT EXISTS (SELECT 1 FROM seal WHERE seal.stream = record.stream))"
)
_SIZE = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
_log = structlog.get_logger("holdfast")


class Seal(msgspec.Struct, frozen=True, gc=False):
    """A stream's row: whose it is, and its data key as it is kept."""

    stream: events.StreamId
    owner: str
    created_at: int
    key: bytes


class Step(msgspec.Struct, frozen=True):
    """What one call of `reseal` did; whether the redo log speaks of what was plain till then."""

    resealed: stores.Resealed
    in_redo: bool = False


class Shredded(msgspec.Struct, frozen=True):
    """Whether there was something, whether it was plain, and whether the redo log has it still."""

    gone: bool
    plain: bool = False
    in_redo: bool = False


class Seals:
    """On the writer's connection. The constructor raises `errors.SettingsError` where the ring
    lacks a key of this file, before anything else is read."""

    def __init__(self, db: sqlite3.Connection, path: Path, by: sealer.Sealer) -> None:
        self.sealer = by
        self._db, self._path = db, path
        guards = dict(db.execute("SELECT id, key FROM guard").fetchall())
        self._store = by.open_store(guards, str(path))
        self._guarded = set(guards)
        if by.on:
            self._begin()
        self._was_clean = self._meta("clean") is not None

    def _begin(self) -> None:
        with schema.transaction(self._db, self._path):
            if self._store is None:
                self._store = self.sealer.new_store()
                self._put_guard(self.sealer.current(""))
            if self._is_new():
                self._db.execute("INSERT OR IGNORE INTO meta VALUES ('clean', 1)")
            plain = self._meta("secret")
            if plain is not None:
                sealed = self._store.codec.pack(codec.SECRET, plain)
                self._db.execute(
                    "INSERT OR REPLACE INTO meta VALUES ('sealed_secret', ?)", (sealed,)
                )
                self._db.execute("DELETE FROM meta WHERE name = 'secret'")

    def _is_new(self) -> bool:
        tables = ("redo", "segment", "record", "tombstone")
        asked = (f"SELECT 1 FROM {table} LIMIT 1" for table in tables)
        return not any(self._db.execute(one).fetchone() for one in asked)

    def vacuum(self, most: int) -> bool:
        """Outside of a transaction, where it is due, and the file has at most so many bytes;
        whether it was. `cleaned` is for when that is in the file itself."""
        if self._meta("clean") is not None or schema.number(self._db, _ANY_PLAIN):
            return False
        size = schema.number(self._db, _SIZE)
        if size > most:
            return False
        _log.info("store_vacuuming", path=str(self._path), bytes=size)
        self._db.execute("VACUUM")
        size = schema.number(self._db, _SIZE)
        _log.info("store_vacuumed", path=str(self._path), bytes=size)
        return True

    def cleaned(self) -> None:
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('clean', 1)")

    def secret(self) -> bytes:
        """Raises `errors.LogCorrupt`."""
        plain = self._meta("secret")
        if plain is not None:
            return plain
        with schema.place(self._path, "meta", "sealed_secret"):
            sealed = self._meta("sealed_secret")
            if sealed is None or self._store is None:
                raise errors.LogCorrupt("it is not there, or nothing that opens it is")
            return self._store.codec.unpack(codec.SECRET, sealed)

    def _meta(self, name: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def of(self, stream: events.StreamId) -> Seal | None:
        row = self._db.execute(
            "SELECT stream, owner, created_at, key FROM seal WHERE stream = ?", (stream,)
        ).fetchone()
        return None if row is None else Seal(*row)

    def check(self, seal: Seal) -> None:
        """Whether it could be put: raises `errors.KeyMissing` where the ring has lost its key, and
        this file has no guard of that."""
        by = codec.key_id(seal.key)
        if by not in self._guarded:
            self._guard(by)

    def put(self, seals: Iterable[Seal]) -> None:
        """In a transaction, with what they seal. Raises `errors.KeyMissing`."""
        for seal in seals:
            by = codec.key_id(seal.key)
            if by not in self._guarded:
                self._put_guard(by)
            self._db.execute(
                "INSERT OR REPLACE INTO seal VALUES (?, ?, ?, ?)",
                (seal.stream, seal.owner, seal.created_at, seal.key),
            )

    @property
    def soils(self) -> bool:
        """Whether what is written now may be the first of a clean file that is plain."""
        return self._was_clean and not self.sealer.on

    def soil(self) -> None:
        """In the transaction of that."""
        self._db.execute("DELETE FROM meta WHERE name = 'clean'")

    def durable(self, seals: Iterable[Seal]) -> None:
        """The transaction of `put` and `soil` is through: neither those guards nor the mark need be
        looked at again."""
        self._guarded.update(codec.key_id(seal.key) for seal in seals)
        self._was_clean = self._was_clean and self.sealer.on

    def forget(self, streams: Iterable[events.StreamId]) -> None:
        self._db.executemany("DELETE FROM seal WHERE stream = ?", [(one,) for one in streams])

    def _guard(self, by: str) -> bytes:
        if self._store is None:  # the ring came after the start
            self._store = self.sealer.new_store()
        return self._store.guard(by)

    def _put_guard(self, by: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO guard VALUES (?, ?)", (by, self._guard(by)))

    def drop_guard(self, by: str) -> bool:
        """In a transaction; false where new streams are sealed by it, and nothing else is there.
        The secret outlives the last guard: under another key of the ring, or, with sealing off, in
        clear."""
        found = {row[0] for row in self._db.execute("SELECT id FROM guard")}
        if found == {by}:
            other = self.sealer.current("")
            if other == by:
                return False
            if other:
                self._put_guard(other)
            elif self._meta("secret") is None:
                secret = self.secret()
                self.soil()
                self._db.execute("INSERT INTO meta VALUES ('secret', ?)", (secret,))
                self._db.execute("DELETE FROM meta WHERE name = 'sealed_secret'")
        self._guarded.discard(by)
        self._db.execute("DELETE FROM guard WHERE id = ?", (by,))
        return True

    def reseal(
        self, after: str, limit: int, still_plain: Sequence[str], *, plain_only: bool
    ) -> Step:
        """In a transaction; `still_plain` are in memory, and have no key."""
        if not self.sealer.on:
            return Step(stores.Resealed())
        wanted = sorted({*self._next(after, limit), *(one for one in still_plain if one > after)})
        done = left = unreadable = size = 0
        in_redo = False
        oldest = schema.oldest_redo(self._db)
        reached = after
        for count, name in enumerate(wanted):
            if count == limit or size >= STEP_BYTES:
                return Step(stores.Resealed(done, left, unreadable, reached), in_redo)
            reached, stream = name, events.StreamId(name)
            try:
                seal = self.of(stream)
                record = self._db.execute(_RECORD, (stream,)).fetchone() if seal is None else None
                if seal is not None:
                    done += 0 if plain_only else self._rewrap(seal)
                elif record is None:
                    left += 1
                else:
                    self._seal_record(stream, record)
                    done, size = done + 1, size + len(record[-1])
                    in_redo = in_redo or record[4] >= oldest
            except errors.LogCorrupt:
                unreadable += 1
        return Step(stores.Resealed(done, left, unreadable), in_redo)

    def _next(self, after: str, limit: int) -> list[str]:
        """One more than are looked at, so that the end is known."""
        found: list[str] = []
        for table in ("record", "seal"):
            found += [
                row[0]
                for row in self._db.execute(
                    f"SELECT stream FROM {table} WHERE stream > ? ORDER BY stream LIMIT ?",
                    (after, limit + 1),
                )
            ]
        return found

    def _rewrap(self, seal: Seal) -> bool:
        """Raises `errors.LogCorrupt`, `KeyMissing`."""
        by = self.sealer.current(seal.owner)
        if codec.key_id(seal.key) == by:
            return False
        key = self.sealer.rewrapped(seal.stream, seal.owner, seal.key, by)
        self._put_guard(by)
        self._db.execute("UPDATE seal SET key = ? WHERE stream = ?", (key, seal.stream))
        return True

    def _seal_record(self, stream: events.StreamId, record: tuple[Any, ...]) -> None:
        """Raises `errors.LogCorrupt`, and then has changed nothing."""
        owner, created_at, epoch, seq, _, header, block = record
        made = self.sealer.new(stream, owner, self.sealer.current(owner))
        kept = redo.unpack_header(header)
        whole = codec.PLAIN.unpack(codec.RECORD, block)
        where = redo.place(epoch, 1, seq)
        block = redo.repack_block(codec.RECORD, whole, made, where)
        self.put([Seal(stream, owner, created_at, made.wrapped or b"")])
        self._db.execute(
            "UPDATE record SET header = ?, events = ? WHERE stream = ?",
            (redo.pack_header(kept, made), block, stream),
        )

    def shred(self, stream: events.StreamId, now: int) -> Shredded:
        """In a transaction: its key, its record, and a tombstone."""
        found = self._db.execute(
            "SELECT owner, redo FROM record WHERE stream = ?", (stream,)
        ).fetchone()
        if found is None:
            return Shredded(False)
        plain = self.of(stream) is None
        self.forget([stream])
        self._db.execute("DELETE FROM record WHERE stream = ?", (stream,))
        self._db.execute(
            "INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?)",
            (stream, found[0], now, found[1]),
        )
        return Shredded(True, plain, found[1] >= schema.oldest_redo(self._db))
