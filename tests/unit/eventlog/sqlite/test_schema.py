"""The log's file: who may open it, what it must be, and what its errors say."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import errors
from holdfast.eventlog.sqlite import file, schema

HOLDER = """
import sys
from pathlib import Path
from typing import Any
from holdfast.eventlog.sqlite import file
opened = file.File(Path(sys.argv[1]), "process")
print("open", flush=True)
sys.stdin.read()
"""


def test_a_new_file_is_a_log_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    opened = file.File(path, "process")
    try:
        db = sqlite3.connect(path)
        assert schema.number(db, "PRAGMA application_id") == schema.APPLICATION_ID
        assert schema.APPLICATION_ID.to_bytes(4, "big") == b"HLDF"
        assert schema.number(db, "PRAGMA user_version") == len(schema.STEPS)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        db.close()
        for name in os.listdir(tmp_path):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
    finally:
        opened.close()
    assert sorted(os.listdir(tmp_path)) == ["a.db", "a.db.lock"]


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_durability_is_how_often_the_disk_is_told(
    tmp_path: Path, durability: schema.Durability, level: int
) -> None:
    opened = file.File(tmp_path / "a.db", durability)
    assert schema.number(opened._db, "PRAGMA synchronous") == level
    opened.close()


def test_an_empty_file_and_one_that_was_hardly_begun_become_logs(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    begun = sqlite3.connect(tmp_path / "begun.db")
    begun.execute("PRAGMA journal_mode = WAL")
    begun.close()
    for name in ("empty.db", "begun.db"):
        file.File(tmp_path / name, "process").close()


def test_what_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(errors.LogCorrupt, match=r"notes\.txt: file is not a database"):
        file.File(path, "process")
    assert path.read_bytes() == b"Dear diary, " * 1000


@pytest.mark.parametrize("statement", ["CREATE TABLE t (x)", "PRAGMA application_id = 7"])
def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.execute(statement)
    db.close()
    before = path.read_bytes()
    with pytest.raises(errors.LogCorrupt, match=r"other\.db is a database, but not an event log"):
        file.File(path, "process")
    assert path.read_bytes() == before


def test_a_newer_file_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    file.File(path, "process").close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(errors.LogCorrupt, match="newer version of Holdfast: its schema is 99"):
        file.File(path, "process")


def test_an_older_file_takes_the_steps_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    opened = file.File(path, "process")
    secret = opened.load().secret
    opened.close()
    later = (*schema.STEPS, ("CREATE TABLE later (x)", "INSERT INTO later VALUES (7)"))
    monkeypatch.setattr(schema, "STEPS", later)
    for _ in range(2):
        opened = file.File(path, "process")
        assert schema.number(opened._db, "SELECT sum(x) FROM later") == 7
        assert schema.number(opened._db, "PRAGMA user_version") == len(later)
        assert opened.load().secret == secret
        opened.close()


def test_a_step_that_fails_leaves_the_file_at_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    file.File(path, "process").close()
    steps = schema.STEPS
    monkeypatch.setattr(schema, "STEPS", (*steps, ("CREATE TABLE later (x)", "NO SQL")))
    with pytest.raises(errors.LogUnavailable, match="syntax error"):
        file.File(path, "process")
    monkeypatch.setattr(schema, "STEPS", steps)
    file.File(path, "process").close()


def test_a_file_has_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    opened = file.File(path, "process")
    with pytest.raises(errors.LogLocked) as caught:
        file.File(path, "process")
    assert caught.value.message == (
        f"{path} is in use by process {os.getpid()}; one process owns a log file. "
        "Give this one another, or all of them a redis:// log."
    )
    opened.close()
    file.File(path, "process").close()


def test_the_owner_is_named_even_if_it_is_another_process_and_dies_unheard(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(holdfast.__file__).parent.parent)},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(errors.LogLocked, match=f"process {holder.pid};"):
            file.File(path, "process")
        holder.send_signal(signal.SIGKILL)
    file.File(path, "process").close()


def test_an_owner_that_left_no_number_is_another_process(tmp_path: Path) -> None:
    with open(tmp_path / "a.db.lock", "w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(errors.LogLocked, match="another process"):
            file.File(tmp_path / "a.db", "process")


@pytest.mark.parametrize("place", ["missing/a.db", "folder", "file/a.db", "/proc/a.db"])
def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(errors.LogUnavailable) as caught:
        file.File(tmp_path / place, "process")
    assert str(tmp_path / place) in caught.value.message
    assert "the folder must exist, and it and the file be writable" in caught.value.message
    assert len(os.listdir("/proc/self/fd")) == before


NOBODY = 65534


@pytest.fixture
def ordinary() -> Iterator[Path]:
    """A folder of an ordinary user, who this process is meanwhile: for root every file is
    writable."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as made:
        if root:
            os.chown(made, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(made)
        finally:
            if root:
                os.seteuid(0)


@pytest.mark.parametrize("name", [".", "a.db", "a.db.lock"])
def test_what_may_not_be_written_is_named(ordinary: Path, name: str) -> None:
    path = ordinary / "a.db"
    file.File(path, "process").close()
    (ordinary / name).chmod(0o500)
    with pytest.raises(errors.LogUnavailable, match=r"a\.db: "):
        file.File(path, "process")
    (ordinary / name).chmod(0o700)


def test_a_lock_that_cannot_be_had_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(errors.LogUnavailable, match="No locks available"):
        file.File(tmp_path / "a.db", "process")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_system_without_shared_memory_cannot_hold_a_log(tmp_path: Path) -> None:
    class NoWal(sqlite3.Connection):
        def execute(self, statement: str, *given: Any) -> sqlite3.Cursor:
            return super().execute(statement.replace("= WAL", "= DELETE"), *given)

    db = sqlite3.connect(tmp_path / "a.db", isolation_level=None, factory=NoWal)
    with pytest.raises(errors.LogUnavailable, match="its file system cannot hold a log"):
        schema.prepare(db, tmp_path / "a.db", "process")
    db.close()


def said_of(db: sqlite3.Connection, statement: str) -> errors.LogError:
    with pytest.raises(errors.LogError) as caught, schema.mapped(Path("/logs/a.db")):
        db.execute(statement)
    assert caught.value.message.startswith("/logs/a.db: ")
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    return caught.value


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    db.execute("CREATE TABLE t (x)")
    db.execute("PRAGMA max_page_count = 2")
    said = said_of(db, "INSERT INTO t VALUES (zeroblob(100000))")
    db.close()
    assert isinstance(said, errors.LogUnavailable)
    assert "the disk is full; free some space." in said.message


def test_a_file_that_another_program_holds_says_so(tmp_path: Path) -> None:
    holder, db = (
        sqlite3.connect(tmp_path / "a.db", isolation_level=None, timeout=0) for _ in range(2)
    )
    holder.execute("BEGIN EXCLUSIVE")
    said = said_of(db, "CREATE TABLE t (x)")
    holder.close()
    db.close()
    assert isinstance(said, errors.LogUnavailable)
    assert "another program holds the file" in said.message


def test_a_file_that_turned_read_only_says_so(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "a.db").close()
    db = sqlite3.connect(f"file:{tmp_path}/a.db?mode=ro", uri=True)
    said = said_of(db, "CREATE TABLE t (x)")
    db.close()
    assert isinstance(said, errors.LogUnavailable)
    assert "make the file and its folder writable" in said.message


def test_damaged_pages_are_corruption(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    db = sqlite3.connect(path)
    with db:
        db.execute("CREATE TABLE t (x)")
        db.execute("INSERT INTO t VALUES (zeroblob(50000))")
    db.close()
    whole = bytearray(path.read_bytes())
    whole[4096:8192] = b"\xff" * 4096
    path.write_bytes(whole)
    db = sqlite3.connect(path)
    said = said_of(db, "SELECT x FROM t")
    db.close()
    assert isinstance(said, errors.LogCorrupt)


def test_what_sqlite_has_no_name_for_is_unavailable(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "a.db")
    db.close()
    assert isinstance(said_of(db, "SELECT 1"), errors.LogUnavailable)
