"""Sums of many minutes, made one after the other.

Strategy: a month of minutes is thousands of trees of numbers, and each is added into the same
places of one that can be written to, so that it costs what is in it and no more. Of what is active
the most counts, all else is added.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.telemetry import counts
from holdfast.telemetry.histogram import EMPTY


class _Struct:
    """A struct that is being made; its parts are numbers, mappings, and such as this."""

    __slots__ = ("kind", "parts")

    def __init__(self, kind: type[Any]) -> None:
        self.kind, self.parts = kind, list[Any]()


class Over:
    """The sum of what was added, of all nodes at one time each."""

    def __init__(self) -> None:
        self._sum = _begun(counts.NOTHING)

    def add(self, one: counts.Counts) -> None:
        """A minute, or a sum of some."""
        _fold(self._sum, one)

    def counts(self) -> counts.Counts:
        """As of now."""
        found: counts.Counts = _made(self._sum)
        return found


def _begun(value: Any) -> Any:
    if isinstance(value, int):
        return value
    if isinstance(value, dict):
        return {name: _begun(one) for name, one in value.items()}
    found = _Struct(type(value))
    found.parts = [_begun(one) for one in msgspec.structs.astuple(value)]
    return found


def _fold(into: _Struct, value: Any) -> None:
    parts = into.parts
    for place, one in enumerate(msgspec.structs.astuple(value)):
        if isinstance(one, int):
            active = into.kind.__struct_fields__[place].endswith("_active")
            parts[place] = max(parts[place], one) if active else parts[place] + one
        elif isinstance(one, dict):
            _fold_all(parts[place], one)
        elif one is not EMPTY:
            _fold(parts[place], one)


def _fold_all(into: dict[Any, Any], some: dict[Any, Any]) -> None:
    for name, one in some.items():
        if name not in into:
            into[name] = _begun(one)
        elif isinstance(one, int):
            into[name] += one
        else:
            _fold(into[name], one)


def _made(value: Any) -> Any:
    if isinstance(value, int):
        return value
    if isinstance(value, dict):
        return {name: _made(one) for name, one in value.items()}
    return value.kind(*map(_made, value.parts))
