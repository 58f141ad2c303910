"""Which idle connection serves, and which are to be closed; only decisions.

Strategy: the pool holds no socket and no timer. Each call returns what its caller is to do,
so that every rule can be tested with plain values. Of the idle connections to one origin the
one used last serves first: the others age, and the pool shrinks to what is needed. Connections
come in by time, so the first is both the oldest and the least recently used.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Idle = TypeVar("Idle", bound=Hashable)


class Pool(Generic[Idle]):
    """Idle connections, by origin: any hashable value that says where they lead and how.

    At most `max_idle` in all, none idle for over `keep_alive` seconds; either at 0 is none at
    all. `now` is in seconds on a clock that never goes back.
    """

    def __init__(self, max_idle: int, keep_alive: float) -> None:
        self._max_idle, self._keep_alive = max_idle, keep_alive
        self._all: dict[Idle, tuple[Hashable, float]] = {}
        self._by_origin: dict[Hashable, dict[Idle, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def take(self, origin: Hashable, now: float) -> Idle | None:
        """The connection that serves, no longer idle; None where there is none in time."""
        of_origin = self._by_origin.get(origin)
        if of_origin is None:
            return None
        idle = next(reversed(of_origin))
        if now - self._all[idle][1] > self._keep_alive:
            return None
        self.drop(idle)
        return idle

    def put(self, origin: Hashable, idle: Idle, now: float) -> list[Idle]:
        """Returns those to be closed; it may be among them."""
        if self._keep_alive <= 0:
            return [idle]
        self._all[idle] = (origin, now)
        self._by_origin.setdefault(origin, {})[idle] = None
        surplus = list(self._all)[: max(0, len(self._all) - self._max_idle)]
        for each in surplus:
            self.drop(each)
        return surplus

    def drop(self, idle: Idle) -> None:
        """It is no longer there. Idempotent."""
        origin, _ = self._all.pop(idle, (None, 0.0))
        of_origin = self._by_origin.get(origin, {})
        of_origin.pop(idle, None)
        if not of_origin:
            self._by_origin.pop(origin, None)

    def expired(self, now: float) -> list[Idle]:
        """Those to be closed because of their age, no longer held."""
        found = []
        for idle, (_, since) in self._all.items():
            if now - since < self._keep_alive:
                break
            found.append(idle)
        for idle in found:
            self.drop(idle)
        return found

    def next_expiry(self) -> float | None:
        """When `expired` next has something to say; None while nothing is idle."""
        for _, since in self._all.values():
            return since + self._keep_alive
        return None
