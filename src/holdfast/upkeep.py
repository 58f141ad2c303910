"""What a node looks at about once a second, for all its streams and connections in one go.

Strategy: deadlines, heartbeats, revoked keys and readers who take nothing are found by looking at
everything again and again, so that none of them needs a timer of its own; and at so many at a time
that no token waits for long meanwhile. What is found is told to whose it is; nothing is kept here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from holdfast import connections, endings, settings
from holdfast.access import gate
from holdfast.eventlog import watch
from holdfast.producing import ticker, writers

AT_A_TIME = 250
"""Streams or connections that are looked at before the event loop has its turn: in some two
milliseconds, as each is out of the processor's cache."""

T = TypeVar("T")


class Upkeep:
    """`sweep` is a task of the node's; `log_lost` tells whether its log is away."""

    def __init__(
        self,
        config: settings.Settings,
        access: gate.Gate | None,
        book: connections.Book,
        written: writers.Writers,
        tick: ticker.Ticker,
        watched: watch.Watch,
        log_lost: Callable[[float], bool],
    ) -> None:
        self._config, self._access, self._book = config, access, book
        self._writers, self._ticker, self._watch = written, tick, watched
        self._log_lost = log_lost

    async def sweep(self) -> None:
        """Looks at everything, again and again. Never returns."""
        loop, server = asyncio.get_running_loop(), self._config.server
        interval = min(1.0, server.heartbeat_interval / 4, server.write_timeout / 4)
        patience = connections.Patience(
            server.heartbeat_interval,
            server.connection_timeout,
            server.write_timeout,
            server.max_connection_age or None,
        )
        abandon_after = self._config.streaming.abandon_after
        looked = loop.time()
        while True:
            await asyncio.sleep(interval)
            now, holds = loop.time(), None
            self._ticker.sweep(now)
            if self._log_lost(now):
                self._book.dismiss(endings.LOG_UNAVAILABLE)
            if self._access is not None and now - looked >= self._access.refresh:
                looked, holds = now, self._access.holds
            for streams in _parts(self._writers.under_way):
                self._writers.sweep(loop.time(), streams, abandon_after, self._watch.watches)
                await asyncio.sleep(0)
            for readers in _parts(self._book.open):
                if holds is not None:
                    self._book.expel(holds, readers)
                for dead in self._book.sweep(loop.time(), patience, readers):
                    dead.cut()
                await asyncio.sleep(0)
            self._book.look_at_some()


def _parts(all_of_them: Collection[T]) -> Iterator[tuple[T, ...]]:
    """As they are now; who goes meanwhile is looked at in vain."""
    known = tuple(all_of_them)
    for begin in range(0, len(known), AT_A_TIME):
        yield known[begin : begin + AT_A_TIME]
