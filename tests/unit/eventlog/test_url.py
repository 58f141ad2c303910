"""Which engine a URL means, and what a bad one is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast import errors
from holdfast.eventlog import memory, url
from holdfast.eventlog.redis import engine as redis_engine
from holdfast.eventlog.sqlite import engine


def test_memory_is_memory() -> None:
    assert isinstance(url.open_log("memory://"), memory.MemoryLog)


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///holdfast.db", "holdfast.db"),
        ("sqlite:///data/holdfast.db", "data/holdfast.db"),
        ("sqlite:////var/lib/holdfast.db", "/var/lib/holdfast.db"),
        ("sqlite:///a%20b%3Fc.db", "a b?c.db"),
    ],
)
def test_three_slashes_are_relative_and_four_absolute(
    text: str, path: str, durability: str
) -> None:
    log = url.open_log(text, url.Wanted(durability))
    assert isinstance(log, engine.SqliteLog)
    assert log._path == Path(path).resolve()
    assert log._durability == durability


async def test_what_it_opens_works(tmp_path: Path) -> None:
    log = url.open_log(f"sqlite:///{tmp_path}/a.db")
    await log.start()
    await log.close()
    assert (tmp_path / "a.db").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "postgres://x",
            "No event log is called 'postgres'; there are memory://, sqlite://, redis",
        ),
        ("holdfast.db", "No event log is called 'holdfast.db'"),
        ("", "No event log is called ''"),
        ("memory://x", "memory:// takes nothing"),
        ("memory:///x", "memory:// takes nothing"),
        ("sqlite://", "sqlite:///relative.db"),
        ("sqlite:///", "sqlite:///relative.db"),
        ("sqlite:///data/", "sqlite:///relative.db"),
        ("sqlite://holdfast.db", "sqlite:///relative.db"),
        ("sqlite:///a.db?mode=ro", "neither"),
        ("sqlite:///a.db#x", "neither"),
    ],
)
def test_a_bad_url_is_told_what_a_good_one_is(text: str, said: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        url.open_log(text)
    assert said in caught.value.message


def test_durability_is_one_of_two() -> None:
    with pytest.raises(errors.SettingsError, match="process or power, not quantum"):
        url.open_log("memory://", url.Wanted("quantum"))


@pytest.mark.parametrize(
    "text",
    [
        "redis://localhost",
        "rediss://user:pass@one:7000,two/",
        "valkey://localhost/3",
        "valkeys://localhost",
        "redis+sentinel://one,two,three/main",
        "rediss+sentinel://one/main/2",
    ],
)
def test_redis_is_reached_in_many_ways(text: str) -> None:
    assert isinstance(url.open_log(text), redis_engine.RedisLog)


@pytest.mark.parametrize("module", ["redis", "hiredis"])
def test_a_library_that_is_missing_is_named(module: str) -> None:
    script = f"import sys; sys.modules[{module!r}] = None\n" + (
        "from holdfast import errors\n"
        "from holdfast.eventlog import url\n"
        "try:\n    url.open_log('redis://:secret@localhost')\n"
        "except errors.SettingsError as error:\n    print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(holdfast.__file__).parent.parent)},
    )
    assert "pip install 'redis[hiredis]'" in done.stdout
    assert "secret" not in done.stdout


@pytest.mark.parametrize(
    "text", ["redis://[secret@x", "redis://:secret@h/x", "redis://:secret@h?secret", "secret@h"]
)
def test_no_refusal_repeats_a_password(text: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        url.open_log(text)
    assert "secret" not in caught.value.message


def test_an_engine_is_imported_when_it_is_asked_for() -> None:
    script = "import sys; from holdfast.eventlog import url; print('sqlite3' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(holdfast.__file__).parent.parent)},
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize("lease", [1.0, 7.5])
def test_a_redis_log_has_the_lease_that_is_asked_for(lease: float) -> None:
    log = url.open_log("redis://127.0.0.1", url.Wanted(lease=lease))
    assert isinstance(log, redis_engine.RedisLog)
    assert log._seconds == lease
