"""The first token of a new stream, beside a thousand that go on, from a provider that is instant.

Strategy: streams are opened at the pace at which they end, so that once all are open new ones
come evenly; only those are counted that take the place of one that has ended. The provider sends
head and first token as soon as it is asked, so what is waited is the relay's. The time is from
the client's connect to its read of the first token.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from bench import asking, relay, report, servers
from bench.scenario import Bench, Figure, Result, Scenario, Size


class First(NamedTuple):
    """Milliseconds from connect to the first token, of so many streams; of all tokens the wait."""

    relay: str
    streams: int
    median_ms: float
    p99_ms: float
    token_p99_ms: float
    gaps: int
    failed: int
    load: float


def run(bench: Bench) -> Result:
    """nginx and the usual node, in turn."""
    size, found = bench.size, list[First]()
    pace = max(1, size.streams * size.rate // relay.TOKENS)
    filling = size.streams // pace + 1
    flags = ("--ramp", str(pace))
    asked = asking.Ask(size.streams, filling + size.seconds, flags, size.rate)
    bench.say(f"{size.streams} streams, {pace} new ones a second, {size.rounds} rounds ...")
    for number, name in bench.turns(("nginx", "sqlite")):
        with bench.folder() as folder:
            server = servers.nginx(folder) if name == "nginx" else servers.holdfast(folder)
            if server is None:
                bench.skip(name, "it is not installed")
                continue
            one = first(name, asking.ask(server, asked, folder, bench.cores))
        found.append(one)
        bench.say(f"round {number}: {name} median {one.median_ms:.1f} ms, p99 {one.p99_ms:.1f} ms")
    rows = [one._asdict() for one in found]
    return Result(rows, table(found), figures(found), not any(one.gaps for one in found))


def first(name: str, seen: asking.Seen) -> First:
    """What the client told of it."""
    got = seen.got
    return First(
        relay=name,
        streams=got["again"],
        median_ms=got["again_ms"][0],
        p99_ms=got["again_ms"][1],
        token_p99_ms=got["lat_ms"][2],
        gaps=got["gaps"],
        failed=got["failed"] + got["bad_status"],
        load=seen.load,
    )


def table(found: Sequence[First]) -> str:
    """A line for each relay."""
    head = ["relay", "new streams", "median ms", "p99 ms", "lowest to highest p99"]
    head += ["p99 ms of all tokens", "gaps", "failed", "load on its core"]
    rows = []
    for name in dict.fromkeys(one.relay for one in found):
        mine = [one for one in found if one.relay == name]
        p99 = [one.p99_ms for one in mine]
        rows.append(
            [
                name,
                f"{sum(one.streams for one in mine)}",
                f"{median(one.median_ms for one in mine):.1f}",
                f"{median(p99):.1f}",
                f"{min(p99):.1f} to {max(p99):.1f}",
                f"{median(one.token_p99_ms for one in mine):.1f}",
                f"{sum(one.gaps for one in mine)}",
                f"{sum(one.failed for one in mine)}",
                f"{max(one.load for one in mine):.0%}",
            ]
        )
    return report.table(head, rows)


def figures(found: Sequence[First]) -> dict[str, Figure]:
    """The usual node's; none where the load took too much of its core, or where the node was so
    slow that no stream ended and so no new one began."""
    mine = [one for one in found if one.relay == "sqlite" and one.streams]
    if not mine or max(one.load for one in mine) > report.LOAD:
        return {}
    lost = sum(one.gaps + one.failed for one in mine)
    beside = f"median {median(one.median_ms for one in mine):.1f} ms, {lost} lost"
    return {"p99": Figure(median(one.p99_ms for one in mine), beside)}


SCENARIO = Scenario("first", "first token of new streams beside 1,000", run, Size(1000, 3))
