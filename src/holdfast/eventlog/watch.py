"""Hints with a poll behind them.

Strategy: engines send hints, and a hint may be lost. So whoever waits for a stream waits
here: a hint wakes at once, and a poll each `interval` compares how far every watched stream
is with how far it was, and wakes those that moved without a hint. Losing every hint costs
an interval, never an event. While a stream's hints arrive the poll leaves it alone; the first
poll before which none came takes its head over, and wakes once for nothing: the last hint of
all may have come before an event whose own hint was lost.
"""

from __future__ import annotations

import asyncio
import contextlib

from holdfast import errors, events
from holdfast.eventlog import base

POLL_INTERVAL = 1.0
"""Seconds between two polls: the longest that a lost hint delays a reader, doubled."""

POLL_STREAMS = 1000
"""Streams asked about in one call."""


class _Watched:
    __slots__ = ("hinted", "seen", "undo", "wakes")

    def __init__(self) -> None:
        self.wakes: dict[object, base.Wake] = {}
        self.hinted = True
        self.seen: base.Head | None = None
        self.undo: base.Undo = lambda: None

    def hint(self) -> None:
        self.hinted = True
        for wake in tuple(self.wakes.values()):
            wake()

    def wake(self) -> None:
        for wake in tuple(self.wakes.values()):
            wake()


class Watch:
    """All that this node waits for. `run` is the poll, a task of the supervisor's."""

    def __init__(self, log: base.EventLog, interval: float = POLL_INTERVAL) -> None:
        self._log, self._interval = log, interval
        self._watched: dict[events.StreamId, _Watched] = {}

    def add(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        """Calls `wake` soon after the stream has more; the returned call ends that."""
        watched = self._watched.get(stream)
        if watched is None:
            watched = self._watched[stream] = _Watched()
            watched.undo = self._log.watch(stream, watched.hint)
        token = object()
        watched.wakes[token] = wake

        def undo() -> None:
            if watched.wakes.pop(token, None) is not None and not watched.wakes:
                watched.undo()
                self._watched.pop(stream, None)

        return undo

    def watches(self, stream: events.StreamId) -> bool:
        """Whether anybody waits for this stream."""
        return stream in self._watched

    def wake(self, stream: events.StreamId) -> None:
        """Wakes who waits for this stream, because something has become of it."""
        watched = self._watched.get(stream)
        if watched is not None:
            watched.wake()

    def wake_all(self) -> None:
        """Wakes everybody who waits, for instance because nothing more will come."""
        for watched in tuple(self._watched.values()):
            watched.wake()

    async def poll(self) -> None:
        """One round over all watched streams."""
        streams = list(self._watched)
        for i in range(0, len(streams), POLL_STREAMS):
            part = streams[i : i + POLL_STREAMS]
            for stream, head in zip(part, await self._log.heads(part), strict=True):
                self._compare(stream, head)
            await asyncio.sleep(0)  # an engine in this process may have answered without a wait

    def _compare(self, stream: events.StreamId, head: base.Head | None) -> None:
        watched = self._watched.get(stream)
        if watched is None or head == watched.seen:
            return
        if watched.hinted:
            watched.hinted = False
            return
        watched.seen = head
        watched.wake()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            with contextlib.suppress(errors.LogError):  # the next round asks again
                await self.poll()
