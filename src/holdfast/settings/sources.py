"""Reads the settings: command line over HOLDFAST_* over file over usual names over defaults.

Strategy: each source becomes a tree of tables, and remembers how it names a setting. Names
are checked in each source before values are, so that a misspelt one is told by the place
where it stands; pydantic-settings merges the trees and checks the values. What is wrong is
told by `complaints`, what other programs' variables say is added by `usual`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, InitSettingsSource

from holdfast import errors
from holdfast.settings import complaints, tables, trees
from holdfast.settings import usual as usual_names

DEFAULT_FILE = Path("holdfast.toml")
"""Read where it exists in the folder that the server starts in, unless another is named."""

PREFIX = "HOLDFAST_"
"""Variables are HOLDFAST_TABLE__KEY or, of tables with names of their own,
HOLDFAST_PROVIDERS__NAME__KEY and the like; an empty one is not set."""

NOT_SETTINGS = (
    "HOLDFAST_SHARED",
    "HOLDFAST_REQUIRE",
    "HOLDFAST_ROUNDS",
    "HOLDFAST_URL",
    "HOLDFAST_API_KEY",
)
"""Variables of the test suite and of the client's commands; no setting is named like them."""

MAX_FILE = 1024 * 1024
"""Bytes of a configuration file."""

# Kubernetes tells every container the addresses of services; one is likely named holdfast.
_KUBERNETES_NAME = re.compile(
    r"HOLDFAST_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)
_KUBERNETES_VALUE = re.compile(r"(tcp|udp|sctp)://")

_NO_NAMES: Mapping[str, usual_names.Usual] = MappingProxyType({})

Names = Mapping[str, usual_names.Usual] | None
"""The variables that usually hold the key and the base URL of each kind of provider. None:
nothing is read that is not Holdfast's own, proxies neither."""


class Loaded(msgspec.Struct, frozen=True):
    """The settings of a process, the file that was read, and all sources, the strongest first."""

    settings: tables.Settings
    file: Path | None
    sources: tuple[trees.Source, ...]

    def origin(self, name: trees.Name) -> str | None:
        """Where the value of a setting is from: `command line`, a variable or a file. None: it
        is the default."""
        source = trees.holder(self.sources, name)
        return source.origin(name) if source else None


def load(
    config: Path | None,
    overrides: Mapping[str, Any],
    environ: Mapping[str, str],
    usual: Names = _NO_NAMES,
) -> tables.Settings:
    """The settings of this process.

    `config` is the file that was asked for. `overrides` are the command line's, by dotted
    name; None is an option that was not given. `usual`: see `Names`. Raises
    `errors.SettingsError`, `errors.UnknownSetting`.
    """
    return read(config, overrides, environ, usual).settings


def read(
    config: Path | None,
    overrides: Mapping[str, Any],
    environ: Mapping[str, str],
    usual: Names = _NO_NAMES,
) -> Loaded:
    """The same as `load`, with where each value is from."""
    file = config or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    own = [_command_line(overrides), _environment(environ), _file(file)]
    _check_names(own)
    keys, usually = _keys(own, environ), trees.Source({}, trees.dotted)
    if usual is not None:
        usually = usual_names.source(usual, own, environ)
    given = [*own, keys, usually]
    names = trees.providers(own) + trees.providers([usually])
    settings, problems = _validated([*given, _order(names)])
    if settings is None:
        raise errors.SettingsError(
            complaints.joined([complaints.refused(problem, given) for problem in problems])
        )
    return Loaded(settings, file, tuple(given))


def proxies(environ: Mapping[str, str], scheme: str) -> tables.Network:
    """The proxies to servers at `http` or at `https` that the usual variables name, for a program
    that has no other settings. Raises `errors.SettingsError`."""
    given = [usual_names.proxies(environ, scheme)]
    settings, problems = _validated(given)
    if settings is None:
        lines = [complaints.refused(problem, given, file=False) for problem in problems]
        raise errors.SettingsError(complaints.joined(lines))
    return settings.network


def _check_names(given: list[trees.Source]) -> None:
    found = [(source, name) for source in given for name in trees.leaves(source.tree)]
    unknown = [
        complaints.unknown(name, source.spell(name))
        for source, name in found
        if not trees.is_known(name)
    ]
    if unknown:
        raise errors.UnknownSetting(complaints.joined(unknown))
    # Before merging, which would let another source's table take its place unnoticed.
    flat = [
        f"{source.spell(name)}: must be a table"
        for source, name in found
        if trees.is_table(name) and not isinstance(source.get(name), dict)
    ]
    if flat:
        raise errors.SettingsError(complaints.joined(flat))


def _command_line(overrides: Mapping[str, Any]) -> trees.Source:
    tree: trees.Tree = {}
    for dotted, value in overrides.items():
        if value is not None:
            *path, key = dotted.split(".")
            node = tree
            for part in path:
                node = node.setdefault(part, {})
            node[key] = value
    return trees.Source(
        tree, lambda name: f"{trees.dotted(name)} on the command line", lambda _: "command line"
    )


def _environment(environ: Mapping[str, str]) -> trees.Source:
    def spell(name: trees.Name) -> str:
        return PREFIX + "__".join(name).upper()

    variables = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in NOT_SETTINGS
        if not _KUBERNETES_NAME.fullmatch(name) and not _KUBERNETES_VALUE.match(value)
    }
    names = [tuple(variable.split("__")) for variable in variables]
    # A variable is a value, never a whole table.
    wrong = [name for name in names if not trees.is_known(name) or trees.is_table(name)]
    if wrong:
        lines = [complaints.unknown(name, spell(name), spell) for name in wrong]
        raise errors.UnknownSetting(complaints.joined(lines))
    source = EnvSettingsSource(tables.Settings)
    source.env_vars = {name: value for name, value in variables.items() if value}
    return trees.Source(source(), spell)


def _file(file: Path | None) -> trees.Source:
    tree = _parsed(file) if file else {}
    return trees.Source(tree, lambda name: f"{trees.dotted(name)} in {file}", lambda _: str(file))


def _parsed(file: Path) -> trees.Tree:
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


def _keys(given: list[trees.Source], environ: Mapping[str, str]) -> trees.Source:
    """The API keys that `api_key_env` names."""
    found: trees.Tree = {}
    variables: dict[str, str] = {}
    for provider in trees.providers(given):
        name = ("providers", provider, "api_key_env")
        # An empty one is passed over.
        variable = next(filter(None, (source.get(name) for source in given)), None)
        if isinstance(variable, str) and variable in environ:
            found[provider] = {"api_key": environ[variable]}
            variables[provider] = variable
    return trees.Source(
        {"providers": found} if found else {},
        lambda name: trees.dotted((*name[:-1], "api_key_env")),
        lambda name: variables[name[1]],
    )


def _order(providers: list[str]) -> trees.Source:
    """Nothing but names, as the last source: merging begins with that one, and who answers
    depends on the order of the providers. Routes, plans and prices have theirs already: only our
    own sources have any, and the file is merged first of these."""
    return trees.Source({"providers": {name: {} for name in providers}}, trees.dotted)


def _validated(
    given: list[trees.Source],
) -> tuple[tables.Settings | None, list[ErrorDetails]]:
    """The settings, or what is wrong with them. The error itself, which holds values, is
    dropped here, so that no traceback can print it."""
    make: Callable[..., tables.Settings] = tables.Settings
    sources = tuple(InitSettingsSource(tables.Settings, source.tree) for source in given)
    try:
        return make(_build_sources=(sources, {})), []
    except ValidationError as error:
        return None, error.errors(include_url=False)
