"""Where plain stores are made, read by hand, copied as by a backup, and searched.

Strategy: files in a folder; or a database each in a Valkey that keeps an append-only file, and in a
PostgreSQL, which is made to throw away what was there before: who runs it does that, as only they
know when (docs/sealing.md). Valkey's file is written anew by who turns sealing on.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import msgspec
import redis
from tests import postgres_server, redis_servers
from tests.faults import plain_stores, served

_NUMBER = "SELECT oid::int FROM pg_database WHERE datname = current_database()"
"""Of a database: the name of its folder."""

TABLES = ("stream", "segment", "connection", "meta", "minute", "guard", "attempt", "tombstone")

Key = tuple[str, str, bytes]
"""A stream, its owner, and its data key as it lies there."""


class Kit(msgspec.Struct, frozen=True):
    """Where stores are made, one pair after the other, and how their files are searched once what
    was there before is no more to be had."""

    place: Callable[[Path], Awaitable[plain_stores.Place]]
    files: Callable[[plain_stores.Place], Awaitable[list[Path]]]
    copied: Callable[[plain_stores.Place], Awaitable[plain_stores.Place]]
    """As from a backup."""
    keys: Callable[[plain_stores.Place], Awaitable[list[Key]]]
    kept_in: tuple[str, str]
    """Parts of the paths of the log's files, and of the archive's."""
    soil: Callable[[plain_stores.Place], Awaitable[None]]
    """Leaves something plain where no statement of ours would find it."""


def files() -> Kit:
    """Both stores in files."""

    async def place(folder: Path) -> plain_stores.Place:
        folder.mkdir(parents=True)  # noqa: ASYNC240
        return _in(folder)

    def _in(folder: Path, **said: str) -> plain_stores.Place:
        urls = f"sqlite:///{folder}/log.db", f"sqlite:///{folder}/archive.db"
        return plain_stores.Place(folder, *urls, **said)

    async def searched(place: plain_stores.Place) -> list[Path]:
        return [path for path in place.folder.iterdir() if path != place.ring.path]

    async def copied(place: plain_stores.Place) -> plain_stores.Place:
        folder = place.folder.with_name(f"{place.folder.name}-copy")
        shutil.copytree(place.folder, folder)
        return _in(folder, planted=place.planted)

    async def keys(place: plain_stores.Place) -> list[Key]:
        found: list[Key] = []
        for url, rows in (
            (place.log_url, "SELECT stream, owner, key FROM seal"),
            (place.archive_url, "SELECT id, owner, key FROM stream"),
        ):
            with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
                found += db.execute(rows).fetchall()
        return found

    async def soil(place: plain_stores.Place) -> None:
        """As an older version did, which overwrote nothing."""
        for url in (place.log_url, place.archive_url):
            with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
                db.execute("PRAGMA secure_delete = OFF")
                db.execute("CREATE TABLE old (text TEXT)")
                db.executemany("INSERT INTO old VALUES (?)", [(place.planted,)] * SOIL)
                db.execute("DROP TABLE old")
                db.commit()

    return Kit(place, searched, copied, keys, ("/log.db", "/archive.db"), soil)


SOIL = 10_000
"""Rows that are left behind in a file."""

KEPT = ("--appendonly", "yes", "--appendfsync", "no", "--rdbcompression", "no")
"""Options of a Valkey that keeps what it has in an append-only file, which can be searched."""


def servers(valkey: redis_servers.Server, postgres: postgres_server.Server) -> Kit:
    """In Valkey, which keeps an append-only file, and in PostgreSQL."""

    def _at(database: int) -> str:
        return f"redis://{valkey.host}:{valkey.port}/{database}"

    async def place(folder: Path) -> plain_stores.Place:
        folder.mkdir(parents=True)  # noqa: ASYNC240
        where = _at(redis_servers.next_database())
        return plain_stores.Place(folder, where, await postgres.fresh())

    async def searched(place: plain_stores.Place) -> list[Path]:
        await served.until(lambda: _is_written(valkey))
        valkey.do("SAVE")
        tables = ", ".join(f"holdfast.{table}" for table in TABLES)
        await postgres.execute(place.archive_url, f"VACUUM (FULL, ANALYZE) {tables}")
        await postgres.execute(place.archive_url, "VACUUM FULL pg_statistic")
        await postgres.execute(place.archive_url, "CHECKPOINT")
        ((number,),) = await postgres.execute(place.archive_url, _NUMBER)
        return [
            path
            for folder in (valkey.folder, postgres.folder / "data" / "base" / str(number))
            for path in folder.rglob("*")
            if path.is_file()
        ]

    async def copied(place: plain_stores.Place) -> plain_stores.Place:
        database = redis_servers.next_database()
        with _database(valkey, place) as client:
            for key in client.scan_iter():
                client.copy(key, key, str(database))
        url = await _database_of(postgres, place.archive_url)
        return plain_stores.Place(place.folder, _at(database), url, place.planted)

    async def keys(place: plain_stores.Place) -> list[Key]:
        rows: Any = await postgres.execute(
            place.archive_url, "SELECT id, owner, key FROM holdfast.stream"
        )
        found: list[Key] = [*rows]
        with _database(valkey, place) as client:
            for name in client.scan_iter("holdfast:{*}", _type="hash"):
                owner, key = cast(list[bytes | None], client.hmget(name, ["owner", "key"]))
                if owner is not None and key is not None:
                    found.append((name.decode()[10:-1], owner.decode(), key))
        return found

    async def soil(place: plain_stores.Place) -> None:
        """The planner's statistics have values from the tables."""
        await postgres.execute(place.archive_url, "ANALYZE")

    return Kit(place, searched, copied, keys, (str(valkey.folder), str(postgres.folder)), soil)


@contextlib.contextmanager
def _database(valkey: redis_servers.Server, place: plain_stores.Place) -> Iterator[redis.Redis]:
    with valkey.client() as client:
        client.execute_command("SELECT", place.log_url.rpartition("/")[2])  # type: ignore[no-untyped-call]
        yield client


async def _database_of(postgres: postgres_server.Server, url: str) -> str:
    """A new one with all that this one has, once those who were there have gone."""
    new = (await postgres.fresh(), url)
    name, old = (urlsplit(one).path[1:] for one in new)

    async def done() -> bool:
        try:
            await postgres.execute(postgres.url(), f"DROP DATABASE IF EXISTS {name}")
            await postgres.execute(postgres.url(), f"CREATE DATABASE {name} TEMPLATE {old}")
        except asyncpg.ObjectInUseError:
            return False
        return True

    await served.until(done)
    return new[0]


async def _is_written(valkey: redis_servers.Server) -> bool:
    """Whether it writes no file anew, and what it had before is removed."""
    with valkey.client() as client:
        known = client.info("persistence")
    folder = valkey.folder / "appendonlydir"
    (listed,) = folder.glob("*.manifest")
    named = re.findall(r"^file (\S+)", listed.read_text(), re.MULTILINE)
    there = {path.name for path in folder.iterdir()} - {listed.name}
    under_way = known["aof_rewrite_in_progress"] or known["aof_rewrite_scheduled"]
    return not under_way and there == {*named}
