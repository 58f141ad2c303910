"""What was measured, as Markdown, and what it depends on.

Strategy: a table holds the medians of the rounds, with the lowest and the highest CPU time
beside them, because the noise is part of the result; an aim is told as met or missed.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from bench import latency, relay

MEDIAN_MS, STREAMS_PER_TICK, TIMES_NGINX = 5.0, 5.0, 2.7
"""The aims: below, above, at most."""

QUIET = 0.2
"""Share of the relay's core that others may take before the numbers are called doubtful."""

# Title, field of a run, format.
COLUMNS = (
    ("CPU µs/token", "cpu_us", ".1f"),
    ("once settled", "settled_us", ".1f"),
    ("p50 ms", "p50_ms", ".1f"),
    ("p99 ms", "p99_ms", ".1f"),
    ("tokens/s", "tokens_per_s", ".0f"),
    ("KB/stream", "kb_per_stream", ".0f"),
    ("others on the core", "others", ".0%"),
)


def circumstances(folder: Path) -> dict[str, object]:
    """What the numbers depend on; `folder` is where the log lies."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    git = ("git", "--no-optional-locks", "-C", str(folder), "describe", "--always", "--dirty")
    return {
        "commit": _said(*git),
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "filesystem": _said("stat", "-f", "-c", "%T", str(folder)),
        "load_average": os.getloadavg(),
    }


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def latencies(waits: Sequence[latency.Latency]) -> str:
    """The table of the idle stream."""
    head = ("log", "median ms", "p99 ms", "max ms", f"median under {MEDIAN_MS:g} ms")
    rows = [(w.log, *(f"{ms:.2f}" for ms in w[1:]), _met(w.median_ms < MEDIAN_MS)) for w in waits]
    return _table(head, rows)


def relays(runs: Sequence[relay.Run]) -> str:
    """The table of many streams, and what the aims say to it."""
    head = ["relay", *(title for title, _, _ in COLUMNS), "lowest to highest µs", "gaps", "failed"]
    names = dict.fromkeys(run.relay for run in runs)
    said = [_table(head, (_row([run for run in runs if run.relay == name]) for name in names))]
    for name in names:
        times = _times_nginx(runs, name)
        if times is not None and name != "nginx":
            met = f"(aim: at most {TIMES_NGINX:g}: {_met(times <= TIMES_NGINX)})"
            said.append(f"{name}: {times:.2f} times nginx's CPU, median of the rounds {met}")
    ticks = [run.streams_per_tick for run in runs if run.streams_per_tick is not None]
    if ticks:
        met = f"(aim: over {STREAMS_PER_TICK:g}: {_met(median(ticks) > STREAMS_PER_TICK)})"
        said.append(f"holdfast: {median(ticks):.1f} streams a tick {met}")
    noise = max(run.others for run in runs)
    if noise > QUIET:
        said.append(f"Others took up to {noise:.0%} of the relay's core: repeat it in quiet.")
    return "\n\n".join(said)


def _row(runs: Sequence[relay.Run]) -> list[str]:
    numbers = [format(median(getattr(run, name) for run in runs), how) for _, name, how in COLUMNS]
    cpu = [run.cpu_us for run in runs]
    lost = [str(sum(run.gaps for run in runs)), str(sum(run.failed for run in runs))]
    return [runs[0].relay, *numbers, f"{min(cpu):.1f} to {max(cpu):.1f}", *lost]


def _times_nginx(runs: Sequence[relay.Run], name: str) -> float | None:
    """The median over the rounds of this relay's CPU a token to nginx's in the same round."""
    mine, floor = ([run.cpu_us for run in runs if run.relay == who] for who in (name, "nginx"))
    ratios = [one / other for one, other in zip(mine, floor, strict=False)]
    return median(ratios) if ratios else None


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
