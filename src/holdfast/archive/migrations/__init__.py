"""The steps from an empty store to this version: numbered files of SQL, a folder an engine.

Strategy: a file is never changed once it was released; what changes later is another file. A store
keeps which it has, and when each was applied; one that has more than there are here was made by a
newer version, and is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Literal

import msgspec

from holdfast import errors
from holdfast.archive import rows

Engine = Literal["sqlite", "postgres"]

SEALS = 4
"""The number of the migration that a store knows of keys from."""


class Migration(msgspec.Struct, frozen=True):
    """`0002_streams.sql` has the number 2 and the name `streams`."""

    number: int
    name: str
    script: str


def load(engine: Engine) -> tuple[Migration, ...]:
    """All of an engine's, in their order; their numbers are 1, 2, 3 …"""
    folder = resources.files("holdfast.archive.migrations").joinpath(engine)
    found = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        number, _, name = file.name.removesuffix(".sql").partition("_")
        found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    return tuple(found)


def pending(
    known: Sequence[Migration], applied: Sequence[rows.Applied], place: str
) -> list[Migration]:
    """What a store lacks. Raises `errors.SettingsError` for one of a newer version."""
    version = version_of(applied)
    if version > len(known):
        raise errors.SettingsError(too_new(place, version, len(known)))
    return list(known[version:])


def too_new(place: str, version: int, known: int) -> str:
    return (
        f"{place} was made by a newer version of Holdfast: its schema is {version}, "
        f"this version knows {known}."
    )


def version_of(applied: Sequence[rows.Applied]) -> int:
    return max((one.number for one in applied), default=0)


def state(known: Sequence[Migration], applied: Sequence[rows.Applied], place: str) -> rows.State:
    """As `status` tells it; a store of a newer version lacks nothing."""
    version = version_of(applied)
    lacking = tuple(f"{one.number:04}_{one.name}" for one in known[version:])
    return rows.State(place, version, tuple(applied), lacking)
