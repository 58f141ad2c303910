"""Writers and readers of a log in Redis that go on whatever happens to the servers.

Strategy: a writer does as a producer does: the same tick until its fate is known, and after `Lost`
a new life that says the rest again. A reader follows, and begins again where its position is void.
So in the end each reader has just what the writer said.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.redis import link
from holdfast.testing.eventlog import parts

T = TypeVar("T")


async def again(call: Callable[[], Awaitable[T]]) -> T:
    """Until its fate is known."""
    while True:
        with contextlib.suppress(errors.LogUnavailable):
            return await call()
        await asyncio.sleep(link.PAUSE)


class Writer:
    """Says the numbers from 1, each in an event, and the end when it is told to."""

    def __init__(self, pen: parts.Pen) -> None:
        self.pen, self.number, self.lost = pen, 0, 0
        self.over = asyncio.Event()
        self._said: dict[int, int] = {}  # seq -> number

    async def write(self) -> None:
        while not self.over.is_set():
            await self.say()
        await self.say(parts.COMPLETE)

    async def say(self, *more: events.Draft) -> None:
        while True:
            tick = (self.pen.batch(parts.chunk(str(self.number + 1)), *more),)
            (result,) = await again(lambda tick=tick: self.pen.log.append(tick))  # type: ignore[misc]
            if isinstance(result, base.Ok):
                break
            assert isinstance(result, base.Lost), result
            await self._go_back(result.last)
        self.number += 1
        self._said[self.pen.last + 1] = self.number
        self.pen.last = tick[0].last
        await asyncio.sleep(0.005)

    async def _go_back(self, last: int) -> None:
        """What the log holds is what was said up to `last`; the rest is said again."""
        self.lost += 1
        self.number = max((n for seq, n in self._said.items() if seq <= last), default=0)
        life = await again(lambda: self.pen.log.claim(self.pen.stream, 6_000))
        assert life is not None
        self.pen = parts.Pen(self.pen.log, self.pen.stream, life)


class Reader:
    """Follows a stream to its end. `found` is what it has, `void` how often it began again."""

    def __init__(self, log: base.EventLog, stream: events.StreamId) -> None:
        self.log, self.stream = log, stream
        self.found: list[events.Event] = []
        self.void = 0

    async def read(self) -> None:
        while True:
            after = self.found[-1].position if self.found else events.BEGIN
            try:
                page = await again(lambda after=after: self.log.read(self.stream, after))  # type: ignore[misc]
            except errors.UnknownPosition:
                self.found.clear()
                self.void += 1
                continue
            self.found += page.events
            if page.closed:
                return
            await asyncio.sleep(0.005)

    @property
    def text(self) -> list[str]:
        bodies = [event.body for event in self.found]
        return [body.delta for body in bodies if isinstance(body, events.Chunk)]
