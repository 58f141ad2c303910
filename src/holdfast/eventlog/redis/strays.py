"""Streams that may have no writer though no node has died, and what becomes of each.

Strategy: three things leave one behind. A call whose fate is unknown may have made it. Who is
refused may be so by a life before its own, which a failover has brought back. And after a failover
what ended here lately, or was refused, may be open again, or this node's: the replica that took
over has not heard of what came last. Each stays held here until Redis has said who writes it. What
it says is this node's is taken; anything else is put among what its holder holds, where it is
already if that knows of it, and where the lease's own rule finds it once that is dead.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from holdfast import events
from holdfast.eventlog.redis import index, keys, lease, lines, seals

AT_ONCE = 100
"""Streams that are looked at before others have their turn."""

LATELY_SECONDS = 60.0
MAX_LATELY = 100_000
"""For how long, and for how many streams, what was their end here is looked at again after a
failover."""

Ended = tuple[events.StreamId, int]
"""A stream and the time of its end, in ms."""


class _Said(NamedTuple):
    """What the hash of a stream says of it, by the names of its fields; None where it is not there,
    and of a field that it does not have. An open one has a holder."""

    epoch: bytes | None
    ended: bytes | None
    holder: bytes
    key: bytes | None
    owner: bytes | None
    created: bytes | None


class Strays:
    """`begun` is what this node writes; `take` is called with what has no writer and is held here,
    `file` with what has ended."""

    def __init__(
        self,
        wires: lines.Lines,
        held: lease.Lease,
        sealed: seals.Seals,
        begun: Collection[events.StreamId],
        take: Callable[[events.StreamId], None],
        file: Callable[[Sequence[Ended]], Awaitable[None]],
    ) -> None:
        self._lines, self._lease, self._seals = wires, held, sealed
        self._begun, self._take, self._file = begun, take, file
        self._doubtful: dict[events.StreamId, int] = {}
        """What may have no writer; how often it is still to be looked for where it is not there."""
        self._lately = deque[tuple[float, events.StreamId]](maxlen=MAX_LATELY)
        """What has ended or was refused here, and when, on the loop's clock."""
        self._broken = wires.broken

    def doubt(self, stream: events.StreamId, looks: int = 1) -> None:
        """To be called with one that is held: it may have no writer. `looks` are more where a call
        may make it yet."""
        self._doubtful[stream] = looks

    def no_doubt(self, stream: events.StreamId) -> int:
        """It is made now by who knows of it; how many looks there were to be."""
        return self._doubtful.pop(stream, 0)

    def is_over(self, stream: events.StreamId) -> None:
        """It has ended here, or was refused."""
        self._lately.append((asyncio.get_running_loop().time(), stream))

    async def look(self) -> None:
        """At what is in doubt, and, if a connection broke, at what is to be looked at again. Raises
        `errors.LogUnavailable`; what was not seen to is in doubt still."""
        some = list(self._doubtful)
        for at in range(0, len(some), AT_ONCE):
            await self._settle(some[at : at + AT_ONCE])
        await self._look_back()

    async def _settle(self, part: Sequence[events.StreamId]) -> None:
        seen: dict[events.StreamId, int] = {}
        held: list[tuple[events.StreamId, bytes]] = []
        ended: list[Ended] = []
        gone: list[events.StreamId] = []
        for stream, said in await self._ask(part):
            looks = self._doubtful.pop(stream, 0)
            if not looks or stream in self._begun:
                continue  # it has been made anew meanwhile
            if said.epoch is None and looks > 1:
                self._doubtful[stream] = looks - 1
                continue
            seen[stream] = looks
            if said.epoch is None:
                gone.append(stream)
            elif said.ended is None:
                held.append((stream, said.holder))
            else:
                ended.append((stream, int(said.ended)))
        try:
            await self._see_to(held)
            await self._lease.release(gone)
            if ended:
                await self._file(ended)
        except BaseException:
            for stream, looks in seen.items():
                self._doubtful.setdefault(stream, looks)
            raise

    async def _look_back(self) -> None:
        """What was put into the index before it was made may be in none now, too, nor need its key
        have its guard."""
        broken, now = self._lines.broken, asyncio.get_running_loop().time()
        while self._lately and self._lately[0][0] < now - LATELY_SECONDS:
            self._lately.popleft()
        if broken == self._broken:
            return
        some = list(dict.fromkeys([*self._begun, *(stream for _, stream in self._lately)]))
        for at in range(0, len(some), AT_ONCE):
            found = await self._ask(some[at : at + AT_ONCE])
            there = [(stream, said) for stream, said in found if said.epoch is not None]
            again = (index.put_again(stream, said.owner, said.created) for stream, said in there)
            await self._lines.ask(list(itertools.chain.from_iterable(again)))
            for _, said in there:
                self._seals.used(said.key)
            await self._see_to(
                (stream, said.holder)
                for stream, said in there
                if said.ended is None and stream not in self._begun
            )
        self._broken = broken

    async def _ask(self, part: Sequence[events.StreamId]) -> list[tuple[events.StreamId, _Said]]:
        asked = [lines.Keyed(key, ("HMGET", key, *_Said._fields)) for key in map(keys.stream, part)]
        said = [_Said(*one) for one in await self._lines.ask(asked)]
        return list(zip(part, said, strict=True))

    async def _see_to(self, found: Iterable[tuple[events.StreamId, bytes]]) -> None:
        """Of open streams that nobody writes here, and their holders."""
        others = defaultdict[bytes, list[events.StreamId]](list)
        for stream, holder in found:
            if holder != self._lease.life:
                others[holder].append(stream)
                continue
            await self._lease.hold(stream)
            if stream not in self._begun:  # where one has begun here meanwhile
                self._take(stream)
        for holder, streams in others.items():
            still = [stream for stream in streams if stream not in self._begun]
            await self._lease.hand_over(still, holder)
