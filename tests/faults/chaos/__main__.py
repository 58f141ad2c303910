"""`make chaos`, or `python -m tests.faults.chaos`: breaks everything for a while, and judges.

Exit code 1 where anything was violated; the seed and the whole history are then told and kept.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.chaos import run

from holdfast.testing import checker, history

SHOWN = 5
"""Violations of each rule, and problems, that are printed."""

EXAMPLES = """examples:
  make chaos                               three minutes
  make chaos ARGS="--seconds 600"          ten
  make chaos ARGS="--seed 7"               the faults of seed 7: their order, not their moments
"""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.chaos",
        description="Kills, freezes and cuts a running server and its networks, with readers on "
        "raw sockets, and holds what all saw to the invariants I1 to I11.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=180, help="how long, at least 10 (180)")
    parser.add_argument("--seed", type=int, help="of all that is random (default: the time)")
    parser.add_argument("--workers", type=int, default=24, help="streams at once (24)")
    given = parser.parse_args()
    if given.seconds < 10 or given.workers < 1:
        parser.error("at least 10 seconds and 1 worker")
    return given


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _summary(result: run.Result) -> str:
    counts, starts = result.book.counts, sorted(result.starts)
    rows = [
        *((f"fault: {name}", count) for name, count in sorted(result.faults.items())),
        ("faults in all", result.faults.total()),
        ("processes killed", result.killed),
        ("starts of the server", len(starts)),
        ("a start, median ms", int(starts[len(starts) // 2] * 1000)),
        *sorted(counts.items()),
        ("problems", len(result.book.problems)),
        ("violations", len(result.violations)),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name.ljust(width)}  {count:>9,}" for name, count in rows]
    return "\n".join([*lines, *(f"skipped: {why}" for why in result.skipped)])


def _failed(result: run.Result) -> Iterator[str]:
    yield from result.book.problems[:SHOWN]
    for rule in checker.RULES:
        found = [violation for violation in result.violations if violation.rule == rule]
        yield from map(str, found[:SHOWN])


def main() -> int:
    given = _options()
    seed = int(time.time()) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="holdfast-chaos-"))
    _say(f"chaos for {given.seconds:g} s with seed {seed}")
    options = run.Options(folder, given.seconds, seed, given.workers, _say)
    result = asyncio.run(run.run(options))
    print(_summary(result))
    failed = list(_failed(result))
    if not failed:
        shutil.rmtree(folder)
        return 0
    print("\n".join(failed))
    kept = folder / "history.jsonl"
    history.write(kept, result.book.whole())
    print(f"FAILED with seed {seed}; the history is {kept}, what the server said beside it")
    return 1


if __name__ == "__main__":
    sys.exit(main())
