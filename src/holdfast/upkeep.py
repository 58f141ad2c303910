"""What a node looks at about once a second, for all its streams and connections in one go.

Strategy: deadlines, heartbeats, revoked keys and readers who take nothing are found by looking at
everything at once, so that none of them needs a timer of its own. What is found is told to whose
it is; nothing is kept here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast import connections, endings, settings
from holdfast.access import gate
from holdfast.eventlog import watch
from holdfast.producing import ticker, writers


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
            now = loop.time()
            if self._access is not None and now - looked >= self._access.refresh:
                looked = now
                self._book.expel(self._access.holds)
            self._writers.sweep(now, abandon_after, self._watch.watches)
            for dead in self._book.sweep(now, patience):
                dead.cut()
            self._ticker.sweep(now)
            if self._log_lost(now):
                self._book.dismiss(endings.LOG_UNAVAILABLE)
