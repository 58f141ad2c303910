"""The line before a late node: its new streams are opened few at a time.

Strategy: to open a stream takes as much of the core as some fifty tokens, and who is inside waits
meanwhile. So where the event loop comes late a few are opened at a time; the others wait here,
where they cost nothing, and tenants take turns, so that nobody waits for all that another one has
asked for. Who has come to a line waits in it, though the loop be in time by then: so it empties
evenly. It has an end, for who refuses to look at (`LENGTH`), and nobody waits for longer than
`PATIENCE`. A log that is late makes no line: it would be a limit where there is nothing to spare.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator

from holdfast import errors
from holdfast.metering import lateness, turns

LATE = 0.05
"""Seconds that the loop comes late, at the median of the last looks, from which on there is a line.
A node that opens 500 streams a second, and bears that, is late by less."""

AT_ONCE = 2
"""Streams that are made in the log at a time, of those that had to wait. Those inside are better
off than with four; one alone would have to wait for every answer of a log that is far."""

LENGTH = 1024
"""Streams that may wait: some three seconds of turns."""

PATIENCE = 6.0
"""Seconds after which one that waits is refused."""

AGAIN = 2.0
"""Seconds after which it may be asked for again at the earliest."""


class Line:
    """Of one event loop; `len` counts those that wait. Where it is not `on` there is none."""

    def __init__(self, *, on: bool = True) -> None:
        self._on = on
        self._turns = turns.Turns(AT_ONCE, AT_ONCE)
        self._waiting = Counter[str]()
        self._looks = deque([0.0] * lateness.LOOKS, lateness.LOOKS)

    def __len__(self) -> int:
        return self._waiting.total()

    def of(self, tenant: str) -> int:
        """How many wait of this tenant's."""
        return self._waiting[tenant]

    def look(self, late: float) -> None:
        """The loop came so many seconds later than it was asked to."""
        self._looks.append(late)

    @contextlib.asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Lets the block open a stream when it may. Raises `errors.Overloaded` after `PATIENCE`."""
        if not self._on or (not self._waiting and statistics.median(self._looks) < LATE):
            yield
            return
        async with contextlib.AsyncExitStack() as mine:
            with self._counted(tenant):
                try:
                    async with asyncio.timeout(PATIENCE):
                        await mine.enter_async_context(self._turns.one(tenant, counted=True))
                except TimeoutError:
                    why = (
                        f"The node has so much to do that its turn did not come in {PATIENCE:g} s."
                    )
                    raise errors.Overloaded(why, retry_after=AGAIN) from None
            yield

    @contextlib.contextmanager
    def _counted(self, tenant: str) -> Iterator[None]:
        self._waiting[tenant] += 1
        try:
            yield
        finally:
            self._waiting[tenant] -= 1
            if not self._waiting[tenant]:
                del self._waiting[tenant]
