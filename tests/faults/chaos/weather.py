"""When faults come: loops of them that blow at once, and lulls.

Strategy: each loop draws its next fault and its pauses from the seed, and makes one at a time,
so that two faults of one kind never undo each other, and those of different kinds meet as they
like. Every fault is over when its function returns.

The rules about time excuse what happens near a fault, and with several loops there always is one
near. So from time to time all rest together, for longer than a rule allows anything to take. A
loop holds a lock while it makes a fault, and a lull begins when it holds all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from tests.faults.chaos import book as books

Fault = Callable[[], Awaitable[None]]


class Loop(NamedTuple):
    """Faults with how often each comes, and the least and the longest pause after one, in
    seconds."""

    dice: random.Random
    kinds: Mapping[Fault, int]
    pause: tuple[float, float]


class Lulls(NamedTuple):
    """The first comes after half of `apart` seconds, each other one so long after the last; it
    lasts `lasts` seconds, and `use` is called as it begins."""

    apart: float
    lasts: float
    use: Callable[[], None]


class Weather:
    """Faults until it is calm."""

    def __init__(self, book: books.Book, loops: Sequence[Loop], lulls: Lulls) -> None:
        self._book, self._loops, self._lulls = book, loops, lulls
        self._locks: list[asyncio.Lock] = []
        self._calm = asyncio.Event()

    async def blow(self) -> None:
        """Makes faults until `calm` is called; returns when all are healed."""
        async with asyncio.TaskGroup() as group:
            for loop in self._loops:
                group.create_task(self._blow(loop))
            group.create_task(self._rest())

    def calm(self) -> None:
        self._calm.set()

    async def _blow(self, loop: Loop) -> None:
        lock = asyncio.Lock()
        self._locks.append(lock)
        while True:
            async with lock:
                if self._calm.is_set():
                    return
                (fault,) = loop.dice.choices(list(loop.kinds), list(loop.kinds.values()))
                await fault()
            await asyncio.sleep(loop.dice.uniform(*loop.pause))

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
