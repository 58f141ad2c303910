"""Bodies of responses: the sockets of all that are under way, in one poll.

Strategy: a socket whose response has begun leaves the event loop's own poll for an epoll of ours,
which the loop watches in its place. A read then costs one system call and nothing of the loop's.
And as they are all here, they can be left alone together: while the node is busy (`Pace`) nothing
is read for a moment after each round, so one read, one parse and one write later serve more
of an answer. What comes to an idle node is read at once.

Where there is no epoll, or no room for one, or the loop watches no descriptors, the loop reads as
ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Callable
from typing import Protocol

AT_ONCE = 1024
"""Sockets that are read before the event loop has its turn."""


class Pace(Protocol):
    """How busy the node is; called from the event loop that reads."""

    def period(self) -> float:
        """Seconds from one round of reads to the next; 0 while all is to be read as it comes."""

    def gathered(self) -> None:
        """What came meanwhile has been handed on."""


class Readable(Protocol):
    """A connection."""

    def readable(self) -> None:
        """Reads what is there, but not without end; must not raise."""


class Reads:
    """Of one event loop, and called from it alone. `pace` may be set at any time."""

    def __init__(self, opened: Opener | None = None) -> None:
        """`opened` makes the poll; None of it where there can be none."""
        self.pace: Pace | None = None
        self._opened = opened or _opened
        self._there: dict[int, Readable] = {}
        self._poll: Poll | None = None
        self._began, self._goes_on = 0.0, False

    def add(self, fd: int, connection: Readable) -> bool:
        """Reads this socket from now on, if that can be done here."""
        if self._poll is None:
            self._poll = self._opened(self._round)
            if self._poll is None:
                return False
        try:
            self._poll.epoll.register(fd, select.EPOLLIN)
        except OSError:  # the system has no room for it
            self._close_if_empty()
            return False
        self._there[fd] = connection
        return True

    def drop(self, fd: int, connection: Readable) -> None:
        """It is read here no more. Nothing where another one has the number by now."""
        if self._poll is None or self._there.get(fd) is not connection:
            return
        del self._there[fd]
        with contextlib.suppress(OSError):  # the loop has closed it before it told us
            self._poll.epoll.unregister(fd)
        self._close_if_empty()

    def _close_if_empty(self) -> None:
        if self._poll is not None and not self._there:
            self._poll.close()
            self._poll = None

    def _round(self, poll: Poll) -> None:
        """Reads each socket that has something; more of them than it can at once, after the loop's
        turn."""
        found = poll.epoll.poll(0, AT_ONCE)
        if not self._goes_on:
            self._began = poll.time()
        self._goes_on = len(found) == AT_ONCE
        for fd, _ in found:
            connection = self._there.get(fd)
            if connection is not None:  # else another one's end has ended it
                connection.readable()
        if self.pace is not None:
            self.pace.gathered()
            wait = self.pace.period() - (poll.time() - self._began)
            if wait > 0 and not self._goes_on and poll is self._poll:
                poll.rest(wait)


class Poll:
    """An epoll that the loop watches, unless it rests."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turn: Turn) -> None:
        """Raises NotImplementedError where the loop watches no descriptors, OSError."""
        self.epoll = select.epoll()
        self._loop, self._turn, self.time = loop, turn, loop.time
        self._timer: asyncio.TimerHandle | None = None
        try:
            self._watch()
        except (NotImplementedError, OSError):
            self.epoll.close()
            raise

    def _watch(self) -> None:
        self._timer = None
        self._loop.add_reader(self.epoll.fileno(), self._turn, self)

    def rest(self, seconds: float) -> None:
        self._loop.remove_reader(self.epoll.fileno())
        self._timer = self._loop.call_later(seconds, self._watch)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        else:
            self._loop.remove_reader(self.epoll.fileno())
        self.epoll.close()


Turn = Callable[[Poll], None]
Opener = Callable[[Turn], Poll | None]


def _opened(turn: Turn) -> Poll | None:
    if not hasattr(select, "epoll"):
        return None
    try:
        return Poll(asyncio.get_running_loop(), turn)
    except (NotImplementedError, OSError):
        return None
