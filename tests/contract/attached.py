"""Readers for a test's hand: their pages can be held back, and their hints lost.

Strategy: a reader is the loop of `eventlog.reader` on a `watch.Watch`, in a task; it keeps what
it got and tells when it got more, so that a test waits for events and never for a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from holdfast import events
from holdfast.eventlog import base, reader, watch

PATIENCE = 10.0
"""Seconds that a reader may take to get what is there; it takes milliseconds."""


class Muffled:
    """A log whose hints can be lost."""

    def __init__(self, log: base.EventLog) -> None:
        self._log, self.deaf = log, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        return self._log.watch(stream, lambda: None if self.deaf else wake())


class Slow(reader.LogSource):
    """A stream whose pages can be held back once they are read: what is appended meanwhile has
    its hints before the reader looks at the page."""

    def __init__(self, log: base.EventLog, stream: events.StreamId, go: asyncio.Event) -> None:
        super().__init__(log, stream)
        self._go = go

    async def read(self, after: events.Position) -> base.Page:
        page = await super().read(after)
        await self._go.wait()
        return page


class Reader:
    """The reader loop on one stream. `got` is what follows the seq `begin`; without `go` it
    gets nothing."""

    def __init__(self, log: base.EventLog, watch: watch.Watch, stream: events.StreamId) -> None:
        self.stream, self.got, self.position = stream, list[events.Event](), events.BEGIN
        self.begin = 0
        self.task: asyncio.Task[None] | None = None
        self.go = asyncio.Event()
        self.go.set()
        self._log, self._watch = log, watch
        self._news = asyncio.Event()

    def start(self, after: events.Position) -> None:
        self.begin, self.position, self.got = after.seq, after, []
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        flag = reader.Flag()
        undo = self._watch.add(self.stream, flag.set)
        try:
            source = Slow(self._log, self.stream, self.go)
            async for page in reader.follow(source, self.position, flag):
                for event in page.events:
                    self._take(event)
                assert self.position == page.position
                self._news.set()
        finally:
            undo()
            self._news.set()

    def _take(self, event: events.Event) -> None:
        if event.seq == 0:
            assert event.kind == "rewind"
            self.begin, self.got = 0, []
        else:
            self.got.append(event)
        self.position = event.position

    async def until(self, count: int) -> None:
        """Waits until it has so many events."""
        assert self.task is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while len(self.got) < count and not self.task.done():
                    self._news.clear()
                    await self._news.wait()

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
            self.task = None
