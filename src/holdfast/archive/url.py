"""Chooses an archive by its URL, as `eventlog.url` chooses a log."""

from __future__ import annotations

from pathlib import PurePath
from urllib.parse import unquote, urlsplit

from holdfast import errors
from holdfast.archive import base, memory


def open_archive(url: str | None, log_url: str) -> base.Archive:
    """The archive that a URL names, not started yet; without one it lies beside the log. Raises
    `errors.SettingsError`."""
    parts = urlsplit(url or beside(log_url))
    if parts.scheme == "memory":
        return memory.MemoryArchive()
    path = unquote(parts.path[1:])
    if parts.scheme != "sqlite" or parts.netloc or not path or path.endswith("/"):
        raise errors.SettingsError(
            "An archive reads sqlite:///relative.db, sqlite:////absolute.db or memory://, "
            f"not {parts.geturl()}."
        )
    from holdfast.archive import sqlite

    return sqlite.SqliteArchive(path)


def beside(log_url: str) -> str:
    """Beside `holdfast.db` lies `holdfast-archive.db`; a log in memory has its own there too."""
    scheme, _, path = log_url.partition(":///")
    if scheme != "sqlite":
        return "memory://"
    file = PurePath(path)
    return f"sqlite:///{file.with_name(f'{file.stem}-archive{file.suffix}')}"
