"""How long a reader waits for its next token when the node that writes its answer dies.

Strategy: readers of other nodes are looked at, who are attached when it dies and stay so. An answer
that the dead node wrote goes on in another life, and the first token after that ends the wait. Only
answers of providers that do not fail themselves are counted: what those take is not the cluster's.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from tests.faults.chaos import wire
from tests.faults.cluster import breaking

from holdfast.testing import history


def waits(
    entries: Iterable[history.Entry],
    doors: Mapping[str, wire.Door],
    deaths: Sequence[breaking.Death],
    steady: Collection[str],
) -> dict[str, list[float]]:
    """Seconds from a death to the next token, for each reader that noticed, by how the node died.
    `steady` are the streams whose providers do not fail."""
    delivered: dict[str, list[history.Delivered]] = defaultdict(list)
    streams: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, history.Connected):
            streams[entry.conn] = entry.stream
        elif isinstance(entry, history.Delivered):
            delivered[entry.conn].append(entry)
    found: dict[str, list[float]] = defaultdict(list)
    for conn, told in delivered.items():
        if streams[conn] not in steady:
            continue
        for death in deaths:
            if doors[conn].name != death.node and (wait := _wait(told, death)) is not None:
                found[death.how].append(wait)
    return found


def _wait(told: Sequence[history.Delivered], death: breaking.Death) -> float | None:
    """None where the reader was not there, or its stream was written by somebody else."""
    before = [event for event in told if event.at <= death.at]
    if not before:
        return None
    after = itertools.takewhile(lambda one: one.at < death.until, told[len(before) :])
    others = itertools.dropwhile(lambda one: one.epoch == before[-1].epoch, after)
    return next((one.at - death.at for one in others if one.kind == "chunk"), None)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that no more than `share` of them are below; they are sorted."""
    return values[min(len(values) - 1, int(share * len(values)))]
