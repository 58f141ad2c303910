"""What nodes report goes into the archive: connections that have closed, and each minute's counts.

Strategy: who reports puts a value into a queue and goes on; one task writes what has gathered, and
takes it out when the archive has it. What was written without anybody hearing of it is written
again, which changes nothing. While the archive is away the queues fill, and the oldest gives way.
A minute is the difference between what its node had counted at its end and at its begin, under the
name of the node's life: so nothing is counted here, and a node that starts anew within a minute has
a minute of its own. A node that dies without notice takes along what waits, its running minute and
the connections that were open.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import msgspec
import structlog

from holdfast import errors, events
from holdfast.archive import base, rows
from holdfast.telemetry import counts

EVERY = 1.0
"""Seconds between two looks, and how exactly a minute is cut off."""

AGAIN_LAST = 30.0
"""Seconds after a failure before the next try: doubled from `EVERY` up to this."""

MAX_CONNECTIONS = 10_000
"""Closed connections that wait, at about a KB each."""

MAX_MINUTES = 24 * 60
"""Minutes that wait; and as many that are told to other nodes, where these cannot read them."""

CLOSE_SECONDS = 3.0
"""For what waits when the node closes."""

_FAILURES = (errors.ArchiveUnavailable, errors.LogError)

_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger("holdfast")


class Reporter:
    """`run` is the one task. `counted` tells what the node has counted since it began, `node` is
    the name of its life; `clock` gives ms since 1970. `dropped` counts what had to give way."""

    def __init__(
        self,
        archive: base.Archive,
        counted: Callable[[], counts.Counts],
        node: Callable[[], str],
        clock: Callable[[], int] = events.now_ms,
    ) -> None:
        self._archive, self._counted, self._node, self._clock = archive, counted, node, clock
        self._connections: dict[str, rows.Connection] = {}  # the longest closed first
        self._minutes: dict[int, counts.Counts] = {}  # by their begin, the oldest first
        self._own: dict[int, counts.Counts] = {}  # those that are in an archive of this node alone
        self._begin, self._before = counts.minute_of(clock()), counts.NOTHING
        self.dropped = 0
        self.failure: str | None = None
        """Why nothing is written; None while the archive takes what comes."""

    def connection(self, closed: rows.Connection) -> None:
        """Takes a connection that has closed; waits for nothing."""
        self._connections[closed.id] = closed
        if len(self._connections) > MAX_CONNECTIONS:
            del self._connections[next(iter(self._connections))]
            self.dropped += 1

    @property
    def waiting(self) -> int:
        """Connections and minutes that the archive does not have yet."""
        return len(self._connections) + len(self._minutes)

    @property
    def oldest(self) -> int | None:
        """Since when the one waits that waits for the longest, in ms since 1970."""
        closed = [one.updated_at for one in itertools.islice(self._connections.values(), 1)]
        ended = [at + counts.MINUTE_MS for at in itertools.islice(self._minutes, 1)]
        return min((*closed, *ended), default=None)

    def unwritten(self, start: int, end: int) -> dict[int, counts.Counts]:
        """The minutes that began in this span, as far as other nodes may not find them in their
        archive, with that which runs."""
        if end <= start:
            return {}
        self._cut()
        running = counts.since(self._counted(), self._before)
        found = {**self._own, **self._minutes, self._begin: running}
        return {at: one for at, one in found.items() if start <= at < end}

    def _cut(self, *, last: bool = False) -> None:
        """Ends the running minute when it is over. A clock that is set back prolongs it: so no
        minute is told twice."""
        now = counts.minute_of(self._clock())
        if now <= self._begin and not last:
            return
        counted = self._counted()
        minute = counts.since(counted, self._before)
        if last and minute == counts.NOTHING:
            return  # as of a node that could not even start
        self._minutes[self._begin] = minute
        self._begin, self._before = max(now, self._begin), counted
        if len(self._minutes) > MAX_MINUTES:
            del self._minutes[next(iter(self._minutes))]
            self.dropped += 1

    async def run(self) -> None:
        """Never returns."""
        clock, again, pause = asyncio.get_running_loop().time, 0.0, EVERY
        while True:
            await asyncio.sleep(EVERY)
            self._cut()  # also while nothing is written, so that a minute has what came in it
            if clock() < again:
                continue
            try:
                while await self.round():
                    pass
            except _FAILURES as error:
                if self.failure is None:
                    _log.warning("reports_behind", error=error.message)
                self.failure = error.message
                again, pause = clock() + pause, min(2 * pause, AGAIN_LAST)
                continue
            if self.failure is not None:
                self.failure, pause = None, EVERY
                _log.info("reports_recovered")

    async def round(self) -> bool:
        """Writes some of what waits; whether there is more. Raises `errors.ArchiveUnavailable`."""
        self._cut()
        closed = list(itertools.islice(self._connections.values(), rows.MAX_ROWS))
        if closed:
            await self._archive.keep_connections(closed)
            for one in closed:
                if self._connections.get(one.id) is one:
                    del self._connections[one.id]
        ended = list(itertools.islice(self._minutes.items(), rows.MAX_ROWS))
        if ended:
            node = self._node()
            await self._archive.keep_minutes(
                [rows.Minute(at, node, _encode(one)) for at, one in ended]
            )
            for at, told in ended:
                self._minutes.pop(at, None)
                if not self._archive.lasting:
                    self._own[at] = told
            while len(self._own) > MAX_MINUTES:
                del self._own[next(iter(self._own))]
        return max(len(closed), len(ended)) == rows.MAX_ROWS

    async def close(self) -> None:
        """Writes what waits and what was counted last, `CLOSE_SECONDS` at most; once, and after
        `run`."""
        self._cut(last=True)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while await self.round():
                    pass
        except (*_FAILURES, TimeoutError) as error:
            said = error.message if isinstance(error, errors.HoldfastError) else "no time is left"
            connections, minutes = len(self._connections), len(self._minutes)
            _log.warning("reports_lost", connections=connections, minutes=minutes, error=said)
