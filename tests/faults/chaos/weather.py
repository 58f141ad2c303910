"""The faults of a run: three loops of them, one for the process, one for each network; and lulls.

Strategy: each loop draws its next fault and its pauses from the seed, and makes one at a time,
so that two faults of one kind never undo each other, and those of different kinds meet as they
like. Every fault is over when its function returns.

The rules about time excuse what happens near a fault, and with three loops there always is one
near. So from time to time all rest together, for longer than a rule allows anything to take. A
loop holds a lock while it makes a fault, and a lull begins when it holds all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.faults.chaos import book as books
from tests.faults.chaos import node as nodes

from holdfast.testing import fault_proxy, faults

Fault = Callable[[], Awaitable[None]]
HOUR = 3600


class Lulls(NamedTuple):
    """The first comes after half of `apart` seconds, each other one so long after the last; it
    lasts `lasts` seconds, and `use` is called as it begins."""

    apart: float
    lasts: float
    use: Callable[[], None]


class Weather:
    """`small` is a folder on a file system that may be filled up; None: none is."""

    def __init__(
        self,
        book: books.Book,
        seed: int,
        node: nodes.Node,
        networks: Mapping[str, fault_proxy.FaultProxy],
        small: Path | None,
        lulls: Lulls,
    ) -> None:
        self._book, self._node, self._small = book, node, small
        self._seed, self._networks, self._lulls = seed, networks, lulls
        self._locks: list[asyncio.Lock] = []
        self._dice = random.Random(f"{seed} node")
        self._calm = asyncio.Event()

    async def blow(self) -> None:
        """Makes faults until `calm` is called; returns when all are healed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loop(self._dice, self._node_faults(), (0.1, 1.5)))
            for name, proxy in self._networks.items():
                network = Network(self._book, f"{self._seed} {name}", name, proxy)
                group.create_task(self._loop(network.dice, network.kinds(), (0.1, 1.2)))
            group.create_task(self._rest())

    def calm(self) -> None:
        self._calm.set()

    async def _loop(
        self, dice: random.Random, kinds: Mapping[Fault, int], pause: tuple[float, float]
    ) -> None:
        lock = asyncio.Lock()
        self._locks.append(lock)
        while True:
            async with lock:
                if self._calm.is_set():
                    return
                (fault,) = dice.choices(list(kinds), list(kinds.values()))
                await fault()
            await asyncio.sleep(dice.uniform(*pause))

    async def _rest(self) -> None:
        """Makes the lulls."""
        wait = self._lulls.apart / 2
        while not await self._calm_within(wait):
            async with contextlib.AsyncExitStack() as held:
                for lock in self._locks:
                    await held.enter_async_context(lock)
                if not self._calm.is_set():
                    await self._lull()
            wait = self._lulls.apart

    async def _lull(self) -> None:
        self._book.counts["lulls"] += 1
        self._book.lull = True
        self._lulls.use()
        await asyncio.sleep(self._lulls.lasts)
        self._book.lull = False

    async def _calm_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._calm.wait()
        return self._calm.is_set()

    def _node_faults(self) -> dict[Fault, int]:
        """Each with how often it comes."""
        found: dict[Fault, int] = {
            self._kill: 50,
            self._kill_at_the_start: 10,
            self._term: 12,
            self._freeze: 14,
        }
        if self._small is not None:
            found[self._fill] = 7
        if self._node.faketime is not None:
            found[self._jump] = 7
        return found

    async def _kill(self) -> None:
        with self._book.fault("kill"):
            await self._node.kill()
            await self._node.start()

    async def _kill_at_the_start(self) -> None:
        """The next process is killed too, while it takes over what the first one left."""
        with self._book.fault("kill"):
            await self._node.kill()
            await self._node.spawn()
            with self._book.fault("kill at the start"):
                await asyncio.sleep(self._dice.uniform(0, 1.2))
                await self._node.kill()
            await self._node.start()

    async def _term(self) -> None:
        with self._book.fault("term"):
            await self._node.terminate()
            await self._node.start()

    async def _freeze(self) -> None:
        with self._book.fault("freeze"):
            self._node.signal(signal.SIGSTOP)
            await asyncio.sleep(self._dice.uniform(0.05, 1.5))
            self._node.signal(signal.SIGCONT)

    async def _jump(self) -> None:
        with self._book.fault("clock"):
            self._node.set_clock(self._dice.choice((-HOUR, 0, HOUR)))
            await asyncio.sleep(0.1)

    async def _fill(self) -> None:
        """The disk is full for a while, in which the process may die."""
        assert self._small is not None
        filler = self._small / "filler"
        with self._book.fault("disk full"):
            _fill(filler)
            try:
                await asyncio.sleep(self._dice.uniform(0.2, 1.5))
                if self._dice.random() < 0.3:
                    await self._kill()
                    await asyncio.sleep(0.3)
            finally:
                filler.unlink()


def _fill(path: Path) -> None:
    """Writes a file until there is no room for another byte."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        os.fsync(file.fileno())


class Network:
    """The faults of one proxy."""

    def __init__(
        self, book: books.Book, seed: str, name: str, proxy: fault_proxy.FaultProxy
    ) -> None:
        self._book, self._seed, self._name, self._proxy = book, seed, name, proxy
        self.dice = random.Random(seed)

    def kinds(self) -> dict[Fault, int]:
        return {self._cut: 30, self._later: 25, self._stall: 15, self._slow: 15, self._slice: 15}

    async def _cut(self) -> None:
        """Some or all connections end now."""
        rst = self.dice.random() < 0.5
        with self._book.fault(f"{self._name} {'rst' if rst else 'fin'}"):
            self._proxy.cut_all(rst, self.dice.choice((0.2, 0.5, 1.0)))

    async def _later(self) -> None:
        """Each connection ends after some bytes, wherever that is in an event."""

        def draw(dice: random.Random) -> faults.Faults:
            cut = faults.Cut(after=dice.randrange(20_000), rst=dice.random() < 0.5)
            return faults.Faults(down=(cut,))

        await self._while("cut", faults.seeded(self.dice.getrandbits(32), draw))

    async def _stall(self) -> None:
        up = (faults.Stall(),) if self.dice.random() < 0.5 else ()
        await self._while("stall", faults.Faults(up=up, down=(faults.Stall(),)))

    async def _slow(self) -> None:
        slow = (faults.Latency(0.1, 0.1), faults.Bandwidth(20_000))
        await self._while("slow", faults.Faults(up=slow, down=slow))

    async def _slice(self) -> None:
        sliced = (faults.Slices(7, 6),)
        await self._while("slices", faults.Faults(up=sliced, down=sliced))

    async def _while(self, name: str, chosen: faults.Faults | faults.Choose) -> None:
        with self._book.fault(f"{self._name} {name}"):
            self._proxy.set(chosen)
            await asyncio.sleep(self.dice.uniform(0.2, 2.0))
            self._proxy.set(faults.NONE)
