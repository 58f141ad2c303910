"""docs/failures.md and the tests that it names agree.

Strategy: the table is read from the page and the marks from the source of every test, without
running any; what does not fit is a list of complaints, which must be empty, and is not for
samples that are wrong in one way each.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "failures.md"
ROW = re.compile(r"^\| (\d+\.\d+[a-z]?) \|.*\| ([^|]+) \|$", re.MULTILINE)

Table = Mapping[str, frozenset[str]]
"""Files by row."""


def rows(page: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Each row of the page with the files that it names."""
    for number, files in ROW.findall(page):
        yield number, frozenset(re.findall(r"`([^`]+)`", files))


def marked(source: str) -> set[str]:
    """The rows that the tests in a source name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.case":
                    found.add(ast.literal_eval(mark.args[0]))
    return found


def marks(folder: Path) -> Table:
    """The files below `folder` in which a test names the row."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((folder / "tests").rglob("test_*.py")):
        for row in marked(path.read_text(encoding="utf-8")):
            found[row].add(path.relative_to(folder).as_posix())
    return {row: frozenset(files) for row, files in found.items()}


def complaints(page: str, named: Table) -> list[str]:
    told = []
    table = dict(rows(page))
    if len(table) != len(list(rows(page))):
        told.append("a row stands twice")
    for row, files in table.items():
        if not files:
            told.append(f"{row} names no test")
        told += [f"{row}: no test in {file}" for file in sorted(files - named.get(row, set()))]
    return told + [
        f"{row} is no row: {sorted(named[row])}" for row in sorted(named.keys() - table.keys())
    ]


def test_every_failure_has_its_tests() -> None:
    assert complaints(PAGE.read_text(encoding="utf-8"), marks(ROOT)) == []


def test_the_failures_that_are_treated_are_all_there() -> None:
    """Part 1 and part 2 of what was collected, as far as it is about what is built."""
    first = set(range(1, 33)) - {10}
    second = {*range(11, 24), 27, 28, 29}
    wanted = {f"1.{number}" for number in first} | {f"2.{number}" for number in second}
    assert wanted <= dict(rows(PAGE.read_text(encoding="utf-8"))).keys()


GOOD = "| 1.1 | a | b | `tests/test_x.py` |\n"


@pytest.mark.parametrize(
    ("page", "named", "told"),
    [
        (GOOD, {"1.1": frozenset({"tests/test_x.py"})}, 0),
        (GOOD, {}, 1),
        (GOOD, {"1.1": frozenset({"tests/test_y.py"})}, 1),
        (GOOD, {"1.1": frozenset({"tests/test_x.py"}), "1.2": frozenset({"y"})}, 1),
        (GOOD + GOOD, {"1.1": frozenset({"tests/test_x.py"})}, 1),
        ("| 1.1 | a | b | later |\n", {}, 1),
    ],
)
def test_what_does_not_fit_is_told(page: str, named: Table, told: int) -> None:
    assert len(complaints(page, named)) == told


def test_marks_are_read_from_the_source() -> None:
    source = '@pytest.mark.case("1.1")\n@pytest.mark.case("2.2")\nasync def test_x(): ...\n'
    assert marked(source) == {"1.1", "2.2"}
    assert marked("@pytest.mark.slow\ndef test_x(): ...\n") == set()
