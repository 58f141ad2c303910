"""Whether the load in Python says what the load pair says, of the same relay.

Strategy: nginx, whose cost barely moves, under the one and the other in turn; what counts are the
ratios of each round. Waits are told and not judged: the pair counts them in steps of 20 %, and a
token that waits for Python's own turn is later by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from bench import relay, report, servers
from bench.scenario import Bench, Figure, Result, Scenario, Size

APART = 0.15
"""Of each other, at most."""

JUDGED = (("CPU µs/token", "cpu_us"), ("once settled", "settled_us"), ("tokens/s", "tokens_per_s"))
TOLD = (("p50 ms", "p50_ms"), ("p99 ms", "p99_ms"), ("first token p99 ms", "first_p99_ms"))


def run(bench: Bench) -> Result | None:
    """nginx under both loads, in turn."""
    if not relay.pair(bench):
        return None
    size, runs = bench.size, list[relay.Run]()
    loads = {
        "pair": relay.Load(True, bench.cores[1:]),
        "python": relay.Load(False, bench.cores[1:]),
    }
    for number, name in bench.turns(list(loads)):
        with bench.folder() as folder:
            server = servers.nginx(folder)
            if server is None:
                bench.skip("all of it", "there is no nginx here")
                return None
            load = loads[name]
            provider = load.provider(server.provider, size.rate)
            one = relay.measure(
                server, provider, size.streams, size.seconds, folder, bench.cores, load
            )
        runs.append(one._replace(relay=name))
        bench.say(f"{relay.line(number, runs[-1])}, load {one.load:.0%} of its core")
    rows = [one._asdict() for one in runs]
    return Result(rows, table(runs), figures(runs), not any(one.gaps for one in runs))


def figures(runs: Sequence[relay.Run]) -> dict[str, Figure]:
    """What Python's says to what the pair says."""
    found = report.good(runs)
    both = {title: report.times(found, "python", "pair", field) for title, field in JUDGED}
    return {title: Figure(ratio, ratio=True) for title, ratio in both.items() if ratio is not None}


def table(runs: Sequence[relay.Run]) -> str:
    """A line for each measure."""
    found, rows = report.good(runs), []
    for title, field in (*JUDGED, *TOLD):
        middles = [
            format(median(values), ".1f") if values else "-"
            for name in ("pair", "python")
            for values in [[getattr(run, field) for run in report.of(found, name)]]
        ]
        ratio = report.times(found, "python", "pair", field)
        judged = (title, field) in JUDGED and ratio is not None
        met = report.met(ratio is not None and abs(ratio - 1) <= APART) if judged else ""
        rows.append((title, *middles, "-" if ratio is None else f"{ratio:.2f}", met))
    head = ("nginx", "the pair", "python", "python ÷ pair", f"within {APART:.0%}")
    return "\n\n".join([report.table(head, rows), *report.refused(runs), *report.noise(runs)])


SCENARIO = Scenario(
    "agree", "the load in Python beside the load pair", run, Size(1000, 3), usual=False
)
