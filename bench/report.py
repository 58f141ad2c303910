"""Tables of what was measured, as Markdown.

Strategy: a table holds the medians of the rounds, with the lowest and the highest CPU time
beside them, because the noise is part of the result; an aim is told as met or missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from bench import relay
from bench.scenario import Figure

QUIET = 0.2
"""Share of the relay's core that others may take before the numbers are called doubtful."""

Columns = tuple[tuple[str, str, str], ...]
"""Title, field of a run, format."""

COLUMNS: Columns = (
    ("CPU µs/token", "cpu_us", ".1f"),
    ("once settled", "settled_us", ".1f"),
    ("p50 ms", "p50_ms", ".1f"),
    ("p99 ms", "p99_ms", ".1f"),
    ("first token p99 ms", "first_p99_ms", ".0f"),
    ("tokens/s", "tokens_per_s", ".0f"),
    ("tokens a write", "tokens_per_write", ".2f"),
    ("KB/stream", "kb_per_stream", ".0f"),
    ("others on the core", "others", ".0%"),
)
LAST = ("lowest to highest µs", "gaps", "failed")


def runs(found: Sequence[relay.Run], columns: Columns = COLUMNS) -> str:
    """The table of them all, a line for each relay."""
    head = ["relay", *(title for title, _, _ in columns), *LAST]
    lines = ([name, *row(of(found, name), columns)] for name in names(found))
    return table(head, lines)


def sides(all_runs: Sequence[relay.Run], floors: Mapping[str, str], aim: float) -> str:
    """The same, and what each costs beside its floor."""
    found = good(all_runs)
    said = [runs(found), *refused(all_runs)]
    for name, floor in floors.items():
        ratio = times(found, name, floor, "cpu_us")
        if ratio is not None:
            told = f"(aim: at most {aim:g}: {met(ratio <= aim)})"
            said.append(f"{name}: {ratio:.3f} times the CPU a token, median of the rounds {told}")
    return "\n\n".join([*said, *noise(found)])


def ratios(found: Sequence[relay.Run], floors: Mapping[str, str]) -> dict[str, Figure]:
    """What each costs a token beside its floor, as figures, `NAME ÷ FLOOR`."""
    found = good(found)
    both = ((name, floor, times(found, name, floor, "cpu_us")) for name, floor in floors.items())
    return {
        f"{name} ÷ {floor}": Figure(ratio, beside(of(found, name)), ratio=True)
        for name, floor, ratio in both
        if ratio is not None
    }


def beside(mine: Sequence[relay.Run]) -> str:
    """What must be told with a cost: medians, and all that was lost."""
    together = [run.tokens_per_write for run in mine if run.tokens_per_write is not None]
    written = f" {median(together):.2f} tokens a write," if together else ""
    middle = {
        name: median(getattr(run, name) for run in mine) for name in ("cpu_us", "p50_ms", "p99_ms")
    }
    lost = sum(run.gaps for run in mine), sum(run.failed for run in mine)
    return (
        f"{middle['cpu_us']:.1f} µs, p50 {middle['p50_ms']:.1f} ms, p99 {middle['p99_ms']:.1f} ms,"
        f"{written} {lost[0]} gaps and repeats, {lost[1]} failed"
    )


LOAD = 0.85
"""Share of its core that the load may take: beyond, the load may have been the slowest part, and
there is no figure."""


def good(found: Sequence[relay.Run]) -> list[relay.Run]:
    """Without the relays that have no figure, because in one of their runs the load took over
    `LOAD` of its core."""
    refused = {run.relay for run in found if run.load > LOAD}
    return [run for run in found if run.relay not in refused]


def refused(found: Sequence[relay.Run]) -> list[str]:
    """A line for each of them."""
    most = {name: max(run.load for run in of(found, name)) for name in names(found)}
    return [
        f"{name}: no figure: the load took {share:.0%} of its core."
        for name, share in most.items()
        if share > LOAD
    ]


def names(found: Sequence[relay.Run]) -> list[str]:
    """Of the relays, in the order in which they first ran."""
    return list(dict.fromkeys(run.relay for run in found))


def of(found: Sequence[relay.Run], name: str) -> list[relay.Run]:
    """The runs of one relay."""
    return [run for run in found if run.relay == name]


def noise(found: Sequence[relay.Run]) -> list[str]:
    """A line where others took much of the core."""
    most = max((run.others for run in found), default=0.0)
    told = f"Others took up to {most:.0%} of the relay's core: repeat it in quiet."
    return [told] if most > QUIET else []


def row(mine: Sequence[relay.Run], columns: Columns) -> list[str]:
    """The medians of one relay, and the columns of `LAST`."""
    numbers = []
    for _, name, how in columns:
        values = [value for run in mine if (value := getattr(run, name)) is not None]
        numbers.append(format(median(values), how) if values else "-")
    cpu = [run.cpu_us for run in mine]
    lost = [str(sum(run.gaps for run in mine)), str(sum(run.failed for run in mine))]
    return [*numbers, f"{min(cpu):.1f} to {max(cpu):.1f}", *lost]


def times(found: Sequence[relay.Run], name: str, floor: str, field: str) -> float | None:
    """The median over the rounds of one's CPU a token to the floor's in the same round."""
    mine, other = ([getattr(run, field) for run in of(found, who)] for who in (name, floor))
    each = [one / below for one, below in zip(mine, other, strict=False)]
    return median(each) if each else None


def met(reached: bool) -> str:
    """Of an aim."""
    return "met" if reached else "MISSED"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
