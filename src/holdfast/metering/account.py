"""One account: a key, a user or a tenant, and how much of its quota is left.

Strategy: tokens come in all the time, so counting one is a subtraction: `_room` is what may still
be used before the windows have to be looked at. Only what has a limit is counted. Where a limit is
passed, every meter of the account is told at once, so that no stream goes on for another tick.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import msgspec

from holdfast import errors
from holdfast.archive.base import Quota
from holdfast.metering import places, prices, windows

_EVER = 1 << 62

Stop = Callable[[errors.HoldfastError], None]


class Limit(msgspec.Struct, frozen=True, eq=False):
    """A limited use over a span. `what` is `requests`, `tokens` or `cost`; `name` says whose it is,
    what and over which span."""

    what: str
    name: str
    most: int
    window: windows.Window
    error: type[errors.QuotaError]


class Account:
    """`name` is unique on all nodes. `streams` and `connections` are under way on this one, and
    `bytes` are those of the requests whose answers are; `elsewhere` has what is under way on the
    others, as they told last; `clock` gives ms since 1970."""

    def __init__(self, name: str, quota: Quota, clock: Callable[[], int]) -> None:
        self.name, self.quota, self._clock = name, quota, clock
        self.streams = self.connections = self.bytes = 0
        self.elsewhere = {"streams": 0, "connections": 0}
        self.told = {"streams": places.Told(), "connections": places.Told()}
        self.heard_at = 0
        """When the others were heard last, in ms since 1970."""
        self.used_at = clock()
        self.stops: set[Stop] = set()
        """Of the streams that count here, what ends them."""
        self._requests = self._limit("requests", quota.requests_per_minute, windows.MINUTE)
        self._tokens = [
            *self._limit("tokens", quota.tokens_per_minute, windows.MINUTE),
            *self._limit("tokens", quota.tokens_per_day, windows.DAY),
        ]
        self._cost = self._limit("cost", quota.cost_per_day, windows.DAY)
        self.limits = (*self._requests, *self._tokens, *self._cost)
        self._fresh_tokens = self._fresh_cost = 0
        self._token_room = self._cost_room = 0
        self._ending = False
        self.settle()

    def _limit(self, what: str, most: int | None, span: windows.Span) -> list[Limit]:
        error = {
            "requests": errors.RequestLimit,
            "tokens": errors.TokenLimit,
            "cost": errors.CostLimit,
        }[what]
        name = f"{self.name.partition(':')[0]}-{what}-{span.name}"
        return [Limit(what, name, most, windows.Window(span), error)] if most else []

    @property
    def priced(self) -> bool:
        """A limit of cost holds, so everything that is asked for needs a price."""
        return bool(self._cost)

    @property
    def places(self) -> list[tuple[str, int]]:
        """What is limited at a time: what, and how many there are of it here."""
        limited = (("streams", self.quota.streams), ("connections", self.quota.connections))
        return [(what, getattr(self, what)) for what, most in limited if most]

    @property
    def idle(self) -> bool:
        """Nothing is under way, and nothing is left to be shared."""
        busy = self.streams or self.connections or self._fresh_tokens or self._fresh_cost
        untold = any(count != self.told[what].count for what, count in self.places)
        return not busy and not untold and not any(one.window.unshared() for one in self.limits)

    def check_requests(self) -> None:
        """Raises `errors.RequestLimit` where no request more may be made."""
        self.used_at = now = self._clock()
        for limit in self._requests:
            limit.window.roll(now)
            self._check(limit, now, 1)

    def request(self) -> None:
        """Counts a request."""
        now = self._clock()
        for limit in self._requests:
            limit.window.add(now, 1)

    def check(self, tokens: int, cost: int) -> None:
        """Raises what a new stream is refused with that begins by using so much; it is among
        `streams` already."""
        taken = self.streams + self.elsewhere["streams"]
        if self.quota.streams and taken > self.quota.streams:
            most = self.quota.streams
            raise errors.StreamLimit(
                f"The limit of {self.name} is reached: {most} answers under way.", retry_after=1.0
            )
        tokens_too = self._fresh_tokens + tokens <= self._token_room
        if tokens_too and self._fresh_cost + cost <= self._cost_room:
            return  # there was so much room when the windows were looked at last
        self.settle()
        now = self._clock()
        for limits, more in ((self._tokens, tokens), (self._cost, cost)):
            for limit in limits:
                self._check(limit, now, more + 1)  # what reaches a limit would be ended at once

    def _check(self, limit: Limit, now: int, more: int) -> None:
        if more > limit.most:
            over = f"This alone is over the limit of {self.name}, {_most(limit)}"
            raise errors.Forbidden(f"{over}, however long it waits.")
        if limit.window.used + more > limit.most:
            raise self._error(limit, now, more)

    def _error(self, limit: Limit, now: int, more: int = 1) -> errors.QuotaError:
        wait = max(limit.window.wait_ms(now, limit.most - more + 1) / 1000, 1.0)
        why = f"The limit of {self.name} is reached: {_most(limit)}."
        return limit.error(why, retry_after=wait)

    def check_connections(self) -> None:
        """Raises `errors.ConnectionLimit` where no event stream more may be open."""
        most = self.quota.connections
        if most and self.connections + self.elsewhere["connections"] >= most:
            raise errors.ConnectionLimit(
                f"The limit of {self.name} is reached: {most} open event streams."
            )

    def use(self, tokens: int, cost: int) -> None:
        """Counts what was used; may be less than nothing, where an estimate was too high. Ends all
        of the account's streams where a limit is passed."""
        self._fresh_tokens += tokens
        self._fresh_cost += cost
        if self._fresh_tokens > self._token_room or self._fresh_cost > self._cost_room:
            self.settle()

    def settle(self) -> None:
        """Brings the windows up to date, and ends streams where one is over its limit."""
        if not self._tokens and not self._cost:
            self._fresh_tokens = self._fresh_cost = 0
            self._token_room = self._cost_room = _EVER
            return
        now = self._clock()
        if self._fresh_tokens or self._fresh_cost:
            self.used_at = now
        self._token_room = self._settled(self._tokens, now, self._fresh_tokens)
        self._cost_room = self._settled(self._cost, now, self._fresh_cost)
        self._fresh_tokens = self._fresh_cost = 0
        # What ends a stream may be told of more use; that is counted, and ends nobody again.
        if not self._ending and self.stops:
            self._ending = True
            try:
                self._end_streams(now)
            finally:
                self._ending = False

    def _end_streams(self, now: int) -> None:
        for limit in (*self._tokens, *self._cost):
            if limit.window.used >= limit.most:
                error = self._error(limit, now)
                for stop in tuple(self.stops):
                    stop(error)

    def _settled(self, limits: list[Limit], now: int, fresh: int) -> int:
        room = _EVER
        for limit in limits:
            limit.window.roll(now)
            if fresh:
                limit.window.add(now, fresh)
            room = min(room, limit.most - limit.window.used - 1)
        return room

    def left(self) -> list[tuple[Limit, int, int]]:
        """Of each limit over a span: it, what is left of it, and the seconds until nothing of it is
        used."""
        now, told = self._clock(), []
        fresh = {"requests": 0, "tokens": self._fresh_tokens, "cost": self._fresh_cost}
        for limit in self.limits:
            window, more = limit.window, fresh[limit.what]
            window.roll(now)
            left = limit.most - window.used - more
            wait = (window.until(window.slot(now)) if more else window.empty_at) - now
            wait = -(-wait // 1000) if wait > 0 else 0
            told.append((limit, left if left > 0 else 0, wait))
        return told


def _most(limit: Limit) -> str:
    most = f"{limit.most / prices.UNIT:g}" if limit.what == "cost" else f"{limit.most}"
    return f"{most} {limit.what} a {limit.window.span.name}"


@contextlib.contextmanager
def place(accounts: Sequence[Account]) -> Iterator[None]:
    """Keeps a place among these accounts' open event streams for a reader who is about to come, so
    that nothing is made for more readers than may read it. It is given back at the end, for the
    reader to take in the same turn of the loop. Raises `errors.ConnectionLimit`."""
    for one in accounts:
        one.check_connections()
    for one in accounts:
        one.connections += 1
    try:
        yield
    finally:
        for one in accounts:
            one.connections -= 1
