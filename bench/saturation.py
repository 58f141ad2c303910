"""How many tokens a second one core relays before they come late, beside nginx in the same run.

Strategy: for each number of streams the rate of a stream is raised until a run does not hold
(the slowest hundredth waits too long, or tokens are missing or fewer than were asked for), and the
bound is closed in on. Each run is a fresh server under the load of `relay`, but with streams that
last as long as the run: what it takes to open and to end them is another question (`setup`). The
search for the next number of streams begins at the best total so far and ends where less than that
holds. Where the load, or the rate, is at its own limit the figure is a lower bound, and says so.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from bench import crowd, relay, report
from bench.scenario import Bench, Figure, Option, Result, Scenario, Size

P99_MS = 150.0
"""What the slowest hundredth may wait."""

ENOUGH = 0.85
"""The share of what was asked for that must come: the opening of streams takes some."""

STEP, CLOSE, HIGHEST = 1.5, 1.08, 50
"""How far the rate moves before both sides are known; how near they must come; the highest rate:
what is faster than models are would be another question, of many tokens in one read."""

TIMES_STREAMS = (1.0, 1.4, 2.0)
"""The numbers of streams, as shares of the size."""

OPENING = relay.SETTLED
"""The share of a run over which its streams are opened."""

LOAD = 0.95
"""Share of its core beyond which the load was at its limit."""

BUDGET = Option("budget", "seconds for one server's search", 150)


class Probe(NamedTuple):
    """A run, and what it was asked for."""

    relay: str
    round: int
    streams: int
    rate: int
    held: bool
    tokens_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    gaps: int
    failed: int
    load: float
    others: float
    tokens_per_write: float | None


def holds(run: relay.Run, streams: int, rate: int) -> bool:
    """Whether the server bears this load."""
    came = run.tokens_per_s >= ENOUGH * streams * rate
    return came and run.p99_ms < P99_MS and not run.gaps and not run.failed


def next_rate(tried: Mapping[int, bool], start: int) -> int | None:
    """The rate to try after these, of which each held or did not; None when enough is known."""
    if not tried:
        return max(1, min(start, HIGHEST))
    held = max((rate for rate, good in tried.items() if good), default=0)
    lost = min((rate for rate, good in tried.items() if not good and rate > held), default=0)
    if not lost:
        wanted = min(HIGHEST, math.ceil(held * STEP))
    elif not held:
        wanted = int(lost / STEP)
    elif lost / held <= CLOSE:
        return None
    else:
        wanted = round(math.sqrt(held * lost))
    return None if wanted < 1 or wanted in tried else wanted


def run(bench: Bench) -> Result | None:
    """The search for each server in turn."""
    if not relay.pair(bench):
        return None
    probes: list[Probe] = []
    for number, name in bench.turns(("nginx", "sqlite")):
        probes += _search(bench, number, name)
    if not any(probe.held for probe in probes):
        return None
    whole = not any(probe.gaps for probe in probes)
    return Result([one._asdict() for one in probes], table(probes), figures(probes), whole)


def _search(bench: Bench, number: int, name: str) -> list[Probe]:
    """All runs of one server in one round."""
    until = time.monotonic() + int(bench.options["budget"])
    found: list[Probe] = []
    for times in TIMES_STREAMS:
        streams = max(1, int(bench.size.streams * times))
        best = max((one.tokens_per_s for one in found if one.held), default=0.0)
        start = int(best / streams) + 1 if best else bench.size.rate
        tried: dict[int, bool] = {}
        while time.monotonic() < until and (rate := next_rate(tried, start)) is not None:
            if streams * rate <= best:
                break  # fewer streams do more
            one = _probe(bench, number, name, streams, rate)
            if one is None:
                return []
            found.append(one)
            tried[rate] = one.held
    return found


def _probe(bench: Bench, number: int, name: str, streams: int, rate: int) -> Probe | None:
    with bench.folder() as folder, contextlib.ExitStack() as kept:
        server = crowd.server(name, folder, kept)
        if server is None:
            bench.skip(name, "it is not installed")
            return None
        pair, seconds = relay.Load(True, bench.cores[1:]), bench.size.seconds
        provider = pair.provider(server.provider, rate, math.ceil(rate * seconds))
        with crowd.opened(math.ceil(streams / (OPENING * seconds))):
            seen = relay.measure(server, provider, streams, seconds, folder, bench.cores, pair)
    held = holds(seen, streams, rate)
    bench.say(
        f"round {number}: {name} {streams} of {rate}/s: {seen.tokens_per_s:.0f} tokens/s,"
        f" p99 {seen.p99_ms:.0f} ms, load {seen.load:.0%}, others {seen.others:.0%}:"
        f" {'holds' if held else 'does not hold'}"
    )
    return Probe(
        name,
        number,
        streams,
        rate,
        held,
        # The load's provider catches up at times; more than is asked for is nothing that lasts.
        *(
            min(seen.tokens_per_s, streams * rate),
            seen.p50_ms,
            seen.p99_ms,
            seen.cpu_us,
            seen.gaps,
            seen.failed,
        ),
        seen.load,
        seen.others,
        seen.tokens_per_write,
    )


def best(probes: Sequence[Probe], name: str) -> list[Probe]:
    """Of each round the run of this server that held the most."""
    held = [one for one in probes if one.relay == name and one.held]
    rounds = sorted({one.round for one in held})
    return [
        max((one for one in held if one.round == number), key=lambda one: one.tokens_per_s)
        for number in rounds
    ]


def figures(probes: Sequence[Probe]) -> dict[str, Figure]:
    """Tokens a second to nginx's, and ours."""
    mine, floor = best(probes, "sqlite"), {one.round: one for one in best(probes, "nginx")}
    if not mine:
        return {}
    told = f"{_told(mine)}; nginx: {_told(list(floor.values()))}"
    found = {"tokens/s": Figure(median(one.tokens_per_s for one in mine), told, higher=True)}
    ratios = [
        one.tokens_per_s / floor[one.round].tokens_per_s for one in mine if one.round in floor
    ]
    if ratios:
        found["sqlite ÷ nginx"] = Figure(median(ratios), told, ratio=True, higher=True)
    return found


def _told(ones: Sequence[Probe]) -> str:
    if not ones:
        return "none"
    first = ones[0]
    return (
        f"{first.tokens_per_s:.0f} tokens/s at {first.streams} of {first.rate}/s,"
        f" p50 {first.p50_ms:.1f} ms, p99 {first.p99_ms:.1f} ms, {first.cpu_us:.1f} µs,"
        f" {first.tokens_per_write or 0:.2f} tokens a write,"
        f" load {first.load:.0%} of its core"
    )


def table(probes: Sequence[Probe]) -> str:
    """The best of each server and round, and what bounds them."""
    head = (
        "relay",
        "round",
        "streams, rate",
        "tokens/s",
        "p50 ms",
        "p99 ms",
        "CPU µs/token",
        "tokens a write",
    )
    rows, limited, fastest = [], set(), set()
    for name in dict.fromkeys(one.relay for one in probes):
        for one in best(probes, name):
            rows.append(
                (
                    name,
                    f"{one.round}",
                    f"{one.streams} of {one.rate}/s",
                    f"{one.tokens_per_s:.0f}",
                    f"{one.p50_ms:.1f}",
                    f"{one.p99_ms:.1f}",
                    f"{one.cpu_us:.1f}",
                    f"{one.tokens_per_write or 0:.2f}",
                    f"{one.load:.0%}",
                    f"{one.others:.0%}",
                )
            )
            if one.load > LOAD:
                limited.add(name)
            if one.rate == HIGHEST:
                fastest.add(name)
    said = [report.table((*head, "load on its core", "others on the relay's"), rows)]
    said += [f"{name}: at least: the load was at its own limit." for name in sorted(limited)]
    said += [f"{name}: at least: {HIGHEST} a second is the highest." for name in sorted(fastest)]
    return "\n\n".join(said)


SCENARIO = Scenario(
    "saturation",
    f"the most tokens a second with p99 under {P99_MS:g} ms, beside nginx",
    run,
    Size(1000, 1, 12, 20),
    options=(BUDGET,),
    usual=False,
)
