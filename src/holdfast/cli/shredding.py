"""What commands destroy: streams, all of a tenant's, or what lies under a key.

Strategy: a stream's data key goes first, so that what is left of it in any copy opens only by the
key of the ring that wrapped it. A key that nothing is wrapped by any more goes from the stores'
guards, and then from the ring. A tenant's own key is in use until no node knows it, so it goes the
other way: from the ring, when nothing is left under it; once every node has read that, what was
made meanwhile is destroyed too, and only then the guards go. In between a node does not start, as
the ring lacks a key that a store needs, and says so: a stream that is made under a dying key is
never one that nobody is told of. Each step may be made again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import msgspec

from holdfast import errors, events, storage
from holdfast.archive import base as archive_base
from holdfast.archiving import behind
from holdfast.cli import logs, sealed
from holdfast.eventlog import base as log_base
from holdfast.sealing import holder, ring, sealer, sources, stores

COPIES = (
    "Copies (replicas, append-only files, backups) hold it until the keys that wrapped it are "
    "destroyed: `holdfast seal rotate`, and later `holdfast seal rewrap --destroy-old`."
)

OWN = (
    "Copies made while it had keys of its own are dead, as those are destroyed; older ones once "
    "`holdfast seal rewrap --destroy-old` has destroyed the keys of then.\n"
)

READ_SECONDS = 2 * holder.LOOK_SECONDS
"""Until every node has read a ring that was changed."""


class Shredded(msgspec.Struct, frozen=True):
    """`done` streams were destroyed, `open` ones were asked to end, and are there still. `keys` of
    the ring were destroyed."""

    done: int = 0
    open: int = 0
    keys: tuple[str, ...] = ()


async def one(kept: sealed.Stores, stream: events.StreamId) -> bool:
    """In each store; false where it is in none, or open, or where the log has it again."""
    if kept.log is not None and kept.archive is not None:
        return await behind.shred(kept.log, kept.archive, stream)
    gone = [await store.shred(stream) for store in kept.all.values()]
    return any(gone)


async def tenant(kept: sealed.Stores, name: str) -> Shredded:
    """All of a tenant's streams; then its own keys, if nothing is left under them. Raises as
    `keys`."""
    done, still = await _those_there(kept, name)
    own = [key.id for key in (() if kept.ring is None else kept.ring.keys) if key.tenant == name]
    state = await kept.state()
    if not own or any(state.under(key_id) for key_id in own):
        return Shredded(len(done), len(still))
    source = _changeable(kept, own)
    if source is not None:
        kept.by.replace(source.destroy(*own))
    if kept.overlap_ms:  # nodes may run
        await all_have_read()
        more, still = await _those_there(kept, name)
        done |= more
        state = await kept.state()
    await _let_go(kept, [key_id for key_id in own if not state.under(key_id)])
    return Shredded(len(done), len(still), tuple(own))


async def all_have_read() -> None:
    """That the ring was changed."""
    await asyncio.sleep(READ_SECONDS)


async def _those_there(
    kept: sealed.Stores, name: str
) -> tuple[set[events.StreamId], set[events.StreamId]]:
    """Which of them are gone now, and which are open."""
    done: set[events.StreamId] = set()
    still: set[events.StreamId] = set()
    for store in (kept.log, kept.archive):
        async for info in _all(store, name):
            if not info.head.closed and kept.log is not None:
                await kept.log.request_cancel(info.stream)
            (done if await one(kept, info.stream) else still).add(info.stream)
    return done, still - done


async def _all(
    store: log_base.EventLog | archive_base.Archive | None, name: str
) -> AsyncIterator[storage.Info]:
    """Page by page; what is destroyed meanwhile moves none of the others."""
    before: tuple[int, str] | None = None
    while store is not None:
        query = storage.Query(tenant=name, before=before, limit=stores.STEP)
        page = await store.find(query)
        for info in page:
            yield info
        if len(page) < query.limit:
            return
        before = (page[-1].header.created_at, str(page[-1].stream))


async def keys(kept: sealed.Stores, ids: Sequence[str]) -> None:
    """Destroys keys of the ring that nothing is wrapped by any more: first no store needs them to
    start, then they are gone. Raises `errors.SettingsError` before anything is, where the ring
    cannot be changed from here, or not all is there that may need them."""
    source = _changeable(kept, ids)
    await _let_go(kept, ids)
    if source is not None:
        source.destroy(*ids)


def _changeable(kept: sealed.Stores, ids: Sequence[str]) -> sources.File | None:
    """The ring that has some of these keys; None where they are gone from it."""
    sealed.check_one_log(kept.given)
    if kept.absent:
        raise errors.SettingsError(
            f"There is no {kept.absent[0]}. A key is destroyed only where it is seen what lies "
            "under it: run this with the folder, --config and --log-url of the server."
        )
    known = {key.id for key in (() if kept.ring is None else kept.ring.keys)}
    some = [key_id for key_id in ids if key_id in known]
    if not some:
        return None
    if not isinstance(kept.source, sources.File):
        raise sources.unchangeable()
    return kept.source


async def _let_go(kept: sealed.Stores, ids: Sequence[str]) -> None:
    for store in kept.all.values():
        guards = await store.guards()
        for key_id in ids:
            if key_id in guards:
                await store.drop_guard(key_id)


async def named(kept: sealed.Stores, ids: Sequence[str], *, forced: bool) -> int:
    """Destroys keys, of stores that start without them; how many streams are gone with them. Raises
    `errors.InvalidField` where that is refused, and `errors.SettingsError` as `keys`, before
    anything is destroyed."""
    ours = kept.ring.keys if kept.ring else ()
    for key_id in ring.needed(ours, events.now_ms(), kept.overlap_ms).intersection(ids):
        raise errors.InvalidField(
            f"New streams are sealed by the key {key_id}, or will be: run `holdfast seal rotate` "
            "first, and wait until the new key has been used for a minute."
        )
    lost = [key_id for key_id in ids if key_id not in kept.known]
    if lost and forced:
        await _forget(kept, ids, lost)
    async with sealed.started(kept):
        state = await kept.state()
        if not forced:
            _check_free(state, ids, lost)
        done = 0
        if any(map(state.under, ids)):
            if kept.ring is not None:
                kept.by.replace(kept.ring.without(*ids))
            with logs.quiet():  # such streams are looked for
                done = await _those_under(kept, ids)
        await keys(kept, ids)
    return done


async def _forget(kept: sealed.Stores, ids: Sequence[str], lost: Sequence[str]) -> None:
    """Drops the guards of lost keys, as what has no other one cannot start. Raises
    `errors.SettingsError` where it would not start then."""
    _changeable(kept, ids)
    missing = await sealed.guards(kept) - kept.known - set(ids)
    if missing:
        raise errors.SettingsError(
            f"The ring lacks the {sealer.named(missing)} too: put back a ring that has what is "
            "missing, or name them all with --key."
        )
    for store in kept.all.values():
        for key_id in lost:
            with contextlib.suppress(errors.LogUnavailable):
                await store.drop_guard(key_id)


def _check_free(state: sealed.State, ids: Sequence[str], lost: Sequence[str]) -> None:
    """Raises `errors.InvalidField` where something is lost with one of these."""
    guards = {one for store in state.stores.values() for one in store.guards}
    for key_id in ids:
        under = state.under(key_id)
        if key_id in lost and not under and key_id not in guards:
            raise errors.InvalidField(f"There is no key {key_id}, and nothing needs it.")
        if under or key_id in lost:
            raise errors.InvalidField(
                f"{under} streams lie under the key {key_id}: "
                + (
                    "as the ring has lost it, they cannot be read; --forced destroys them."
                    if key_id in lost
                    else "`holdfast seal rewrap` brings them under the present one, --forced "
                    "destroys them."
                )
            )


async def _those_under(kept: sealed.Stores, ids: Sequence[str]) -> int:
    """Destroys what lies under these keys, which `kept.by` has no more; how many streams. One that
    the other store can read stays there."""
    done: set[events.StreamId] = set()
    for name, store in (("log", kept.log), ("archive", kept.archive)):
        async for info in _all(store, ""):
            if store is None or not await _is_under(store, info.stream, ids):
                continue
            other = kept.archive if name == "log" else kept.log
            whole = other is None or not await _is_readable(other, info.stream)
            if await (one(kept, info.stream) if whole else store.shred(info.stream)):
                done.add(info.stream)
    return len(done)


async def _is_under(
    store: log_base.EventLog | archive_base.Archive, stream: events.StreamId, ids: Sequence[str]
) -> bool:
    try:
        await store.stat(stream)
    except errors.KeyMissing as error:
        return any(sealer.lacks(error, key_id) for key_id in ids)
    except errors.LogCorrupt:
        pass  # for another reason; what it lies under is destroyed with the key
    return False


async def _is_readable(
    store: log_base.EventLog | archive_base.Archive, stream: events.StreamId
) -> bool:
    with contextlib.suppress(errors.LogCorrupt):
        return isinstance(await store.stat(stream), storage.Info)
    return False
