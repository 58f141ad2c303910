"""All accounts of a node, and their sums on all nodes.

Strategy: whoever calls counts in two accounts, its own (a key's, or a user's where there is no key)
and its tenant's. An account is made when it is first asked for, with what the counters beside the
log have of it; from then on what is used here is added to them once a second, and what others have
used comes back. An account that nothing happens in is forgotten; the counters are not. A stream
that a dead process left has its place before its account is made.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import structlog

from holdfast import errors, events, request
from holdfast.access import principal
from holdfast.archive.base import Quota
from holdfast.eventlog import counters
from holdfast.metering import account, fair, meter, places, prices

SHARE_SECONDS = 1.0
"""Between two exchanges with the other nodes; what a crash forgets at most."""

MAX_ACCOUNTS = 10_000
"""Accounts that are remembered beside those that something happens in."""

ACCOUNTS_A_CALL = 8
"""Accounts that are shared at once: the slots of all their limits are fewer than
`counters.MAX_CHANGES`."""

LATELY_MS = 60_000
"""For so long after its last request a tenant is one of those that want something."""

NEWS_MS = 3_000
"""Who comes back after so long a time waits for news of what others have under way."""

QuotaOf = Callable[[str], Quota]

_log = structlog.get_logger("holdfast")


class Ledger:
    """`quota_of` an account by its name: `tenant:NAME`, `key:ID` or `user:TENANT/USER`. Without
    `sums` this node counts for itself. `clock` gives ms since 1970."""

    def __init__(
        self,
        sums: counters.Counters | None = None,
        quota_of: QuotaOf = lambda name: Quota(),
        table: prices.Prices | None = None,
        clock: Callable[[], int] = events.now_ms,
        shared: bool = False,
    ) -> None:
        """`shared`: other nodes count in the same `sums`, places too."""
        self._sums = sums or counters.MemoryCounters()
        self._quota_of, self._clock = quota_of, clock
        self._prices = table or prices.Prices()
        self._accounts: dict[str, account.Account] = {}
        self._opening = asyncio.Lock()
        self._node = places.Node() if shared else None
        self._tenants, self._counted_at = 0, 0
        self._held: dict[events.StreamId, tuple[str, ...]] = {}
        self._early = Counter[str]()
        """Places that are held in accounts that are not made yet."""

    async def of(self, owner: str, key: str) -> tuple[account.Account, ...]:
        """The accounts that a request of this owner, let in by this key (see `Principal.key`),
        counts in: its own and its tenant's. None without a tenant."""
        names, known = _names(owner, key), self._accounts
        if any(name not in known for name in names):
            async with self._opening:
                for name in names:
                    if name not in known:
                        made = await self._opened(name)
                        made.streams += self._early.pop(name, 0)
                        known[name] = made
        found = tuple(known[name] for name in names)
        if self._node is not None:
            before = self._clock() - NEWS_MS
            old = [one for one in found if one.places and one.heard_at < before]
            await self._share_places(self._node, old)
        return found

    async def _opened(self, name: str) -> account.Account:
        made = account.Account(name, self._quota_of(name), self._clock)
        await self._exchange([made])
        return made

    def hold(self, stream: events.StreamId, owner: str, key: str) -> None:
        """A stream that nobody writes yet counts from now on in the accounts that it has, until
        `release`. Waits for nothing. Idempotent."""
        if stream not in self._held:
            self._held[stream] = _names(owner, key)
            self._place(self._held[stream], 1)

    def release(self, stream: events.StreamId) -> None:
        """The place that was held is free, or a meter has it. Idempotent."""
        self._place(self._held.pop(stream, ()), -1)

    def _place(self, names: tuple[str, ...], change: int) -> None:
        for name in names:
            if name in self._accounts:
                self._accounts[name].streams += change
            else:
                self._early[name] += change
                if not self._early[name]:
                    del self._early[name]

    def metered(
        self,
        accounts: Sequence[account.Account],
        wanted: request.Request,
        size: int,
        written: int = 0,
    ) -> meter.Meter | None:
        """The meter of a stream that counts in these, whose request has so many bytes, and of which
        so many are written; None without accounts."""
        if not accounts:
            return None
        asked, written = meter.estimate(wanted), written // meter.BYTES_PER_TOKEN
        return meter.Meter(accounts, self._prices, asked, wanted.n, written, size)

    def open(
        self,
        accounts: Sequence[account.Account],
        wanted: request.Request,
        size: int,
        provider: str,
        model: str,
    ) -> meter.Meter | None:
        """The same for a new stream, whose first call is counted. Raises what `Meter.check`
        does."""
        made = self.metered(accounts, wanted, size)
        if made is not None:
            try:
                made.check(provider, model)
            except errors.HoldfastError:
                made.close()
                raise
            made.call(provider, model)
        return made

    def room(self, limit: float, mine: int, least: int = 1) -> float:
        """See `fair.room`; at `least` so many tenants are reckoned with."""
        return fair.room(limit, mine, max(least, self._wanting()))

    def _wanting(self) -> int:
        """How many tenants want something of this node, as of a second ago."""
        now = self._clock()
        if not 0 <= now - self._counted_at < 1000:
            self._counted_at = now
            self._tenants = sum(
                1
                for name, one in self._accounts.items()
                if name.startswith("tenant:")
                if one.streams or one.connections or now - one.used_at < LATELY_MS
            )
        return self._tenants

    async def run(self) -> None:
        """Shares and settles for as long as it is let."""
        while True:
            await asyncio.sleep(SHARE_SECONDS)
            await self.share()

    async def share(self) -> None:
        """Exchanges with the other nodes, and forgets what is idle."""
        known = tuple(self._accounts.values())
        for some in _batches(known):
            for one in some:
                one.settle()
            await asyncio.sleep(0)  # so many accounts must not hold up the streams
        await self._exchange([one for one in known if one.streams or not one.idle])
        if len(self._accounts) > MAX_ACCOUNTS:
            before = self._clock() - LATELY_MS
            idle = [n for n, one in self._accounts.items() if one.idle and one.used_at < before]
            for name in idle[: len(self._accounts) - MAX_ACCOUNTS]:
                del self._accounts[name]

    async def _exchange(self, accounts: Sequence[account.Account]) -> None:
        """Adds what is not shared yet. What others have used holds from then on."""
        for some in _batches(accounts):
            await self._share_some([(one.name, limit) for one in some for limit in one.limits])
            if self._node is not None:
                await self._share_places(self._node, some)
            for one in some:
                one.settle()
            await asyncio.sleep(0)

    async def _share_places(self, node: places.Node, some: Sequence[account.Account]) -> None:
        """Tells how many places are taken here, and hears how many are elsewhere."""
        now, changes = self._clock(), []
        told = [(one, what, count) for one in some for what, count in one.places]
        for one, what, count in told:
            place = node.change(one.told[what], count, now)
            hidden = _hidden(f"{one.name} places {what}")
            changes.append(counters.Change(hidden, place.slot, place.amount, place.until))
        if not changes:
            return
        try:
            found = await self._sums.add(changes, now)
        except errors.LogError as error:
            _log.warning("counters_unavailable", error=error.message)
            return
        for (one, what, count), change, sums in zip(told, changes, found, strict=True):
            one.told[what] = places.Told(change.slot, count)
            one.elsewhere[what] = node.elsewhere(sums)
            one.heard_at = now

    async def _share_some(self, limits: list[tuple[str, account.Limit]]) -> None:
        now, changes, given = self._clock(), [], []
        for name, limit in limits:
            window = limit.window
            mine = {slot: _bounded(amount) for slot, amount in window.unshared().items()}
            mine = mine or {window.slot(now): 0}
            given.append(mine)
            hidden = _hidden(f"{name} {limit.name}")
            changes.append(
                [
                    counters.Change(hidden, slot, amount, window.until(slot))
                    for slot, amount in mine.items()
                ]
            )
        if not changes:
            return
        try:
            found = await self._sums.add([one for some in changes for one in some], now)
        except errors.LogError as error:
            _log.warning("counters_unavailable", error=error.message)
            return
        except asyncio.CancelledError:
            # The node stops; but what was asked of the counters is added.
            for (_, limit), mine in zip(limits, given, strict=True):
                limit.window.gave(mine)
            raise
        at = -1
        for (_, limit), some, mine in zip(limits, changes, given, strict=True):
            at += len(some)
            limit.window.share(mine, found[at], self._clock())


def _hidden(name: str) -> str:
    """The name of a counter: names of users may say who they are, and the store need not know."""
    return hashlib.sha256(name.encode()).hexdigest()


def _names(owner: str, key: str) -> tuple[str, ...]:
    """Of the accounts that `Ledger.of` gives."""
    tenant, _ = principal.parted(owner)
    if not tenant:
        return ()
    return key if key.startswith("key:") else f"user:{owner}", f"tenant:{tenant}"


def _batches(accounts: Sequence[account.Account]) -> Iterator[Sequence[account.Account]]:
    return (accounts[at : at + ACCOUNTS_A_CALL] for at in range(0, len(accounts), ACCOUNTS_A_CALL))


def _bounded(amount: int) -> int:
    """As much of it as may be added at once."""
    return max(-counters.MAX_AMOUNT, min(counters.MAX_AMOUNT, amount))
