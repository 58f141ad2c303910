"""Many streams: what a token costs through `holdfast serve`, beside nginx in the same run.

Strategy: the relays take turns under the load of `relay`; what counts is one's cost to nginx's
in the same round.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench import aims, relay, report, servers
from bench.scenario import Bench, Figure, Option, Result, Scenario, Size

STREAMS_PER_TICK = 5.0
"""The aim: above."""

LOGS = Option("logs", "measure the memory and the Redis log too")
PROTOTYPE = Option("prototype", "measure the load folder's prototype too")


def run(bench: Bench) -> Result | None:
    """All relays that the options name."""
    names = ["nginx", "sqlite", *(["prototype"] if bench.options["prototype"] else [])]
    names += ["memory", "redis"] if bench.options["logs"] else []

    def make(name: str, folder: Path, kept: contextlib.ExitStack) -> servers.Server | None:
        return server(name, folder, kept, bench.cores[1])

    runs = relay.in_turn(bench, names, make)
    return result(bench, runs) if runs else None


def result(bench: Bench, runs: Sequence[relay.Run]) -> Result:
    """Of relays beside nginx, for the scenario of this name."""
    whole, rows = not any(run.gaps for run in runs), [run._asdict() for run in runs]
    return Result(rows, table(bench.scenario, runs), figures(report.good(runs)), whole)


def server(name: str, folder: Path, kept: contextlib.ExitStack, core: int) -> servers.Server | None:
    """nginx, the prototype, or a node with the log of that name."""
    if name == "nginx":
        return servers.nginx(folder)
    if name == "prototype":
        sources = relay.loadgen()
        return servers.prototype(folder, sources) if sources else None
    log = name
    if name == "redis":
        url = kept.enter_context(servers.valkey(folder, core))
        if url is None:
            return None
        log = url
    return servers.holdfast(folder, log)._replace(name=name)


def table(scenario: str, found: Sequence[relay.Run]) -> str:
    """All relays, and what the aims say to it."""
    runs = report.good(found)
    said = [report.runs(runs), *report.refused(found)]
    for name in report.names(runs):
        times = report.times(runs, name, "nginx", "cpu_us")
        if times is not None and name != "nginx":
            aim = aims.of(scenario, f"{name} ÷ nginx")
            told = f" ({aim.said}: {aim.met(times)})" if aim else ""
            said.append(f"{name}: {times:.2f} times nginx's CPU, median of the rounds{told}")
    ticks = [run.streams_per_tick for run in runs if run.streams_per_tick is not None]
    if ticks:
        met = f"(aim: over {STREAMS_PER_TICK:g}: {report.met(median(ticks) > STREAMS_PER_TICK)})"
        said.append(f"holdfast: {median(ticks):.1f} streams a tick {met}")
    return "\n\n".join([*said, *report.noise(runs)])


def figures(runs: Sequence[relay.Run]) -> dict[str, Figure]:
    """Each relay to nginx; of the usual node what it adds and weighs; what Redis costs more."""
    found = report.ratios(runs, dict.fromkeys(report.names(runs), "nginx"))
    found.pop("nginx ÷ nginx", None)
    mine = report.of(runs, "sqlite")
    if mine:
        beside = report.beside(mine)
        found["p99 added"] = Figure(median(run.p99_ms for run in mine), beside)
        found["KB a stream"] = Figure(median(run.kb_per_stream for run in mine), beside)
    both = zip(report.of(runs, "redis"), mine, strict=False)
    more = [redis.cpu_us - sqlite.cpu_us for redis, sqlite in both]
    if more:
        found["redis - sqlite"] = Figure(median(more), report.beside(report.of(runs, "redis")))
    return found


SCENARIO = Scenario(
    "relay", "many streams, beside nginx", run, Size(1000, 5), options=(LOGS, PROTOTYPE)
)
