"""Arguments in pieces: paths, texts, bounds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast.providers.google import partial_args, wire


def gathered(*pieces: dict[str, Any]) -> dict[str, Any]:
    made = partial_args.Gathered()
    for piece in pieces:
        made.add(msgspec.convert(piece, wire.PartialArg))
    return made.built()


def text(path: str, value: str = "v") -> dict[str, Any]:
    return {"jsonPath": path, "stringValue": value}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.a", {"a": "v"}),
        ("$.a.b-c.d", {"a": {"b-c": {"d": "v"}}}),
        ("$['a b']", {"a b": "v"}),
        ('$["it\'s"]', {"it's": "v"}),
        (r"$['it\'s'].x", {"it's": {"x": "v"}}),
        ("$.a[0]", {"a": ["v"]}),
        ("$.a[0][0].b", {"a": [[{"b": "v"}]]}),
    ],
)
def test_a_path(path: str, expected: dict[str, Any]) -> None:
    assert gathered(text(path)) == expected


def test_pieces_may_come_in_any_order() -> None:
    assert gathered(
        text("$.a.x", "1"),
        text("$.list[0].n", "p"),
        text("$.a.y", "2"),
        text("$.a.x", "3"),
        text("$.list[1].n", "q"),
        text("$.list[0].m", "r"),
    ) == {"a": {"x": "13", "y": "2"}, "list": [{"n": "p", "m": "r"}, {"n": "q"}]}


def test_values_that_are_no_text() -> None:
    assert gathered(
        {"jsonPath": "$.n", "numberValue": 2},
        {"jsonPath": "$.f", "numberValue": 0.5},
        {"jsonPath": "$.b", "boolValue": False},
        {"jsonPath": "$.z", "nullValue": "NULL_VALUE"},
        {"jsonPath": "$.l[0]", "numberValue": 1},
        {"jsonPath": "$['l'][0]", "numberValue": 3},
        text("$.n", "a text after all"),
    ) == {"n": "a text after all", "f": 0.5, "b": False, "z": None, "l": [3]}


@pytest.mark.parametrize(
    "paths",
    [
        ("",),
        ("$",),
        ("a",),
        ("$.",),
        ("$..a",),
        ("$[0]",),
        ("$.a[*]",),
        ("$.a[1]",),
        ("$.a[-1]",),
        ("$.a", "$.a.b"),
        ("$.a", "$.a[0]"),
        ("$.a[0]", "$.a.b"),
        ("$.a[0]", "$.a[0].b"),
        ("$" + ".a" * (partial_args.MAX_DEPTH + 1),),
    ],
)
def test_what_makes_no_sense(paths: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"a tool call's argument") as raised:
        gathered(*(text(path, "secret") for path in paths))
    assert "secret" not in str(raised.value)


def test_the_deepest_path() -> None:
    assert gathered(text("$" + ".a" * partial_args.MAX_DEPTH))


def test_arguments_are_bounded() -> None:
    almost = "x" * (partial_args.MAX_ARGUMENTS - partial_args.OVERHEAD - 3)
    assert gathered(text("$.a", almost)) == {"a": almost}
    with pytest.raises(ValueError, match="over"):
        gathered(text("$.a", almost + "x"))
    many = partial_args.MAX_ARGUMENTS // partial_args.OVERHEAD
    with pytest.raises(ValueError, match="over"):
        gathered(*[text("$.a", "")] * many)
