"""Chooses an archive by its URL, as `eventlog.url` chooses a log."""

from __future__ import annotations

from pathlib import PurePath
from urllib.parse import SplitResult, unquote, urlsplit

from holdfast import errors, settings
from holdfast.archive import base, memory
from holdfast.sealing import sealer as sealing

INSTALL = "pip install asyncpg"
"""What brings the driver of PostgreSQL."""


def open_archive(
    url: str | None, log_url: str, sealer: sealing.Sealer = sealing.OFF
) -> base.Archive:
    """The archive that a URL names, not started yet; without one it lies beside the log. What it
    keeps is sealed by `sealer`. Raises `errors.SettingsError`."""
    named = url or beside(log_url)
    parts = _parts(named)
    if parts.scheme in ("postgres", "postgresql"):
        return _postgres(named, parts, sealer)
    if parts.query or parts.fragment:
        raise errors.SettingsError(
            f"The URL of an archive has neither ? nor #: {settings.masked(named)}."
        )
    if parts.scheme == "memory" and not parts.netloc and not parts.path:
        return memory.MemoryArchive()
    path = unquote(parts.path[1:])
    file = parts.scheme == "sqlite" and path and "\0" not in path and not path.endswith("/")
    if parts.netloc or not file:
        raise _unusable(named)
    from holdfast.archive import sqlite

    return sqlite.SqliteArchive(path, sealer=sealer)


def _postgres(url: str, parts: SplitResult, sealer: sealing.Sealer) -> base.Archive:
    if parts.fragment or not parts.path[1:]:
        raise _unusable(url)
    try:
        from holdfast.archive import postgres
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "asyncpg":
            raise
        raise errors.SettingsError(
            f"An archive in PostgreSQL needs its driver: {INSTALL}"
        ) from None
    return postgres.PostgresArchive(url, settings.masked(url).partition("?")[0], sealer=sealer)


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
        "An archive reads sqlite:///relative.db, sqlite:////absolute.db, "
        f"postgresql://USER:PASSWORD@HOST/DATABASE or memory://, not {settings.masked(url)}."
    )
