"""docs/failures.md and the tests that it names agree.

Strategy: the table is read from the page and the marks from the source of every test, without
running any; what does not fit is a list of complaints, which must be empty, and is not for
samples that are wrong in one way each.
"""

from __future__ import annotations

import ast
import functools
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


@functools.cache
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
    """Parts 1, 2 and 4 of what was collected, as far as it is about what is built."""
    first = set(range(1, 33))
    second = {*range(11, 24), *range(27, 31)}
    wanted = {f"1.{number}" for number in first} | {f"2.{number}" for number in second}
    wanted |= {f"4.{number}" for number in range(1, 26)}
    assert wanted <= dict(rows(PAGE.read_text(encoding="utf-8"))).keys()


THREATS = {
    "Event injection through field values": "4.1",
    "Resuming somebody else's stream (BOLA)": "4.2",
    "Access outlives the token": "4.3",
    "SQL injection in the key check": "4.4",
    "Path/Host confusion before auth": "4.5",
    "Cache key collision": "4.6",
    "Never-expiring sessions, missing auth on functions": "4.7",
    "SSRF via base_url": "4.8",
    "Body parameters that reach the provider or the event loop": "4.19",
    "Key leakage": "4.9",
    "Timing of key check": "4.10",
    "JWT": "4.11",
    "CORS": "4.12",
    "Header/CRLF injection": "4.13",
    "Body limits, slowloris": "4.14",
    "Decompression bomb": "4.15",
    "Upstream as attacker (API10)": "4.16",
    "Unbounded consumption": "4.17",
    "Metrics/label injection, cardinality": "4.21",
    "Supply chain": "4.22",
    "Log injection": "4.20",
    "5.8 Compression with secrets (CRIME/BREACH)": "4.23",
    "5.9 Length/timing side channel of token streaming": "4.24",
    "5.11 AES-GCM at rest": "4.25",
}
"""Part 4, in its own words and order: which row of ours each is."""


def test_each_threat_that_was_collected_is_a_row(shared: Path) -> None:
    page = (shared / "reference" / "CASES.md").read_text(encoding="utf-8")
    part = page.partition("\n## 4. ")[2].partition("\n## ")[0]
    table = re.findall(r"^\| (?!threat \|)([^|-][^|]*) \|.*\|$", part, re.MULTILINE)
    titles = re.findall(r"^### (5\.(?!2 ).*)$", part, re.MULTILINE)
    assert [threat.strip("*") for threat in table] + titles == list(THREATS)
    named = marks(ROOT)
    assert all(named[row] for row in THREATS.values())


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
