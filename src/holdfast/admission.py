"""Who is taken in by a node: a new stream, a reader.

Strategy: each rule looks at one thing that a node may have too much of and says why it takes
nothing more; the first that does decides. What matters least is refused first (`fair.SHARES`). Who
was let in is never sent away for those who come, and readers who come back are taken where new
streams are refused: a late event loop is no reason to refuse a reader, and some places are kept for
them. New streams that wait for their turn (`line`) count as if they were there. Those that are
refused are counted, by why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from holdfast import connections, errors, settings
from holdfast.metering import account, fair, lateness, ledger, line
from holdfast.producing import configured
from holdfast.request import Priority
from holdfast.telemetry import record

BLINK_SECONDS = 1.0
"""A log that fails for less sends no reader away, and is still asked to take new streams."""

LATE_AGAIN = 2.0
"""Seconds after which a stream that a late loop refused may be asked for again at the earliest."""

Refusal = tuple[record.Refused, errors.HoldfastError]


class Admission:
    """Of the node that has this book and writes so."""

    def __init__(
        self,
        config: settings.Settings,
        book: connections.Book,
        accounts: ledger.Ledger,
        writing: configured.Writing,
        kept: record.Record,
        draining: Callable[[], bool],
    ) -> None:
        self._limits, self._book, self._accounts = config.streaming, book, accounts
        self._writing, self._record, self._draining = writing, kept, draining
        self.lateness = lateness.Lateness(config.server.max_lag)

    def log_lost(self, now: float) -> bool:
        """The log takes nothing, and not for a blink."""
        since = self._writing.ticker.failing_since
        return since is not None and now - since >= BLINK_SECONDS

    def check_ready(self) -> None:
        """Raises `errors.Draining`, or `LogUnavailable` while the log fails, and not for a blink:
        who writes says so, or who looks for orphans, which every node does."""
        if self._draining():
            raise errors.Draining
        lost = self.log_lost(asyncio.get_running_loop().time())
        why = self._writing.ticker.failure if lost else self._writing.survey.failure
        if why is not None:
            raise errors.LogUnavailable(why)

    def check_any(self) -> None:
        """Raises what any new stream is refused with, before its body is read."""
        self._first(self._for_all(lateness.LOWEST_FIRST[-1]))
        self._first(self._for_the_line(1.0, ()))

    def check_room(self, priority: Priority, accounts: Sequence[account.Account]) -> None:
        """Raises what a new stream is refused with."""
        self._first(self._for_all(priority))
        self._first(self._for_the_line(fair.SHARES[priority], accounts))
        self._first(self._for_want_of_room(fair.SHARES[priority], accounts))

    def _first(self, refusals: Iterator[Refusal]) -> None:
        for reason, error in refusals:
            self._record.refused(reason)
            raise error

    def _for_all(self, priority: Priority) -> Iterator[Refusal]:
        """Whoever asks."""
        if self._draining():
            yield "draining", errors.Draining()
        if self.log_lost(asyncio.get_running_loop().time()):
            yield "log", errors.LogUnavailable(self._writing.ticker.failure)
        if self.lateness.refuses(priority):
            why = "The node has more to do than it can in time."
            yield "late", errors.Overloaded(why, retry_after=LATE_AGAIN)

    def _for_the_line(self, share: float, accounts: Sequence[account.Account]) -> Iterator[Refusal]:
        waiting = self._writing.writers.line
        mine = waiting.of(accounts[-1].name.removeprefix("tenant:")) if accounts else 0
        if len(waiting) >= self._accounts.room(share * line.LENGTH, mine):
            why = "As many new streams wait for their turn as may."
            yield "line", errors.Overloaded(why, retry_after=line.AGAIN)

    def _for_want_of_room(
        self, share: float, accounts: Sequence[account.Account]
    ) -> Iterator[Refusal]:
        writers, limits, room = self._writing.writers, self._limits, self._accounts.room
        if writers.unsaved > share * limits.unsaved_per_node:
            yield "unsaved", errors.Overloaded()
        mine = accounts[-1].bytes if accounts else 0
        # What is taken is kept for long, so some is left for who comes next.
        if writers.asked > room(share * limits.requests_per_node, mine, 2):
            why = "The requests whose answers are under way are too large."
            yield "requests", errors.Overloaded(why)
        mine = accounts[-1].streams if accounts else 0
        if len(writers) >= room(share * self._book.limit, mine):
            yield "streams", errors.Overloaded("The node writes as many streams as it may.")

    def check_place(self, accounts: Sequence[account.Account], new: Priority | None = None) -> None:
        """Raises what a reader who counts in these accounts is sent away with for want of a place:
        `errors.TooManyConnections`, `ConnectionLimit`. `new`: the reader of a stream that is to be
        made, with this priority, which leaves some places to those who come back, and one to each
        stream that waits to be made, as if all were read."""
        share = 1.0 if new is None else min(fair.SHARES[new], 1 - fair.RETURNING)
        mine = accounts[-1].connections if accounts else 0
        coming = 0 if new is None else len(self._writing.writers.line)
        if len(self._book) + coming >= self._accounts.room(share * self._book.limit, mine):
            if new is not None:
                self._record.refused("connections")
            raise errors.TooManyConnections
        for one in accounts:
            one.check_connections()
