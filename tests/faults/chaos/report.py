"""What a run of chaos says: lines of progress, a table, what failed, and where the history is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults.chaos import book as books

from holdfast.testing import checker, history

SHOWN = 5
"""Violations of each rule, and problems, that are printed."""

Row = tuple[str, int | str]


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def table(book: books.Book, violations: Sequence[checker.Violation], more: Sequence[Row]) -> str:
    """All that was counted, a line each."""
    rows: list[Row] = [
        *((f"fault: {name}", count) for name, count in sorted(book.faults.items())),
        ("faults in all", book.faults.total()),
        *more,
        *sorted(book.counts.items()),
        ("problems", len(book.problems)),
        ("violations", len(violations)),
    ]
    width = max(len(name) for name, _ in rows)
    shown = ((name, f"{value:,}" if isinstance(value, int) else value) for name, value in rows)
    return "\n".join(f"{name.ljust(width)}  {value:>9}" for name, value in shown)


def failed(book: books.Book, violations: Sequence[checker.Violation]) -> Iterator[str]:
    yield from book.problems[:SHOWN]
    for rule in checker.RULES:
        found = [violation for violation in violations if violation.rule == rule]
        yield from map(str, found[:SHOWN])


def kept(folder: Path, seed: int, book: books.Book) -> str:
    """Writes the history down, and says where."""
    path = folder / "history.jsonl"
    history.write(path, book.whole())
    return f"FAILED with seed {seed}; the history is {path}, what the servers said beside it"
