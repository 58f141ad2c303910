"""Finding streams: sorted sets of ids by the time of creation, all, each owner's and each tenant's.

Strategy: an id is put into the index before its stream is made and taken out after it is gone, so
the index may name a stream that is not there and misses none; what a failover loses of it is put
there again by who writes the stream. What it names is looked at, as
many as are still missing from the page, until the page is full.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from holdfast import events, storage
from holdfast.eventlog import base
from holdfast.eventlog.redis import keys, lines

STEP = 64
"""Ids that are looked at together, at least."""

AT_ONE_TIME = 16
"""More ids than are wanted that a page asks for: those that were made at the time of the last one
come once more."""

Look = Callable[[Sequence[events.StreamId]], Awaitable[list[base.Info | base.Tombstone | None]]]


def put(stream: events.StreamId, owner: str, created_at: int) -> list[lines.Keyed]:
    """`created_at` in ms since 1970."""
    return [lines.Keyed(key, ("ZADD", key, "NX", created_at, stream)) for key in _keys(owner)]


def put_again(
    stream: events.StreamId, owner: bytes | None, created: bytes | None
) -> list[lines.Keyed]:
    """By what its hash says in clear; nothing of one that a version made which did not say that."""
    if owner is None or created is None:
        return []
    return put(stream, owner.decode(errors="replace"), int(created))


def take(stream: events.StreamId, owner: str) -> list[lines.Keyed]:
    return [lines.Keyed(key, ("ZREM", key, stream)) for key in _keys(owner)]


def _keys(owner: str) -> tuple[bytes, ...]:
    """All that a stream is in. One of nobody's tenant is in none of a tenant."""
    tenant = storage.tenant_of(owner)
    some = (keys.STREAMS, keys.of_owner(owner))
    return (*some, keys.of_tenant(tenant)) if tenant else some


async def page(wires: lines.Lines, after: str, limit: int) -> tuple[list[events.StreamId], str]:
    """The next streams of all, in the order of their creation, and after what the next page goes
    on: "" begins. What was taken out meanwhile is no reason to begin anew."""
    time, _, id = after.partition(":")
    found: list[tuple[int, bytes]] = []
    passed, step = 0, limit + AT_ONE_TIME
    while len(found) < limit:
        # By the time and not by the rank, which changes with what is taken out meanwhile.
        since = ("ZRANGE", keys.STREAMS, time or "-inf", "+inf", "BYSCORE")
        words = (*since, "LIMIT", passed, step, "WITHSCORES")
        (pairs,) = await wires.ask([lines.Keyed(keys.STREAMS, words)])
        some = zip(map(int, map(float, pairs[1::2])), pairs[::2], strict=True)
        found += [one for one in some if not after or one > (int(time), id.encode())]
        passed += step
        if len(pairs) < 2 * step:
            break
    found = found[:limit]
    ids = [events.StreamId(one.decode()) for _, one in found]
    return ids, f"{found[-1][0]}:{ids[-1]}" if found else after


async def find(wires: lines.Lines, query: base.Query, look: Look) -> list[base.Info]:
    """The contract's `find`."""
    if query.owner is not None:
        key = keys.of_owner(query.owner)
    else:
        key = keys.of_tenant(query.tenant) if query.tenant else keys.STREAMS
    found: list[base.Info] = []
    passed, high = 0, _high(query)
    low = "-inf" if query.created_from is None else query.created_from
    while len(found) < query.limit:
        step = max(STEP, query.limit - len(found))
        words = ("ZREVRANGEBYSCORE", key, high, low, "LIMIT", passed, step)
        (ids,) = await wires.ask([lines.Keyed(key, words)], lines.READ)
        passed += len(ids)
        for info in await look([events.StreamId(id.decode()) for id in ids]):
            if isinstance(info, base.Info) and _is_wanted(info, query):
                found.append(info)
        if len(ids) < step:
            break
    return found[: max(0, query.limit)]


def _is_wanted(info: base.Info, query: base.Query) -> bool:
    return storage.in_time(info, query) and storage.matches(info, query)


def _high(query: base.Query) -> str | int:
    """The latest time that is asked for, as Redis writes it: `(` is without it. With `before` the
    ids of just that time are asked for too, of which some are passed over."""
    edges = []
    if query.created_to is not None:
        edges.append((query.created_to, 0))
    if query.before is not None:
        edges.append((query.before[0], 1))
    if not edges:
        return "+inf"
    time, whole = min(edges)
    return time if whole else f"({time}"
