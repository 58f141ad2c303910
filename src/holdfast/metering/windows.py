"""Sums over the last minute or day, in slots that several nodes can add up.

Strategy: time is cut into numbered slots, the same on every node. A window covers the present slot
and as many whole ones as make up its span, so that in no span, wherever it begins, more is used
than the limit. What this node has added and not shared yet is kept apart from what all have added.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Span(msgspec.Struct, frozen=True, gc=False):
    """`slots` whole slots are one span."""

    name: str
    seconds: int
    slots: int

    @property
    def slot_ms(self) -> int:
        return self.seconds * 1000 // self.slots


MINUTE = Span("minute", 60, 12)
DAY = Span("day", 86_400, 24)


FAR_MS = 86_400_000
"""What is so far ahead was counted by a wrong clock, and is forgotten: nobody is to wait for it."""


class Window:
    """`used` is the sum as of the last `roll`, in whole units; `empty_at`, in ms since 1970, is
    when nothing is left of it if nothing is added: 0 for an empty one."""

    __slots__ = ("_at", "_own", "_shared", "empty_at", "slot_ms", "span", "used")

    def __init__(self, span: Span) -> None:
        self.span = span
        self._shared: dict[int, int] = {}
        self._own: dict[int, int] = {}
        self.slot_ms = span.slot_ms
        self._at = self.used = self.empty_at = 0

    def slot(self, now_ms: int) -> int:
        return now_ms // self.slot_ms

    def add(self, now_ms: int, amount: int) -> None:
        """Counts an amount as of now. One below 0 takes back what was counted first, so that
        nothing that was used later leaves the window before its time; what has left already is
        not taken back."""
        if amount < 0:
            self._take_back(-amount)
            return
        slot = self.slot(now_ms)
        self._own[slot] = self._own.get(slot, 0) + amount
        self.empty_at = max(self.empty_at, self.until(slot))
        self.used += amount

    def _take_back(self, amount: int) -> None:
        for slot in sorted({*self._shared, *self._own}):
            part = max(0, min(self._held(slot), amount))
            self._own[slot] = self._own.get(slot, 0) - part
            self.used -= part
            amount -= part

    def _held(self, slot: int) -> int:
        return self._shared.get(slot, 0) + self._own.get(slot, 0)

    def roll(self, now_ms: int) -> None:
        """Forgets what is older than the span. Costs nothing but where a slot has begun."""
        if now_ms // self.slot_ms != self._at:
            self._at = self.slot(now_ms)
            self._sum()

    def _sum(self) -> None:
        oldest, newest = self._at - self.span.slots, self._at + FAR_MS // self.slot_ms
        for slots in (self._shared, self._own):
            for slot in [slot for slot in slots if not oldest <= slot <= newest]:
                del slots[slot]
        self.empty_at = max(map(self.until, (*self._shared, *self._own)), default=0)
        self.used = sum(self._shared.values()) + sum(self._own.values())

    def unshared(self) -> dict[int, int]:
        """What this node has added by slot, and no other knows."""
        return {slot: amount for slot, amount in self._own.items() if amount}

    def share(self, given: Mapping[int, int], all: Mapping[int, int], now_ms: int) -> None:
        """`given` was added to the sums of all nodes, which are now these."""
        self.gave(given)
        self._shared = dict(all)
        self._at = self.slot(now_ms)
        self._sum()

    def gave(self, given: Mapping[int, int]) -> None:
        """The same where nobody has told what they are."""
        for slot, amount in given.items():
            self._own[slot] = self._own.get(slot, 0) - amount
            self._shared[slot] = self._shared.get(slot, 0) + amount
        self._own = {slot: amount for slot, amount in self._own.items() if amount}

    def until(self, slot: int) -> int:
        """When a slot has left the window, in ms since 1970."""
        return (slot + self.span.slots + 1) * self.slot_ms

    def wait_ms(self, now_ms: int, below: int) -> int:
        """How long until less than `below` is left in the window, if nothing is added; 0 where it
        is so already."""
        left = self.used
        if left < below:
            return 0
        slots = {*self._shared, *self._own}
        for slot in sorted(slots):
            left -= self._held(slot)
            if left < below:
                return max(0, self.until(slot) - now_ms)
        return self.until(max(slots, default=self.slot(now_ms))) - now_ms
