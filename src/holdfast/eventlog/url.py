"""Which engine a URL means.

Strategy: a row a scheme. An engine is imported when it is asked for, so that a node needs only
the libraries of the engine that it uses; here alone an import stands inside a function.

    memory://                  nothing survives the process
    sqlite:///relative.db      a file, from the working directory
    sqlite:////absolute.db     a file
    redis://host:6379/0        Redis 7 or Valkey, for many nodes (see `redis.address`)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from holdfast import errors
from holdfast.eventlog import base
from holdfast.sealing import sealer


class Wanted(NamedTuple):
    """What is asked of an engine; each takes what concerns it. `durability`: `process` survives a
    killed process, `power` a power cut too. `archived`: there is an archive for what a log does not
    keep itself. `lease`: after so many seconds others go on with a silent node's streams. `sealer`:
    what is written is sealed by it."""

    durability: str = "process"
    archived: bool = False
    lease: float = base.LEASE_SECONDS
    sealer: sealer.Sealer = sealer.OFF


USUAL = Wanted()


def open_log(url: str, wanted: Wanted = USUAL) -> base.EventLog:
    """The engine, not started yet. Raises `errors.SettingsError`."""
    parts = _parts(url)
    if parts.query or parts.fragment:
        raise errors.SettingsError("A log URL has neither ? nor #.")
    if wanted.durability not in ("process", "power"):
        raise errors.SettingsError(f"durability is process or power, not {wanted.durability}.")
    make = _SCHEMES.get(parts.scheme)
    if make is None:
        raise errors.SettingsError(
            f"No event log is called {parts.scheme or _shown(url)!r}; there are "
            + ", ".join(f"{scheme}://" for scheme in _SCHEMES)
            + "."
        )
    return make(parts, wanted)


def _shown(url: str) -> str:
    """What has no scheme, unless it might hold a password."""
    return "" if "@" in url else url


def _memory(parts: SplitResult, wanted: Wanted) -> base.EventLog:
    from holdfast.eventlog import memory

    if parts.netloc or parts.path:
        raise errors.SettingsError(f"memory:// takes nothing behind it: {parts.geturl()}.")
    return memory.MemoryLog()


def _sqlite(parts: SplitResult, wanted: Wanted) -> base.EventLog:
    from holdfast.eventlog.sqlite import engine

    path = unquote(parts.path[1:])
    if parts.netloc or not path or path.endswith("/"):
        raise errors.SettingsError(
            "A SQLite log reads sqlite:///relative.db or sqlite:////absolute.db, "
            f"not {parts.geturl()}."
        )
    durability: engine.Durability = "power" if wanted.durability == "power" else "process"
    return engine.SqliteLog(path, durability=durability, sealer=wanted.sealer)


def _redis(parts: SplitResult, wanted: Wanted) -> base.EventLog:
    try:
        from holdfast.eventlog.redis import address, engine
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("redis", "hiredis"):
            raise
        raise errors.SettingsError(
            "A Redis log needs a library that is not here: pip install 'redis[hiredis]'"
        ) from None
    return engine.RedisLog(
        address.parse(parts),
        archived=wanted.archived,
        seconds=wanted.lease,
        sealer=wanted.sealer,
    )


def _parts(url: str) -> SplitResult:
    """Raises `errors.SettingsError`, which does not repeat what may hold a password."""
    try:
        return urlsplit(url)
    except ValueError:
        raise errors.SettingsError("The URL of the log cannot be read.") from None


_SCHEMES: dict[str, Callable[[SplitResult, Wanted], base.EventLog]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
    "rediss": _redis,
    "redis+sentinel": _redis,
    "rediss+sentinel": _redis,
    "redis+unix": _redis,
    "valkey": _redis,
    "valkeys": _redis,
}
