"""A step of a pass over an archive that seals what is plain, and rewraps what is not.

Strategy: streams in the order of their ids, then connections; an engine gives four verbs, each of
them bounded and in a transaction of its own, in which it looks anew at what it changes. So a step
may be cut off anywhere, and be made beside nodes that keep, shred and reseal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from holdfast import errors, events
from holdfast.sealing import codec, sealer, stores

CONNECTIONS = "~"
"""How a place begins where a pass has come to connections: behind all ids of streams."""


class Looked(NamedTuple):
    """A stream that is looked at; `key` is its data key, None where it is plain."""

    stream: events.StreamId
    owner: str
    key: bytes | None


class Rewrap(NamedTuple):
    """A stream whose data key is to be wrapped by the ring's key `by`."""

    stream: events.StreamId
    old: bytes
    new: bytes
    by: str


class Engine(Protocol):
    async def look(self, after: str, limit: int) -> list[Looked]:
        """Streams behind this id, in the order of their ids."""

    async def seal(self, one: Looked) -> bool:
        """Seals one that is plain; false where it is none any more. Raises `errors.LogCorrupt`."""

    async def rewrap(self, some: Sequence[Rewrap]) -> int:
        """Those whose key is still the old one; how many."""

    async def seal_connections(self, after: str) -> str | None:
        """Seals what is plain of some connections behind this id; the last one's, None at the
        end."""


async def step(
    engine: Engine, by: sealer.Sealer, after: str, limit: int, *, plain_only: bool
) -> stores.Resealed:
    """As `stores.SealedStore.reseal`."""
    if not by.on:
        return stores.Resealed()
    if after.startswith(CONNECTIONS):
        last = await engine.seal_connections(after.removeprefix(CONNECTIONS))
        return stores.Resealed(after=None if last is None else CONNECTIONS + last)
    looked = await engine.look(after, limit)
    wanted, done, unreadable = list[Rewrap](), 0, 0
    for one in looked:
        try:
            if one.key is None:
                done += by.current(one.owner) != "" and await engine.seal(one)
            elif not plain_only:
                wanted += _rewraps(by, one, one.key)
        except errors.LogCorrupt:
            unreadable += 1
    if wanted:
        done += await engine.rewrap(wanted)
    if limit > 0:
        after = looked[-1].stream if len(looked) >= limit else CONNECTIONS
    return stores.Resealed(done, 0, unreadable, after)


def _rewraps(by: sealer.Sealer, one: Looked, key: bytes) -> list[Rewrap]:
    name = by.current(one.owner)
    if name in ("", codec.key_id(key)):
        return []
    return [Rewrap(one.stream, key, by.rewrapped(one.stream, one.owner, key, name), name)]
