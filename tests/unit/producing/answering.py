"""A producer at work: a scripted provider before it, a ticker and a memory log behind it.

Strategy: `answering` plays one stream on simulated time and looks, when the test is done, at
what holds on every path: nothing is left on the account, and the log holds one gapless stream
with one terminal event, its last.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from tests.unit.producing import scripted

from holdfast import events, request
from holdfast.eventlog import base
from holdfast.producing import bounds, course, producer, tally, ticker
from holdfast.testing import simulated

LIMITS = bounds.Limits(
    buffer_size=8192, unsaved=256 * 1024, stream=16 << 20, deadlines=scripted.DEADLINES
)
PATIENCE = 30.0


class Answering:
    """One stream that is produced. `account` sums what the producer said to be unsaved;
    `ended` says that the log is to hold a terminal event at the end of the test."""

    def __init__(self, wanted: request.Request, limits: bounds.Limits, busy: float) -> None:
        self.log = scripted.Log()
        self.provider = scripted.Provider()
        self.account = 0
        self.ended = True
        load = ticker.Load(lambda: 0.0, lambda: 0.0)
        load.busy = busy
        self.ticker = ticker.Ticker(self.log, flush_interval=0.1, patience=PATIENCE, load=load)
        self._wanted, self._limits = wanted, limits

    async def start(self) -> None:
        self.stream, self.life = await self.log.begin()
        first, route = course.Call(0, scripted.CALL), scripted.route(self.provider)
        work = producer.Work(self.stream, self.life, self._wanted, first, tally.Tally(), route)
        self.producer = scripted.producing(work, self._limits, self.ticker, self.log, self._count)
        self.ticking = asyncio.create_task(self.ticker.run())
        await simulated.idle()

    def _count(self, change: int) -> None:
        self.account += change
        assert self.account >= 0

    async def run(self) -> scripted.Exchange:
        """Runs the producer until it waits."""
        self.task = asyncio.create_task(self.producer.run())
        await simulated.idle()
        return self.provider.exchange

    async def open(self) -> scripted.Exchange:
        """Runs the producer until the provider's head is there."""
        exchange = await self.run()
        exchange.head()
        return exchange

    async def terminal(self) -> events.Complete | events.Error | None:
        """What `run` returned; fails where it has not."""
        await simulated.idle()
        assert self.task.done(), "the producer goes on"
        return await self.task

    async def bodies(self) -> list[events.Body]:
        """All that the log holds after `start`."""
        await simulated.idle()
        return await self.log.bodies(self.stream)

    async def texts(self) -> list[str]:
        return [body.delta for body in await self.bodies() if isinstance(body, events.Chunk)]

    async def check(self) -> None:
        found = await self.log.events(self.stream)
        assert [event.seq for event in found] == list(range(1, len(found) + 1))
        terminal = [event.kind in events.TERMINAL for event in found]
        assert terminal == [False] * (len(found) - self.ended) + [True] * self.ended
        assert self.account == 0


@contextlib.asynccontextmanager
async def answering(
    wanted: request.Request = scripted.WANTED,
    limits: bounds.Limits = LIMITS,
    busy: float = 0.0,
) -> AsyncGenerator[Answering, None]:
    play = Answering(wanted, limits, busy)
    await play.start()
    try:
        yield play
        await simulated.idle()
        await play.check()
        assert not play.ticking.done()
    finally:
        play.ticking.cancel()
        await asyncio.gather(play.ticking, return_exceptions=True)


def fenced() -> list[base.Result]:
    return [base.Fenced()]
