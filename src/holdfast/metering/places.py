"""Places that an account has taken on all nodes: answers under way, and open event streams.

Strategy: a place is given back, and a node that dies gives none back, so places are no sum over a
span. Each node tells its own number in a slot of its own for each period of time, which counters
keep for one period more; of each node the newest slot counts. So what a dead node held is forgotten
after two periods, and what a living one holds is told anew in each.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import msgspec

PERIOD_MS = 10_000

_NODE_BITS = 32


class Told(msgspec.Struct):
    """What this node has told of one number: in which slot, and how many."""

    slot: int = -1
    count: int = 0


class Place(msgspec.Struct, frozen=True, gc=False):
    """A change of a counter: so much is added to this slot, which is kept until then (ms)."""

    slot: int
    amount: int
    until: int


class Node:
    """This node's name among the slots; 32 bits, so that few nodes never have the same."""

    def __init__(self, name: int | None = None) -> None:
        self._name = secrets.randbits(_NODE_BITS) if name is None else name

    def change(self, told: Told, count: int, now: int) -> Place:
        """What is to be added so that all know of `count` places; `now` in ms since 1970."""
        period = now // PERIOD_MS
        slot = period << _NODE_BITS | self._name
        before = told.count if told.slot == slot else 0
        return Place(slot, count - before, (period + 2) * PERIOD_MS)

    def elsewhere(self, sums: Mapping[int, int]) -> int:
        """How many places all other nodes hold, by what they told last."""
        newest: dict[int, tuple[int, int]] = {}
        for slot, total in sums.items():
            period, name = slot >> _NODE_BITS, slot & ((1 << _NODE_BITS) - 1)
            if name != self._name:
                newest[name] = max(newest.get(name, (-1, 0)), (period, total))
        return sum(max(0, total) for _, total in newest.values())
