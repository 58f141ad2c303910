"""Nodes that count, and the counters between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from tests.unit.metering.counting import Clock

from holdfast import errors, events, request
from holdfast.archive.base import Quota
from holdfast.eventlog import counters
from holdfast.metering import account, ledger, meter, prices

WANTED = request.Request("m", [request.Message("user", "x" * 40)])
"""Ten tokens."""

QUOTAS = {
    "key": Quota(requests_per_minute=100, tokens_per_minute=100, tokens_per_day=1000),
    "user": Quota(tokens_per_day=500),
    "tenant": Quota(streams=3, tokens_per_day=800),
}


class Sums(counters.MemoryCounters):
    """Counters that fail with `away`. `sizes` are of the calls that came, and `added` is set by one
    that has added; with `held`, it waits for that then."""

    def __init__(self) -> None:
        super().__init__()
        self.away: errors.LogError | None = None
        self.held: asyncio.Event | None = None
        self.added = asyncio.Event()
        self.sizes: list[int] = []

    async def add(self, changes: Sequence[counters.Change], now: int) -> list[Mapping[int, int]]:
        self.sizes.append(len(changes))
        if self.away is not None:
            raise self.away
        found = await super().add(changes, now)
        self.added.set()
        if self.held is not None:
            await self.held.wait()
        return found


def quota_of(name: str) -> Quota:
    return QUOTAS[name.partition(":")[0]]


def node(
    sums: counters.Counters | None,
    clock: Clock,
    quotas: Callable[[str], Quota] = quota_of,
    *rows: prices.Row,
) -> ledger.Ledger:
    return ledger.Ledger(sums, quotas, prices.Prices(rows), clock)


def begin(
    book: ledger.Ledger, accounts: Sequence[account.Account], wanted: request.Request = WANTED
) -> meter.Meter:
    made = book.open(accounts, wanted, 0, "p", "m")
    assert made is not None
    return made


def say(stream: meter.Meter, count: int) -> None:
    stream.said([events.Chunk("content", "word")] * count)


def names(accounts: Sequence[account.Account]) -> list[str]:
    return [one.name for one in accounts]
