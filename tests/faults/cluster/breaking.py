"""The faults of a run with many nodes: those of nodes, of Redis and of PostgreSQL.

Strategy: of what may cost a node its lease, or Redis its last moments, one happens at a time, and
until its effect is over: so it is known of each stream that goes on elsewhere why it did, and what
nobody has any more is not lost by two faults together. Beside it PostgreSQL comes and goes, and
small things happen. A bag of faults is emptied before one of them comes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from tests.faults.chaos import book as books
from tests.faults.chaos.weather import Fault, Loop
from tests.faults.cluster import nodes, stores

from holdfast import errors

BEYOND = 4 / 3
"""Leases: one has run out, and its streams have been taken over."""

SETTLES = 2.0
"""Seconds after a failover in which what it lost comes to light."""


AWAY = (0.2, 1.6)
"""Leases without PostgreSQL."""

LOOK_SECONDS = 0.25

TRIES = 60
"""Starts, one a second: longer than any store is away."""

REFUSED = "starts without a store"
"""What is counted: a node ended as it started, with a code of `_MISSED`."""

_MISSED = (errors.KeysUnavailable.code, errors.LogUnavailable.code)


class Death(NamedTuple):
    """Of the node of this name; what goes on in another life `until` then does so for this."""

    at: float
    node: str
    how: str
    until: float


class Bag:
    """Draws each of its faults once before any comes again."""

    def __init__(self, dice: random.Random, faults: Sequence[Fault]) -> None:
        self._dice, self._faults = dice, faults
        self._left: list[Fault] = []

    async def next(self) -> None:
        if not self._left:
            self._left = list(self._faults)
            self._dice.shuffle(self._left)
        await self._left.pop()()

    def loop(self, pause: tuple[float, float]) -> Loop:
        kinds: Mapping[Fault, int] = {self.next: 1}
        return Loop(self._dice, kinds, pause)


class Breaking:
    """`deaths` are those of nodes that wrote streams. `cables`: whether there are any to pull;
    `lease` in seconds."""

    def __init__(
        self,
        book: books.Book,
        seed: int,
        all: nodes.Nodes,
        shared: stores.Stores,
        cables: bool,
        lease: float,
    ) -> None:
        self._book, self._nodes, self._stores = book, all, shared
        self._dice = random.Random(f"{seed} cluster")
        self._cables, self._failing_over = cables, False
        self._lease, self._beyond = lease, BEYOND * lease
        self.deaths: list[Death] = []

    def loops(self) -> list[Loop]:
        great: list[Fault] = [
            self._kill,
            self._stop,
            lambda: self._fail_over("killed"),
            lambda: self._fail_over("frozen"),
            lambda: self._fail_over("behind"),
            self._begin_anew,
            self._term,
        ]
        if self._cables:
            great += [self._part, self._flap]
        archive: list[Fault] = [self._stop_archive, self._freeze_archive]
        small: list[Fault] = [self._blink, self._cut, self._pause]
        return [
            Bag(self._dice, great).loop((1, 3)),
            Bag(random.Random(self._dice.random()), archive).loop((2, 8)),
            Bag(random.Random(self._dice.random()), small).loop((1, 4)),
        ]

    async def watch(self) -> None:
        """Writes down failovers that nobody asked for: a busy machine may be taken for a dead one.
        Never returns."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._failing_over and not await self._stores.led():
                with self._book.fault("failover by itself", loses=True):
                    await asyncio.sleep(SETTLES)

    @contextlib.asynccontextmanager
    async def _breaking(self, fault: str) -> AsyncIterator[nodes.Node]:
        """A node to which nothing else is done while this fault is on."""
        node = self._dice.choice([one for one in self._nodes.all if not one.busy.locked()])
        async with node.busy:
            with self._book.fault(fault):
                yield node

    async def _over(self, node: nodes.Node, how: str) -> None:
        """Waits until the streams of a node that has died are written by others."""
        now = self._book.now
        self.deaths.append(Death(now, node.name, how, now + self._beyond + SETTLES))
        await asyncio.sleep(self._beyond)

    async def _start(self, node: nodes.Node) -> None:
        """Until it serves: without PostgreSQL, which has the keys, or with a connection to Redis
        that breaks meanwhile, no node starts; whoever starts it tries again."""
        for left in reversed(range(TRIES)):
            try:
                await node.start()
            except RuntimeError as error:
                if not left or not any(f"[{code}]" in str(error) for code in _MISSED):
                    raise
                self._book.counts[REFUSED] += 1
            else:
                return
            await asyncio.sleep(1)

    async def _kill(self) -> None:
        """A node dies, and comes back when the others have its streams."""
        async with self._breaking("kill") as node:
            await node.kill()
            await self._over(node, "kill")
            await self._start(node)

    async def _begin_anew(self) -> None:
        """A node dies, and is there again at once, with another life."""
        async with self._breaking("kill and start") as node:
            await node.kill()
            over = asyncio.create_task(self._over(node, "kill and start"))
            await self._start(node)
            await over

    async def _stop(self) -> None:
        """A node stands still for longer than its lease, and wakes as a zombie."""
        async with self._breaking("stop") as node:
            node.signal(signal.SIGSTOP)
            try:
                await self._over(node, "stop")
            finally:
                node.signal(signal.SIGCONT)
            await asyncio.sleep(SETTLES)

    async def _part(self) -> None:
        """A node is cut off from everything for longer than its lease."""
        async with self._breaking("partition") as node:
            node.machine.pull()
            try:
                await self._over(node, "partition")
            finally:
                node.machine.plug()
            await asyncio.sleep(SETTLES)

    async def _flap(self) -> None:
        """A node is cut off for a moment."""
        async with self._breaking("short partition") as node:
            node.machine.pull()
            try:
                await asyncio.sleep(self._dice.uniform(0.5, 5))
            finally:
                node.machine.plug()
            await asyncio.sleep(SETTLES)

    async def _term(self) -> None:
        """A node ends in order, as in a deploy."""
        async with self._breaking("term") as node:
            await node.terminate()
            await self._start(node)

    async def _fail_over(self, how: str) -> None:
        with self._book.fault(f"failover, primary {how}", loses=True):
            self._failing_over = True
            try:
                await self._stores.fail_over(how)
            finally:
                self._failing_over = False
            await asyncio.sleep(SETTLES)

    async def _stop_archive(self) -> None:
        with self._book.fault("PostgreSQL stopped"):
            await self._stores.stop_postgres()
            await asyncio.sleep(self._lease * self._dice.uniform(*AWAY))
            await self._stores.start_postgres()

    async def _freeze_archive(self) -> None:
        with self._book.fault("PostgreSQL frozen"), self._stores.postgres.frozen():
            await asyncio.sleep(self._lease * self._dice.uniform(*AWAY))

    async def _blink(self) -> None:
        """A node stands still for a moment."""
        async with self._breaking("freeze") as node:
            node.signal(signal.SIGSTOP)
            await asyncio.sleep(self._dice.uniform(0.05, 1.5))
            node.signal(signal.SIGCONT)

    async def _cut(self) -> None:
        """All connections to Redis end."""
        with self._book.fault("connections to Redis cut"):
            await self._stores.do("CLIENT", "KILL", "TYPE", "normal")
            await self._stores.do("CLIENT", "KILL", "TYPE", "pubsub")

    async def _pause(self) -> None:
        """Redis answers nobody for a moment."""
        seconds = self._dice.uniform(0.1, 0.8)
        with self._book.fault("Redis paused"):
            await self._stores.do("CLIENT", "PAUSE", int(seconds * 1000), "ALL")
            await asyncio.sleep(seconds)
