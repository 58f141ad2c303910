"""As many streams as one core holds, each of them slow, beside nginx in the same run.

Strategy: the load of `relay`; what differs is that opening the streams is much of the run. So how
many are opened a second is told with the figure, and its waits have the opening in them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from bench import relay, report, servers, spoken
from bench.scenario import Bench, Figure, Option, Result, Scenario, Size

RAMP = Option("ramp", "streams that the load opens a second", 4000)
"""The load pair's own."""


def run(bench: Bench) -> Result | None:
    """A node and nginx in turn."""

    if not relay.pair(bench):
        return None
    with opened(int(bench.options["ramp"])):
        runs = relay.in_turn(bench, ("nginx", "sqlite"), server)
    if not runs:
        return None
    whole = not any(run.gaps or run.failed for run in runs)
    rows = [run._asdict() for run in runs]
    return Result(rows, table(runs, bench), figures(runs), whole)


def server(name: str, folder: Path, kept: contextlib.ExitStack) -> servers.Server | None:
    """nginx, or a node with this log, which ends at once though its streams go on."""
    if name == "nginx":
        return servers.nginx(folder)
    return servers.holdfast(folder, name, settings=spoken.AT_ONCE)._replace(name=name)


def figures(runs: Sequence[relay.Run]) -> dict[str, Figure]:
    """What a token waits, and what it costs beside nginx."""
    mine = report.of(runs, "sqlite")
    found = report.ratios(runs, {"sqlite": "nginx"})
    if mine:
        found["p99 added"] = Figure(median(run.p99_ms for run in mine), report.beside(mine))
    return found


def table(runs: Sequence[relay.Run], bench: Bench) -> str:
    """Both, and how fast they were opened."""
    told = f"Opened at {bench.options['ramp']} streams a second, which is in all figures but one."
    return "\n\n".join([report.runs(runs), told, *report.noise(runs)])


@contextlib.contextmanager
def opened(ramp: int) -> Iterator[None]:
    """The load's client opens so many streams a second; its sockets come from four addresses, as
    one address has ports for some 28,000."""
    told = {"RAMP": str(ramp), "SRC": "4"}
    before = {name: os.environ.get(name) for name in told}
    os.environ |= told
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


SCENARIO = Scenario(
    "crowd",
    "9,500 streams of 2 tokens a second on one core, beside nginx",
    run,
    Size(9500, 3, 20, 2),
    options=(RAMP,),
    usual=False,
)
