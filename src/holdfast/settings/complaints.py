"""What each mistake in the settings is answered with: one line each.

Strategy: a line tells where, what was given, and what is accepted. A value is repeated only
where it cannot be a secret, and pydantic's own messages, which hold values, are never passed
on.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from holdfast.settings import fields, tables, trees

MAX_LINES = 10
"""Complaints that are told at once."""

# Settings whose wrong value is not repeated: people put keys and passwords there.
_UNSHOWN = {
    "url",
    "base_url",
    "api_key",
    "api_key_env",
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "ca_file",
    "keys_url",
    "webhook_url",
    "webhook_secret",
    "keys",
    "ring",
}


def joined(lines: list[str]) -> str:
    """The first of the lines as one text, and how many more there are."""
    more = len(lines) - MAX_LINES
    return "\n".join(lines[:MAX_LINES] + ([f"and {more} more"] if more > 0 else []))


def unknown(name: trees.Name, place: str, spell: Callable[[trees.Name], str] = trees.dotted) -> str:
    """The line of a name that nothing has, with the nearest one that exists."""
    return f"{place}: no such setting{_hint(name, spell)}"


def _hint(name: trees.Name, spell: Callable[[trees.Name], str]) -> str:
    """The nearest known name: the same key in another table, else one that looks alike."""
    own = name[1] if name[0] in tables.NAMED and name[1:] else "NAME"
    names = [
        setting.replace("*", own if setting.startswith(f"{name[0]}.") else "NAME")
        for setting in tables.KNOWN
    ]
    same = [known for known in names if known.rpartition(".")[2] == name[-1]]
    given = ".".join(name)[:100]
    near = difflib.get_close_matches(given, same or names, n=1, cutoff=0.0 if same else 0.6)
    return f"; did you mean `{spell(tuple(near[0].split('.')))}`?" if near else ""


def refused(problem: ErrorDetails, sources: Sequence[trees.Source], *, file: bool = True) -> str:
    """The line of a value that pydantic refused. `file`: whether there might be a file."""
    parts = tuple(str(part) for part in problem["loc"])
    if not parts:  # what tables say together names its place itself
        return _said(problem)
    # A place in a list, or the mark of a bad name, is no part of the setting's name.
    name = parts[: 2 if parts[0] not in tables.NAMED or parts[-1] == "[key]" else 3]
    source = trees.holder(sources, name)
    place = source.spell(name) if source else trees.dotted(name)
    if parts[-1] == "[key]":
        shape = "lower-case letters, digits, and single - or _"
        return f"{place}: a {name[0].removesuffix('s')} has a name of {shape}"
    setting = tables.KNOWN.get(trees.general(name))
    if setting is None:
        return f"{trees.dotted(name)}: {_said(problem)}"
    wanted = fields.explained(setting)
    if problem["type"] == "missing":
        return f"{trees.dotted(name)}: nothing is given; accepted is {wanted}"
    # As it was written; of a list the one item.
    value = source.get(name) if source and name == parts else problem["input"]
    what = "the value" if name[-1] in _UNSHOWN else _shown(value)
    if problem["type"] == fields.SOCKS:
        what = problem["msg"]
        off = f'write `{name[-1]} = ""` under [{name[0]}] in the file' if file else "unset it"
        wanted += f"; to use none, {off}"
    return f"{place}: {what} is not accepted; accepted is {wanted}"


def _said(problem: ErrorDetails) -> str:
    """The text of a check of ours, in which there is no value that might be a secret."""
    return problem["msg"].removeprefix("Value error, ")


def _shown(value: Any) -> str:
    """A wrong value, on one line, and cut."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return json.dumps(value, default=str)[:60]
