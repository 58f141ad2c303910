"""Counters beside the streams: the contract, and how they are kept in memory.

Strategy: what all nodes of a store count together, such as a caller's use of its quota, is a sum
by name and by slot, a span of time that the caller numbers as it likes. There is one verb: it
adds, and answers with the sums. The rules stand here; `holdfast.testing.eventlog.counting` holds
every engine to them. An engine has no clock for this: `now` is the caller's.

Rules for every engine
1.  A call is atomic: all its changes are added, or none is. Its answer has a mapping a change, in
    their order: the slots of that name that are kept, with their sums after all of the changes.
2.  Sums are exact, however many calls are under way, and a call sees what was added by every
    call that had returned before it.
3.  A slot is its own: no other slot of its name moves it, and no other name, however alike.
4.  An amount may be negative, and so may a sum. An amount of 0 only asks: it makes no slot and
    keeps none for longer.
5.  A slot is kept until the latest `until` of its changes. From then on (`until` <= now) it is
    not shown, and what is added to it begins from 0, whether it was removed or not.
6.  Slots that have expired are removed in bounded steps: a call looks at `REMOVED_A_CHANGE`
    slots for each of its changes, at most, and at those first that were to expire first. That
    is faster than changes can make new ones, so a store holds hardly more slots than were ever
    kept at once.
7.  A sum that would pass `MAX_SUM`, on either side of 0, stays there: one that is far over every
    quota must not have the changes of others refused with it.
8.  Counters and streams have nothing to do with each other. What a call has returned is as
    durable as an append.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

MAX_CHANGES = 1_000
"""Changes in a call."""

MAX_NAME = 200
"""Characters of a name."""

MAX_AMOUNT = 2**53 - 1
"""Of a change, on either side of 0: exact in every language, and so small that the amounts of
a whole call fit into 64 bits."""

MAX_SUM = 2**63 - 1
"""Of a slot, on either side of 0; also the last slot and the last `until`."""

REMOVED_A_CHANGE = 2
"""Slots that are looked at, to be removed, for each change of a call: more than it can add."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """`amount` is added to a slot of a name, which is kept until `until`, in ms since 1970, or
    for longer. Building one that no engine could keep raises `ValueError`."""

    name: str
    slot: int
    amount: int
    until: int

    def __post_init__(self) -> None:
        if len(self.name) > MAX_NAME:
            raise ValueError(f"The name of a counter has {MAX_NAME} characters at most.")
        self.name.encode()  # half of a surrogate pair is refused here
        if not 0 <= self.slot <= MAX_SUM:
            raise ValueError(f"A slot is numbered from 0 to {MAX_SUM}, not {self.slot}.")
        if abs(self.amount) > MAX_AMOUNT:
            raise ValueError(f"An amount is {MAX_AMOUNT} at most, not {self.amount}.")
        if not 0 <= self.until <= MAX_SUM:
            raise ValueError(f"A time is from 0 to {MAX_SUM} ms, not {self.until}.")


class Counters(Protocol):
    """What may be asked of an engine that keeps counters."""

    async def add(self, changes: Sequence[Change], now: int) -> list[Mapping[int, int]]:
        """Adds at most `MAX_CHANGES`; `now` in ms since 1970. The answer is by slot, as rule 1
        says. Raises `errors.LogUnavailable` or `LogCorrupt`, or `ValueError` for a call that is
        too large or a time before 1970; then nothing was added. A caller that goes away takes
        nothing back."""


def check(changes: Sequence[Change], now: int) -> None:
    """Raises `ValueError` for a call that no engine takes."""
    if len(changes) > MAX_CHANGES:
        raise ValueError(f"A call has {MAX_CHANGES} changes at most, not {len(changes)}.")
    if not 0 <= now <= MAX_SUM:
        raise ValueError(f"A time is from 0 to {MAX_SUM} ms, not {now}.")


def gathered(changes: Sequence[Change]) -> dict[tuple[str, int], tuple[int, int]]:
    """What a call comes to for each (name, slot): the amount and the latest `until`, without
    those that it only asks for."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for change in changes:
        if change.amount:
            amount, until = found.get((change.name, change.slot), (0, 0))
            latest = max(until, change.until)
            found[change.name, change.slot] = (amount + change.amount, latest)
    return found


class MemoryCounters:
    """The contract in memory: what is counted is forgotten with the process."""

    def __init__(self) -> None:
        self._names: dict[str, dict[int, tuple[int, int]]] = {}  # by slot, (sum, until)
        # A heap of one (until, name, slot) a slot; where `until` was put off, it is the old one.
        self._ends: list[tuple[int, str, int]] = []

    async def add(self, changes: Sequence[Change], now: int) -> list[Mapping[int, int]]:
        check(changes, now)
        for (name, slot), (amount, until) in gathered(changes).items():
            slots = self._names.setdefault(name, {})
            if slot not in slots:
                heapq.heappush(self._ends, (until, name, slot))
            total, before = slots.get(slot, (0, 0))
            total = (total if before > now else 0) + amount
            slots[slot] = (max(-MAX_SUM, min(MAX_SUM, total)), max(before, until))
        self._remove(REMOVED_A_CHANGE * len(changes), now)
        found = {change.name: self._kept(change.name, now) for change in changes}
        return [found[change.name] for change in changes]

    def _remove(self, limit: int, now: int) -> None:
        """Looks at so many slots, at most, that may have expired."""
        ends = self._ends
        while limit and ends and ends[0][0] <= now:
            limit -= 1
            _, name, slot = ends[0]
            slots = self._names[name]
            if slots[slot][1] > now:
                heapq.heapreplace(ends, (slots[slot][1], name, slot))
                continue
            heapq.heappop(ends)
            del slots[slot]
            if not slots:
                del self._names[name]

    def _kept(self, name: str, now: int) -> dict[int, int]:
        slots = self._names.get(name, {})
        return {slot: total for slot, (total, until) in slots.items() if until > now}
