"""The last seconds of all nodes together, so that rates and percentiles of them are known.

Strategy: each look adds what every node has counted since the look before, to one running sum, and
keeps what the sum is then. What came in a span is the difference of two such sums, so a span costs
the same however long it is. A node that is gone stays in the sum; one that does not answer is made
up for by its next answer. Times are of a clock that does not jump.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

from holdfast.telemetry import counts

KEPT = 15.0
"""Seconds that looks are kept, and one look before that."""

SLACK = 0.05
"""Looks come once a second, and never quite; one that is so much too young will do."""

NODES = 1000
"""Nodes that are remembered; the one that was heard of the longest ago is forgotten first."""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What one node tells: since when it counts (ms since 1970), and what."""

    since: int
    counted: counts.Counts


class Recent:
    """Looks are added in the order of their times, in seconds."""

    def __init__(self) -> None:
        self._before: dict[str, Seen] = {}
        self._sum = counts.NOTHING
        self._looks: deque[tuple[float, counts.Counts]] = deque()
        self._told_at = 0

    def add(self, at: float, told: Mapping[str, Seen], now_ms: int) -> None:
        """What nodes say at this time, which is `now_ms` since 1970. Of one that was there before
        the first look, or that began before anybody heard of it, only what it counts from now on is
        known to be recent."""
        parts = [self._sum]
        for name, seen in told.items():
            before = self._before.pop(name, None)
            if before is None or before.since != seen.since:
                fresh = bool(self._looks) and seen.since >= self._told_at
                before = Seen(seen.since, counts.NOTHING if fresh else seen.counted)
            parts.append(counts.came(seen.counted, before.counted))
            self._before[name] = seen
        while len(self._before) > NODES:
            del self._before[next(iter(self._before))]
        self._sum, self._told_at = counts.added(parts), now_ms
        self._looks.append((at, self._sum))
        while len(self._looks) > 2 and self._looks[1][0] <= at - KEPT:
            self._looks.popleft()

    def span(self, seconds: float) -> tuple[counts.Counts, float]:
        """What came in the last `seconds`, and how long that really is: from the last look that is
        so long ago, or the first that there is."""
        if len(self._looks) < 2:
            return counts.NOTHING, 0.0
        last, total = self._looks[-1]
        begun, before = self._looks[0]
        for at, one in self._looks:
            if at > last - seconds + SLACK:
                break
            begun, before = at, one
        return counts.since(total, before), last - begun
