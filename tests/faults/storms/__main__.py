"""The storms at their full size: `make storm`, or `python -m tests.faults.storms`.

Strategy: one storm after the other, each on a server of its own and in a folder that is thrown
away, with lines on stderr while it goes on and its figures on stdout when it is over. A storm
that fails is told with what was wrong; the others go on, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from tests.faults.stolen import run as stolen
from tests.faults.storms import (
    crowding,
    draining,
    flooding,
    losing_postgres,
    losing_redis,
    overloading,
    piling,
    storming,
    turning,
    watching,
)

LOOK = 20.0
"""Seconds between two lines of a storm that goes on."""

NEEDED_FILES = 4096
"""Open files that 1,000 readers and their server need, each of the two."""

FLOOD_FILES = 20_000
"""The same for a flood: a server takes half as many readers, 10,000 if it has 256 more."""


class Storm(msgspec.Struct, frozen=True):
    about: str
    run: Callable[[Path], Awaitable[storming.Figures]]
    files: int = NEEDED_FILES


STORMS = {
    "recovery": Storm(
        "twice, 1,000 readers are cut at random for a minute while 100 streams are written",
        lambda folder: storming.recover(storming.Recovery(), folder),
    ),
    "slow": Storm(
        "1,000 readers stop reading an answer of 10 MB beside 100 fast ones",
        lambda folder: storming.slow_down(storming.Slow(), folder),
    ),
    "reset": Storm(
        "10,000 clients reset right after they connect",
        lambda folder: crowding.reset(crowding.Resets(), folder),
    ),
    "drain": Storm(
        "SIGTERM with 1,000 readers; their answers may end",
        lambda folder: storming.drain(storming.Drain(), folder),
    ),
    "handover": Storm(
        "the same with too little time; the next process goes on",
        lambda folder: storming.drain(storming.Drain(timeout=2, stays=False), folder),
    ),
    "descriptors": Storm(
        "1,000 clients at a server with 256 descriptors",
        lambda folder: crowding.exhaust(crowding.Descriptors(), folder),
    ),
    "churn": Storm(
        "100,000 connections, each read to its end",
        lambda folder: crowding.churn(crowding.Churn(), folder),
    ),
    "flood": Storm(
        "12,000 readers of two processes at a server that takes 10,000",
        lambda folder: flooding.flood(flooding.Flood(), folder),
        FLOOD_FILES,
    ),
    "halves": Storm(
        "5,000 half requests beside others, then more of them than there are sockets",
        lambda folder: flooding.halves(flooding.Halves(), folder),
        FLOOD_FILES,
    ),
    "bodies": Storm(
        "300 MB of parts of bodies, then 50 bodies of 64 MiB, told, untold and lied about",
        lambda folder: flooding.bodies(flooding.Bodies(), folder),
    ),
    "overload": Storm(
        "5,600 streams are asked for in 8 s, more than a node can do, refused and not",
        lambda folder: overloading.overload(overloading.Overload(), folder),
        FLOOD_FILES,
    ),
    "nodes": Storm(
        "10,000 readers of 200 streams at two nodes, one of which is told to stop",
        lambda folder: draining.drain_one(draining.Nodes(), folder),
        FLOOD_FILES,
    ),
    "redis": Storm(
        "Redis is lost for 30 s in five ways, for too long, and to a replica that lacks the last",
        losing_redis.lose_all,
    ),
    "postgres": Storm(
        "PostgreSQL is lost for 60 s, stopped and frozen, under two nodes with keys",
        losing_postgres.lose_all,
    ),
    "archive": Storm(
        "PostgreSQL sleeps for 60 s beside 1,000 streams of 20 tokens a second that begin anew",
        lambda folder: piling.sleep(piling.Sleep(), folder),
    ),
    "sealed": Storm(
        "a thief copies all files of three kinds of service, sealed and not, and searches them",
        stolen.steal_all,
    ),
    "turning": Storm(
        "sealing is turned on for full stores, killed 50 times; rotated, rewrapped, destroyed",
        turning.turn_all,
    ),
    "dashboard": Storm(
        "the dashboard is open for two minutes beside 500 streams",
        lambda folder: watching.watch(watching.Watch(), folder),
    ),
}


def _options() -> list[str]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.storms",
        description="Storms on a real server; what no reader may see, and what it keeps, fails.",
        epilog="\n".join(["storms:", *(f"  {n:12} {s.about}" for n, s in STORMS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("storm", nargs="*", help="which (default: all, about 20 minutes)")
    chosen: list[str] = parser.parse_args().storm
    for name in chosen:
        if name not in STORMS:
            parser.error(f"there is no storm {name!r}; there are {', '.join(STORMS)}")
    return chosen or list(STORMS)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


async def _tell_that_it_goes_on(name: str) -> None:
    begun = time.monotonic()
    while True:
        await asyncio.sleep(LOOK)
        _say(f"{name}: for {time.monotonic() - begun:.0f} s")


async def _run(name: str) -> bool:
    """One storm; whether all was as it must be."""
    _say(f"{name}: {STORMS[name].about} ...")
    telling = asyncio.create_task(_tell_that_it_goes_on(name))
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-storm-") as folder:
            figures = await STORMS[name].run(Path(folder))
    except (AssertionError, OSError, ExceptionGroup) as found:
        _say(f"{name}: FAILED: {_first(found)!r}")
        return False
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling
    print(f"{name}: {STORMS[name].about}")
    for title, value in figures.items():
        print(f"    {title:28} {value:12,.{0 if value == int(value) else 2}f}")
    sys.stdout.flush()
    return True


def _first(found: BaseException) -> BaseException:
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def main() -> int:
    chosen = _options()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max(STORMS[name].files for name in chosen)
    if hard != resource.RLIM_INFINITY and hard < needed:
        _say(f"the limit of open files is {hard}; {needed} are needed: ulimit -Hn")
        return 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        passed = [asyncio.run(_run(name)) for name in chosen]
    except KeyboardInterrupt:
        return 130
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
