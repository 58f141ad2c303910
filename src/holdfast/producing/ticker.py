"""The ticker: appends what all streams of a node have gathered, one tick at a time.

Strategy: writers touch the ticker when they have something; one task collects a batch from
each and appends them together. While an append is under way more gathers, so the tick grows
by itself under load, up to `TICK_BYTES`; beyond that `schedule`, a pure function, lets it wait
the longer the busier the loop is. A tick that fails stays as it is, byte for byte, and is sent
again until the log takes it: its fate may be that it was written.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from holdfast import errors, events
from holdfast.eventlog import base, reader
from holdfast.telemetry import histogram

BUSY_FROM, BUSY_FULL = 0.3, 0.5
"""Shares of a busy loop: up to the first a tick goes at once, from the second on it waits as long
as it may. A loop that waits gets less busy, so beyond the first the two find their balance."""

UNREAD_SECONDS = 0.09
"""For which what a provider says may lie unread: with the round that reads it a tenth of a second.
Far below every time that is usual for its silence, or its end, to be waited for."""

STALLED = 2.0
"""Seconds after which an append that has not returned counts as a failing log."""

RETRY_FIRST, RETRY_LAST = 0.05, 1.0
"""Seconds between two tries of a failed tick: doubled from the first to the last."""

TICK_BYTES = 4 * 1024 * 1024
"""A tick with so much takes no other batch. What gathers in an outage is far more, and as one call
it might never get through a slow line in the time that the log has for a call."""


_log = structlog.get_logger("holdfast")


class Writer(Protocol):
    """Who has something for the log."""

    stream: events.StreamId
    due: float
    """When its events want to be appended, on the loop's clock; 0 for at once."""
    flying: int
    """How large its last batch is, in bytes, more or less."""

    def take(self, now_ms: int) -> base.Batch | None:
        """Its batch for this tick; None where there is nothing after all."""

    def settled(self, result: base.Result) -> None:
        """The fate of its last batch."""

    def stranded(self) -> None:
        """The log has not taken a tick for `patience` seconds; may be said again."""

    def failed(self, error: Exception) -> None:
        """`take` raised this, which is a bug: what it would have written is lost."""


def schedule(busy: float, flush_interval: float) -> float:
    """Seconds that a tick waits: none up to `BUSY_FROM`, then rising to
    `flush_interval` at `BUSY_FULL`."""
    if busy <= BUSY_FROM:
        return 0.0
    return flush_interval * min(1.0, (busy - BUSY_FROM) / (BUSY_FULL - BUSY_FROM))


class Load:
    """How busy the thread is that asks: CPU seconds a second, smoothed over `window`."""

    def __init__(
        self,
        wall: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
        window: float = 0.2,
    ) -> None:
        self._wall, self._cpu, self._window = wall, cpu, window
        self._wall_last, self._cpu_last = wall(), cpu()
        self.busy = 0.0

    def sample(self) -> float:
        """The present share, 0 to 1; measured anew where `window` seconds have passed."""
        wall = self._wall()
        passed = wall - self._wall_last
        if passed >= self._window:
            cpu = self._cpu()
            share = min(1.0, (cpu - self._cpu_last) / passed)
            self.busy = share if passed > 5 * self._window else (self.busy + share) / 2
            self._wall_last, self._cpu_last = wall, cpu
        return self.busy


class Ticker:
    """`run` is the one task; `touch` may be called at any time from the loop."""

    def __init__(
        self,
        log: base.EventLog,
        *,
        flush_interval: float,
        patience: float,
        load: Load | None = None,
        appends: histogram.Recorder | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`flush_interval` and `patience` in seconds; `appends` gets how long the log took for each
        tick; `clock` gives the events' times."""
        self._log, self._clock = log, clock
        self._appends = appends or histogram.Recorder()
        self._flush_interval, self._patience = flush_interval, patience
        self._load = load or Load()
        self._dirty: dict[Writer, None] = {}
        self._touched, self._urgent = reader.Flag(), reader.Flag()
        self._taken: list[Writer] = []
        self._tick: list[base.Batch] = []
        self._sent_at: float | None = None
        self._took = 0.0
        self.failing_since: float | None = None
        """When the tick in flight failed first, on the loop's clock; None in health."""
        self.failure = ""
        """Why, in the log's own words."""
        self.ticks = self.batches = 0

    @property
    def busy(self) -> float:
        """The share of the loop's thread that is busy, 0 to 1."""
        return self._load.sample()

    def waits(self) -> float:
        """Seconds that the tick in flight has been on its way, or that the one before it took,
        whichever is more; 0 where nothing is."""
        if self._sent_at is None:
            return 0.0
        return max(self._took, asyncio.get_running_loop().time() - self._sent_at)

    def period(self) -> float:
        """See `transport.Pace`: what providers say waits before it is read, and then not here."""
        return min(UNREAD_SECONDS, schedule(self._load.sample(), self._flush_interval))

    def gathered(self) -> None:
        """See `transport.Pace`."""
        if self._dirty and not self._held(asyncio.get_running_loop().time()):
            self._urgent.set()

    def touch(self, writer: Writer, *, urgent: bool = False) -> None:
        """The writer has something; with `urgent` the tick that takes it does not wait."""
        if writer in self._dirty and not urgent:
            return
        self._dirty[writer] = None
        self._touched.set()
        if urgent:
            self._urgent.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._touched.clear()
            if not self._dirty:
                await self._touched.wait()
            held = self._held(loop.time())
            if held > 0:
                await _rest(held, self._touched)
                continue
            wait = schedule(self._load.sample(), self._flush_interval)
            if wait > 0:
                await _rest(wait, self._urgent)
            self._urgent.clear()
            self._collect(loop.time())
            if self._tick:
                await self._append()

    def _held(self, now: float) -> float:
        """Seconds until somebody's events want to be appended."""
        earliest = math.inf
        for writer in self._dirty:
            if writer.due <= now:
                return 0.0
            earliest = min(earliest, writer.due)
        return earliest - now

    def _collect(self, now: float) -> None:
        """Who finds no room in this tick comes first in the next, which does not wait."""
        dirty, self._dirty = iter(self._dirty), {}
        now_ms, size = int(self._clock() * 1000), 0
        for writer in dirty:
            if writer.due > now:
                self._dirty[writer] = None
                continue
            try:
                batch = writer.take(now_ms)
            except Exception as error:  # one stream's bug must not stop the others
                _log.error("writer_failed", stream=writer.stream, trace=errors.trace(error))
                writer.failed(error)
                continue
            if batch is not None:
                self._tick.append(batch)
                self._taken.append(writer)
                size += writer.flying
                if size >= TICK_BYTES:
                    break
        left = dict.fromkeys(dirty)
        if left:
            self._dirty = left | self._dirty
            self._urgent.set()

    async def _append(self) -> None:
        """Sends the tick until its fate is known, then tells the writers."""
        tick, delay = tuple(self._tick), RETRY_FIRST
        loop = asyncio.get_running_loop()
        sent_at = self._sent_at = loop.time()
        while True:
            try:
                results = await self._log.append(tick)
                break
            except errors.LogError as error:  # a damaged page may be mended, too
                self._note_failure(error.message)
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_LAST)
        self._sent_at, self._took = None, loop.time() - sent_at
        self._appends.add(int(self._took * histogram.SECOND))
        if self.failing_since is not None:
            self.failing_since = None
            _log.info("log_recovered")
        self.ticks += 1
        self.batches += len(tick)
        writers, self._taken, self._tick = self._taken, [], []
        for writer, result in zip(writers, results, strict=True):
            writer.settled(result)

    def sweep(self, now: float) -> None:
        """Takes an append that hangs for an outage too; called about once a second."""
        if self._sent_at is not None and now - self._sent_at > STALLED:
            self._note_failure(f"An append has taken over {STALLED:g} s.")

    def _note_failure(self, why: str) -> None:
        now = asyncio.get_running_loop().time()
        if self.failing_since is None:
            self.failing_since, self.failure = now, why
            _log.error("log_failing", error=why)
        elif now - self.failing_since > self._patience:
            for writer in (*self._taken, *self._dirty):
                writer.stranded()


async def _rest(seconds: float, flag: reader.Flag) -> None:
    """Returns after `seconds`, or when the flag is set."""
    timer = asyncio.get_running_loop().call_later(seconds, flag.set)
    try:
        await flag.wait()
    finally:
        timer.cancel()
