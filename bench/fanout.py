"""One stream to thousands of readers: what a delivery costs, beside a bare loop of writes.

Strategy: the yardstick (`bare`) writes as many bytes as often to as many sockets, in the same round
and read by the same client; so what is compared is what a node does beyond the write.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import audience, readers, relay, report, servers, spoken
from bench.scenario import Bench, Figure, Result, Scenario, Size

NAMES = ("holdfast", "bare")
USUAL_BYTES = 250
"""Of a bare event, where no node has run before it."""


class Side(NamedTuple):
    """One run. `cpu_us` is the server's for each token that reached one reader, `others` the share
    of its core that programs outside the bench took."""

    server: str
    round: int
    cpu_us: float
    bytes: float
    lifted: bool
    others: float
    heard: audience.Heard


def run(bench: Bench) -> Result | None:
    """The node and the bare loop in turn."""
    if not relay.pair(bench):
        return None
    size = bench.size
    bench.say(f"{size.streams} readers of one stream, {size.rounds} rounds ...")
    runs: list[Side] = []
    for number, name in bench.turns(NAMES):
        of_bytes = next((round(one.bytes) for one in reversed(runs) if one.server == NAMES[0]), 0)
        with bench.folder() as folder:
            if name == NAMES[0]:
                one = _node(bench, number, folder)
            else:
                one = _bare(bench, number, folder, of_bytes or USUAL_BYTES)
        runs.append(one)
        heard = one.heard
        bench.say(
            f"round {number}: {name} {one.cpu_us:.2f} µs a delivery of {one.bytes:.0f} bytes,"
            f" {heard.tokens_a_read:.2f} tokens a read, p99 {heard.p99_ms:.0f} ms,"
            f" gaps {heard.gaps}, repeats {heard.repeats}, client {heard.busy:.0%} of its core,"
            f" others {one.others:.0%}"
        )
    whole = not any(one.heard.gaps or one.heard.repeats or one.heard.ended for one in runs)
    rows = [{**one._asdict(), "heard": one.heard._asdict()} for one in runs]
    return Result(rows, table(runs), figures(runs), whole)


def _node(bench: Bench, number: int, folder: Path) -> Side:
    size = bench.size
    with spoken.speaking(bench, folder, 1, size.rate, size.streams) as node:
        wishes = [spoken.wish(node.streams[0])] * size.streams
        used, others, heard = _listen(bench, node.server.port, node.pid, wishes)
    return side(NAMES[0], number, used, others, heard, node.lifted)


def _bare(bench: Bench, number: int, folder: Path, of_bytes: int) -> Side:
    port = servers.free_port()
    command = [sys.executable, "-m", "bench.bare", str(port), str(bench.size.rate), str(of_bytes)]
    wishes = [audience.Wish(b"GET / HTTP/1.1\r\n\r\n")] * bench.size.streams
    with servers.running(command, port, folder / "bare.log", bench.cores[0]) as pid:
        time.sleep(relay.WARM)
        used, others, heard = _listen(bench, port, pid, wishes)
    return side(NAMES[1], number, used, others, heard)


def _listen(
    bench: Bench, port: int, pid: int, wishes: Sequence[audience.Wish]
) -> tuple[float, float, audience.Heard]:
    """What a meter of the server tells of the time in which all listen, and what they heard."""
    with audience.Audience(port, wishes, sources=4) as crowd:
        crowd.open(readers.JOINING)
        crowd.settle(readers.SETTLING)
        meter = spoken.Meter(pid, bench.cores[0])
        heard = crowd.listen(bench.size.seconds)
        return (*meter.read(), heard)


def side(
    name: str,
    number: int,
    used: float,
    others: float,
    heard: audience.Heard,
    lifted: bool = False,
) -> Side:
    """A run, by the CPU seconds that the server used. Raises `servers.Failed`."""
    if not heard.tokens:
        raise servers.Failed(f"{name}: not one token came through")
    size = heard.megabytes * 1e6 / heard.tokens
    return Side(name, number, used * 1e6 / heard.tokens, size, lifted, others, heard)


def pairs(runs: Sequence[Side]) -> list[tuple[Side, Side]]:
    """The node and the bare loop of each round in which the client had time for both."""
    good = {(one.round, one.server): one for one in runs if one.heard.busy <= audience.BUSY}
    rounds = sorted({number for number, _ in good})
    return [
        (good[number, NAMES[0]], good[number, NAMES[1]])
        for number in rounds
        if (number, NAMES[0]) in good and (number, NAMES[1]) in good
    ]


def figures(runs: Sequence[Side]) -> dict[str, Figure]:
    """What a delivery costs to what a write does."""
    both = pairs(runs)
    if not both:
        return {}
    heard = [mine.heard for mine, _ in both]
    told = (
        f"{median(mine.cpu_us for mine, _ in both):.2f} µs, bare"
        f" {median(bare.cpu_us for _, bare in both):.2f} µs,"
        f" p50 {median(one.p50_ms for one in heard):.1f} ms,"
        f" p99 {median(one.p99_ms for one in heard):.1f} ms,"
        f" {median(one.tokens_a_read for one in heard):.2f} tokens a read,"
        f" {sum(one.gaps + one.repeats for one in heard)} gaps and repeats"
    )
    ratio = median(mine.cpu_us / bare.cpu_us for mine, bare in both)
    return {"holdfast ÷ bare": Figure(ratio, told, ratio=True)}


HEAD = ("server", "µs a delivery", "bytes", "tokens/read", "p50 ms", "p99 ms", "gaps", "repeats")


def table(runs: Sequence[Side]) -> str:
    """A line for each run."""
    rows = [
        (
            one.server,
            f"{one.cpu_us:.2f}",
            f"{one.bytes:.0f}",
            f"{one.heard.tokens_a_read:.2f}",
            f"{one.heard.p50_ms:.1f}",
            f"{one.heard.p99_ms:.1f}",
            f"{one.heard.gaps}",
            f"{one.heard.repeats}",
            f"{one.heard.busy:.0%}",
            f"{one.others:.0%}",
        )
        for one in sorted(runs, key=lambda one: (one.server, one.round))
    ]
    said = [report.table((*HEAD, "client on its core", "others"), rows)]
    lifted, busy = any(one.lifted for one in runs), max(one.heard.busy for one in runs)
    return "\n\n".join([*said, *readers.notes(lifted, busy)])


SCENARIO = Scenario(
    "fanout",
    "one stream to 10,000 readers, beside a bare write loop",
    run,
    Size(10_000, 3, 10, 1),
    usual=False,
)
