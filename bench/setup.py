"""Setting up: many new streams a second, each short, and what one waits until it begins.

Strategy: our client opens streams at an even pace, whatever has become of those before, and the
provider answers at once, so that neither waits for the other. The time is from the client's connect
to the head of the answer, which a node sends when the stream is in its log.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import asking, report, servers
from bench.scenario import Bench, Figure, Result, Scenario, Size

TOKENS, PACE = 5, 20
"""Of a stream: so many, and a second."""

PATIENCE = 5
"""Seconds that the last streams have to end."""


class SetUp(NamedTuple):
    """Milliseconds from connect to the head of the answer, and to the first token; CPU for all of
    a stream, of streams that came to their end."""

    relay: str
    median_ms: float
    p99_ms: float
    first_p99_ms: float
    cpu_ms: float
    a_second: float
    gaps: int
    failed: int
    load: float


def run(bench: Bench) -> Result:
    """nginx and the usual node, in turn."""
    size = bench.size
    bench.say(f"{size.rate} new streams a second of {TOKENS} tokens, {size.rounds} rounds ...")
    found: list[SetUp] = []
    for number, name in bench.turns(("nginx", "sqlite")):
        with bench.folder() as folder:
            server = servers.nginx(folder) if name == "nginx" else servers.holdfast(folder)
            if server is None:
                bench.skip(name, "it is not installed")
                continue
            one = measure(server, size, folder, bench.cores)._replace(relay=name)
        found.append(one)
        bench.say(f"round {number}: {name} median {one.median_ms:.1f} ms, p99 {one.p99_ms:.1f} ms")
    rows = [one._asdict() for one in found]
    return Result(rows, table(found), figures(found), not any(one.gaps for one in found))


def measure(server: servers.Server, size: Size, folder: Path, cores: Sequence[int]) -> SetUp:
    """One run. Raises `servers.Failed`."""
    streams = size.rate * size.seconds
    flags = ("--once", "--ramp", str(size.rate))
    asked = asking.Ask(streams, size.seconds + PATIENCE, flags, PACE, TOKENS)
    seen = asking.ask(server, asked, folder, cores)
    got = seen.got
    return SetUp(
        relay=server.name,
        median_ms=got["head_ms"][0],
        p99_ms=got["head_ms"][1],
        first_p99_ms=got["ttft_ms"][2],
        cpu_ms=seen.cpu * 1000 / max(1, got["done"]),
        a_second=got["opened"] / size.seconds,
        gaps=got["gaps"],
        failed=got["failed"] + got["bad_status"] + streams - got["opened"],
        load=seen.load,
    )


def table(found: Sequence[SetUp]) -> str:
    """A line for each relay."""
    head = ["relay", "median ms", "p99 ms", "lowest to highest p99", "first token p99 ms"]
    head += ["CPU ms a stream", "new streams/s", "gaps", "failed", "load on its core"]
    rows = []
    for name in dict.fromkeys(one.relay for one in found):
        mine = [one for one in found if one.relay == name]
        p99 = [one.p99_ms for one in mine]
        rows.append(
            [
                name,
                f"{median(one.median_ms for one in mine):.1f}",
                f"{median(p99):.1f}",
                f"{min(p99):.1f} to {max(p99):.1f}",
                f"{median(one.first_p99_ms for one in mine):.1f}",
                f"{median(one.cpu_ms for one in mine):.2f}",
                f"{median(one.a_second for one in mine):.0f}",
                f"{sum(one.gaps for one in mine)}",
                f"{sum(one.failed for one in mine)}",
                f"{max(one.load for one in mine):.0%}",
            ]
        )
    return report.table(head, rows)


def figures(found: Sequence[SetUp]) -> dict[str, Figure]:
    """The usual node's; none where the load took too much of its core."""
    mine = [one for one in found if one.relay == "sqlite"]
    if not mine or max(one.load for one in mine) > report.LOAD:
        return {}
    lost = sum(one.gaps + one.failed for one in mine)
    beside = f"median {median(one.median_ms for one in mine):.1f} ms, {lost} lost"
    return {"p99": Figure(median(one.p99_ms for one in mine), beside)}


SCENARIO = Scenario("setup", "500 new streams a second", run, Size(rounds=3, rate=500))
