"""The writing side of the file: what a start finds, and what is named when it is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import errors, events
from holdfast.eventlog import base, streams
from holdfast.eventlog.sqlite import file, lookups, redo, replay, schema
from holdfast.testing.eventlog.parts import COMPLETE, chunk, header

IDS = sorted(events.new_stream_id() for _ in range(4))
EPOCH = 65536


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def opened(path: Path) -> Iterator[file.File]:
    made = file.File(path, "process")
    yield made
    made.close()


def create(stream: events.StreamId) -> redo.Operation:
    return redo.Create(stream, header(), EPOCH, (chunk("first"),), 1)


def append(stream: events.StreamId, last: int, draft: events.Draft) -> redo.Operation:
    return redo.Append((base.Batch(stream, EPOCH, last, 5, (draft,)),))


def commit(opened: file.File, *operations: redo.Operation) -> int:
    return opened.commit([redo.encode(operation) for operation in operations])[0]


def made_of(*operations: redo.Operation) -> streams.Streams:
    made = streams.Streams()
    for operation in operations:
        redo.apply(made, operation)
    return made


def stream_of(stream: events.StreamId, *operations: redo.Operation) -> streams.Stream:
    found = made_of(*operations).get(stream)
    assert found is not None
    return found


def keep(opened: file.File, stream: streams.Stream) -> None:
    with opened.transaction():
        opened.keep_record(stream)


def segment(opened: file.File, stream: streams.Stream, first: int, upto: int) -> None:
    cut = redo.cut(stream, first)
    with opened.transaction():
        opened.keep_segment(file.Segment(stream.id, stream.header, upto, cut))


def reopen(opened: file.File) -> file.File:
    opened.close()
    return file.File(opened.path, "process")


def seqs(found: replay.Loaded) -> dict[events.StreamId, int]:
    return {stream.id: stream.last for stream in found.streams}


def test_a_new_file_holds_nothing_but_a_secret(opened: file.File) -> None:
    found = opened.load()
    assert (len(found.streams), found.saved, found.row, found.size) == (0, {}, 0, 0)
    assert len(found.secret) == 32


def test_a_start_replays_what_was_committed_in_its_order(opened: file.File) -> None:
    a, b = IDS[:2]
    assert commit(opened, create(a), create(b)) == 1
    assert commit(opened, append(a, 2, chunk("x")), append(a, 3, chunk("y"))) == 2
    assert commit(opened, append(b, 2, COMPLETE)) == 3
    again = reopen(opened)
    found = again.load()
    assert seqs(found) == {a: 3, b: 2}
    assert [stream.id for stream in found.streams.ended] == [b]
    assert found.row == 3
    assert found.size == schema.number(again._db, "SELECT sum(length(operations)) FROM redo")
    assert commit(again, append(a, 4, chunk("z"))) == 4
    again.close()


def test_a_failing_commit_changes_nothing_and_the_next_may_succeed(
    path: Path, opened: file.File
) -> None:
    commit(opened, create(IDS[0]))
    opened._db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(errors.LogUnavailable, match="another program"):
        commit(opened, append(IDS[0], 2, chunk("x")))
    with pytest.raises(errors.LogUnavailable), opened.transaction():
        opened.forget_redo(1, 10)
    other.execute("ROLLBACK")
    other.close()
    assert commit(opened, append(IDS[0], 2, chunk("y"))) == 2
    assert seqs(opened.load()) == {IDS[0]: 2}


def test_a_transaction_that_fails_in_the_middle_is_undone(opened: file.File) -> None:
    class Mine(Exception):
        pass

    commit(opened, create(IDS[0]))

    def forget_and_fail() -> None:
        with opened.transaction():
            opened.forget_redo(1, 10)
            raise Mine

    with pytest.raises(Mine):
        forget_and_fail()
    assert seqs(opened.load()) == {IDS[0]: 1}


def test_a_finished_stream_is_not_replayed(opened: file.File) -> None:
    ended, still_open = IDS[:2]
    told = (create(ended), append(ended, 2, COMPLETE))
    commit(opened, *told, create(still_open))
    keep(opened, stream_of(ended, *told))
    found = opened.load()
    assert seqs(found) == {still_open: 1}
    assert found.streams.ended == []
    assert opened.known(ended) == header(request=b"")
    assert opened.known(still_open) is None


def test_a_record_takes_the_place_of_segments_and_drops_the_request(
    path: Path, opened: file.File
) -> None:
    told = (create(IDS[0]), append(IDS[0], 2, COMPLETE))
    whole = stream_of(IDS[0], *told)
    segment(opened, stream_of(IDS[0], told[0]), 1, commit(opened, *told))
    for _ in range(2):  # a job that was done already may be done again
        keep(opened, whole)
    assert schema.number(opened._db, "SELECT count(*) FROM segment") == 0
    assert schema.number(opened._db, "SELECT count(*) FROM record") == 1
    reading = lookups.Lookups(path)
    found = reading.record(IDS[0])
    assert found is not None
    assert found.page(events.BEGIN, 9) == whole.page(events.BEGIN, 9)
    assert found.header == header(request=b"")
    reading.close()


def test_segments_are_read_before_the_rows_that_they_lack(opened: file.File) -> None:
    a, b = IDS[:2]
    told = [create(a), append(a, 2, chunk("x")), append(a, 3, chunk("y"))]
    for operation in told:
        row = commit(opened, operation)
    commit(opened, create(b))
    segment(opened, stream_of(a, *told[:2]), 1, row - 1)
    segment(opened, stream_of(a, *told), 3, row)
    commit(opened, append(a, 4, chunk("z")), redo.Cancel(a))
    found = opened.load()
    assert seqs(found) == {a: 4, b: 1}
    assert found.saved == {a: (3, False)}
    held = found.streams.get(a)
    assert held is not None
    assert held.cancelled
    live = stream_of(a, *told, append(a, 4, chunk("z")))
    assert held.page(events.BEGIN, 9) == live.page(events.BEGIN, 9)
    with opened.transaction():
        assert opened.forget_redo(row, 10) == 3
    assert seqs(opened.load()) == {a: 4, b: 1}


def test_a_row_that_a_segment_contains_is_not_judged_again(opened: file.File) -> None:
    """Lost when it came, the batch would fit now; applied, it would change what was read."""
    a = IDS[0]
    told = [create(a), append(a, 3, chunk("early")), append(a, 2, chunk("x"))]
    rows = [commit(opened, operation) for operation in told]
    segment(opened, stream_of(a, *told), 1, rows[-1])
    commit(opened, append(a, 3, chunk("y")))
    held = opened.load().streams.get(a)
    assert held is not None
    assert [e.data for e in held.page(events.BEGIN, 9).events[1:]] == [
        chunk("x").data,
        chunk("y").data,
    ]


def test_rows_are_counted_on_when_all_were_forgotten(opened: file.File) -> None:
    for stream in IDS:
        row = commit(opened, create(stream))
    counts: list[int] = []
    while not counts or counts[-1]:
        with opened.transaction():
            counts.append(opened.forget_redo(row, 3))
    assert counts == [3, 1, 0]
    again = reopen(opened)
    assert again.load().row == row
    assert commit(again, create(IDS[0])) == row + 1
    again.close()


def ended(opened: file.File, stream: events.StreamId, ts: int = 5) -> None:
    end = redo.Append((base.Batch(stream, EPOCH, 2, ts, (COMPLETE,)),))
    commit(opened, create(stream), end)
    keep(opened, stream_of(stream, create(stream), end))


def expire(opened: file.File, before: int, limit: int, now: int) -> tuple[list[str], bool]:
    with opened.transaction():
        gone, remembered = opened.expire(before, limit, now)
    return list(gone), remembered


def test_expiry_takes_the_oldest_and_says_whether_the_redo_log_speaks_of_it(
    opened: file.File,
) -> None:
    for ts, stream in enumerate(IDS, 5):
        ended(opened, stream, ts)
    assert expire(opened, 7, 1, 100) == ([IDS[0]], True)
    with opened.transaction():
        opened.forget_redo(2, 10)
    assert expire(opened, 7, 10, 100) == ([IDS[1]], False)
    assert expire(opened, 8, 10, 100) == ([IDS[2]], True)
    assert expire(opened, 8, 10, 100) == ([], False)
    assert opened.known(IDS[0]) == base.Tombstone("me", 100)


def test_a_tombstone_stays_as_long_as_the_redo_log_could_wake_its_stream(
    opened: file.File,
) -> None:
    ended(opened, IDS[0])
    expire(opened, 10, 10, 100)
    late = 100 + base.TOMBSTONE_MS + 1
    expire(opened, 10, 10, late)
    assert isinstance(opened.known(IDS[0]), base.Tombstone)
    assert seqs(opened.load()) == {}
    with opened.transaction():
        opened.forget_redo(1, 10)
    expire(opened, 10, 10, late - 1)
    assert isinstance(opened.known(IDS[0]), base.Tombstone)
    expire(opened, 10, 10, late)
    assert opened.known(IDS[0]) is None
    assert seqs(opened.load()) == {}


def test_tombstones_are_forgotten_in_bounded_steps(opened: file.File) -> None:
    for stream in IDS:
        ended(opened, stream)
    expire(opened, 10, 10, 100)
    with opened.transaction():
        opened.forget_redo(99, 10)
    left = []
    for _ in range(3):
        expire(opened, 10, 2, 101 + base.TOMBSTONE_MS)
        left.append(schema.number(opened._db, "SELECT count(*) FROM tombstone"))
    assert left == [2, 0, 0]


def damage(opened: file.File, table: str, column: str, byte: int) -> None:
    """Turns a bit of a blob, as a failing disk may."""
    rowid, blob = opened._db.execute(f"SELECT rowid, {column} FROM {table}").fetchone()
    broken = bytearray(blob)
    broken[byte] ^= 0x10
    opened._db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (broken, rowid))


@pytest.mark.parametrize("byte", [0, 1, 2, 6, 40, -1])
def test_a_damaged_redo_row_is_named_and_not_passed_over(opened: file.File, byte: int) -> None:
    commit(opened, create(IDS[0]))
    damage(opened, "redo", "operations", byte)
    with pytest.raises(errors.LogCorrupt, match=r"a\.db: table redo, row 1: "):
        opened.load()


def test_a_redo_row_that_was_cut_is_named(opened: file.File) -> None:
    commit(opened, create(IDS[0]))
    opened._db.execute("UPDATE redo SET operations = substr(operations, 1, 60)")
    with pytest.raises(errors.LogCorrupt, match=r"a\.db: table redo, row 1: the checksum"):
        opened.load()


@pytest.mark.parametrize("column", ["header", "events"])
def test_a_damaged_segment_is_named(opened: file.File, column: str) -> None:
    segment(opened, stream_of(IDS[0], create(IDS[0])), 1, commit(opened, create(IDS[0])))
    damage(opened, "segment", column, -1)
    with pytest.raises(errors.LogCorrupt, match=f"table segment, row {IDS[0]} from 1: the check"):
        opened.load()


def test_a_segment_whose_predecessor_is_missing_is_named(opened: file.File) -> None:
    told = [create(IDS[0]), append(IDS[0], 2, chunk("x"))]
    segment(opened, stream_of(IDS[0], *told[:1]), 1, 1)
    segment(opened, stream_of(IDS[0], *told), 2, 2)
    opened._db.execute("DELETE FROM segment WHERE first = 1")
    with pytest.raises(errors.LogCorrupt, match=f"table segment, row {IDS[0]} from 2: "):
        opened.load()


def test_a_damaged_record_hurts_no_start(path: Path, opened: file.File) -> None:
    for stream in IDS[:2]:
        ended(opened, stream)
    damage(opened, "record", "events", -1)
    damage(opened, "record", "header", -1)
    with pytest.raises(errors.LogCorrupt, match=f"table record, row {IDS[0]}: the checksum"):
        opened.known(IDS[0])
    reading = lookups.Lookups(path)
    with pytest.raises(errors.LogCorrupt, match=f"table record, row {IDS[0]}: the checksum"):
        reading.record(IDS[0])
    with pytest.raises(errors.LogCorrupt, match=f"table record, row {IDS[0]}: the checksum"):
        reading.stat(IDS[0])
    # A list has what is in clear of it, and is whole.
    listed = {info.stream: info for info in reading.find(base.Query())}
    assert set(listed) == set(IDS[:2])
    assert listed[IDS[0]].header == base.Header("me", 1_000, "", "")
    assert listed[IDS[0]].status == "completed"
    assert reading.heads([IDS[0]])[IDS[0]].seq == 2
    assert reading.record(IDS[1]) is not None
    reading.close()
    # Once the redo log has forgotten it, a start does not look at it either.
    with opened.transaction():
        opened.forget_redo(99, 10)
    assert seqs(opened.load()) == {}
