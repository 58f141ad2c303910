"""The statements of counters: what is written, what is removed, and what it costs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.eventlog.sqlite import opened as outside

from holdfast import errors
from holdfast.eventlog import counters
from holdfast.eventlog.sqlite import file, schema

ALL = "SELECT name, slot, total, until FROM counter ORDER BY until, name, slot"


@pytest.fixture
def opened(path: Path) -> Iterator[file.File]:
    made = file.File(path, "process")
    yield made
    made.close()


def count(opened: file.File, *changes: counters.Change, now: int = 10) -> list[Mapping[int, int]]:
    with opened.transaction():
        return opened.count(changes, now)


def change(amount: int = 1, slot: int = 1, until: int = 99, name: str = "a") -> counters.Change:
    return counters.Change(name, slot, amount, until)


def test_a_slot_is_a_row(opened: file.File, path: Path) -> None:
    count(opened, change(3), change(4), change(-1, until=50), change(2, slot=7), change(0, slot=8))
    count(opened, change(1, name="b", until=20))
    assert outside.ask(path, ALL) == [("b", 1, 1, 20), ("a", 1, 6, 99), ("a", 7, 2, 99)]


def test_what_expired_first_is_removed_first_a_few_rows_a_call(
    opened: file.File, path: Path
) -> None:
    for slot, until in enumerate((14, 11, 12, 13, 10 + 1, 99)):
        count(opened, change(slot=slot, until=until))
    left = []
    for _ in range(4):
        count(opened, change(name="b"), now=13)
        left.append(outside.ask(path, "SELECT slot FROM counter WHERE name = 'a' ORDER BY until"))
    assert left == [[2, 3, 0, 5], [0, 5], [0, 5], [0, 5]]


def test_a_large_call_removes_more(opened: file.File, path: Path) -> None:
    count(opened, *(change(slot=slot, until=11) for slot in range(100)))
    count(opened, *(change(name=f"{number}") for number in range(30)), now=11)
    assert outside.ask(path, "SELECT count(*) FROM counter WHERE name = 'a'") == [40]


def test_the_file_does_not_grow_with_time(opened: file.File, path: Path) -> None:
    for now in range(500):
        count(opened, *(change(slot=now, until=now + 10, name=f"{n}") for n in range(3)), now=now)
    assert outside.ask(path, "SELECT count(*) FROM counter") == [30]


def test_a_sum_beyond_64_bits_stays_a_whole_number(opened: file.File, path: Path) -> None:
    full = [change(counters.MAX_AMOUNT)] * counters.MAX_CHANGES
    for _ in range(2):
        (found, *_) = count(opened, *full)
    assert found == {1: counters.MAX_SUM}
    down = [change(-counters.MAX_AMOUNT)] * counters.MAX_CHANGES
    for _ in range(4):
        (found, *_) = count(opened, *down)
    assert found == {1: -counters.MAX_SUM}
    assert outside.ask(path, "SELECT typeof(total) FROM counter") == ["integer"]


def test_a_call_that_fails_adds_nothing(opened: file.File, path: Path) -> None:
    count(opened, change(1), change(1, name="z", until=11))
    opened._db.execute(
        "CREATE TRIGGER no BEFORE DELETE ON counter BEGIN SELECT RAISE(FAIL, 'no'); END"
    )
    with pytest.raises(errors.LogUnavailable, match="no"):
        count(opened, change(5), change(5, name="b"), now=11)
    assert outside.ask(path, ALL) == [("z", 1, 1, 11), ("a", 1, 1, 99)]
    opened._db.execute("DROP TRIGGER no")
    assert count(opened, change(5), now=11) == [{1: 6}]


def test_a_file_that_another_program_holds_takes_nothing(opened: file.File, path: Path) -> None:
    count(opened, change(1))
    opened._db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(errors.LogUnavailable, match="another program"):
        count(opened, change(1))
    other.close()
    assert count(opened, change(1)) == [{1: 2}]


def test_asking_writes_nothing(opened: file.File, path: Path) -> None:
    count(opened, change(1))
    size = path.with_name("a.db-wal").stat().st_size
    for _ in range(10):
        assert count(opened, change(0), change(0, name="b")) == [{1: 1}, {}]
    assert path.with_name("a.db-wal").stat().st_size == size


def test_a_start_and_the_redo_log_know_nothing_of_counters(opened: file.File, path: Path) -> None:
    count(opened, change(1))
    opened.close()
    again = file.File(path, "process")
    found = again.load()
    assert (len(found.streams), found.row, found.size) == (0, 0, 0)
    assert count(again, change(0)) == [{1: 1}]
    again.close()


def test_no_statement_looks_at_all_counters(opened: file.File) -> None:
    said: list[str] = []
    count(opened, change(1), change(1, name="b"))
    opened._db.set_trace_callback(said.append)
    count(opened, change(1), change(1, name="b"))
    opened._db.set_trace_callback(None)
    asked = [each for each in said if not each.startswith(("BEGIN", "COMMIT"))]
    assert len(asked) == 5
    for statement in asked:
        plan: list[Any] = opened._db.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        assert not [row for row in plan if row[3].startswith("SCAN")], statement


def test_a_new_file_has_no_counters_yet(opened: file.File) -> None:
    assert schema.number(opened._db, "SELECT count(*) FROM counter") == 0
