"""The lease: this node's life in the eyes of the others, and the streams that it holds.

Strategy: a lease belongs to a node's life and not to a stream, so it costs the same for ten
thousand streams as for one. It is renewed every third of its time, by Redis's clock alone. What a
node holds is in a set beside it; who finds the lease gone takes streams over, one set's member to
one taker. After a failover leases may be gone that are held, so a node takes nothing from others
until it has held its own for its whole time without a break. Redis judges that, by its own clock: a
server that stood still reads requests that wait since before. A lease that was given back says so,
and waits for nobody.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import structlog

from holdfast import errors, events
from holdfast.eventlog.redis import keys, lines, scripts

SHARE = 3
"""A lease is renewed so often in its time."""

GIVE_BACK_SECONDS = 1.0

OVER = b"over"
"""A lease that was given back; any other is the time since when it is held."""

LOOKS = 6
"""After a call whose fate is unknown: so often is looked for what it did, twice a second. A server
that stood still may do it after the first look, when it reads on from a connection that was given
up."""

_log = structlog.get_logger("holdfast")


class Lease:
    """`run` renews it. `held` are the streams that this node writes."""

    def __init__(self, wires: lines.Lines, seconds: float) -> None:
        self.life = secrets.token_hex(8).encode()
        self.held: set[events.StreamId] = set()
        self._lines, self._seconds, self._ms = wires, seconds, int(seconds * 1000)
        self._set = keys.held(self.life)
        self._looks = 0  # that are still to be made, after a call that took

    async def start(self) -> None:
        await self._renew()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(self._seconds / SHARE)
            try:
                await self._renew()
            except errors.LogUnavailable as error:
                _log.warning("lease_not_renewed", error=error.message)

    async def _renew(self) -> None:
        place = (keys.life(self.life), keys.LIVES, self._set)
        (held,) = await self._ask(scripts.RENEW.call(place, self.life, self._ms))
        if held < len(self.held):
            # Others may have taken them, or Redis may have forgotten them.
            await self._ask(("SADD", self._set, *self.held))

    async def hold(self, stream: events.StreamId) -> None:
        """To be called before a stream is written; it is taken over if this node dies from now
        on."""
        if stream not in self.held:
            # Its life too: others forget one that has expired and holds nothing.
            await self._ask(("SADD", keys.LIVES, self.life), ("SADD", self._set, stream))
            self.held.add(stream)

    async def release(self, streams: Sequence[events.StreamId]) -> None:
        """They have ended, or are somebody else's; of those that are not held nothing is said."""
        held = [stream for stream in streams if stream in self.held]
        if held:
            await self._ask(("SREM", self._set, *held))
            self.held.difference_update(held)

    async def hand_over(self, streams: Sequence[events.StreamId], life: bytes) -> None:
        """They are held by another life from now on; by one that is dead, for whoever may take its
        streams. One that has them already notices nothing."""
        if streams:
            await self._ask(("SADD", keys.LIVES, life), ("SADD", keys.held(life), *streams))
            await self.release(streams)

    async def take(self, limit: int) -> list[events.StreamId]:
        """Streams of dead nodes, which are held here from now on: `limit` at most, or those of a
        call that broke."""
        if limit <= 0:
            return []
        missed = await self._look() if self._looks else []
        if missed:
            return missed
        place = (keys.LIVES, keys.life(self.life), self._set)
        call = scripts.TAKE.call(place, self.life, limit, keys.NODES, self._ms)
        left, self._looks = self._looks, LOOKS  # until its answer is there
        (found,) = await self._ask(call)
        self._looks = left
        taken = [events.StreamId(id.decode()) for id in found]
        self.held.update(taken)
        return taken

    async def _look(self) -> list[events.StreamId]:
        """What Redis says is held here and nobody here knows of."""
        (found,) = await self._ask(("SMEMBERS", self._set))
        self._looks = max(0, self._looks - 1)
        missed = {events.StreamId(id.decode()) for id in found} - self.held
        self.held.update(missed)
        return list(missed)

    async def is_held(self, life: bytes) -> bool:
        """Whether that life's node is there."""
        (found,) = await self._ask(("GET", keys.life(life)))
        return _is_held(found)

    async def others(self) -> list[bytes]:
        """The lives of the other nodes that are there."""
        (lives,) = await self._ask(("SMEMBERS", keys.LIVES))
        some = sorted(life for life in lives if life != self.life)
        found = await self._ask(*(("GET", keys.life(life)) for life in some))
        return [life for life, lease in zip(some, found, strict=True) if _is_held(lease)]

    async def give_back(self) -> None:
        """At the end, if Redis is there: what this node still holds can be taken at once."""
        commands: Iterable[tuple[Any, ...]]
        if self.held or self._looks:
            commands = [("SET", keys.life(self.life), OVER)]
        else:
            commands = [("DEL", keys.life(self.life)), ("SREM", keys.LIVES, self.life)]
        try:
            async with asyncio.timeout(GIVE_BACK_SECONDS):
                await self._ask(*commands)
        except (errors.LogUnavailable, TimeoutError) as error:
            _log.warning("lease_not_given_back", error=str(error))

    async def _ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        return await self._lines.ask([lines.Keyed(keys.LIVES, words) for words in commands])


def _is_held(lease: bytes | None) -> bool:
    return lease is not None and lease != OVER
