"""All readers come back at once, each with events behind it: how long until all have caught up.

Strategy: the provider speaks until each stream has enough, and is then stopped, so that there is an
end to reach. Readers join and read everything; then all connections are cut, and all readers ask at
once, each after the event that is so many before the newest. What is due to each is known by token,
so a gap and a repeat are seen. Nobody waits for his turn but in the kernel's queue of connections.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from bench import audience, ears, readers, relay, report, servers, spoken
from bench.scenario import Bench, Figure, Option, Result, Scenario, Size

BEHIND = Option("behind", "events that each reader is behind", 200)
STREAMS = Option("of", "streams that the readers share", 100)

BEFORE = 1.3
"""Tokens that a stream has before the storm, as a share of what its readers are behind."""

STILL = 1.0
"""Seconds until what the provider said before it was stopped has arrived."""

PATIENCE = 120.0


class Storm(NamedTuple):
    """One run: seconds until half, 99 % and all have caught up."""

    readers: int
    streams: int
    behind: int
    half_s: float
    p99_s: float
    all_s: float
    cpu_us: float
    node_mb: float
    sent_away: int
    gaps: int
    repeats: int
    busy: float
    others: float
    lifted: bool


def run(bench: Bench) -> Result | None:
    """All rounds."""
    if not relay.pair(bench):
        return None
    size = bench.size
    runs = []
    for number in range(1, size.rounds + 1):
        bench.say(f"round {number}: {size.streams} readers of {bench.options['of']} streams ...")
        one = measure(bench)
        bench.say(
            f"half after {one.half_s:.2f} s, all after {one.all_s:.2f} s, {one.cpu_us:.1f} µs an"
            f" event, {one.sent_away} sent away, gaps {one.gaps}, repeats {one.repeats},"
            f" client {one.busy:.0%} of its core, others {one.others:.0%}"
        )
        runs.append(one)
    whole = not any(one.gaps or one.repeats for one in runs)
    return Result([one._asdict() for one in runs], table(runs), figures(runs), whole)


def measure(bench: Bench) -> Storm:
    """One run. Raises `servers.Failed`."""
    streams, behind = int(bench.options["of"]), int(bench.options["behind"])
    count, rate = bench.size.streams, bench.size.rate
    with bench.folder() as folder, spoken.speaking(bench, folder, streams, rate, count) as node:
        time.sleep(BEFORE * behind / rate)
        os.kill(node.provider, signal.SIGSTOP)
        try:
            time.sleep(STILL)
            told = [spoken.history(node.server, stream) for stream in node.streams]
            wishes = [resumed(*one, behind) for one in zip(node.streams, told, strict=True)]
            return _storm(bench, node, wishes, behind)
        finally:
            os.kill(node.provider, signal.SIGCONT)  # a stopped program hears no SIGTERM


def _storm(
    bench: Bench, node: spoken.Spoken, wishes: Sequence[audience.Wish], behind: int
) -> Storm:
    count = bench.size.streams
    first = [spoken.wish(node.streams[one % len(wishes)]) for one in range(count)]
    with audience.Audience(node.server.port, first, sources=4) as crowd:
        crowd.open(readers.JOINING)
        crowd.settle(readers.SETTLING)
        crowd.cut()
        meter = spoken.Meter(node.pid, bench.cores[0])
        before, mine = crowd.ended, time.process_time()
        times = crowd.catch_up([wishes[one % len(wishes)] for one in range(count)], PATIENCE)
        (used, others), mine = meter.read(), time.process_time() - mine
        gaps, repeats = crowd.disorder()
        return Storm(
            readers=count,
            streams=len(wishes),
            behind=behind,
            half_s=ears.percentile(times, 0.5),
            p99_s=ears.percentile(times, 0.99),
            all_s=times[-1],
            cpu_us=used * 1e6 / (count * behind),
            node_mb=servers.memory_kb(node.pid) / 1024,
            sent_away=crowd.ended - before,
            gaps=gaps,
            repeats=repeats,
            busy=mine / times[-1],
            others=others,
            lifted=node.lifted,
        )


def resumed(stream: str, told: Sequence[spoken.Told], behind: int) -> audience.Wish:
    """What a reader asks who has all but so many events. Raises `servers.Failed` where the stream
    has not so many."""
    if len(told) <= behind:
        raise servers.Failed(f"a stream has {len(told)} events: the machine is too slow, or busy")
    missing = told[-behind:]
    request = spoken.request(stream, told[-behind - 1].id)
    return audience.Wish(request, missing[0].tokens[0], missing[-1].tokens[-1])


def figures(runs: Sequence[Storm]) -> dict[str, Figure]:
    """How long it took. A client that is busy only makes it longer, so it is never refused."""
    told = (
        f"half {median(one.half_s for one in runs):.2f} s,"
        f" {median(one.cpu_us for one in runs):.1f} µs an event,"
        f" {sum(one.sent_away for one in runs)} sent away,"
        f" {sum(one.gaps + one.repeats for one in runs)} gaps and repeats"
    )
    return {"s": Figure(median(one.all_s for one in runs), told)}


HEAD = ("readers", "streams", "behind", "half s", "99 % s", "all s", "CPU µs/event", "node MB")


def table(runs: Sequence[Storm]) -> str:
    """A line for each run."""
    rows = [
        (
            *(f"{count}" for count in (one.readers, one.streams, one.behind)),
            *(f"{s:.2f}" for s in (one.half_s, one.p99_s, one.all_s)),
            f"{one.cpu_us:.1f}",
            f"{one.node_mb:.0f}",
            *(f"{count}" for count in (one.sent_away, one.gaps, one.repeats)),
            f"{one.busy:.0%}",
            f"{one.others:.0%}",
        )
        for one in runs
    ]
    last = ("sent away", "gaps", "repeats", "client on its core", "others")
    said = [report.table((*HEAD, *last), rows)]
    return "\n\n".join([*said, *readers.notes(any(one.lifted for one in runs), 0.0)])


SCENARIO = Scenario(
    "storm",
    "10,000 readers come back at once",
    run,
    Size(10_000, 3, 0, 40),
    options=(BEHIND, STREAMS),
    usual=False,
)
