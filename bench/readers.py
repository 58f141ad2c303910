"""Thousands of readers on one node, of few streams: how late a token reaches all of them.

Strategy: the streams speak while their readers join, at a pace that a node bears; only tokens
that were said when all were there are counted. The client is one thread of the bench, so its own
turn through the readers of a stream is in the waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from bench import audience, relay, report, servers, spoken
from bench.scenario import Bench, Figure, Result, Scenario, Size

STREAMS = 100
JOINING, SETTLING = 2000.0, 2.0
"""Readers that join a second; seconds after the last one, in which nothing is counted."""


class Open(NamedTuple):
    """One run. `cpu_us` is the node's for each token that reached one reader, `others` the share of
    its core that programs outside the bench took."""

    readers: int
    streams: int
    rate: float
    joined_s: float
    cpu_us: float
    node_mb: float
    kb_a_reader: float
    lifted: bool
    others: float
    heard: audience.Heard


def measure(bench: Bench, streams: int, rate: float) -> Open:
    """One run. Raises `servers.Failed`."""
    readers, seconds = bench.size.streams, bench.size.seconds
    with (
        bench.folder() as folder,
        spoken.speaking(bench, folder, streams, rate, readers) as node,
    ):
        before = servers.memory_kb(node.pid)
        wishes = [spoken.wish(node.streams[one % streams]) for one in range(readers)]
        with audience.Audience(node.server.port, wishes, sources=4) as crowd:
            joined = crowd.open(JOINING)
            crowd.settle(SETTLING)
            meter = spoken.Meter(node.pid, bench.cores[0])
            heard = crowd.listen(seconds)
            used, others = meter.read()
            memory = servers.memory_kb(node.pid)
    if not heard.tokens:
        raise servers.Failed("not one token came through")
    return Open(
        readers=readers,
        streams=streams,
        rate=rate,
        joined_s=joined,
        cpu_us=used * 1e6 / heard.tokens,
        node_mb=memory / 1024,
        kb_a_reader=(memory - before) / readers,
        lifted=node.lifted,
        others=others,
        heard=heard,
    )


def run(bench: Bench) -> Result | None:
    """All rounds."""
    if not relay.pair(bench):
        return None
    size = bench.size
    runs = []
    for number in range(1, size.rounds + 1):
        bench.say(f"round {number}: {size.streams} readers of {STREAMS} streams ...")
        one = measure(bench, STREAMS, size.rate)
        bench.say(line(one))
        runs.append(one)
    good = [one for one in runs if one.heard.busy <= audience.BUSY]
    figures = {}
    if good:
        figures["p99"] = Figure(median(one.heard.p99_ms for one in good), beside(good))
    return Result([row(one) for one in runs], table(runs), figures, whole(runs))


def line(one: Open) -> str:
    """Of progress."""
    heard = one.heard
    return (
        f"p50 {heard.p50_ms:.1f} ms, p99 {heard.p99_ms:.1f} ms, {one.cpu_us:.1f} µs a token and"
        f" reader, {heard.tokens_a_read:.2f} tokens a read, gaps {heard.gaps}, repeats"
        f" {heard.repeats}, client {heard.busy:.0%} of its core, others {one.others:.0%}"
    )


def beside(runs: Sequence[Open]) -> str:
    """What is told with a figure."""
    heard = [one.heard for one in runs]
    return (
        f"{median(one.cpu_us for one in runs):.1f} µs a delivery,"
        f" p50 {median(one.p50_ms for one in heard):.1f} ms,"
        f" p99 {median(one.p99_ms for one in heard):.1f} ms,"
        f" {median(one.tokens_a_read for one in heard):.2f} tokens a read,"
        f" {sum(one.gaps + one.repeats for one in heard)} gaps and repeats"
    )


def whole(runs: Sequence[Open]) -> bool:
    """Whether all readers had everything once."""
    return not any(one.heard.gaps or one.heard.repeats or one.heard.ended for one in runs)


def row(one: Open) -> dict[str, object]:
    """As JSON."""
    return {**one._asdict(), "heard": one.heard._asdict()}


HEAD = ("readers", "streams, rate", "p50 ms", "p99 ms", "max ms", "µs a delivery", "tokens/read")
LAST = (
    "KB/reader",
    "node MB",
    "joined in s",
    "gaps",
    "repeats",
    "cut",
    "client on its core",
    "others",
)


def table(runs: Sequence[Open]) -> str:
    """A line for each run."""
    rows = []
    for one in runs:
        heard = one.heard
        rows.append(
            (
                f"{one.readers}",
                f"{one.streams} of {one.rate:g}/s",
                *(f"{ms:.1f}" for ms in (heard.p50_ms, heard.p99_ms, heard.max_ms, one.cpu_us)),
                f"{heard.tokens_a_read:.2f}",
                f"{one.kb_a_reader:.1f}",
                f"{one.node_mb:.0f}",
                f"{one.joined_s:.1f}",
                *(f"{count}" for count in (heard.gaps, heard.repeats, heard.ended)),
                f"{heard.busy:.0%}",
                f"{one.others:.0%}",
            )
        )
    said = [report.table((*HEAD, *LAST), rows)]
    said += notes(any(one.lifted for one in runs), max(one.heard.busy for one in runs))
    return "\n\n".join(said)


def notes(lifted: bool, busy: float) -> list[str]:
    """What must be known of the runs."""
    said = []
    if lifted:
        said.append("The node's rule of two files a reader was lifted: the machine has too few.")
    if busy > audience.BUSY:
        said.append(f"No figure of runs whose client took over {audience.BUSY:.0%} of its core.")
    return said


SCENARIO = Scenario(
    "readers",
    f"12,000 readers of {STREAMS} streams on one node",
    run,
    Size(12_000, 3, 10, 1),
    usual=False,
)
