"""The reading side of the file. What it finds is the contract's; this is how."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
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


def kept(
    path: Path, count: int, owners: Sequence[str] = ("o0", "o1", "o2")
) -> list[events.StreamId]:
    opened = file.File(path, "process")
    ids = [events.new_stream_id() for _ in range(count)]
    with opened.transaction():
        for number, stream in enumerate(ids):
            made = streams.Streams()
            made.create(
                stream, header(number, owner=owners[number % len(owners)]), 65536, (COMPLETE,), 5
            )
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
    narrow = base.Query(None, "completed", "c", "s", 1, 99, (50, "x"), 5)
    whose: list[tuple[str, dict[str, str]]] = [
        ("owner", {"owner": "o1"}),
        ("owner", {"owner": "o1", "tenant": "acme"}),
        ("tenant", {"tenant": "acme"}),
        ("creation", {}),
    ]
    for (by, said), query in itertools.product(whose, (narrow, base.Query())):
        given = msgspec.structs.replace(query, **said)
        found = reading.find(given)
        plan = " ".join(
            row[3] for row in reading._db.execute(f"EXPLAIN QUERY PLAN {asked.pop()}").fetchall()
        )
        asked.clear()
        assert f"USING INDEX record_by_{by} " in f"{plan} ", plan
        assert "TEMP B-TREE" not in plan, plan
    assert [info.stream for info in found] == ids[::-1]
    reading.close()
    opened.close()


def steps(path: Path, query: base.Query) -> int:
    """What SQLite does for a search that finds nothing, in steps of its machine."""
    counted = 0

    def step() -> None:
        nonlocal counted
        counted += 1

    reading = lookups.Lookups(path)
    try:
        reading.find(query)  # once it has read the schema
        reading._db.set_progress_handler(step, 1)
        assert reading.find(query) == []
    finally:
        reading.close()
    return counted


@pytest.mark.parametrize(
    "query",
    [
        base.Query("acme/alice"),
        base.Query("acme/alice", tenant="acme"),
        base.Query(tenant="acme"),
        base.Query(tenant="acme", status="completed", created_from=0, created_to=999),
        base.Query("acme/alice", client_id="web", before=(500, "x")),
        base.Query(tenant="acme", created_from=7),
    ],
)
def test_what_others_have_costs_nothing(tmp_path: Path, query: base.Query) -> None:
    few, many = tmp_path / "few.db", tmp_path / "many.db"
    others = ("globex/alice", "acme", "acme.b/alice", "acme0/", "", "/acme/")
    kept(few, 6, others)
    kept(many, 600, others)
    assert steps(few, query) == steps(many, query) > 0


def test_a_tenant_is_what_stands_before_the_first_slash(tmp_path: Path) -> None:
    """As Python has it, with any name that a tenant may be asked for by; SQLite's `substr` ends
    at a zero, and no tenant has one."""
    owners = [
        "a/",
        "a/b",
        "a/bc",
        "a/b/c",
        "a",
        "ab",
        "ab/",
        "/",
        "/a",
        "",
        "a\0/b",
        "a/\0b",
        "A/b",
    ]
    owners += ["ä/b", "ä/\U0010ffff", "a/%", "a_/b", "%/b", "_/b"]
    ids = kept(tmp_path / "a.db", len(owners), owners)
    reading = lookups.Lookups(tmp_path / "a.db")
    tenants = {owner[:end] for owner in owners for end in range(1, len(owner) + 1)}
    for tenant in sorted(tenant for tenant in tenants if "\0" not in tenant):
        found = [info.stream for info in reading.find(base.Query(tenant=tenant))]
        parts = [owner.partition("/") for owner in owners]
        whose = [id for id, part in zip(ids, parts, strict=True) if part[:2] == (tenant, "/")]
        assert found == whose[::-1], tenant
    reading.close()


def test_a_closed_connection_is_unavailable(reading: lookups.Lookups) -> None:
    reading.close()
    with pytest.raises(errors.LogUnavailable):
        reading.stat(events.new_stream_id())


def test_there_is_no_connection_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(errors.LogUnavailable, match="unable to open"):
        lookups.Lookups(tmp_path / "missing" / "a.db")
