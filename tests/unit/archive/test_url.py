"""Which archive a URL means, where it lies without one, and what a bad one is told."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

import holdfast
from holdfast import errors
from holdfast.archive import memory, postgres, sqlite, url
from holdfast.eventlog import url as log_url

PATHS = [
    ("sqlite:///holdfast.db", "holdfast.db"),
    ("sqlite:///data/holdfast.db", "data/holdfast.db"),
    ("sqlite:////var/lib/holdfast.db", "/var/lib/holdfast.db"),
    ("sqlite:///a%20b%3Fc%23d.db", "a b?c#d.db"),
    ("SQLITE:///a.db", "a.db"),
    ("sqlite:///keys", "keys"),
]

BESIDE = [
    ("sqlite:///holdfast.db", "holdfast-archive.db"),
    ("sqlite:///data/holdfast.db", "data/holdfast-archive.db"),
    ("sqlite:////var/lib/holdfast.db", "/var/lib/holdfast-archive.db"),
    ("SQLite:///holdfast.db", "holdfast-archive.db"),
    ("sqlite:///a.b.db", "a.b-archive.db"),
    ("sqlite:///log", "log-archive"),
    ("sqlite:///.db", ".db-archive"),
    ("sqlite:///a%20b%3Fc%23d.db", "a b?c#d-archive.db"),
]


def test_memory_is_memory() -> None:
    for text in ("memory://", "MEMORY://"):
        assert isinstance(url.open_archive(text, "sqlite:///a.db"), memory.MemoryArchive)


@pytest.mark.parametrize(("text", "path"), PATHS)
def test_three_slashes_are_relative_and_four_absolute(text: str, path: str) -> None:
    for log in ("memory://", "sqlite:///elsewhere/log.db"):
        archive = url.open_archive(text, log)
        assert isinstance(archive, sqlite.SqliteArchive)
        assert archive.file == Path(path).resolve()


@pytest.mark.parametrize("none", [None, ""])
@pytest.mark.parametrize(("text", "path"), BESIDE)
def test_without_a_url_it_lies_beside_the_log(text: str, path: str, none: str | None) -> None:
    archive = url.open_archive(none, text)
    assert isinstance(archive, sqlite.SqliteArchive)
    assert archive.file == Path(path).resolve()
    log = log_url.open_log(text)
    assert archive.file.parent == log._path.parent  # type: ignore[attr-defined]
    assert archive.file != log._path  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["memory://", "redis://host:6379/0", "redis:///0"])
def test_a_log_that_is_no_file_has_its_archive_in_memory(text: str) -> None:
    assert isinstance(url.open_archive(None, text), memory.MemoryArchive)
    assert url.beside(text) == "memory://"


async def test_what_it_opens_works(tmp_path: Path) -> None:
    archive = url.open_archive(None, f"sqlite:///{tmp_path}/a.db")
    await archive.start()
    await archive.close()
    assert os.listdir(tmp_path) == ["a-archive.db"]


@pytest.mark.parametrize(
    "text",
    [
        "postgres://x",
        "holdfast.db",
        "memory://x",
        "memory:///x",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:////",
        "sqlite:///data/",
        "sqlite://data/holdfast.db",
        "sqlite://user@/holdfast.db",
        "sqlite:///a%00b.db",
        "sqlite://[",
        "sqlite://[::1]/a.db",
        "file:///a.db",
        "://",
        " ",
    ],
)
def test_a_bad_url_is_told_what_a_good_one_is(text: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        url.open_archive(text, "memory://")
    assert "sqlite:///relative.db" in caught.value.message
    assert caught.value.message.endswith(f"not {text}.")


@pytest.mark.parametrize(
    "text", ["sqlite:///a.db?mode=ro", "sqlite:///a.db#b", "memory://?x", "sqlite:///a?b.db"]
)
def test_what_follows_a_question_mark_is_not_passed_over(text: str) -> None:
    with pytest.raises(errors.SettingsError, match=r"neither \? nor #"):
        url.open_archive(text, "memory://")


@pytest.mark.parametrize("text", ["sqlite:///", "sqlite:////", "sqlite://", "sqlite://["])
def test_a_bad_url_of_the_log_is_a_bad_setting(text: str) -> None:
    with pytest.raises(errors.SettingsError):
        url.open_archive(None, text)


def test_sqlite_is_imported_by_who_uses_it() -> None:
    code = (
        "import sys; from holdfast.archive import url; url.open_archive('memory://', 'x');"
        "assert 'sqlite3' not in sys.modules;"
        "url.open_archive('sqlite:///x.db', 'x'); assert 'sqlite3' in sys.modules"
    )
    env = {"PYTHONPATH": str(Path(holdfast.__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


# PostgreSQL


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_database_is_shown_without_its_password(scheme: str) -> None:
    archive = url.open_archive(f"{scheme}://u:hunter2@h:5432/d?sslpassword=x", "memory://")
    assert isinstance(archive, postgres.PostgresArchive)
    assert archive.place == f"{scheme}://u:***@h:5432/d"
    assert archive.file is None


@pytest.mark.parametrize("text", ["postgres://u:hunter2@h", "postgresql://u:hunter2@h/d#f"])
def test_a_bad_url_is_told_without_its_password(text: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        url.open_archive(text, "memory://")
    assert "hunter2" not in caught.value.message
    assert "postgresql://USER:PASSWORD@HOST/DATABASE" in caught.value.message


@pytest.mark.parametrize("text", ["postgresql://u:hunter2/x@h/d", "postgresql://u:p@h:port/d"])
async def test_what_the_driver_cannot_read_is_a_setting(text: str) -> None:
    archive = url.open_archive(text, "memory://")
    with pytest.raises(errors.SettingsError, match="as %-escapes") as caught:
        await archive.start()
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_without_the_driver_it_is_told_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from holdfast import errors; from holdfast.archive import url\n"
        "url.open_archive('memory://', 'x')\n"
        "try:\n    url.open_archive('postgres://u:hunter2@h/d', 'x')\n"
        "except errors.SettingsError as error:\n    print(error.message)"
    )
    env = {"PYTHONPATH": str(Path(holdfast.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip().endswith("pip install asyncpg")
    assert "hunter2" not in done.stdout


def test_the_driver_is_imported_by_who_uses_it() -> None:
    code = (
        "import sys; import holdfast.cli; from holdfast.archive import url\n"
        "url.open_archive('sqlite:///x.db', 'x'); assert 'asyncpg' not in sys.modules\n"
        "url.open_archive('postgres://h/d', 'x'); assert 'asyncpg' in sys.modules"
    )
    env = {"PYTHONPATH": str(Path(holdfast.__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
