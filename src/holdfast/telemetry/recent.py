"""The last hour of all nodes together, so that rates and percentiles of any part of it are known.

Strategy: each look adds what every node has counted since the look before, to one running sum, and
keeps what the sum is then. What came in a span is the difference of two such sums, so a span costs
the same however long it is. A node that is gone stays in the sum; one that does not answer is made
up for by its next answer. Looks of the last minutes are all kept, of older ones one a minute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

from holdfast.telemetry import counts

FINE_MS = 5 * 60_000
"""So long all looks are kept; then one a minute."""

KEPT_MS = 61 * 60_000
"""How long those are."""

NODES = 1000
"""Nodes that are remembered; the one that was heard of the longest ago is forgotten first."""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What one node tells: since when it counts (ms since 1970), and what."""

    since: int
    counted: counts.Counts


class Recent:
    """Looks are added in the order of their times (ms); one that is before the last is as late."""

    def __init__(self) -> None:
        self._before: dict[str, Seen] = {}
        self._sum = counts.NOTHING
        self._fine: deque[tuple[int, counts.Counts]] = deque()
        self._coarse: deque[tuple[int, counts.Counts]] = deque()

    def add(self, at: int, told: Mapping[str, Seen]) -> None:
        """What nodes say at this time. Of one that was there before the first look, or that began
        before anybody heard of it, only what it counts from now on is known to be recent."""
        last = self._fine[-1][0] if self._fine else None
        at = at if last is None else max(at, last)
        parts = [self._sum]
        for name, seen in told.items():
            before = self._before.pop(name, None)
            if before is None:
                fresh = last is not None and seen.since >= last
                before = Seen(seen.since, counts.NOTHING if fresh else seen.counted)
            parts.append(_came(seen, before))
            self._before[name] = seen
        while len(self._before) > NODES:
            del self._before[next(iter(self._before))]
        self._sum = counts.added(parts)
        self._fine.append((at, self._sum))
        self._drop(at)

    def _drop(self, now: int) -> None:
        while now - self._fine[0][0] > FINE_MS:
            old = self._fine.popleft()
            if not self._coarse or old[0] - self._coarse[-1][0] >= counts.MINUTE_MS:
                self._coarse.append(old)
        while self._coarse and now - self._coarse[0][0] > KEPT_MS:
            self._coarse.popleft()

    def span(self, ms: int) -> tuple[counts.Counts, int]:
        """What came in the last `ms`, and how long that really is, in ms: from the look nearest to
        its begin to the last one."""
        if not self._fine:
            return counts.NOTHING, 0
        last, total = self._fine[-1]
        begun, before = min(
            (*self._coarse, *self._fine), key=lambda look: (abs(last - ms - look[0]), look[0])
        )
        return counts.since(total, before), last - begun


def _came(now: Seen, before: Seen) -> counts.Counts:
    """Since its last answer, without what it has of active ones, which is no sum."""
    came = counts.since(now.counted, before.counted)
    return msgspec.structs.replace(came, streams_active=0, connections_active=0)
