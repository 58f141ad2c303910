"""Reads the settings: command line over HOLDFAST_* over file over defaults.

Strategy: each source becomes a tree of tables, and remembers how it names a setting. Names
are checked in each source before values are, so that a misspelt one is told by the place
where it stands; pydantic-settings merges the trees and checks the values. Every complaint is
one line: where, what was given, what is accepted. A value is repeated only where it cannot
be a secret, and pydantic's own messages, which hold values, are never passed on.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, InitSettingsSource

from holdfast import errors
from holdfast.settings import fields, tables

DEFAULT_FILE = Path("holdfast.toml")
"""Read where it exists in the folder that the server starts in, unless another is named."""

PREFIX = "HOLDFAST_"
"""Variables are HOLDFAST_TABLE__KEY or HOLDFAST_PROVIDERS__NAME__KEY; an empty one is not set."""

NOT_SETTINGS = ("HOLDFAST_SHARED", "HOLDFAST_REQUIRE", "HOLDFAST_ROUNDS")
"""Variables of the test suite, which no setting is named like."""

MAX_FILE = 1024 * 1024
"""Bytes of a configuration file."""

MAX_LINES = 10
"""Complaints that are told at once."""

# Kubernetes tells every container the addresses of services; one is likely named holdfast.
_KUBERNETES_NAME = re.compile(
    r"HOLDFAST_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)
_KUBERNETES_VALUE = re.compile(r"(tcp|udp|sctp)://")

# Settings whose wrong value is not repeated: people put keys and passwords there.
_UNSHOWN = {"url", "base_url", "api_key", "api_key_env"}

Name = tuple[str, ...]
Tree = dict[str, Any]


class Source:
    """A tree of tables, and how this source names a setting."""

    def __init__(self, tree: Tree, spell: Callable[[Name], str]) -> None:
        self.tree, self.spell = tree, spell

    def get(self, name: Name) -> Any:
        """What stands at this name; None where nothing does."""
        node: Any = self.tree
        for part in name:
            node = node.get(part) if isinstance(node, dict) else None
        return node


def load(
    config: Path | None, overrides: Mapping[str, Any], environ: Mapping[str, str]
) -> tables.Settings:
    """The settings of this process.

    `config` is the file that was asked for. `overrides` are the command line's, by dotted
    name; None is an option that was not given. Raises `errors.SettingsError`,
    `errors.UnknownSetting`, and `errors.NotYet` for what is designed and not built.
    """
    file = config or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    given = [
        _command_line(overrides),
        _environment(environ),
        Source(_read(file) if file else {}, lambda name: f"{_dotted(name)} in {file}"),
    ]
    _check_names(given)
    keys = Source(_keys(given, environ), lambda name: _dotted((*name[:-1], "api_key_env")))
    settings, problems = _validated([*given, keys])
    if settings is None:
        raise errors.SettingsError(_joined([_line(p, [*given, keys]) for p in problems]))
    _refuse_not_yet(settings, given)
    return settings


def _check_names(given: list[Source]) -> None:
    found = [(source, name) for source in given for name in _leaves(source.tree)]
    unknown = [
        f"{source.spell(name)}: no such setting{_hint(name)}"
        for source, name in found
        if not _is_known(name)
    ]
    if unknown:
        raise errors.UnknownSetting(_joined(unknown))
    # Before merging, which would let another source's table take its place unnoticed.
    flat = [
        f"{source.spell(name)}: must be a table"
        for source, name in found
        if _is_table(name) and not isinstance(source.get(name), dict)
    ]
    if flat:
        raise errors.SettingsError(_joined(flat))


def _dotted(name: Name) -> str:
    """For people; a part that is no plain word is quoted, on one line, and cut."""
    return ".".join(
        part if re.fullmatch(r"[\w-]{1,64}", part) else json.dumps(part[:64]) for part in name
    )


def _joined(lines: list[str]) -> str:
    more = len(lines) - MAX_LINES
    return "\n".join(lines[:MAX_LINES] + ([f"and {more} more"] if more > 0 else []))


def _command_line(overrides: Mapping[str, Any]) -> Source:
    tree: Tree = {}
    for dotted, value in overrides.items():
        if value is not None:
            *path, key = dotted.split(".")
            node = tree
            for part in path:
                node = node.setdefault(part, {})
            node[key] = value
    return Source(tree, lambda name: f"{_dotted(name)} on the command line")


def _environment(environ: Mapping[str, str]) -> Source:
    def spell(name: Name) -> str:
        return PREFIX + "__".join(name).upper()

    variables = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in NOT_SETTINGS
        if not _KUBERNETES_NAME.fullmatch(name) and not _KUBERNETES_VALUE.match(value)
    }
    names = [tuple(variable.split("__")) for variable in variables]
    # A variable is a value, never a whole table.
    wrong = [name for name in names if not _is_known(name) or _is_table(name)]
    if wrong:
        lines = [f"{spell(name)}: no such setting{_hint(name, spell)}" for name in wrong]
        raise errors.UnknownSetting(_joined(lines))
    source = EnvSettingsSource(tables.Settings)
    source.env_vars = {name: value for name, value in variables.items() if value}
    return Source(source(), spell)


def _read(file: Path) -> Tree:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE + 1)
    except OSError as error:
        raise errors.SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise errors.SettingsError(f"{file}: over {MAX_FILE} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise errors.SettingsError(f"{file}: not UTF-8 at byte {error.start}") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        end = f"at line {len(text.splitlines())}, the last"
        message = str(error).replace("at end of document", end)
        raise errors.SettingsError(f"{file}: {message}") from None
    except RecursionError:
        raise errors.SettingsError(f"{file}: nested too deeply") from None


def _leaves(tree: Tree, depth: int = 3) -> Iterator[Name]:
    """The names of all values and empty tables, no longer than the longest that may be."""
    for key, value in tree.items():
        if isinstance(value, dict) and value and depth > 1:
            yield from ((key, *rest) for rest in _leaves(value, depth - 1))
        else:
            yield (key,)


def _general(name: Name) -> str:
    """The name in `tables.KNOWN`, where every provider is called `*`."""
    return ".".join((name[0], "*", *name[2:]) if name[0] == "providers" and name[1:] else name)


def _is_table(name: Name) -> bool:
    return any(setting.startswith(_general(name) + ".") for setting in tables.KNOWN)


def _is_known(name: Name) -> bool:
    return _general(name) in tables.KNOWN or _is_table(name)


def _hint(name: Name, spell: Callable[[Name], str] = _dotted) -> str:
    """The nearest known name: the same key in another table, else one that looks alike."""
    provider = name[1] if name[0] == "providers" and name[1:] else "NAME"
    names = [setting.replace("*", provider) for setting in tables.KNOWN]
    same = [known for known in names if known.rpartition(".")[2] == name[-1]]
    given = ".".join(name)[:100]
    near = difflib.get_close_matches(given, same or names, n=1, cutoff=0.0 if same else 0.6)
    return f"; did you mean `{spell(tuple(near[0].split('.')))}`?" if near else ""


def _keys(given: list[Source], environ: Mapping[str, str]) -> Tree:
    """The API keys that `api_key_env` names, as the last of the sources."""
    found: Tree = {}
    for source in given:
        providers = source.get(("providers",))
        for provider in providers if isinstance(providers, dict) else ():
            name = ("providers", provider, "api_key_env")
            variable = next(filter(None, (one.get(name) for one in given)), None)
            if isinstance(variable, str) and variable in environ:
                found[provider] = {"api_key": environ[variable]}
    return {"providers": found} if found else {}


def _validated(given: list[Source]) -> tuple[tables.Settings | None, list[ErrorDetails]]:
    """The settings, or what is wrong with them. The error itself, which holds values, is
    dropped here, so that no traceback can print it."""
    make: Callable[..., tables.Settings] = tables.Settings
    trees = tuple(InitSettingsSource(tables.Settings, source.tree) for source in given)
    try:
        return make(_build_sources=(trees, {})), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _line(problem: ErrorDetails, given: list[Source]) -> str:
    parts = tuple(str(part) for part in problem["loc"])
    # A place in a list, or the mark of a bad name, is no part of the setting's name.
    name = parts[: 2 if parts[0] != "providers" or parts[-1] == "[key]" else 3]
    source = next((one for one in given if one.get(name) is not None), None)
    place = source.spell(name) if source else _dotted(name)
    if parts[-1] == "[key]":
        shape = "lower-case letters, digits, and single - or _"
        return f"{place}: a provider has a name of {shape}"
    setting = tables.KNOWN.get(_general(name))
    if setting is None:
        return f"{_dotted(name)}: {problem['msg'].removeprefix('Value error, ')}"
    unit = fields.unit(setting)
    wanted = fields.accepted(setting) + (unit.hint if unit else "")
    if problem["type"] == "missing":
        return f"{_dotted(name)}: nothing is given; accepted is {wanted}"
    # As it was written; of a list the one item.
    value = source.get(name) if source and name == parts else problem["input"]
    what = "the value" if name[-1] in _UNSHOWN else _shown(value)
    return f"{place}: {what} is not accepted; accepted is {wanted}"


def _shown(value: Any) -> str:
    """A wrong value, on one line, and cut."""
    if isinstance(value, dict | list | tuple):
        return "a table" if isinstance(value, dict) else "a list"
    return json.dumps(value, default=str)[:60]


def _refuse_not_yet(settings: tables.Settings, given: list[Source]) -> None:
    for dotted in tables.NOT_YET:
        table, key = dotted.split(".")
        setting = tables.KNOWN[dotted]
        if getattr(getattr(settings, table), key) != setting.default:
            source = next(one for one in given if one.get((table, key)) is not None)
            default = fields.shown(setting, setting.default)
            raise errors.NotYet(
                f"{source.spell((table, key))}: designed, not built yet; leave it at {default}"
            )
