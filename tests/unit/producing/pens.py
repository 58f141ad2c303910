"""Writers for the ticker's tests, and a node that they write on.

Strategy: real streams in a memory log that can be scripted to fail, on simulated time, with a
load that the test sets. A `Pen` is a `ticker.Writer` of one stream.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from tests.unit.producing import scripted

from holdfast import events
from holdfast.eventlog import base
from holdfast.producing import ticker
from holdfast.testing import simulated

FLUSH, PATIENCE = 0.1, 30.0


class Pen:
    """A `ticker.Writer` that writes words."""

    def __init__(
        self, stream: events.StreamId, life: base.Life, tick: ticker.Ticker, log: scripted.Log
    ) -> None:
        self.stream, self._life, self._ticker, self._log = stream, life, tick, log
        self.due = 0.0
        self.flying = 0
        self.words: list[str] = []
        self.results: list[base.Result] = []
        self.taken_at: list[int] = []
        self.strandings = 0
        self.failures: list[Exception] = []

    def write(self, *words: str, urgent: bool = False, hold: float | None = None) -> None:
        """`hold`: seconds from now until the words are due."""
        if hold is not None:
            self.due = simulated.now() + hold
        self.words.extend(words)
        self._ticker.touch(self, urgent=urgent)

    def take(self, now_ms: int) -> base.Batch | None:
        self.taken_at.append(now_ms)
        if not self.words:
            return None
        self.flying = sum(map(len, self.words))
        drafts = tuple(events.draft(scripted.content(word)) for word in self.words)
        self.words.clear()
        self._life = base.Life(self._life.epoch, self._life.last + len(drafts))
        return base.Batch(self.stream, self._life.epoch, self._life.last, now_ms, drafts)

    def settled(self, result: base.Result) -> None:
        self.results.append(result)

    def stranded(self) -> None:
        self.strandings += 1

    def failed(self, error: Exception) -> None:
        self.failures.append(error)

    async def written(self) -> list[str]:
        bodies = await self._log.bodies(self.stream)
        return [body.delta for body in bodies if isinstance(body, events.Chunk)]


class Node:
    """A log, a ticker that runs on it, and pens."""

    def __init__(self, busy: float) -> None:
        self.log = scripted.Log()
        self.load = ticker.Load(lambda: 0.0, lambda: 0.0)
        self.load.busy = busy
        self.ticker = ticker.Ticker(
            self.log,
            flush_interval=FLUSH,
            patience=PATIENCE,
            load=self.load,
            clock=lambda: simulated.now() - simulated.BEGIN,
        )

    async def pens(self, count: int) -> list[Pen]:
        return [Pen(*await self.log.begin(), self.ticker, self.log) for _ in range(count)]

    @property
    def streams(self) -> list[list[events.StreamId]]:
        """The streams of each tick that came."""
        return [[batch.stream for batch in tick] for tick in self.log.ticks]


@contextlib.asynccontextmanager
async def ticking(busy: float = 0.0) -> AsyncGenerator[Node, None]:
    node = Node(busy)
    task = asyncio.create_task(node.ticker.run())
    await simulated.idle()
    try:
        yield node
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
