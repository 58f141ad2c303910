"""Who takes the disk: copies of all files of some folders, while they are written and afterwards.

Strategy: a file is read as it lies there in that moment, as a backup or a snapshot does it, and
again once it has changed. So are files without a name, which a process alone still has open. What
is copied is looked through when the servers are gone, so that looking takes no time from them.
Somebody with the disk also has the database program: it puts together what pages take apart, so
`of_sqlite`, `of_redis` and `of_postgres` give all values as these programs do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
from tests import redis_servers

Place = Callable[[Path], str]
"""What a file of a folder is called; "" is not taken."""

NAMELESS = "temporary files"


class Thief:
    """`folders` are watched; `into` has the copies. `told` has what lies in no file: logs, bodies,
    by place."""

    def __init__(self, into: Path, folders: Mapping[Path, Place]) -> None:
        into.mkdir(parents=True, exist_ok=True)
        self._into, self._folders = into, folders
        self._seen: dict[Path, tuple[int, int, int]] = {}
        self._taken: list[tuple[str, str, Path]] = []
        self.told: dict[str, list[bytes]] = {}

    def steal(self, pids: Iterable[int] = ()) -> None:
        """Once around. `pids`: processes whose open files are looked at too."""
        for folder, place in self._folders.items():
            for path in sorted(folder.rglob("*")):
                with contextlib.suppress(FileNotFoundError):
                    self._take(path, place)
        for pid in pids:
            self._take_nameless(pid)

    def _take(self, path: Path, place: Place) -> None:
        found = path.lstat()
        called = place(path) if stat.S_ISREG(found.st_mode) else ""
        state = (found.st_ino, found.st_size, found.st_mtime_ns)
        # A file that is mapped into memory changes without its time.
        if called and (self._seen.get(path) != state or path.name.endswith("-shm")):
            self._seen[path] = state
            self._copy(called, path.name, path)

    def _take_nameless(self, pid: int) -> None:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            for opened in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    target = os.readlink(opened)
                    if target.endswith(" (deleted)") and stat.S_ISREG(opened.stat().st_mode):
                        self._copy(NAMELESS, target, opened)

    def _copy(self, called: str, name: str, path: Path) -> None:
        copy = self._into / str(len(self._taken))
        shutil.copyfile(path, copy)
        self._taken.append((called, name, copy))

    def loot(self) -> Iterator[tuple[str, str, bytes]]:
        """Every place and name, and what was there, without the empty end of files that are made
        larger than they are."""
        for called, name, copy in self._taken:
            yield called, name, copy.read_bytes().rstrip(b"\0")
        for called, all_told in self.told.items():
            for data in all_told:
                yield called, called, data

    def tell(self, place: str, data: bytes) -> None:
        self.told.setdefault(place, []).append(data)


# As the database programs show it


Row = tuple[str, Mapping[str, Any]]
"""Of a table, or at a key: values by their names."""


def of_sqlite(file: Path) -> Iterator[Row]:
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for (table,) in db.execute(query).fetchall():
            rows = db.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in rows.description]
            yield from ((table, dict(zip(names, row, strict=True))) for row in rows)


async def of_postgres(url: str) -> list[Row]:
    """Of our schema."""
    connection = await asyncpg.connect(url)
    try:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'holdfast'"
        return [
            (table, dict(row))
            for (table,) in await connection.fetch(query)
            for row in await connection.fetch(f'SELECT * FROM holdfast."{table}"')
        ]
    finally:
        await connection.close()


def of_redis(server: redis_servers.Server) -> Iterator[Row]:
    for key in server.do("KEYS", "*"):
        name, kind = key.decode("utf-8", "replace"), server.do("TYPE", key)
        if kind == b"stream":
            for _, fields in server.do("XRANGE", key, "-", "+"):
                yield name, _named(fields.items() if isinstance(fields, dict) else _pairs(fields))
        elif kind == b"hash":
            found = server.do("HGETALL", key)
            yield name, _named(found.items() if isinstance(found, dict) else _pairs(found))
        elif kind == b"string":
            yield name, {"value": server.do("GET", key)}
        else:
            words = ("ZRANGE", key, 0, -1) if kind == b"zset" else ("SMEMBERS", key)
            yield name, {"members": b"\n".join(server.do(*words))}


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _named(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in pairs}


def as_bytes(rows: Iterable[Row]) -> bytes:
    """All values one behind the other."""
    return b"\n".join(
        value if isinstance(value, bytes) else str(value).encode()
        for _, row in rows
        for value in row.values()
    )
