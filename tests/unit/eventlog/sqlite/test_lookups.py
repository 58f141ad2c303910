"""The reading side of the file. What it finds is the contract's; this is how."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import errors, events
from holdfast.eventlog import base, streams
from holdfast.eventlog.sqlite import file, lookups, schema
from holdfast.testing.eventlog.parts import COMPLETE, header


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[lookups.Lookups]:
    opened = file.File(tmp_path / "a.db", "process")
    made = lookups.Lookups(tmp_path / "a.db")
    yield made
    made.close()
    opened.close()


def kept(path: Path, count: int) -> list[events.StreamId]:
    opened = file.File(path, "process")
    ids = [events.new_stream_id() for _ in range(count)]
    with opened.transaction():
        for number, stream in enumerate(ids):
            made = streams.Streams()
            made.create(stream, header(number, owner=f"o{number % 3}"), 65536, (COMPLETE,), 5)
            found = made.get(stream)
            assert found is not None
            opened.keep_record(found)
    opened.close()
    return ids


def test_it_cannot_write(reading: lookups.Lookups) -> None:
    with (
        pytest.raises(errors.LogUnavailable, match="make the file and its folder writable"),
        schema.mapped(reading.path),
    ):
        reading._db.execute("DELETE FROM meta")


def test_a_value_is_never_a_part_of_a_statement(reading: lookups.Lookups) -> None:
    odd = "x'; DROP TABLE record; --"
    assert reading.stat(events.StreamId(odd)) is None
    assert reading.find(base.Query(odd, client_id=odd, before=(1, odd))) == []
    assert reading.find(base.Query()) == []


def test_a_search_reads_the_index_and_opens_the_rows_that_it_gives(tmp_path: Path) -> None:
    ids = kept(tmp_path / "a.db", 30)
    opened = file.File(tmp_path / "a.db", "process")
    reading = lookups.Lookups(tmp_path / "a.db")
    asked: list[str] = []
    reading._db.set_trace_callback(asked.append)
    query = base.Query("o1", "completed", "c", "s", 1, 99, (50, "x"), 5)
    for given in (query, base.Query(owner="o1", limit=3), base.Query()):
        found = reading.find(given)
        plan = " ".join(
            row[3] for row in reading._db.execute(f"EXPLAIN QUERY PLAN {asked.pop()}").fetchall()
        )
        asked.clear()
        assert "USING INDEX record_by_creation" in plan, plan
        assert "TEMP B-TREE" not in plan, plan
    assert [info.stream for info in found] == ids[::-1]
    reading.close()
    opened.close()


def test_a_closed_connection_is_unavailable(reading: lookups.Lookups) -> None:
    reading.close()
    with pytest.raises(errors.LogUnavailable):
        reading.stat(events.new_stream_id())


def test_there_is_no_connection_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(errors.LogUnavailable, match="unable to open"):
        lookups.Lookups(tmp_path / "missing" / "a.db")
