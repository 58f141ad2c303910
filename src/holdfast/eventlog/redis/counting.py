"""The contract's counters in Redis: one script a call, so a call is atomic.

Strategy: all counters lie on one primary, also in a cluster, since a call may change any of them
together. A name has a hash of its slots; a sorted set knows which slot expires first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from holdfast.eventlog import counters
from holdfast.eventlog.redis import keys, lines, scripts


class RedisCounters:
    """`opened` gives the lines, or raises `errors.LogUnavailable`."""

    def __init__(self, opened: Callable[[], lines.Lines]) -> None:
        self._opened = opened

    async def add(self, changes: Sequence[counters.Change], now: int) -> list[Mapping[int, int]]:
        counters.check(changes, now)
        if not changes:
            return []
        names = {name: at for at, name in enumerate(dict.fromkeys(c.name for c in changes), 1)}
        summed = counters.gathered(changes)
        values: list[str | int] = [now, counters.REMOVED_A_CHANGE * len(changes), len(summed)]
        for (name, slot), (amount, until) in summed.items():
            values += (names[name], slot, amount, until)
        order = [change.name for change in changes]
        call = scripts.COUNT.call((*(keys.counter(name) for name in names), keys.COUNTERS), *values)
        (found,) = await self._opened().ask([lines.Keyed(keys.COUNTERS, call)])
        kept = {name: _sums(found[at - 1]) for name, at in names.items()}
        return [kept[name] for name in order]


def _sums(found: Sequence[bytes]) -> dict[int, int]:
    return {int(slot): int(total) for slot, total in zip(found[::2], found[1::2], strict=True)}
