"""How long a reader waits for its next token when the node that writes its answer dies.

Strategy: those are looked at who are attached to another node when it dies; that they may have to
come back meanwhile, for another fault, is part of their wait. An answer that the dead node wrote
goes on in another life, and the first token after that ends the wait. Only answers of providers
that do not fail themselves are counted: what those take is not the cluster's.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from tests.faults.chaos import wire
from tests.faults.cluster import breaking

from holdfast.testing import history

Seen = history.Connected | history.Delivered | history.Reset | history.Disconnected


def waits(
    entries: Iterable[history.Entry],
    doors: Mapping[str, wire.Door],
    deaths: Sequence[breaking.Death],
    steady: Collection[str],
) -> dict[str, list[float]]:
    """Seconds from a death to the next token, for each reader that noticed, by how the node died.
    `steady` are the streams whose providers do not fail."""
    readers: dict[str, str] = {}
    seen: dict[str, list[Seen]] = defaultdict(list)
    for entry in entries:
        if isinstance(entry, history.Connected) and entry.stream in steady:
            readers[entry.conn] = entry.reader
        if isinstance(entry, Seen) and entry.conn in readers:
            seen[readers[entry.conn]].append(entry)
    found: dict[str, list[float]] = defaultdict(list)
    for told, death in itertools.product(seen.values(), deaths):
        if (wait := _wait(told, doors, death)) is not None:
            found[death.how].append(wait)
    return found


def _wait(
    told: Sequence[Seen], doors: Mapping[str, wire.Door], death: breaking.Death
) -> float | None:
    """None where the reader was not there, or its stream was written by somebody else."""
    before = [one for one in told if one.at <= death.at]
    had = [one for one in before if isinstance(one, history.Delivered)]
    if not had or isinstance(before[-1], history.Disconnected):
        return None
    if doors[before[-1].conn].name == death.node:
        return None
    after = itertools.takewhile(lambda one: one.at < death.until, told[len(before) :])
    got = (one for one in after if isinstance(one, history.Delivered))
    others = (one for one in got if one.epoch > had[-1].epoch and one.kind == "chunk")
    return next((one.at - death.at for one in others), None)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that no more than `share` of them are below; they are sorted."""
    return values[min(len(values) - 1, int(share * len(values)))]
