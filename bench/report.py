"""What was measured, as Markdown, and what it depends on.

Strategy: a table holds the medians of the rounds, with the lowest and the highest CPU time
beside them, because the noise is part of the result; an aim is told as met or missed.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from bench import access, latency, providers, relay, sidechannel, slow, wires
from bench.sealed import LOGS

MEDIAN_MS, STREAMS_PER_TICK, TIMES_NGINX, GUARDED, WATCHED, SEALED = 5.0, 5.0, 2.7, 1.05, 1.05, 1.1
"""The aims: below, above, then at most."""

QUIET = 0.2
"""Share of the relay's core that others may take before the numbers are called doubtful."""

LOAD = 0.85
"""Share of its core that the load may take, with a provider that is written in Python: beyond,
the provider may have been the slowest part, and there is no figure."""

Columns = tuple[tuple[str, str, str], ...]
"""Title, field of a run, format."""

COLUMNS: Columns = (
    ("CPU µs/token", "cpu_us", ".1f"),
    ("once settled", "settled_us", ".1f"),
    ("p50 ms", "p50_ms", ".1f"),
    ("p99 ms", "p99_ms", ".1f"),
    ("tokens/s", "tokens_per_s", ".0f"),
    ("KB/stream", "kb_per_stream", ".0f"),
    ("others on the core", "others", ".0%"),
)
LOADS: Columns = (
    ("streams a tick", "streams_per_tick", ".1f"),
    ("provider on its core", "provider", ".0%"),
    ("with the client", "load", ".0%"),
)
FIRST = ("bytes/token", "translator µs", "times chat, settled")
LAST = ("lowest to highest µs", "gaps", "failed")


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


def besides(runs: Sequence[slow.Beside]) -> str:
    """The table of the fast readers, without and with stopped ones beside them."""
    head = ["stopped readers", "median ms", "p99 ms", "lowest to highest p99", "max ms"]
    head += ["still there", "node MB", "sockets MB"]
    rows = []
    for stopped in sorted({run.stopped for run in runs}):
        mine = [run for run in runs if run.stopped == stopped]
        p99 = [run.p99_ms for run in mine]
        middle = (median(getattr(run, name) for run in mine) for name in ("median_ms", "p99_ms"))
        sizes = (median(getattr(run, name) for run in mine) for name in ("node_mb", "sockets_mb"))
        rows.append(
            [
                f"{stopped}",
                *(f"{ms:.2f}" for ms in middle),
                f"{min(p99):.2f} to {max(p99):.2f}",
                f"{max(run.max_ms for run in mine):.1f}",
                f"{min(run.left for run in mine)}",
                *(f"{mb:.0f}" for mb in sizes),
            ]
        )
    return _table(head, rows)


def channels(found: Sequence[sidechannel.Channel]) -> str:
    """The table of what packets tell."""
    head = [
        "streaming",
        "sizes",
        "bits a packet",
        "of equal length",
        "by",
        "of other lengths",
        "by",
    ]
    head += ["bytes/token", "packets/token", "CPU µs/token", "median wait ms"]
    rows = []
    for one in found:
        measured = ("" if n is None else f"{n:.0f}" for n in (one.cpu_us, one.wait_ms))
        rows.append(
            [
                one.mode,
                f"{one.sizes}",
                f"{one.bits:.1f}",
                f"{one.equal:.0%}",
                one.equal_by,
                f"{one.other:.0%}",
                one.other_by,
                f"{one.bytes_per_token:.0f}",
                f"{one.packets_per_token:.2f}",
                *measured,
            ]
        )
    return _table(head, rows)


def guarded(runs: Sequence[relay.Run], set_ups: Sequence[access.SetUp]) -> str:
    """The tables of a node that asks who calls, beside one that does not, and what the aim says."""
    head = ["relay", *(title for title, _, _ in COLUMNS), *LAST]
    names = list(dict.fromkeys(run.relay for run in sorted(runs)))
    rows = ([name, *_row([run for run in runs if run.relay == name], COLUMNS)] for name in names)
    said = [_table(head, rows)]
    times = _times(runs, names[1], names[0], "cpu_us")
    if times is not None:
        met = f"(aim: at most {GUARDED:g}: {_met(times <= GUARDED)})"
        said.append(f"CPU a token: {times:.3f} times, median of the rounds {met}")
    title = ("a new stream", "median ms", "p99 ms", "CPU ms")
    by_name = {name: [one for one in set_ups if one.node == name] for name in names}
    middles = {
        name: [median(column) for column in zip(*(one[1:] for one in found), strict=True)]
        for name, found in by_name.items()
    }
    said.append(_table(title, [(name, *(f"{ms:.3f}" for ms in middles[name])) for name in names]))
    times = median(
        two.median_ms / one.median_ms
        for one, two in zip(by_name[names[0]], by_name[names[1]], strict=True)
    )
    met = f"(aim: at most {GUARDED:g}: {_met(times <= GUARDED)})"
    said.append(f"set-up: {times:.3f} times, median of the rounds {met}")
    return "\n\n".join([*said, *_noise(runs)])


def watched(runs: Sequence[relay.Run]) -> str:
    """The table of a node that tells everything, beside one that tells nothing."""
    return _sides(runs, {"watched": "quiet"}, WATCHED)


def sealed(runs: Sequence[relay.Run]) -> str:
    """The table of logs that are sealed, beside plain ones."""
    return _sides(runs, {f"{log}, sealed": f"{log}, plain" for log in LOGS}, SEALED)


def _sides(runs: Sequence[relay.Run], floors: Mapping[str, str], aim: float) -> str:
    """The table of them all, and what each costs beside its floor."""
    head = ["relay", *(title for title, _, _ in COLUMNS), *LAST]
    names = list(dict.fromkeys(run.relay for run in sorted(runs)))
    rows = ([name, *_row([run for run in runs if run.relay == name], COLUMNS)] for name in names)
    said = [_table(head, rows)]
    for name, floor in floors.items():
        times = _times(runs, name, floor, "cpu_us")
        if times is not None:
            met = f"(aim: at most {aim:g}: {_met(times <= aim)})"
            said.append(f"{name}: {times:.3f} times the CPU a token, median of the rounds {met}")
    return "\n\n".join([*said, *_noise(runs)])


def relays(runs: Sequence[relay.Run]) -> str:
    """The table of many streams, and what the aims say to it."""
    head = ["relay", *(title for title, _, _ in COLUMNS), *LAST]
    names = dict.fromkeys(run.relay for run in runs)
    rows = ([name, *_row([run for run in runs if run.relay == name], COLUMNS)] for name in names)
    said = [_table(head, rows)]
    for name in names:
        times = _times(runs, name, "nginx", "cpu_us")
        if times is not None and name != "nginx":
            met = f"(aim: at most {TIMES_NGINX:g}: {_met(times <= TIMES_NGINX)})"
            said.append(f"{name}: {times:.2f} times nginx's CPU, median of the rounds {met}")
    ticks = [run.streams_per_tick for run in runs if run.streams_per_tick is not None]
    if ticks:
        met = f"(aim: over {STREAMS_PER_TICK:g}: {_met(median(ticks) > STREAMS_PER_TICK)})"
        said.append(f"holdfast: {median(ticks):.1f} streams a tick {met}")
    return "\n\n".join([*said, *_noise(runs)])


def kinds(runs: Sequence[relay.Run], translators: Mapping[str, float]) -> str:
    """The table of the kinds of provider; `translators` has the microseconds of each one's. A
    kind has no figure if in one of its runs the load took over `LOAD` of its core."""
    columns = (*COLUMNS, *LOADS)
    titles = (title for title, _, _ in columns)
    head = ["provider", *FIRST, *titles, *LAST]
    refused = {run.relay: run.load for run in runs if run.load > LOAD}
    good = [run for run in runs if run.relay not in refused]
    rows = []
    for source in providers.SOURCES:
        mine = [run for run in good if run.relay == source.name]
        if mine:
            times = _times(good, source.name, providers.SOURCES[0].name, "settled_us")
            first = (f"{wires.frame_bytes(source.wire)}", f"{translators[source.name]:.1f}")
            ratio = "-" if times is None else f"{times:.2f}"
            rows.append([source.name, *first, ratio, *_row(mine, columns)])
    said = [
        f"{name}: no figure: the load took {share:.0%} of its core."
        for name, share in refused.items()
    ]
    return "\n\n".join([_table(head, rows), *said, *_noise(runs)])


def _noise(runs: Sequence[relay.Run]) -> list[str]:
    noise = max(run.others for run in runs)
    told = f"Others took up to {noise:.0%} of the relay's core: repeat it in quiet."
    return [told] if noise > QUIET else []


def _row(runs: Sequence[relay.Run], columns: Columns) -> list[str]:
    numbers = []
    for _, name, how in columns:
        found = [value for run in runs if (value := getattr(run, name)) is not None]
        numbers.append(format(median(found), how) if found else "-")
    cpu = [run.cpu_us for run in runs]
    lost = [str(sum(run.gaps for run in runs)), str(sum(run.failed for run in runs))]
    return [*numbers, f"{min(cpu):.1f} to {max(cpu):.1f}", *lost]


def _times(runs: Sequence[relay.Run], name: str, floor: str, field: str) -> float | None:
    """The median over the rounds of one's CPU a token to the floor's in the same round."""
    mine, other = (
        [getattr(run, field) for run in runs if run.relay == who] for who in (name, floor)
    )
    ratios = [one / below for one, below in zip(mine, other, strict=False)]
    return median(ratios) if ratios else None


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
