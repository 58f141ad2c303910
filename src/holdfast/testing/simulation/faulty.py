"""A log with faults around another one, and what of it outlives a node.

Strategy: `Shared` is the store: the engine inside, which faults there are at the moment, and who
writes which stream. A node gets a `FaultyLog` on it, which keeps the contract: what fails is told,
what is acknowledged is there, hints may get lost. It only adds time before and after a verb, in
which everything else goes on, and failures whose fate nobody knows: done and not told, or done
later, when the caller has sent it again or is dead. A dead node's log does nothing any more; what
it had sent may still arrive.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec

from holdfast import errors, events
from holdfast.eventlog import base, counters
from holdfast.sealing import stores
from holdfast.testing.simulation import record

ARRIVES = 0.5
"""Share of the appends under way when their node dies that reach the log all the same."""


class Faults(msgspec.Struct, frozen=True):
    """Shares of all calls, from 0 to 1, and seconds."""

    slow: float = 0.0
    """Calls that take time, up to `slowest`, before they are done or after."""
    slowest: float = 0.3
    refused: float = 0.0
    """Calls that fail with nothing done."""
    untold: float = 0.0
    """Appends and claims that are done and fail all the same; what is destroyed, too."""
    late: float = 0.0
    """Appends that fail and are done up to `latest` later."""
    latest: float = 2.0
    hanging: float = 0.0
    """Appends and creates that return only after `hang`."""
    hang: float = 4.0
    blind: float = 0.0
    """Looks at what lies in memory that find nothing."""
    hint_lost: float = 0.0
    hint_late: float = 0.0
    """Hints that come up to `latest` later."""
    hint_twice: float = 0.0

    @property
    def longest(self) -> float:
        """Seconds that anything may still go on once there are no faults any more."""
        later = self.late or self.hint_late or self.hint_twice
        slow = 2 * self.slowest if self.slow else 0.0
        hanging = self.hang if self.hanging else 0.0
        return slow + max(hanging, self.latest if later else 0.0)


QUIET = Faults()

Spawn = Callable[[Coroutine[Any, Any, Any], str], object]


class Shared:
    """`writers` tells which node's log a stream was created or claimed through."""

    def __init__(
        self,
        log: base.EventLog,
        chance: random.Random,
        seen: record.Record,
        spawn: Spawn,
        pace: float = 0.0,
        page: int = base.PAGE_EVENTS,
    ) -> None:
        """`pace` in seconds is what half of the calls take at most in health too, `page` how many
        events a page has at most."""
        self.log, self.chance, self.record, self.spawn = log, chance, seen, spawn
        self.faults, self.pace, self.page = QUIET, pace, page
        self.out = False
        """The log takes and tells nothing at all."""
        self.late = 0
        """Appends that are still on their way."""
        self.streams: list[events.StreamId] = []
        self.writers: dict[events.StreamId, FaultyLog] = {}


class FaultyLog:
    """A `base.EventLog` for one node's life; `dead` from its end on."""

    def __init__(self, shared: Shared) -> None:
        self.shared, self._log, self._chance = shared, shared.log, shared.chance
        self.secret = shared.log.secret
        self.dead = False

    @property
    def forgets(self) -> bool:
        return self._log.forgets

    @property
    def nodes(self) -> base.Nodes | None:
        return self._log.nodes

    @property
    def endings(self) -> base.Endings | None:
        return self._log.endings

    @property
    def counters(self) -> counters.Counters | None:
        return None if self._log.counters is None else _Counters(self, self._log.counters)

    def _happens(self, share: float) -> bool:
        return share > 0 and self._chance.random() < share

    async def before(self) -> None:
        """Time passes, or the call fails with nothing done."""
        await self._time()
        if self.dead or self.shared.out or self._happens(self.shared.faults.refused):
            raise errors.LogUnavailable("The log refused, as it was asked to.")

    async def _time(self) -> None:
        faults = self.shared.faults
        if self._happens(faults.slow):
            await asyncio.sleep(self._chance.random() * faults.slowest)
        elif self.shared.pace:
            await asyncio.sleep(max(0.0, self._chance.uniform(-1.0, 1.0)) * self.shared.pace)

    async def start(self) -> None:
        await self._log.start()

    async def close(self) -> None:
        """The store stays for the next node."""

    async def until_ended(self) -> None:
        await self._log.until_ended()

    async def create(
        self,
        stream: events.StreamId,
        header: base.Header,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> base.Life | base.Exists:
        await self.before()
        shared = self.shared
        made = await self._log.create(stream, header, drafts, ts)
        if isinstance(made, base.Life):
            shared.streams.append(stream)
            shared.writers[stream] = self
            shared.record.created(header.request_id, stream)
        await self._time()
        if self._happens(shared.faults.hanging):
            await asyncio.sleep(shared.faults.hang)
        if isinstance(made, base.Life):
            shared.record.appended(stream, made.epoch, made.last, drafts)
        return made

    async def append(self, tick: base.Tick) -> list[base.Result]:
        try:
            await self.before()
        except asyncio.CancelledError:
            if self.dead and self._chance.random() < ARRIVES:
                self._send_late(tick)
            raise
        faults = self.shared.faults
        if self._happens(faults.late):
            self._send_late(tick)
            raise errors.LogUnavailable("The append is on its way, and nobody knows.")
        results = await self._log.append(tick)
        await self._time()
        if self._happens(faults.hanging):
            await asyncio.sleep(faults.hang)
        if self.dead or self._happens(faults.untold):
            raise errors.LogUnavailable("The append is done, and nobody was told.")
        for batch, result in zip(tick, results, strict=True):
            if isinstance(result, base.Ok):
                said = (batch.stream, batch.epoch, batch.last, batch.drafts)
                self.shared.record.appended(*said)
        return results

    def _send_late(self, tick: base.Tick) -> None:
        shared = self.shared
        shared.late += 1

        async def arrive() -> None:
            await asyncio.sleep(self._chance.random() * QUIET.latest)
            await self._log.append(tick)
            shared.late -= 1

        shared.spawn(arrive(), "late append")

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        await self.before()
        page = await self._log.read(stream, after, min(limit, self.shared.page))
        await self._time()
        return page

    def glance(self, stream: events.StreamId, after: events.Position) -> base.Page | None:
        if self.dead or self._happens(self.shared.faults.blind):
            return None
        page = self._log.glance(stream, after)
        return page if page is not None and len(page.events) <= self.shared.page else None

    async def heads(self, streams: Sequence[events.StreamId]) -> list[base.Head | None]:
        await self.before()
        return await self._log.heads(streams)

    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        await self.before()
        return await self._log.stat(stream)

    async def find(self, query: base.Query) -> list[base.Info]:
        await self.before()
        return await self._log.find(query)

    async def claim(self, stream: events.StreamId, ts: int) -> base.Life | None:
        await self.before()
        life = await self._log.claim(stream, ts)
        if life is not None:
            self.shared.record.lives[stream] += 1
        if self._happens(self.shared.faults.untold):
            raise errors.LogUnavailable("The claim is done, and nobody was told.")
        self.shared.writers[stream] = self
        if life is not None:
            adopted = events.draft(events.Adopted(life.epoch))
            self.shared.record.appended(stream, life.epoch, life.last, [adopted])
        return life

    async def orphans(self, limit: int) -> list[events.StreamId]:
        """What is open and is not written through this very log."""
        await self.before()
        shared = self.shared
        found = [stream for stream in shared.streams if shared.writers.get(stream) is not self]
        heads = await self._log.heads(found)
        pairs = zip(found, heads, strict=True)
        return [stream for stream, head in pairs if head and not head.closed][:limit]

    async def request_cancel(self, stream: events.StreamId) -> bool:
        await self.before()
        return await self._log.request_cancel(stream)

    async def expire(self, before: int, limit: int) -> int:
        await self.before()
        return await self._log.expire(before, limit)

    async def shred(self, stream: events.StreamId) -> bool:
        await self.before()
        gone = await self._log.shred(stream)
        await self._time()
        if self._happens(self.shared.faults.untold):
            raise errors.LogUnavailable("It is destroyed, and nobody was told.")
        return gone

    async def reseal(self, after: str, limit: int, *, plain_only: bool = False) -> stores.Resealed:
        await self.before()
        return await self._log.reseal(after, limit, plain_only=plain_only)

    async def wrapped_by(self) -> Mapping[str, int]:
        await self.before()
        return await self._log.wrapped_by()

    async def guards(self) -> tuple[str, ...]:
        return await self._log.guards()

    async def drop_guard(self, key_id: str) -> None:
        await self._log.drop_guard(key_id)

    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        hint = _Hint(self, wake)
        return hint.until(self._log.watch(stream, lambda: self._hint(hint)))

    def watch_cancels(self, hint: base.CancelHint) -> base.Undo:
        return self._log.watch_cancels(lambda stream: self._hint(_Hint(self, lambda: hint(stream))))

    def _hint(self, hint: _Hint) -> None:
        faults = self.shared.faults
        if self._happens(faults.hint_lost):
            return
        if self._happens(faults.hint_late):
            self._later(hint)
            return
        hint()
        if self._happens(faults.hint_twice):
            self._later(hint)

    def _later(self, hint: _Hint) -> None:
        seconds = self._chance.random() * self.shared.faults.latest
        asyncio.get_running_loop().call_later(seconds, hint)


class _Counters:
    """Counters that take time and are refused as the log's other calls are."""

    def __init__(self, log: FaultyLog, inside: counters.Counters) -> None:
        self._log, self._inside = log, inside

    async def add(self, changes: Sequence[counters.Change], now: int) -> list[Mapping[int, int]]:
        await self._log.before()
        return await self._inside.add(changes, now)


class _Hint:
    """A callback that is called only while its node lives and it is not taken back."""

    def __init__(self, log: FaultyLog, wake: base.Wake) -> None:
        self._log, self._wake = log, wake
        self._over = False

    def __call__(self) -> None:
        if not (self._over or self._log.dead):
            self._wake()

    def until(self, undo: base.Undo) -> base.Undo:
        def both() -> None:
            self._over = True
            undo()

        return both
