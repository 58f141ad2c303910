"""What the settings are, and where each value came from, as rows to print.

Strategy: a row repeats what `load` decided, in the words that people write; a secret is `set`
or `none`, never a part of itself. Names of variables are told, what they hold is not.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast.settings import fields, sources, tables, trees
from holdfast.settings import providers as provider_tables
from holdfast.settings import usual as usual_names

DEFAULT = "default"
"""The source of a value that nobody gave."""


class Row(msgspec.Struct, frozen=True):
    """A setting: its dotted name, its value as people write it, and where that is from:
    `command line`, a variable, a file or `default`."""

    name: str
    value: str
    source: str


class Provider(msgspec.Struct, frozen=True):
    """A provider: its name and kind, and what its key is from (a variable, a file, the command
    line). Without a key `key` is None, and `wanted` names the variables that are looked at."""

    name: str
    kind: str
    key: str | None
    wanted: tuple[str, ...]


def rows(loaded: sources.Loaded, *, everything: bool = False) -> list[Row]:
    """The settings that differ from their defaults, or every one."""
    found = []
    for name, setting in tables.KNOWN.items():
        table, _, key = name.rpartition(".")
        if not table.endswith(".*"):
            value = getattr(getattr(loaded.settings, table), key)
            if everything or value != setting.default:
                found.append(_row(loaded, (table, key), value))
    for kind, model in tables.NAMED.items():
        for name, given in getattr(loaded.settings, kind).items():
            always_there = (kind, name) == ("providers", "demo") and given == provider_tables.DEMO
            for key, setting in model.model_fields.items():
                value = getattr(given, key)
                if everything or (value != setting.default and not always_there):
                    found.append(_row(loaded, (kind, name, key), value))
    return found


def _row(loaded: sources.Loaded, name: trees.Name, value: object) -> Row:
    setting = tables.KNOWN[trees.general(name)]
    return Row(trees.dotted(name), fields.shown(setting, value), loaded.origin(name) or DEFAULT)


def providers(loaded: sources.Loaded, usual: Mapping[str, usual_names.Usual]) -> list[Provider]:
    """The providers, in their order."""
    return [_provider(loaded, name, usual) for name in loaded.settings.providers]


def _provider(
    loaded: sources.Loaded, name: str, usual: Mapping[str, usual_names.Usual]
) -> Provider:
    table = loaded.settings.providers[name]
    if table.api_key is not None:
        key = loaded.origin(("providers", name, "api_key"))
        return Provider(name, table.kind, key or DEFAULT, ())
    wanted: tuple[str, ...] = ()
    if table.api_key_env is not None:
        wanted = (table.api_key_env,)
    elif loaded.origin(("providers", name, "api_key")) is None and not _own_address(loaded, name):
        wanted = usual.get(table.kind, usual_names.Usual()).api_key
    return Provider(name, table.kind, None, wanted)


def _own_address(loaded: sources.Loaded, name: str) -> bool:
    *own, _ = loaded.sources
    return trees.holder(own, ("providers", name, "base_url")) is not None
