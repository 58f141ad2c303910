"""The archive, as commands reach it: beside nodes that run, or where there is none yet.

Strategy: a command starts it, does one piece of work on it and closes it. One that only reads makes
no archive where there is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from holdfast import app, environment, errors, settings
from holdfast.archive import base, url
from holdfast.cli import output, running
from holdfast.sealing import sealer

T = TypeVar("T")

RING = "holdfast.keys"
"""The key ring's file that `serve --encrypt` makes where the settings name none, in the folder
where the server starts."""


def settings_of(
    usual: Mapping[str, settings.Usual], config: Path | None, log_url: str | None
) -> settings.Settings:
    """The settings of the node whose archive it is, by a command's options. `usual`: see
    `config.commands`."""
    return settings.load(config, {"log.url": log_url}, environment.variables(), usual)


def opened(given: settings.Settings, who: str = "Keys need") -> base.Archive:
    """The archive of these settings, not started. Raises `errors.SettingsError`, where it would not
    last, in the name of `who` needs it."""
    archive = url.open_archive(given.archive.url, given.log.url, sealed_by(given))
    if not archive.lasting:
        raise errors.SettingsError(
            f"{who} an archive that lasts: set log.url or archive.url to sqlite:///FILE, "
            "or archive.url to postgresql://USER:PASSWORD@HOST/DATABASE."
        )
    return archive


def hint(given: settings.Settings) -> str:
    """Where a ring may be that these settings do not name; "" where they do, or none is here."""
    named = given.sealing.keys is not None or given.sealing.ring is not None
    return "" if named else _here()


def _here() -> str:
    path = Path(RING)
    if not path.exists():
        return ""
    return f"({path.absolute()} is here: set HOLDFAST_SEALING__KEYS={path.absolute()})"


def sealed_by(given: settings.Settings) -> sealer.Sealer:
    """What reads, and seals, what these settings keep. Raises `errors.SettingsError`."""
    held = app.holding(given)
    running.run(held.start())
    return held.sealer


def keys(archive: base.Archive) -> tuple[base.Key, ...]:
    """All keys; none where there is no archive yet, and then none is made."""

    async def read(archive: base.Archive) -> base.Keys | None:
        return await archive.keys(-1)

    found = work_on(archive, read) if is_there(archive) else None
    return () if found is None else found.keys


def is_there(archive: base.Archive) -> bool:
    """Whether it may hold anything: a file is made by `create` alone, or by a node."""
    return archive.file is None or archive.file.exists()


def where(archive: base.Archive) -> str:
    """As it stands in a sentence."""
    return f" in {output.one_line(archive.place)}"


def work_on(archive: base.Archive, work: Callable[[base.Archive], Awaitable[T]]) -> T:
    """What this work gives; the archive is open as long as it takes."""

    async def run() -> T:
        try:
            await archive.start()
        except errors.SettingsError as error:
            if sealer.NO_RING in error.message and (said := _here()):
                error.add_note(said)
            raise
        try:
            return await work(archive)
        finally:
            await archive.close()

    return running.run(run())
