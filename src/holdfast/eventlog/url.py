"""Which engine a URL means.

Strategy: a row a scheme. An engine is imported when it is asked for, so that a node needs only
the libraries of the engine that it uses; here alone an import stands inside a function.

    memory://                  nothing survives the process
    sqlite:///relative.db      a file, from the working directory
    sqlite:////absolute.db     a file
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import SplitResult, unquote, urlsplit

from holdfast import errors
from holdfast.eventlog import base


def open_log(url: str, *, durability: str = "process") -> base.EventLog:
    """The engine, not started yet. `durability`: `process` survives a killed process, `power`
    a power cut too. Raises `errors.SettingsError`, or `NotYet` for an engine that is to come.
    """
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise errors.SettingsError(f"A log URL has neither ? nor #: {url}.")
    if durability not in ("process", "power"):
        raise errors.SettingsError(f"durability is process or power, not {durability}.")
    make = _SCHEMES.get(parts.scheme)
    if make is None:
        raise errors.SettingsError(
            f"No event log is called {parts.scheme or url!r}; there are "
            + ", ".join(f"{scheme}://" for scheme in _SCHEMES)
            + "."
        )
    return make(parts, durability)


def _memory(parts: SplitResult, durability: str) -> base.EventLog:
    from holdfast.eventlog import memory

    if parts.netloc or parts.path:
        raise errors.SettingsError(f"memory:// takes nothing behind it: {parts.geturl()}.")
    return memory.MemoryLog()


def _sqlite(parts: SplitResult, durability: str) -> base.EventLog:
    from holdfast.eventlog.sqlite import engine

    path = unquote(parts.path[1:])
    if parts.netloc or not path or path.endswith("/"):
        raise errors.SettingsError(
            "A SQLite log reads sqlite:///relative.db or sqlite:////absolute.db, "
            f"not {parts.geturl()}."
        )
    return engine.SqliteLog(path, durability="power" if durability == "power" else "process")


def _redis(parts: SplitResult, durability: str) -> base.EventLog:
    raise errors.NotYet("The Redis log is not built yet; use sqlite:/// or memory://.")


_SCHEMES: dict[str, Callable[[SplitResult, str], base.EventLog]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
}
