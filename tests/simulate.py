"""Runs the simulated core over many seeds: `make simulate SEEDS=10000`.

Strategy: a seed is a run of its own, so processes share the seeds and nothing else. One that fails
is printed with what was violated and with the command that plays it again, event by event.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import sys
import time
from collections.abc import Iterable

import msgspec

from holdfast.testing.simulation import running

SHARE = 50
"""Seeds that a process takes at once."""

SHOWN = 20
"""Seeds that fail whose violations are printed."""

PROCESSES = 2


def fails(seeds: range) -> list[tuple[int, list[str]]]:
    """The seeds that fail, each with what it violates."""
    found: list[tuple[int, list[str]]] = []
    for seed in seeds:
        try:
            violations = list(running.run(seed).violations)
        except Exception as error:  # of the simulation, or what nobody took in the loop
            violations = [f"raised {error!r}"]
        if violations:
            found.append((seed, violations))
    return found


def run_all(first: int, count: int) -> int:
    """Runs so many seeds from the first on, and prints what fails; how many do."""
    begun, last = time.monotonic(), first + count
    shares = [range(seed, min(seed + SHARE, last)) for seed in range(first, last, SHARE)]
    done, failed = 0, 0
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(PROCESSES, fresh) as pool:
        for share, found in zip(shares, pool.map(fails, shares), strict=True):
            done += len(share)
            for seed, violations in found:
                failed += 1
                if failed <= SHOWN:
                    tell(seed, violations)
            if sys.stderr.isatty() or done % 1000 == 0 or done == count:
                print(f"\r{done} of {count} seeds, {failed} failed", end="", file=sys.stderr)
    print(file=sys.stderr)
    print(f"{count} seeds from {first}: {failed} failed; {time.monotonic() - begun:.1f} s")
    return failed


def tell(seed: int, violations: Iterable[str]) -> None:
    print(f"\rseed {seed}; to see it: python -m tests.simulate --replay {seed}")
    for violation in violations:
        print(f"    {violation}")


def replay(seed: int) -> int:
    """Prints the history of a seed, and what it violates; how much that is."""
    outcome = running.run(seed)
    for entry in outcome.entries:
        print(msgspec.json.encode(entry).decode())
    tell(seed, outcome.violations)
    return len(outcome.violations)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--replay", type=int, metavar="SEED", help="prints this seed's history")
    chosen = parser.parse_args()
    if chosen.replay is not None:
        return min(1, replay(chosen.replay))
    return min(1, run_all(chosen.first, chosen.seeds))


if __name__ == "__main__":
    sys.exit(main())
