"""As many streams as one core holds, once all of them are open, beside nginx in the same run.

Strategy: as `crowd`, but each stream's client is a reader of the bench, and only what is said when
all are open counts: `crowd` tells how the opening is borne, this how the streams are. The streams
are opened at a pace that a node can follow, and who is refused meanwhile asks again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from bench import audience, crowd, load, relay, report, servers, spoken
from bench.scenario import OUT, Bench, Figure, Option, Result, Scenario, Size

PACE = Option("pace", "streams that are opened a second", 300)
PATIENCE = 120.0


class Held(NamedTuple):
    """One run. `cpu_us` is the server's for each token, `others` the share of its core that
    programs outside the bench took, `refused` how often the opening of a stream was."""

    relay: str
    streams: int
    rate: int
    opened_s: float
    refused: int
    cpu_us: float
    kb_per_stream: float
    others: float
    heard: audience.Heard


def run(bench: Bench) -> Result | None:
    """A node and nginx in turn."""
    if not relay.pair(bench):
        return None
    size = bench.size
    bench.say(f"{size.streams} streams of {size.rate} tokens/s, {size.rounds} rounds ...")
    runs = []
    for number, name in bench.turns(("nginx", "sqlite")):
        one = measure(bench, name)
        if one is None:
            bench.skip(name, "it is not installed")
            continue
        runs.append(one)
        bench.say(
            f"round {number}: {name} {beside([one])}, client {one.heard.busy:.0%} of its core"
        )
    if not runs:
        return None
    rows = [{**one._asdict(), "heard": one.heard._asdict()} for one in runs]
    heard = [one.heard for one in runs]
    whole = not any(one.gaps or one.repeats or one.ended for one in heard)
    return Result(rows, table(runs), figures(runs), whole)


def measure(bench: Bench, name: str) -> Held | None:
    """One run; None where the server is not installed. Raises `servers.Failed`."""
    size, core = bench.size, bench.cores[0]
    with bench.folder() as folder, contextlib.ExitStack() as kept:
        server = crowd.server(name, folder, kept)
        if server is None:
            return None
        numbers = (server.provider, spoken.ENDLESS, 1_000_000 // size.rate)
        voice = (str(OUT / "llmsim"), *(str(one) for one in numbers))
        log, other = folder / f"{name}.log", bench.cores[1]
        kept.enter_context(servers.running(voice, server.provider, folder / "provider.log", other))
        pid = kept.enter_context(servers.running(server.command, server.port, log, core))
        time.sleep(relay.WARM)
        memory = servers.memory_kb(pid)
        asked = load.request("POST", server.path, server.body, server.headers)
        wishes = [audience.Wish(asked)] * size.streams
        with audience.Audience(server.port, wishes, sources=4) as everyone:
            opened = everyone.open(float(bench.options["pace"]), PATIENCE)
            everyone.settle(audience.RETRY_SECONDS)
            memory = servers.memory_kb(pid) - memory
            refused, meter = everyone.ended, spoken.Meter(pid, core)
            heard = everyone.listen(size.seconds)
            used, others = meter.read()
    if not heard.tokens:
        raise servers.Failed(f"{name}: not one token came through")
    return Held(
        relay=name,
        streams=size.streams,
        rate=size.rate,
        opened_s=opened,
        refused=refused,
        cpu_us=used * 1e6 / heard.tokens,
        kb_per_stream=memory / size.streams,
        others=others,
        heard=heard,
    )


def figures(runs: Sequence[Held]) -> dict[str, Figure]:
    """Of rounds in which the client had time: what a token waits, and costs beside nginx."""
    good = [one for one in runs if one.heard.busy <= audience.BUSY]
    mine, floor = ([one for one in good if one.relay == name] for name in ("sqlite", "nginx"))
    if not mine:
        return {}
    found = {"p99 once open": Figure(median(one.heard.p99_ms for one in mine), beside(mine))}
    if floor:
        ratio = median(one.cpu_us for one in mine) / median(one.cpu_us for one in floor)
        found["sqlite ÷ nginx"] = Figure(ratio, beside(mine), ratio=True)
    return found


def beside(runs: Sequence[Held]) -> str:
    """What is told with a figure."""
    heard = [one.heard for one in runs]
    return (
        f"{median(one.cpu_us for one in runs):.1f} µs,"
        f" p50 {median(one.p50_ms for one in heard):.1f} ms,"
        f" p99 {median(one.p99_ms for one in heard):.1f} ms,"
        f" {median(one.tokens_a_read for one in heard):.2f} tokens a read,"
        f" {median(one.kb_per_stream for one in runs):.0f} KB a stream,"
        f" {sum(one.gaps + one.repeats for one in heard)} gaps and repeats"
    )


HEAD = ("relay", "streams", "tokens/s", "CPU µs/token", "p50 ms", "p99 ms", "max ms", "tokens/read")
LAST = ("KB/stream", "opened in s", "refused", "gaps", "repeats", "cut", "client", "others")


def table(runs: Sequence[Held]) -> str:
    """A line for each run."""
    rows = []
    for one in runs:
        heard = one.heard
        rows.append(
            (
                one.relay,
                f"{one.streams}",
                f"{heard.tokens / heard.seconds:.0f}",
                *(f"{ms:.1f}" for ms in (one.cpu_us, heard.p50_ms, heard.p99_ms, heard.max_ms)),
                f"{heard.tokens_a_read:.2f}",
                f"{one.kb_per_stream:.0f}",
                f"{one.opened_s:.1f}",
                *(f"{n}" for n in (one.refused, heard.gaps, heard.repeats, heard.ended)),
                f"{heard.busy:.0%}",
                f"{one.others:.0%}",
            )
        )
    said = [report.table((*HEAD, *LAST), rows)]
    if any(one.heard.busy > audience.BUSY for one in runs):
        said.append(f"No figure of runs whose client took over {audience.BUSY:.0%} of its core.")
    return "\n\n".join(said)


SCENARIO = Scenario(
    "held",
    "9,500 streams of 2 tokens a second once all are open, beside nginx",
    run,
    Size(9500, 3, 10, 2),
    options=(PACE,),
    usual=False,
)
