"""`make chaos-cluster`: breaks nodes and what they share for a while, and judges what all saw.

Exit code 1 where anything was violated; the seed and the whole history are then told and kept.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.chaos import report
from tests.faults.cluster import machines, recovery, run

from holdfast.eventlog import base

EXAMPLES = """examples:
  make chaos-cluster                               five minutes
  make chaos-cluster ARGS="--seconds 600"          ten
  make chaos-cluster ARGS="--seed 7"               the faults of seed 7
  make chaos-cluster ARGS="--sealed"               what is kept is sealed, and keys are rotated
"""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.cluster",
        description="Kills, freezes and cuts off nodes that share Valkey and PostgreSQL, and these "
        "too, with readers on raw sockets, and holds what all saw to the invariants I1 to I11.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=270, help="of storm, at least 10 (270)")
    parser.add_argument("--seed", type=int, help="of all that is random (default: the time)")
    parser.add_argument(
        "--streams", type=int, default=200, help="at once, with 5 readers each (200)"
    )
    parser.add_argument(
        "--lease", type=float, default=base.LEASE_SECONDS, help="of a node, seconds (15)"
    )
    parser.add_argument(
        "--sealed",
        action=argparse.BooleanOptionalAction,
        help="whether what is kept is sealed (it is with an odd seed)",
    )
    given = parser.parse_args()
    if given.seconds < 10 or given.streams < 1:
        parser.error("at least 10 seconds and 1 stream")
    return given


def _waits(result: run.Result) -> Iterator[report.Row]:
    every = sorted(wait for found in result.waits.values() for wait in found)
    for how, found in [*sorted(result.waits.items()), ("all", every)]:
        if found:
            shares = " ".join(f"{recovery.percentile(found, share):.1f}" for share in (0.5, 0.99))
            yield (
                f"death to next token, p50 p99 most, s: {how}",
                f"{shares} {found[-1]:.1f} (n {len(found)})",
            )


def main() -> int:
    given = _options()
    seed = int(time.time()) if given.seed is None else given.seed
    here = machines.host()
    folder = Path(tempfile.mkdtemp(prefix="holdfast-cluster-"))
    sealed = bool(seed % 2) if given.sealed is None else given.sealed
    how = "sealed" if sealed else "plain"
    report.say(f"chaos in a cluster for {given.seconds:g} s with seed {seed}, {how}")
    options = run.Options(folder, here, given.seconds, seed, given.streams, given.lease, sealed)
    result = run.run(options, report.say)
    rows: list[report.Row] = [
        ("processes killed", result.killed),
        ("calm until all was archived, s", f"{result.archived_after:.1f}"),
        *_waits(result),
    ]
    print(report.table(result.book, result.violations, rows))
    for why in result.skipped:
        print(f"skipped: {why}")
    failed = list(report.failed(result.book, result.violations))
    if options.long and run.over(result.waits, given.lease):
        failed.append("p99 from death to next token is over the lease and 2 s")
    if not failed:
        shutil.rmtree(folder)
        return 0
    print("\n".join(failed))
    print(report.kept(folder, seed, result.book))
    return 1


if __name__ == "__main__":
    sys.exit(main())
