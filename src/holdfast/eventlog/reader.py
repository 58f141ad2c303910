"""The reader loop, written once.

Strategy: clear the flag, read what comes after the position, hand it on, and only then wait
for the flag. Whatever arrives after the clear sets the flag again, so a wake-up cannot be
lost between a read and its wait. Live delivery, late join, resume and replay are this loop
with different starting positions. What is read comes from a `Source`: the log itself, or a
cache of it that already holds bytes.

While the loop waits, whoever can take a portion without waiting (`Taker`) gets what lies in memory
right from the call that would have woken the loop: to wake a task costs more than all that it would
do. What is not that simple wakes it, and it does the same as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Generic, Protocol, TypeVar

from holdfast import errors, events
from holdfast.eventlog import base


class Flag:
    """Tells one waiter to look again. Setting it twice is setting it once."""

    __slots__ = ("_instead", "_loop", "_set", "_waiter")

    def __init__(self) -> None:
        self._set = False
        self._instead: Callable[[], bool] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        if self._instead is not None and not self._set and self._instead():
            return
        self._set = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def clear(self) -> None:
        self._set = False

    async def wait(self, instead: Callable[[], bool] | None = None) -> None:
        """Returns at once where the flag is set. One waiter at a time. What would set it meanwhile
        calls `instead`, which says whether all is done that it was set for; it must not raise."""
        if self._set:
            return
        if self._loop is None:  # asked once: on Python 3.11 it costs a system call
            self._loop = asyncio.get_running_loop()
        self._waiter, self._instead = self._loop.create_future(), instead
        try:
            await self._waiter
        finally:
            self._waiter = self._instead = None


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
P_contra = TypeVar("P_contra", bound=Portion, contravariant=True)


class Source(Protocol[P_co]):
    async def read(self, after: events.Position) -> P_co:
        """Raises `errors.UnknownPosition` for a position that the log does not hold."""

    def glance(self, after: events.Position) -> P_co | None:
        """What `read` would give, where that is something new and there; None to `read`."""

    def rewind(self) -> P_co:
        """A portion of one transient `rewind`, at the begin of the stream."""


class Taker(Protocol[P_contra]):
    """Who reads, if it can take a portion without waiting."""

    def ready(self) -> bool:
        """Whether that is so now, and there is nothing else to do."""

    def take(self, portion: P_contra) -> None: ...


class _Loop(Generic[P]):
    """Where one reader is. `found` was read and is still to be handed on."""

    __slots__ = (
        "_source",
        "_taker",
        "found",
        "position",
    )

    def __init__(self, source: Source[P], after: events.Position, taker: Taker[P] | None) -> None:
        self._source, self._taker, self.position = source, taker, after
        self.found: P | Exception | None = None

    async def read(self) -> P:
        """The next portion; raises what `Source.read` raises."""
        found, self.found = self.found, None
        if found is None:
            try:
                found = await self._source.read(self.position)
            except errors.UnknownPosition:
                found = self._source.rewind()
        elif isinstance(found, Exception):
            raise found
        self.position = found.position
        return found

    def catch_up(self) -> bool:
        """A wake-up, dealt with at once; False where the loop has to."""
        taker = self._taker
        if taker is None or self.found is not None or not taker.ready():
            return False
        try:
            portion = self._source.glance(self.position)
            if portion is None:
                return False
            if portion.closed or portion.more:
                self.found = portion
                return False
            self.position = portion.position
            taker.take(portion)
        except errors.UnknownPosition:
            return False
        except Exception as error:
            self.found = error
            return False
        return True


async def follow(
    source: Source[P], after: events.Position, flag: Flag, taker: Taker[P] | None = None
) -> AsyncGenerator[P, None]:
    """Yields portions until the one that is closed, but for those that the `taker` got.

    An empty portion is yielded after a wake-up that found nothing: whoever set the flag for
    another reason (heartbeat, drain, revocation) gets its turn there.
    """
    loop = _Loop(source, after, taker)
    while True:
        flag.clear()
        portion = await loop.read()
        yield portion
        if portion.closed:
            return
        if not portion.more:
            await flag.wait(loop.catch_up)


class LogSource:
    """A stream read straight from the log, as pages of events."""

    __slots__ = (
        "_log",
        "_stream",
    )

    def __init__(self, log: base.EventLog, stream: events.StreamId) -> None:
        self._log, self._stream = log, stream

    async def read(self, after: events.Position) -> base.Page:
        return await self._log.read(self._stream, after)

    def glance(self, after: events.Position) -> base.Page | None:
        return self._log.glance(self._stream, after)

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
