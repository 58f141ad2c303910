"""Chooses an archive by its URL, as `eventlog.url` chooses a log."""

from __future__ import annotations

from pathlib import PurePath
from urllib.parse import SplitResult, unquote, urlsplit

from holdfast import errors
from holdfast.archive import base, memory


def open_archive(url: str | None, log_url: str) -> base.Archive:
    """The archive that a URL names, not started yet; without one it lies beside the log. Raises
    `errors.SettingsError`."""
    named = url or beside(log_url)
    parts = _parts(named)
    if parts.query or parts.fragment:
        raise errors.SettingsError(f"The URL of an archive has neither ? nor #: {named}.")
    if parts.scheme == "memory" and not parts.netloc and not parts.path:
        return memory.MemoryArchive()
    path = unquote(parts.path[1:])
    file = parts.scheme == "sqlite" and path and "\0" not in path and not path.endswith("/")
    if parts.netloc or not file:
        raise _unusable(named)
    from holdfast.archive import sqlite

    return sqlite.SqliteArchive(path)


def beside(log_url: str) -> str:
    """Beside `holdfast.db` lies `holdfast-archive.db`; a log in memory has its own there too.
    Raises `errors.SettingsError` for a log that is no file."""
    parts = _parts(log_url)
    if parts.scheme != "sqlite":
        return "memory://"
    file = PurePath(parts.path[1:])
    if not file.name:
        raise _unusable(log_url)
    return f"sqlite:///{file.with_name(f'{file.stem}-archive{file.suffix}')}"


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise _unusable(url) from None


def _unusable(url: str) -> errors.SettingsError:
    return errors.SettingsError(
        f"An archive reads sqlite:///relative.db, sqlite:////absolute.db or memory://, not {url}."
    )
