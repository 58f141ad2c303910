"""What a store of streams does about keys, whichever it is: the log's engines and the archives.

Strategy: every verb is bounded work and may be made again after it was cut off, by anybody, so that
turning sealing on, rewrapping and shredding are loops that may die at any step. No verb opens what
it destroys: a stream whose key is lost can be shredded too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from holdfast import events

STEP = 64
"""Streams that one call looks at: appends wait for it, and one may be of `max_stream_bytes`."""


class Resealed(msgspec.Struct, frozen=True):
    """What one call did: `done` streams changed. `left` are plain still, as they are open and wait
    for their end; `unreadable` stay as they are. `after` is where the next call goes on, None at
    the end."""

    done: int = 0
    left: int = 0
    unreadable: int = 0
    after: str | None = None


class SealedStore(Protocol):
    """Each call may raise what the store raises where it cannot be reached. What a call of
    `create` or `keep` writes is sealed where its sealer says so, and what was written before stays
    as it is, until `reseal` comes by."""

    async def reseal(self, after: str, limit: int, *, plain_only: bool = False) -> Resealed:
        """Looks at `limit` streams, in an order of the store's own, behind `after`: "" begins. One
        that is plain is sealed, and one whose data key is wrapped by another key than it would be
        now is wrapped by that, without `plain_only`. Without a ring, or with sealing off, nothing
        is changed."""

    async def wrapped_by(self) -> Mapping[str, int]:
        """How many streams there are under each of the ring's keys; "" are plain."""

    async def guards(self) -> tuple[str, ...]:
        """The ids of the ring's keys without which this store does not start."""

    async def drop_guard(self, key_id: str) -> None:
        """Starts without this key from now on. Idempotent; the caller has looked at `wrapped_by`,
        or wants what is under it gone. Raises `errors.SettingsError` where sealing is on and the
        store has no other key to go on with."""

    async def shred(self, stream: events.StreamId) -> bool:
        """Destroys a stream that has ended, its data key first, and leaves a tombstone; nothing of
        it can be read any more when this returns, in this store. False where it is not there, or
        open; one that is open and whose key is destroyed may go too."""


class Unsealed:
    """A store in memory, which is no disk: nothing is sealed there."""

    async def reseal(self, after: str, limit: int, *, plain_only: bool = False) -> Resealed:
        return Resealed()

    async def guards(self) -> tuple[str, ...]:
        return ()

    async def drop_guard(self, key_id: str) -> None:
        """There is none."""


async def reseal_all(
    store: SealedStore,
    *,
    plain_only: bool = False,
    step: int = STEP,
    told: Callable[[Resealed], None] = lambda so_far: None,
) -> Resealed:
    """One pass over all streams of a store, `step` at a time; what it did in sum. `told` is told of
    the sum so far, whose `after` says where a pass would go on. Raises what `reseal` raises."""
    sum_of = Resealed(after="")
    while sum_of.after is not None:
        part = await store.reseal(sum_of.after, step, plain_only=plain_only)
        sum_of = Resealed(
            sum_of.done + part.done,
            sum_of.left + part.left,
            sum_of.unreadable + part.unreadable,
            part.after,
        )
        told(sum_of)
    return sum_of
