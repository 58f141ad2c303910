"""The reader loop, written once.

Strategy: clear the flag, read what comes after the position, hand it on, and only then wait
for the flag. Whatever arrives after the clear sets the flag again, so a wake-up cannot be
lost between a read and its wait. Live delivery, late join, resume and replay are this loop
with different starting positions. What is read comes from a `Source`: the log itself, or a
cache of it that already holds bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Protocol, TypeVar

from holdfast import errors, events
from holdfast.eventlog import base


class Flag:
    """Tells one waiter to look again. Setting it twice is setting it once."""

    __slots__ = ("_loop", "_set", "_waiter")

    def __init__(self) -> None:
        self._set = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        self._set = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def clear(self) -> None:
        self._set = False

    async def wait(self) -> None:
        """Returns at once where the flag is set. One waiter at a time."""
        if self._set:
            return
        if self._loop is None:  # asked once: on Python 3.11 it costs a system call
            self._loop = asyncio.get_running_loop()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Portion(Protocol):
    """What a source gives at once: a log's page, or a feed's bytes."""

    @property
    def position(self) -> events.Position: ...
    @property
    def closed(self) -> bool: ...
    @property
    def more(self) -> bool: ...


P = TypeVar("P", bound=Portion)
P_co = TypeVar("P_co", bound=Portion, covariant=True)


class Source(Protocol[P_co]):
    async def read(self, after: events.Position) -> P_co:
        """Raises `errors.UnknownPosition` for a position that the log does not hold."""

    def rewind(self) -> P_co:
        """A portion of one transient `rewind`, at the begin of the stream."""


async def follow(source: Source[P], after: events.Position, flag: Flag) -> AsyncGenerator[P, None]:
    """Yields portions until the one that is closed.

    An empty portion is yielded after a wake-up that found nothing: whoever set the flag for
    another reason (heartbeat, drain, revocation) gets its turn there.
    """
    position = after
    while True:
        flag.clear()
        try:
            portion = await source.read(position)
        except errors.UnknownPosition:
            portion = source.rewind()
            position = portion.position
            yield portion
            continue
        position = portion.position
        yield portion
        if portion.closed:
            return
        if not portion.more:
            await flag.wait()


class LogSource:
    """A stream read straight from the log, as pages of events."""

    def __init__(self, log: base.EventLog, stream: events.StreamId) -> None:
        self._log, self._stream = log, stream

    async def read(self, after: events.Position) -> base.Page:
        return await self._log.read(self._stream, after)

    def rewind(self) -> base.Page:
        said = events.draft(events.Rewind("unknown_position"))
        event = events.Event(said.kind, said.data, 0, 0, 0)
        return base.Page((event,), events.BEGIN, closed=False, more=True)


async def tell(
    log: base.EventLog, stream: events.StreamId, take: Callable[[events.Event], object]
) -> None:
    """Hands on every event that is written by now. Raises what the log's `read` raises."""
    source, position, more = LogSource(log, stream), events.BEGIN, True
    while more:
        page = await source.read(position)
        for event in page.events:
            take(event)
        position, more = page.position, page.more
        await asyncio.sleep(0)  # a long answer must not hold up the others
