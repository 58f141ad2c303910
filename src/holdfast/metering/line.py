"""The line before a late node: its new streams are opened few at a time.

Strategy: to open a stream takes as much of the core as some fifty tokens, and who is inside waits
meanwhile. So where the event loop comes late a few are opened at a time; the others wait here,
where they cost nothing, and tenants take turns, so that nobody waits for all that another one has
asked for. The line keeps the loop in time, so it is joined for as long as the loop is busy; where
it is not, nothing is won by waiting, be the log ever so late. It has an end, for who refuses to
look at (`LENGTH`), and nobody waits for longer than `PATIENCE`.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator

from holdfast import errors
from holdfast.metering import lateness, turns

LATE = 0.05
"""Seconds that the loop comes late, at the median of the last looks, from which on there is a line.
A node that opens 500 streams a second, and bears that, is late by less."""

BUSY = 0.9
"""Share of a busy loop from which on one that is in time has a line, if it had one."""

AT_ONCE = 4
"""Streams that are made in the log at a time, of those that had to wait. Those inside are hardly
better off with two, and worse with eight; and the fewer they are, the more it matters that a log is
far."""

LENGTH = 1024
"""Streams that may wait, and those of one turn of the loop: some three seconds of turns."""

PATIENCE = 6.0
"""Seconds after which one that waits is refused."""

AGAIN = 2.0
"""Seconds after which it may be asked for again at the earliest."""


class Line:
    """Of an event loop that is so `busy`, 0 to 1; `len` counts those that wait. Where it is not
    `on` there is none."""

    def __init__(self, busy: Callable[[], float], *, on: bool = True) -> None:
        self._busy, self._on, self._ended = busy, on, False
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

    def end(self) -> None:
        """The node drains: nobody who waits has a turn any more."""
        self._ended = True

    def joined(self) -> bool:
        """Whether who comes now has to wait."""
        if not self._on:
            return False
        late = statistics.median(self._looks) >= LATE
        return late or (bool(self._waiting) and self._busy() >= BUSY)

    @contextlib.asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Lets the block open a stream when it may. Raises `errors.Overloaded` after `PATIENCE`,
        and `Draining` for who had to wait until the node drains."""
        if not self.joined():
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
            if self._ended:
                raise errors.Draining
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
