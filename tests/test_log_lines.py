"""docs/logs.md and the lines that the source logs agree.

Strategy: the tables are read from the page, the calls from the source, without running any. Fields
that a call takes from a value are those of that value, by its source (`SPREAD`). What does not fit
is a list of complaints, which must be empty, and is not for samples that are wrong in one way each.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "holdfast"
PAGE = ROOT / "docs" / "logs.md"
ROW = re.compile(
    r"^\| `(\w+)` \| ((?:info|warning|error|critical)[^|]*) \| ([^|]*)\| [^|]+ \|$", re.M
)
LEVELS = {"info", "warning", "error", "critical"}
ANY = "warning and above"

SPREAD = {
    "producing/writers.py": ("producing/summary.py", None),
    "telemetry/alerts/rounds.py": ("telemetry/alerts/rounds.py", "Announcement"),
}
"""Where the fields are named that a file gives as a value: a class, or keys of dictionaries."""


class Line(NamedTuple):
    levels: frozenset[str]
    fields: frozenset[str]


def rows(page: str) -> Iterator[tuple[str, Line]]:
    for event, levels, fields in ROW.findall(page):
        named = {ANY} if levels == ANY else set(levels.split(", "))
        yield event, Line(frozenset(named), frozenset(re.findall(r"`(\w+)`", fields)))


def keys(source: str, name: str | None) -> set[str]:
    """The fields of the class of this name; or all keys of dictionaries that are texts."""
    tree, found = ast.parse(source), set[str]()
    for node in ast.walk(tree):
        if name is not None:
            if isinstance(node, ast.ClassDef) and node.name == name:
                lines = [one for one in node.body if isinstance(one, ast.AnnAssign)]
                found |= {ast.unparse(one.target) for one in lines}
        elif isinstance(node, ast.Dict):
            found |= {ast.literal_eval(key) for key in node.keys if key is not None}
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            found.add(ast.literal_eval(node.slice))
    return found


def logged(source: str, spread: set[str]) -> Iterator[tuple[str, str, set[str]]]:
    """Event, level and fields of each call of a logger."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if ast.unparse(node.func.value) != "_log":
            continue
        *_, event = node.args
        level = ANY if node.func.attr == "log" else node.func.attr
        fields = {word.arg for word in node.keywords if word.arg is not None}
        if any(word.arg is None for word in node.keywords):
            fields |= spread
        yield ast.literal_eval(event), level, fields


def lines(package: Path) -> dict[str, Line]:
    levels, fields = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for path in sorted(package.rglob("*.py")):
        file, name = SPREAD.get(path.relative_to(package).as_posix(), (None, None))
        spread = keys((package / file).read_text(encoding="utf-8"), name) if file else set[str]()
        for event, level, named in logged(path.read_text(encoding="utf-8"), spread):
            levels[event].add(level)
            fields[event] |= named
    return {event: Line(frozenset(levels[event]), frozenset(fields[event])) for event in levels}


def complaints(page: str, source: Mapping[str, Line]) -> list[str]:
    table = dict(rows(page))
    told = [] if len(table) == len(list(rows(page))) else ["a row stands twice"]
    told += [f"{event} is logged, and has no row" for event in sorted(source.keys() - table)]
    told += [f"{event} has a row, and is logged nowhere" for event in sorted(table.keys() - source)]
    for event in sorted(table.keys() & source):
        said, true = table[event], source[event]
        told += [f"{event}: {one}" for one in sorted(said.levels ^ true.levels)]
        told += [f"{event}: `{one}`" for one in sorted(said.fields ^ true.fields)]
    return told


def test_each_line_is_on_the_page_as_it_is() -> None:
    found = lines(PACKAGE)
    assert complaints(PAGE.read_text(encoding="utf-8"), found) == []
    assert {level for line in found.values() for level in line.levels} <= LEVELS | {ANY}
    # It would tell an exception's arguments, and so would the level that is called `exception`.
    assert not any("exc_info" in line.fields for line in found.values())


def test_only_a_server_of_ours_configures_logging() -> None:
    """Who embeds the package has done so himself."""
    calls = re.compile(r"structlog\.configure|basicConfig|dictConfig|excepthook|unraisablehook")
    found = [path for path in PACKAGE.rglob("*.py") if calls.search(path.read_text("utf-8"))]
    assert found == [PACKAGE / "cli" / "logs.py"]


def test_the_fields_of_the_line_at_a_streams_end_are_told_once_more() -> None:
    text = PAGE.read_text(encoding="utf-8")
    part = text.partition("## One answer's whole story")[2].partition("\n## ")[0]
    table = re.findall(r"^\| (`[^|]+) \|", part, re.MULTILINE)
    told = [name for cell in table for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(told) == sorted(dict(rows(text))["stream_ended"].fields)


ROWS = "| `one` | info | `a` | now |\n| `two` | error | | then |\n"
ONE, TWO = Line(frozenset({"info"}), frozenset("a")), Line(frozenset({"error"}), frozenset())


@pytest.mark.parametrize(
    ("page", "source", "told"),
    [
        (ROWS, {"one": ONE, "two": TWO}, []),
        (ROWS, {"one": ONE}, ["two has a row, and is logged nowhere"]),
        (ROWS, {"one": ONE, "two": TWO, "three": TWO}, ["three is logged, and has no row"]),
        (ROWS, {"one": TWO, "two": TWO}, ["one: error", "one: info", "one: `a`"]),
        (ROWS + ROWS, {"one": ONE, "two": TWO}, ["a row stands twice"]),
    ],
)
def test_what_does_not_fit_is_told(page: str, source: Mapping[str, Line], told: list[str]) -> None:
    assert complaints(page, source) == told


def test_calls_are_read_with_what_they_are_given() -> None:
    source = (
        "_log.info('one', a=1)\n"
        "_log.warning('two', b=2, **facts)\n"
        "_log.log(level, 'three')\n"
        "other.info('four')\n"
    )
    assert list(logged(source, {"c"})) == [
        ("one", "info", {"a"}),
        ("two", "warning", {"b", "c"}),
        ("three", ANY, set()),
    ]
    assert keys("class A:\n    x: int\n\nclass B:\n    y: int", "B") == {"y"}
    assert keys("told = {'a': 1, **other}\ntold['b'] = 2", None) == {"a", "b"}
