"""The faults of a run: those of the one process, and those of a network.

Strategy: a class has the faults of one thing, each a function that is over when its fault is; the
weather draws them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
from pathlib import Path

from tests.faults.chaos import book as books
from tests.faults.chaos import node as nodes
from tests.faults.chaos.weather import Fault, Loop

from holdfast.testing import fault_proxy, faults

HOUR = 3600

NO_ROOM = "the disk is full"
"""As a node says it that does not start."""


class Process:
    """The faults of the server. `small` is a folder on a file system that may be filled up; None:
    none is."""

    def __init__(self, book: books.Book, seed: int, node: nodes.Node, small: Path | None) -> None:
        self._book, self._node, self._small = book, node, small
        self._dice = random.Random(f"{seed} node")

    def loop(self) -> Loop:
        return Loop(self._dice, self._kinds(), (0.1, 1.5))

    def _kinds(self) -> dict[Fault, int]:
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
        filler, serves = self._small / "filler", True
        with self._book.fault("disk full"):
            _fill(filler)
            try:
                await asyncio.sleep(self._dice.uniform(0.2, 1.5))
                if self._dice.random() < 0.3:
                    with self._book.fault("kill"):
                        await self._node.kill()
                        serves = await self._starts_without_room()
                    await asyncio.sleep(0.3)
            finally:
                filler.unlink()
            if not serves:
                await self._node.start()

    async def _starts_without_room(self) -> bool:
        """Whether it does. A start writes nothing, but one that seals where the last one did not:
        what it finds open in clear it would go on writing in clear, so it seals that first."""
        turns_on = self._node.seals and not self._node.sealed
        try:
            await self._node.start()
        except RuntimeError as error:
            if not turns_on or NO_ROOM not in str(error):
                raise
            self._book.counts["starts refused on a full disk"] += 1
            return False
        return True


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
        self._dice = random.Random(seed)

    def loop(self) -> Loop:
        kinds: dict[Fault, int] = {
            self._cut: 30,
            self._later: 25,
            self._stall: 15,
            self._slow: 15,
            self._slice: 15,
        }
        return Loop(self._dice, kinds, (0.1, 1.2))

    async def _cut(self) -> None:
        """Some or all connections end now."""
        rst = self._dice.random() < 0.5
        with self._book.fault(f"{self._name} {'rst' if rst else 'fin'}"):
            self._proxy.cut_all(rst, self._dice.choice((0.2, 0.5, 1.0)))

    async def _later(self) -> None:
        """Each connection ends after some bytes, wherever that is in an event."""

        def draw(dice: random.Random) -> faults.Faults:
            cut = faults.Cut(after=dice.randrange(20_000), rst=dice.random() < 0.5)
            return faults.Faults(down=(cut,))

        await self._while("cut", faults.seeded(self._dice.getrandbits(32), draw))

    async def _stall(self) -> None:
        up = (faults.Stall(),) if self._dice.random() < 0.5 else ()
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
            await asyncio.sleep(self._dice.uniform(0.2, 2.0))
            self._proxy.set(faults.NONE)
