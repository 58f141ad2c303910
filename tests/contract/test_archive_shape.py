"""The shape of archives that last: their migrations, who applies these, and what is damaged.

Strategy: what other programs do to a store is done with SQL of its engine's own; processes that
start at once are processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import zlib
from pathlib import Path

import pytest
from tests.contract import archives
from tests.contract.archives import Store, told

import holdfast
from holdfast import errors, events, storage
from holdfast.archive import base, migrations, records, url
from holdfast.archive.postgres import schema as postgres_schema
from holdfast.archive.sqlite import schema as sqlite_schema

PROCESSES = 20

STARTER = """
import asyncio, sys
from holdfast.archive import url

async def run():
    archive = url.open_archive(sys.argv[1], "memory://")
    print("ready", flush=True)
    sys.stdin.read(1)
    try:
        await archive.start()
        return archive.secret.hex()
    except Exception as error:
        return repr(error)
    finally:
        await archive.close()

print(asyncio.run(run()), flush=True)
"""


@pytest.fixture(params=archives.SHARED)
def engine(request: pytest.FixtureRequest) -> migrations.Engine:
    name: migrations.Engine = request.param
    return name


@pytest.fixture
async def store(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    return await archives.empty(engine, tmp_path, lambda: request.getfixturevalue("postgres"))


# Migrations


async def test_a_start_applies_all_and_tells_when(engine: migrations.Engine, store: Store) -> None:
    known = migrations.load(engine)
    archive = url.open_archive(store.url, "memory://")
    before = await archive.status()
    assert (before.version, before.applied) == (0, ())
    assert before.pending == ("0001_keys", "0002_streams", "0003_reports", "0004_seals")
    assert before.place == archive.place
    async with store.started() as archive:
        state = await archive.status()
        assert (state.version, state.pending) == (len(known), ())
        assert [(one.number, one.name) for one in state.applied] == [
            (one.number, one.name) for one in known
        ]
        now = events.now_ms()
        assert all(now - 60_000 < (one.applied_at or 0) <= now for one in state.applied)
        assert await archive.upgrade() == ()
        assert await archive.status() == state


async def test_to_ask_for_the_status_makes_nothing(store: Store, tmp_path: Path) -> None:
    await url.open_archive(store.url, "memory://").status()
    assert os.listdir(tmp_path) == []
    if store.schema:
        query = "SELECT FROM pg_namespace WHERE nspname = 'holdfast'"
        assert await store.sql(query) == []


async def test_an_upgrade_is_what_a_start_does_before_it(store: Store) -> None:
    archive = url.open_archive(store.url, "memory://")
    applied = await archive.upgrade()
    assert [one.name for one in applied] == ["keys", "streams", "reports", "seals"]
    assert (await archive.status()).applied == applied
    async with store.started() as archive:
        assert len(archive.secret) == 32
        assert (await archive.status()).applied == applied


async def test_a_store_of_a_newer_version_is_left_alone(store: Store) -> None:
    async with store.started():
        pass
    await store.sql("INSERT INTO %migration VALUES (5, 'later', 7)")
    if not store.schema:
        await store.sql("PRAGMA user_version = 5")
    for call in ("start", "upgrade"):
        archive = url.open_archive(store.url, "memory://")
        with pytest.raises(errors.SettingsError, match="newer version of Holdfast"):
            await getattr(archive, call)()
        state = await archive.status()
        assert (state.version, state.pending) == (5, ())
        assert state.applied[-1].name == "later"
        await archive.close()


async def test_a_migration_that_fails_leaves_the_store_at_the_one_before(
    engine: migrations.Engine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrations.load(engine)
    table = f"CREATE TABLE {store.schema}later (x INTEGER);\n"
    schema = postgres_schema if engine == "postgres" else sqlite_schema
    bad, good = (
        (*known, migrations.Migration(5, "later", script)) for script in (table * 2, table)
    )
    archive = url.open_archive(store.url, "memory://")
    monkeypatch.setattr(schema, "MIGRATIONS", bad)
    with pytest.raises(errors.ArchiveUnavailable, match="later"):
        await archive.upgrade()
    assert (await archive.status()).pending == ("0005_later",)
    monkeypatch.setattr(schema, "MIGRATIONS", good)
    assert [one.name for one in await archive.upgrade()] == ["later"]
    assert await store.sql("SELECT * FROM %later") == []


async def test_many_processes_that_start_at_once_apply_each_once(store: Store) -> None:
    env = {"PYTHONPATH": str(Path(holdfast.__file__).parent.parent)}
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-W", "error", "-c", STARTER, store.url)
    running = [
        await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=env)
        for _ in range(PROCESSES)
    ]
    try:
        for one in running:
            assert one.stdout is not None
            assert await one.stdout.readline() == b"ready\n"
        said = await asyncio.gather(*(one.communicate(b"x") for one in running))
    finally:
        for one in running:
            if one.returncode is None:
                one.kill()
    async with store.started() as archive:
        assert {out.decode().strip() for out, _ in said} == {archive.secret.hex()}
        rows = await store.sql("SELECT number FROM %migration ORDER BY number")
        assert rows == [(1,), (2,), (3,), (4,)]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_file_of_the_first_version_is_brought_to_this_one(
    store: Store, tmp_path: Path
) -> None:
    """As it was before there was a list of migrations; its keys stay."""
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as db:
        db.executescript(
            f"BEGIN; {migrations.load('sqlite')[0].script};"
            f"PRAGMA application_id = {sqlite_schema.APPLICATION_ID}; PRAGMA user_version = 1;"
            f"INSERT INTO meta VALUES ('secret', x'{'07' * 32}'), ('revision', 5); COMMIT"
        )
    state = await url.open_archive(store.url, "memory://").status()
    assert (state.version, state.pending) == (
        1,
        ("0002_streams", "0003_reports", "0004_seals"),
    )
    async with store.started() as archive:
        assert archive.secret == b"\7" * 32
        assert await archive.keys(-1) == base.Keys(5, ())
        applied = (await archive.status()).applied
        assert [(one.name, one.applied_at is None) for one in applied] == [
            ("keys", True),
            ("streams", False),
            ("reports", False),
            ("seals", False),
        ]


# What is in it


async def test_operators_see_every_event_without_its_data(store: Store) -> None:
    async with store.started() as archive:
        texts = ["secret"] * (records.SEGMENT_EVENTS + 5)
        one = told(*texts, adopted=True)
        await archives.kept(archive, one)
        found = await store.sql(
            "SELECT stream, epoch, seq, kind, ts, size, crc FROM %event ORDER BY seq"
        )
        assert found == [
            (one.info.stream, e.epoch, e.seq, e.kind, e.ts, len(e.data), zlib.crc32(e.data))
            for e in one.all
        ]
        segments = await store.sql("SELECT epoch, first, last FROM %segment ORDER BY first")
        assert segments == [(archives.OLD_EPOCH, 1, 503), (archives.EPOCH, 504, 1007)]


DAMAGES = {
    "a bit of the data": "UPDATE %segment SET data = {flipped} WHERE first = 1",
    "the data of another place": (
        "UPDATE %segment SET data = (SELECT data FROM %segment WHERE first = 4) WHERE first = 1"
    ),
    "a checksum": "UPDATE %segment SET {crc} WHERE first = 1",
    "a size": "UPDATE %segment SET {size} WHERE first = 1",
    "a kind": "UPDATE %segment SET {kind} WHERE first = 1",
    "a segment is gone": "DELETE FROM %segment WHERE first = 4",
}
SPELLED = {
    "sqlite": {
        "flipped": "CAST(substr(data, 1, length(data) - 1) || x'00' AS BLOB)",
        "crc": "events = json_set(events, '$[1][3]', 7)",
        "size": "events = json_set(events, '$[1][2]', 7)",
        "kind": "events = json_set(events, '$[1][0]', 9)",
    },
    "postgres": {
        "flipped": "set_byte(data, length(data) - 1, 0)",
        "crc": "crcs[2] = 7",
        "size": "sizes[2] = 7",
        "kind": "kinds[2] = 9",
    },
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_rule_5_what_is_damaged_is_told_and_never_passed_over(
    engine: str, store: Store, damage: str
) -> None:
    async with store.started() as archive:
        one, other = told(*"abcd", adopted=True), told("x")
        await archives.kept(archive, one, other)
        await store.sql(DAMAGES[damage].format(**SPELLED[engine]))
        with pytest.raises(errors.LogCorrupt, match=one.info.stream):
            await archives.read_all(archive, one.info.stream)


async def test_rule_5_a_damaged_header_is_told_and_hides_no_other_stream(store: Store) -> None:
    async with store.started() as archive:
        one, other = told("a", created_at=999), told("b", client_id="c", session_id="s")
        await archives.kept(archive, one, other)
        bytes_ = "'\\x0100'" if store.schema else "x'0100'"
        await store.sql(f"UPDATE %stream SET header = {bytes_} WHERE id = '{one.info.stream}'")
        with pytest.raises(errors.LogCorrupt, match=one.info.stream):
            await archive.stat(one.info.stream)
        assert await archive.find(storage.Query()) == [other.info, one.info]
        assert tuple(await archives.read_all(archive, one.info.stream)) == one.all


async def test_a_read_in_the_middle_loads_no_more_than_it_needs(store: Store) -> None:
    """What is before a position, and far behind it, may be damaged."""
    async with store.started() as archive:
        one = told(*["x" * 40_000] * 20)
        await archives.kept(archive, one)
        zero = "'\\x00'" if store.schema else "x'00'"
        await store.sql(f"UPDATE %segment SET data = {zero} WHERE first < 8 OR first > 11")
        page = await archive.read(one.info.stream, one.all[7].position)
        assert page.events == one.all[8:10]


FILLED = {
    "stream": (
        "INSERT INTO holdfast.stream SELECT 's' || n, {owner}, {tenant}, 'completed', NULL, NULL, "
        "'p', 'm', n, n, 1, 1, false, '' FROM generate_series(1, 5000) AS n"
    ),
    "connection": (
        "INSERT INTO holdfast.connection SELECT 'c' || n, {owner}, {owner}, {tenant}, n, n, n, '' "
        "FROM generate_series(1, 5000) AS n"
    ),
}
"""Many rows: half of them are of one owner, the others of 50."""

PLANS = {
    "stream_by_owner": "owner = '{}/x'",
    "stream_by_tenant": "tenant = '{}'",
    "connection_by_owner": "owner = '{}/x'",
    "connection_by_tenant": "tenant = '{}'",
    "connection_by_stream": "stream = '{}/x'",
    "stream_by_creation": "true",
    "connection_by_opening": "true",
}
"""The index that a search has to go by, and whom it is for."""


@pytest.mark.parametrize("whose", ["big", "t7", "nobody"])
async def test_rule_6_a_list_passes_over_nobody_elses(
    engine: str, store: Store, whose: str
) -> None:
    """Whether somebody has half of all rows, few or none."""
    tenant = "CASE WHEN mod(n, 2) = 0 THEN 'big' ELSE 't' || mod(n, 50) END"
    async with store.started():
        if engine == "postgres":
            for fill in FILLED.values():
                await store.sql(fill.format(tenant=tenant, owner=f"{tenant} || '/x'"))
            await store.sql("ANALYZE")
        for index, term in PLANS.items():
            table, _, _ = index.partition("_")
            time = "created_at" if table == "stream" else "opened_at"
            if term == "true" and engine == "postgres":
                time += " + 0"
            named, explain = (
                (f"INDEXED BY {index} ", "EXPLAIN QUERY PLAN")
                if engine == "sqlite"
                else ("", "EXPLAIN")
            )
            rows = await store.sql(
                f"{explain} SELECT * FROM %{table} {named}WHERE {term.format(whose)} "
                f"ORDER BY {time} DESC, id DESC LIMIT 50"
            )
            plan = "\n".join(str(row) for row in rows)
            assert index in plan, plan
            assert "TEMP B-TREE" not in plan
