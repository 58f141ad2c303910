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
from pathlib import Path

from tests.faults.chaos import report, run

EXAMPLES = """examples:
  make chaos                               three minutes
  make chaos ARGS="--seconds 600"          ten
  make chaos ARGS="--seed 7"               the faults of seed 7: their order, not their moments
  make chaos ARGS="--sealed"               what is kept is sealed, and keys are rotated
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
    parser.add_argument(
        "--sealed",
        action=argparse.BooleanOptionalAction,
        help="whether what is kept is sealed (it is with an odd seed)",
    )
    given = parser.parse_args()
    if given.seconds < 10 or given.workers < 1:
        parser.error("at least 10 seconds and 1 worker")
    return given


def main() -> int:
    given = _options()
    seed = int(time.time()) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="holdfast-chaos-"))
    sealed = bool(seed % 2) if given.sealed is None else given.sealed
    how = "sealed" if sealed else "plain"
    report.say(f"chaos for {given.seconds:g} s with seed {seed}, {how}")
    options = run.Options(folder, given.seconds, seed, given.workers, sealed, report.say)
    result = asyncio.run(run.run(options))
    starts = sorted(result.starts)
    rows: list[report.Row] = [
        ("processes killed", result.killed),
        ("starts of the server", len(starts)),
        ("a start, median ms", int(starts[len(starts) // 2] * 1000)),
    ]
    print(report.table(result.book, result.violations, rows))
    for why in result.skipped:
        print(f"skipped: {why}")
    failed = list(report.failed(result.book, result.violations))
    if not failed:
        shutil.rmtree(folder)
        return 0
    print("\n".join(failed))
    print(report.kept(folder, seed, result.book))
    return 1


if __name__ == "__main__":
    sys.exit(main())
