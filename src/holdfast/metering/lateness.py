"""How late a node comes, and who is refused for it: a measure, and a pure decision.

Strategy: what those inside feel of an overload is a loop that comes late, or a log, so that is
looked at, and not how busy they are: a node that computes all the time and is in time has room. The
lag is the median of the last looks, so that a pause or two, be they ever so long, refuse nobody.
The lowest priority is refused first, and let in again a good deal below what it was refused at, so
that it is not refused and taken in turns; and above what a node has that is merely busy, or one
burst would be for ever. Those inside are left alone.
"""

from __future__ import annotations

import statistics
from collections import deque

from holdfast.metering.fair import SHARES
from holdfast.request import Priority

LOOKS = 5
"""Looks that the lag is the median of: half a second, and more the later the loop is."""

AGAIN = 0.8
"""Of the lag at which a priority is refused, that below which it is taken again."""

LOWEST_FIRST: tuple[Priority, ...] = tuple(sorted(SHARES, key=lambda one: SHARES[one]))


def refused(lag: float, limit: float, before: int) -> int:
    """How many priorities, the lowest first, are refused at this lag, where so many were `before`;
    none where there is no `limit`. Both in seconds."""
    if not limit:
        return 0
    bounds = [SHARES[one] * limit for one in LOWEST_FIRST]
    now = sum(lag >= bound for bound in bounds)
    still = sum(lag >= AGAIN * bound for bound in bounds[:before])
    return max(now, still)


class Lateness:
    """Of a node, which is given looks by whoever measures its event loop and its log."""

    def __init__(self, limit: float) -> None:
        """`limit` is the lag in seconds at which nothing new is taken; 0 takes everything."""
        self._limit = limit
        self._looks = deque([0.0] * LOOKS, LOOKS)
        self.lag = 0.0
        """In seconds."""
        self.refused = 0
        """Priorities that are refused, the lowest first."""

    def look(self, late: float) -> None:
        """The loop came so many seconds later than it was asked to, or the log takes them."""
        self._looks.append(late)
        self.lag = statistics.median(self._looks)
        self.refused = refused(self.lag, self._limit, self.refused)

    def refuses(self, priority: Priority) -> bool:
        """Whether a new stream of this priority is refused."""
        return priority in LOWEST_FIRST[: self.refused]
