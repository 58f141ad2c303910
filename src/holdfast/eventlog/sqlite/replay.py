"""What a start reads: the segments, then all of the redo log once.

Strategy: what a record or a tombstone knows is passed over, and so is what changes nothing, so
only what open streams need is decrypted. Where a sealed unit of one stream does not open, that
stream is `unreadable`: it stays as it was before, and whoever loads ends it. What is damaged in a
row as a whole, or in a plain stream, refuses the start: nobody knows then whom it was about.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from holdfast import errors, events
from holdfast.eventlog import base, streams
from holdfast.eventlog.sqlite import lookups, redo, schema, seals
from holdfast.sealing import codec

_UNKNOWN = "unknown"
"""What the header of a stream says of its provider, where it cannot be opened."""


class Loaded(msgspec.Struct):
    """What a start found. `saved`: how far each stream is in segments, (seq, cancelled);
    `row` and `size`: the last redo row, and the bytes of all of them; `codecs`: those of sealed
    streams; `plain`: whether the redo log tells of others."""

    secret: bytes
    streams: streams.Streams
    saved: dict[events.StreamId, tuple[int, bool]]
    row: int
    size: int
    codecs: dict[events.StreamId, codec.Codec] = {}
    unreadable: dict[events.StreamId, errors.LogCorrupt] = {}
    plain: bool = False


class Replay:
    def __init__(self, db: sqlite3.Connection, path: Path, of: seals.Seals, found: Loaded) -> None:
        self._db, self._path, self._seals, self._found = db, path, of, found
        self._upto: dict[events.StreamId, int] = {}

    def run(self) -> None:
        """Raises `errors.LogCorrupt`."""
        self._load_segments()
        for row, blob in self._db.execute("SELECT id, operations FROM redo ORDER BY id"):
            self._found.size += len(blob)
            with schema.place(self._path, "redo", row):
                operations = redo.unpack_group(blob)
            for operation in operations:
                self._found.plain = self._found.plain or redo.is_plain(operation)
                self._apply(operation, row)

    def _load_segments(self) -> None:
        found = self._found
        for name, first, row, header, blob in self._db.execute(
            "SELECT stream, first, upto, header, events FROM segment ORDER BY stream, first"
        ):
            self._upto[name] = row
            seal = self._seals.of(name)
            at = schema.place(self._path, "segment", f"{name} from {first}")
            if seal is None:
                with at:
                    self._segment(name, header, blob, codec.PLAIN, b"")
            elif name not in found.unreadable:
                try:
                    with at:
                        where = redo.place(row, first, 0)
                        self._segment(name, header, blob, self._codec(seal), where)
                except errors.LogCorrupt as error:
                    self._unreadable(name, error, seal.owner, seal.created_at)
            stream = found.streams.get(name)
            if stream is not None:
                found.saved[name] = (stream.last, stream.cancelled)

    def _segment(
        self,
        name: events.StreamId,
        header: bytes | None,
        blob: bytes,
        by: codec.Codec,
        where: bytes,
    ) -> None:
        stream = self._found.streams.get(name)
        if stream is None:
            stream = streams.Stream(name, redo.unpack_header(header or b"", by))
            self._found.streams.add(stream)
        redo.extend(stream, redo.unpack_block(codec.SEGMENT, blob, by, where))

    def _codec(self, seal: seals.Seal) -> codec.Codec:
        """Raises `errors.LogCorrupt`, `KeyMissing`."""
        by = self._found.codecs.get(seal.stream)
        if by is None:
            by = self._seals.sealer.open(seal.stream, seal.owner, seal.key)
            self._found.codecs[seal.stream] = by
        return by

    def _unreadable(
        self, name: events.StreamId, error: errors.LogCorrupt, owner: str, created_at: int
    ) -> None:
        self._found.unreadable.setdefault(name, error)
        if self._found.streams.get(name) is None:
            header = base.Header(owner, created_at, _UNKNOWN, _UNKNOWN)
            self._found.streams.add(streams.Stream(name, header))

    def _apply(self, operation: redo.Stored, row: int) -> None:
        """Applies an operation as far as it is about streams that lack it."""
        found = self._found.streams
        match operation:
            case redo.SealedAppend(tick):
                for unit in tick:
                    self._unit(unit, row)
            case redo.Append(tick):
                for batch in tick:
                    if self._lacks(batch.stream, row) and self._plain(batch.stream, row):
                        found.append(batch)
            case redo.Create(stream) | redo.SealedCreate(stream):
                if lookups.ended(self._db, stream) or found.get(stream) is not None:
                    return
                if isinstance(operation, redo.SealedCreate):
                    self._create(operation, row)
                elif (seal := self._seals.of(stream)) is None:
                    redo.apply(found, operation)
                else:
                    self._unreadable(stream, self._bare(row), seal.owner, seal.created_at)
            case redo.SealedClaim():
                self._claim(operation, row)
            case redo.Claim(stream):
                if self._lacks(stream, row) and self._plain(stream, row):
                    redo.apply(found, operation)
            case redo.Cancel(stream) if self._lacks(stream, row):
                redo.apply(found, operation)

    def _lacks(self, stream: events.StreamId, row: int) -> bool:
        return self._upto.get(stream, 0) < row and stream not in self._found.unreadable

    def _plain(self, name: events.StreamId, row: int) -> bool:
        """Whether plain bytes have a place in this stream: one that has a key has none."""
        stream = self._found.streams.get(name)
        if name not in self._found.codecs or stream is None:
            return True
        header = stream.header
        self._unreadable(name, self._bare(row), header.owner, header.created_at)
        return False

    def _bare(self, row: int) -> errors.LogCorrupt:
        where = f"{self._path}: table redo, row {row}"
        return errors.LogCorrupt(f"{where}: it is not sealed, and its stream is.")

    def _create(self, made: redo.SealedCreate, row: int) -> None:
        name, streams_ = made.stream, self._found.streams
        header = base.Header(made.owner, made.created_at, _UNKNOWN, _UNKNOWN)
        drafts: tuple[events.Draft, ...] = ()
        failure: errors.LogCorrupt | None = None
        try:
            with schema.place(self._path, "redo", row):
                seal = self._seals.of(name)
                by = codec.PLAIN if seal is None else self._codec(seal)
                header = redo.unpack_header(made.header, by)
                drafts = redo.open_drafts(made, by)
        except errors.LogCorrupt as error:
            failure = error
        streams_.create(name, header, made.epoch, drafts, made.ts)
        if failure is not None:
            self._unreadable(name, failure, made.owner, made.created_at)

    def _claim(self, claim: redo.SealedClaim, row: int) -> None:
        stream = self._found.streams.get(claim.stream)
        if stream is None or not self._lacks(claim.stream, row):
            return
        if stream.ended_at is None and claim.epoch >> 16 > stream.epoch >> 16:
            drafts = self._open(claim, stream, row)
            if drafts is not None:
                self._found.streams.claim(claim.stream, claim.epoch, drafts, claim.ts)

    def _unit(self, unit: redo.Unit, row: int) -> None:
        stream = self._found.streams.get(unit.stream)
        if stream is None or not self._lacks(unit.stream, row):
            return
        fits = unit.epoch == stream.epoch and unit.last - unit.count == stream.last
        if fits and stream.ended_at is None:  # else it was refused, and would be again
            drafts = self._open(unit, stream, row)
            if drafts is not None:
                batch = base.Batch(unit.stream, unit.epoch, unit.last, unit.ts, drafts)
                self._found.streams.append(batch)

    def _open(
        self, operation: redo.SealedClaim | redo.Unit, stream: streams.Stream, row: int
    ) -> tuple[events.Draft, ...] | None:
        by = self._found.codecs.get(stream.id, codec.PLAIN)
        try:
            with schema.place(self._path, "redo", row):
                drafts = redo.open_drafts(operation, by)
                if len(drafts) != operation.count:
                    raise errors.LogCorrupt("it has not as many events as it says")
                return drafts
        except errors.LogCorrupt as error:
            header = stream.header
            self._unreadable(stream.id, error, header.owner, header.created_at)
            return None
