"""What a node knows of itself: what it has counted, how it is, what failed.

Strategy: nothing is gathered here; whoever has a figure is asked for it when somebody wants to
know. Nodes tell each other these values, so each can answer for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from holdfast import connections, events, settings, version
from holdfast.metering import lateness
from holdfast.producing import configured
from holdfast.telemetry import counts, failures, histogram, record, vitals

LAG_EVERY = 0.1
"""Seconds between two looks at how late the event loop is."""

_log = structlog.get_logger("holdfast")


class Insight:
    """Of the node that has this book and writes so; `worker` says which it is among those that
    serve one port."""

    def __init__(
        self,
        config: settings.Settings,
        book: connections.Book,
        writing: configured.Writing,
        kept: record.Record,
        worker: vitals.Worker,
        draining: Callable[[], bool],
        late: lateness.Lateness,
    ) -> None:
        self._book, self._writing, self._record = book, writing, kept
        self.worker, self._draining = worker, draining
        self._late = late
        engine = config.log.url.partition(":")[0].partition("+")[0]
        self._engine = "redis" if engine == "rediss" else engine
        self._started_at, self._memory = events.now_ms(), vitals.memory()

    def counted(self) -> counts.Counts:
        """Since the node began."""
        computed = counts.Counts(cpu_us=vitals.cpu_us())
        return counts.added((self._writing.writers.counted(), self._book.counted(), computed))

    def failed(self) -> list[failures.Failure]:
        """Since the node began."""
        return self._record.failures.told()

    @property
    def passed_over(self) -> tuple[str, ...]:
        """The providers that fail for everybody: nobody calls them, or one does, to see."""
        return self._writing.breakers.shut(asyncio.get_running_loop().time())

    @property
    def log_failing(self) -> bool:
        """Who writes says so, or who looks for orphans, which a node that writes nothing does."""
        writing = self._writing
        return writing.ticker.failing_since is not None or writing.survey.failure is not None

    @property
    def vitals(self) -> vitals.Vitals:
        """How the node is now."""
        tick = self._writing.ticker
        return vitals.Vitals(
            version=version.__version__,
            started_at=self._started_at,
            engine=self._engine,
            connection_limit=self._book.limit,
            busy=round(tick.busy, 3),
            memory=vitals.memory(),
            memory_at_start=self._memory,
            open_files=vitals.open_files(),
            log_failing=self.log_failing,
            draining=self._draining(),
            breakers=self._writing.breakers.states,
            passed_over=self.passed_over,
            group=self.worker.group,
            worker=self.worker.number,
            waiting=len(self._writing.writers.line),
        )

    async def measure(self) -> None:
        """Finds out how late the event loop comes, or the log, and tells who refuses for it. Never
        returns."""
        loop, lag, late = asyncio.get_running_loop(), self._record.loop_lag, self._late
        while True:
            due = loop.time() + LAG_EVERY
            await asyncio.sleep(LAG_EVERY)
            found, before = loop.time() - due, late.refused
            lag.add(int(found * histogram.SECOND))
            self._writing.writers.line.look(found)
            late.look(max(found, self._writing.ticker.waits()))
            if late.refused and not before:
                _log.warning("loop_late", lag_ms=round(late.lag * 1000))
            elif before and not late.refused:
                _log.info("loop_in_time", lag_ms=round(late.lag * 1000))
