"""What a running node does about keys: seals what is plain, rewraps, destroys.

Strategy: a pass goes over the log and the archive in bounded steps (`sealing.stores`), may end
anywhere, and is made again from the begin, by any node: what is done already is passed over. One
pass runs at a time. What is plain when sealing is turned on is sealed behind the node's start,
while everything is served; a stream that is open then has its turn when it has ended. To destroy a
stream is to end it first, and then to destroy it in both stores and in whatever keeps something
of it. A key that the ring has is let go of only where no node wraps by it any more: a tenant's own
one is taken out of the ring first, by who has that (`cli.passes`), and then by the next pass here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Literal, Protocol

import msgspec
import structlog

from holdfast import errors, events, storage, supervisor
from holdfast.eventlog import base
from holdfast.sealing import ring, sealer, stores

BEGIN_WITHIN = 5.0
"""Seconds after the start until what is plain is looked for: nodes that start together do not all
look at once."""

AGAIN, SELDOM = 60.0, 3600.0
"""Seconds until the next look, where some could not be sealed yet: it goes over all streams, so it
comes half as often each time that nothing was done, down to this."""

LOOK_AGAIN, LOOKS = 1.0, 30
"""Seconds between two looks at a tenant that is destroyed, and how many there are: so long its
streams have for their ends."""

OVERLAP_MS = 60_000
"""For so long after a key was followed by another one a node may still wrap by it, whose clock is
behind."""

Kind = Literal["seal", "rewrap", "shred"]

_log = structlog.get_logger("holdfast")


class Pass(msgspec.Struct, frozen=True):
    """The one that runs, or the last. `done` streams were changed, or destroyed; `left` are open
    and wait for their end, `unreadable` stay as they are; `error` is the code of what broke it
    off."""

    kind: Kind
    done: int = 0
    left: int = 0
    unreadable: int = 0
    running: bool = True
    error: str | None = None

    def and_in(self, store: stores.Resealed) -> Pass:
        """With what was done in one more store."""
        return msgspec.structs.replace(
            self,
            done=self.done + store.done,
            left=self.left + store.left,
            unreadable=self.unreadable + store.unreadable,
        )


class StoreKeys(msgspec.Struct, frozen=True):
    """How many streams a store has under each key ("" is plain), None where they were not counted;
    and the keys without which it does not start."""

    by_key: Mapping[str, int] | None
    guards: tuple[str, ...]


class Store(stores.SealedStore, Protocol):
    async def find(self, query: base.Query) -> list[base.Info]:
        """A page of its streams, as the log's."""


class Resealing:
    """Of a node that seals by this, reads `log`, and keeps streams in these stores, by their names.
    `run` is a task of the node's."""

    def __init__(
        self,
        by: sealer.Sealer,
        log: base.EventLog,
        kept_in: Mapping[str, Store],
        tasks: supervisor.Supervisor,
    ) -> None:
        self.sealer, self._log, self._stores, self._tasks = by, log, kept_in, tasks
        self.last: Pass | None = None
        self.gone: list[Callable[[events.StreamId], None]] = []
        """Who is told of each stream that is destroyed."""

    async def run(self) -> None:
        """Seals what is plain where sealing is on. Never returns."""
        pause, told, due = random.uniform(0, BEGIN_WITHIN), "", self.sealer.on
        while due:
            await asyncio.sleep(pause)
            if self.running:
                pause = AGAIN
                continue
            asked = self.last
            found = await self._pass("seal", self._seal)
            pause = AGAIN if found.done else min(max(AGAIN, 2 * pause), SELDOM)
            if asked is not None and asked.kind != "seal":
                self.last = asked  # who asked for it looks whether it is over
            if found.done:
                _log.info(
                    "store_sealed", done=found.done, left=found.left, unreadable=found.unreadable
                )
            if found.error not in (None, told):
                _log.warning("store_not_sealed", error=found.error)
            told = found.error or ""
            due = bool(found.left) or found.error is not None
        await asyncio.get_running_loop().create_future()

    @property
    def running(self) -> bool:
        """Whether a pass is under way."""
        return self.last is not None and self.last.running

    def rewrap(self) -> None:
        """Begins to seal all that is plain, and to wrap each data key by the key that would wrap it
        now; lets go of the keys that nothing needs then. Raises `errors.AlreadyRunning`."""
        self._begin("rewrap", self._rewrap)

    def shred_tenant(self, tenant: str) -> None:
        """Begins to destroy all streams of a tenant; lets go of keys that the ring has lost, and
        nothing lies under. Raises `errors.AlreadyRunning`."""
        self._begin("shred", lambda: self._shred_all(tenant))

    def _begin(self, kind: Kind, work: Callable[[], Awaitable[None]]) -> None:
        if self.running:
            raise errors.AlreadyRunning("A pass over all streams is under way; wait for its end.")
        self.last = Pass(kind)
        self._tasks.job(self._told(kind, work), f"pass over all streams: {kind}")

    async def _told(self, kind: Kind, work: Callable[[], Awaitable[None]]) -> None:
        found = await self._pass(kind, work)
        _log.info(
            "streams_passed",
            kind=kind,
            done=found.done,
            left=found.left,
            unreadable=found.unreadable,
            error=found.error,
        )

    async def _pass(self, kind: Kind, work: Callable[[], Awaitable[None]]) -> Pass:
        """What it came to; a failure breaks it off, and the next one begins anew."""
        self.last = Pass(kind)
        error: str | None = errors.HoldfastError.code
        try:
            await work()
            error = None
        except errors.HoldfastError as failure:
            error = failure.code
        except Exception as failure:  # a bug hurts no more than the pass
            _log.error("pass_failed", kind=kind, trace=errors.trace(failure))
        finally:
            self.last = msgspec.structs.replace(self.last, running=False, error=error)
        return self.last

    async def _seal(self) -> None:
        await self._over_all(plain_only=True)

    async def _over_all(self, *, plain_only: bool) -> None:
        for store in self._stores.values():
            before = self._so_far

            def tell(part: stores.Resealed, before: Pass = before) -> None:
                self.last = before.and_in(part)

            await stores.reseal_all(store, plain_only=plain_only, told=tell)

    @property
    def _so_far(self) -> Pass:
        assert self.last is not None
        return self.last

    async def _rewrap(self) -> None:
        await self._over_all(plain_only=False)
        known = self.sealer.ring
        keys = () if known is None else known.keys
        await self._let_go(ring.needed(keys, events.now_ms(), OVERLAP_MS))

    async def _let_go(self, needed: Collection[str]) -> None:
        """No store needs another key to start any more, where nothing is left under it."""
        for store in self._stores.values():
            under = await store.wrapped_by()
            for key in await store.guards():
                if key not in needed and not under.get(key):
                    await store.drop_guard(key)

    async def _shred_all(self, tenant: str) -> None:
        begun = self._so_far
        for _ in range(LOOKS):
            begun = await self._shred_those_there(tenant, begun)
            if not begun.left:
                break
            await asyncio.sleep(LOOK_AGAIN)  # for their ends
        known = self.sealer.ring
        if known is not None:
            await self._let_go({key.id for key in known.keys})

    async def _shred_those_there(self, tenant: str, begun: Pass) -> Pass:
        """In each store: an archive may have what this log never had."""
        self.last = msgspec.structs.replace(begun, left=0, unreadable=0)
        for store in self._stores.values():
            await self._shred_in(store, tenant, self._so_far)
        return self._so_far

    async def _shred_in(self, store: Store, tenant: str, begun: Pass) -> None:
        done, left, unreadable = begun.done, begun.left, begun.unreadable
        before: tuple[int, str] | None = None
        while True:
            query = base.Query(tenant=tenant, before=before, limit=stores.STEP)
            found = await store.find(query)
            for info in found:
                try:
                    gone = await self.shred(info.stream)
                except errors.AccessError:  # it is gone already
                    continue
                except errors.LogCorrupt:
                    unreadable += 1
                    continue
                done, left = done + gone, left + (not gone)
                await asyncio.sleep(0)
            self.last = msgspec.structs.replace(begun, done=done, left=left, unreadable=unreadable)
            if len(found) < query.limit:
                return
            before = (found[-1].header.created_at, str(found[-1].stream))

    async def shred(self, stream: events.StreamId) -> bool:
        """Destroys a stream; what is under way is cancelled first. False: its end is not visible
        yet, or the log has it again, so ask again. Nothing of it is opened. Raises
        `errors.StreamNotFound`, and `StreamExpired` for one that is gone already."""
        head = await self._head(stream)
        if head is not None and not head.closed:
            await self._log.request_cancel(stream)
        gone = await self._log.shred(stream)
        if not gone and await self._head(stream) is not None:
            return False
        for store in self._stores.values():
            if store is not self._log:  # it has who read the stream, or alone the stream itself
                gone = await store.shred(stream) or gone
        if gone:
            for tell in self.gone:
                tell(stream)
        # The last store may have answered late, and the log have lost meanwhile what it was told:
        # its primary was given up for a replica that was behind.
        if await self._head(stream) is not None:
            return False
        if not gone:
            if isinstance(await self._log.stat(stream), storage.Tombstone):
                raise errors.StreamExpired
            raise errors.StreamNotFound
        _log.info("stream_shredded", stream=stream)
        return True

    async def _head(self, stream: events.StreamId) -> storage.Head | None:
        (head,) = await self._log.heads([stream])
        return head

    async def keys(self, *, counted: bool = True) -> dict[str, StoreKeys]:
        """What lies under which keys, in each store; to count that looks at every stream. Raises
        what they raise."""
        return {
            name: StoreKeys(await store.wrapped_by() if counted else None, await store.guards())
            for name, store in self._stores.items()
        }
