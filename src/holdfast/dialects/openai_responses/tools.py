"""Tools, the choice of one, and the shape of the answer, in the form that all providers know.

Strategy: that form is OpenAI chat's, which has the same fields one level deeper. What has no place
in it (a tool of the provider's own, a field that only this API has) stays as it is, and a provider
of this format takes it so.
"""

from __future__ import annotations

from typing import Any

from holdfast import errors

Fields = dict[str, Any]

MAX_NAME = 128
"""Characters of a name that is told again."""

_FUNCTION = ("name", "description", "parameters", "strict")


def common(tool: Fields) -> Fields:
    """A tool."""
    given = without_nulls(tool)
    if given.get("type") != "function" or not given.keys() <= {"type", *_FUNCTION}:
        return given
    return {"type": "function", "function": {n: given[n] for n in _FUNCTION if n in given}}


def choice(wanted: str | Fields | None) -> str | Fields | None:
    """Which tool is to be called."""
    if isinstance(wanted, str) or wanted is None or wanted.get("type") != "function":
        return wanted
    return {"type": "function", "function": {n: v for n, v in wanted.items() if n != "type"}}


def told_choice(wanted: str | Fields | None) -> str | dict[str, str]:
    """The same as the response tells it: the list of tools in it is left out."""
    if wanted is None or isinstance(wanted, str):
        return (wanted or "auto")[:MAX_NAME]
    return _short(wanted, ("type", "name", "mode"))


def text(wanted: Fields) -> tuple[Fields | None, Fields, Fields]:
    """The shape of the answer, what else of `text` is for a provider of this format, and what the
    response tells of both: not the schema. Raises `errors.InvalidField`."""
    given = without_nulls(wanted)
    asked = given.pop("format", {"type": "text"})
    if not isinstance(asked, dict):
        raise errors.InvalidField("`text.format` must be an object with a `type`.")
    shape = without_nulls(asked)
    told: Fields = {"format": _short(shape, ("type", "name")) or {"type": "text"}}
    told |= _short(given, ("verbosity",))
    if shape.get("type", "text") == "text":
        return None, given, told
    if shape["type"] == "json_schema":
        schema = {name: value for name, value in shape.items() if name != "type"}
        shape = {"type": "json_schema", "json_schema": schema}
    return shape, given, told


def without_nulls(fields: Fields) -> Fields:
    """What is null says nothing; stock clients give back what they were told with their nulls."""
    return {name: value for name, value in fields.items() if value is not None}


def _short(fields: Fields, names: tuple[str, ...]) -> dict[str, str]:
    found = {name: fields[name] for name in names if isinstance(fields.get(name), str)}
    return {name: value[:MAX_NAME] for name, value in found.items()}
