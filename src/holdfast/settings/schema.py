"""The JSON Schema of `holdfast.toml`, for editors.

Strategy: pydantic draws the plain values; quantities, which it knows only as numbers, are drawn
here as people may write them. What is said of a setting stands below it in the source. The result
has no references and only the words of JSON Schema draft 4, the newest that editors of TOML know
(taplo), and is valid for the later drafts as well. It is a help in writing and not the check:
`load` has the last word.
"""

from __future__ import annotations

import ast
import inspect
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from holdfast.settings import fields, tables

DRAFT = "http://json-schema.org/draft-04/schema#"

_NAMED = {
    "providers": "Who generates answers; each table's name is a provider's.",
    "routes": "Providers that are asked one after the other; each table's name is a route's.",
    "plans": "What tenants may use; each table's name is a plan's.",
    "prices": "What tokens cost; the tables' names do not matter.",
}


def schema() -> dict[str, Any]:
    """The schema, as JSON values."""
    said = meanings()
    drawn = {name: _table(name, model, said) for name, model in tables.MODELS.items()}
    for kind, meaning in _NAMED.items():
        drawn[kind] = {
            "type": "object",
            "description": meaning,
            "patternProperties": {f"^{fields.NAME}$": drawn.pop(f"{kind}.*")},
            "additionalProperties": False,
        }
    return {
        "$schema": DRAFT,
        "title": "Holdfast",
        "description": "The settings of a Holdfast node.",
        "type": "object",
        "properties": drawn,
        "additionalProperties": False,
    }


def meanings() -> dict[str, str]:
    """What is said of each setting below it, in one line, by its dotted name."""
    return {
        f"{name}.{key}": text
        for name, model in tables.MODELS.items()
        for table in reversed(model.__mro__)
        if issubclass(table, fields.Table)
        for key, text in _texts(table)
    }


def _texts(table: type[fields.Table]) -> Iterator[tuple[str, str]]:
    """The names of a table that have a text below them, with it."""
    (drawn,) = ast.parse(inspect.getsource(table)).body
    assert isinstance(drawn, ast.ClassDef)
    for line, below in itertools.pairwise(drawn.body):
        match line, below:
            case (
                ast.AnnAssign(target=ast.Name(id=key)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield key, " ".join(text.split())


def _table(name: str, model: type[fields.Table], said: Mapping[str, str]) -> dict[str, Any]:
    drawn = model.model_json_schema()["properties"]
    required = [key for key, field in model.model_fields.items() if field.is_required()]
    return {
        "type": "object",
        "description": " ".join((model.__doc__ or "").split()),
        "properties": {
            key: _setting(f"{name}.{key}", field, drawn[key], said)
            for key, field in model.model_fields.items()
        },
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _setting(
    name: str, field: FieldInfo, drawn: dict[str, Any], said: Mapping[str, str]
) -> dict[str, Any]:
    unit = fields.unit(field)
    shape = _quantity(field, unit) if unit else _plain(drawn)
    shape["description"] = f"{said[name]} Accepted: {fields.explained(field)}."
    if not field.is_required() and field.default is not None:
        shape["default"] = _default(field, unit)
    return shape


def _quantity(field: FieldInfo, unit: fields.Unit) -> dict[str, Any]:
    """A number within its limits, or a text: an editor cannot know the limits of a text."""
    low, high = fields.limits(field)
    return {
        "type": ["integer" if unit.whole else "number", "string"],
        "minimum": low,
        "maximum": high,
        "pattern": unit.pattern,
    }


def _plain(drawn: dict[str, Any]) -> dict[str, Any]:
    """What pydantic drew, without what TOML lacks (null) and what editors do not use."""
    shape = next((one for one in drawn.get("anyOf", ()) if one.get("type") != "null"), drawn)
    kept = {
        key: value
        for key, value in shape.items()
        if key not in ("title", "default", "format", "writeOnly", "const", "description")
    }
    if "const" in shape:
        kept["enum"] = [shape["const"]]
    if kept["type"] == "array":
        # One text with commas is taken for a list; the limit is that of the items.
        kept["type"] = ["array", "string"]
        kept["maxItems"] = kept.pop("maxLength")
        if "minLength" in kept:
            kept["minItems"] = kept.pop("minLength")
    return kept


def _default(field: FieldInfo, unit: fields.Unit | None) -> Any:
    if unit is not None and unit is not fields.COUNT:
        return unit.show(field.default)
    return list(field.default) if isinstance(field.default, tuple) else field.default
