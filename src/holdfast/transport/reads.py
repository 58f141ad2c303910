"""Bodies of responses: the sockets of all that are under way, in polls of ours.

Strategy: a socket whose response has begun leaves the event loop's own poll for an epoll of ours,
which the loop watches in its place. A read then costs one system call and nothing of the loop's.
And as they are here, they can be left alone together: while the node is busy (`Pace`) a poll rests
after its round of reads, so one read, one parse and one write later serve more of an answer. Many
sockets are spread over a few polls that take turns: what a round reads waits only until that round
has been handed on, and not for all others. What comes to an idle node is read at once.

Where there is no epoll, or no room for one, or the loop watches no descriptors, the loop reads as
ever.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import select
from collections.abc import Callable
from typing import Protocol

POLLS, ROOM = 8, 32
"""Polls at most; sockets in each of those that there are before another is opened. Beyond all of
them a poll has no limit."""

AT_ONCE = 1024
"""Sockets that are read before the event loop has its turn."""


class Pace(Protocol):
    """How busy the node is; called from the event loop that reads."""

    def period(self) -> float:
        """Seconds from one read of a socket to the next; 0 while all is to be read as it comes."""

    def gathered(self) -> None:
        """What came meanwhile has been handed on."""


class Readable(Protocol):
    """A connection."""

    def readable(self) -> None:
        """Reads what is there, but not without end; must not raise."""


class Reads:
    """Of one event loop, and called from it alone. `pace` may be set at any time."""

    def __init__(self, opened: Opener | None = None) -> None:
        """`opened` makes a poll; None of it where there can be none."""
        self.pace: Pace | None = None
        self._opened = opened or _opened
        self._polls: list[Poll] = []
        self._poll_of: dict[int, Poll] = {}
        self._resting: collections.deque[Poll] = collections.deque()
        self._turned, self._due = 0.0, 0.0
        """When the last turn was to be, and the next one is, on the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, fd: int, connection: Readable) -> bool:
        """Reads this socket from now on, if that can be done here."""
        self._forget(fd)  # which the loop has closed, and not told yet of
        poll = self._emptiest()
        if poll is None:
            return False
        try:
            poll.epoll.register(fd, select.EPOLLIN)
        except OSError:  # the system has no room for it
            self._close_if_empty(poll)
            return False
        poll.there[fd], self._poll_of[fd] = connection, poll
        return True

    def drop(self, fd: int, connection: Readable) -> None:
        """It is read here no more. Nothing where another one has the number by now."""
        poll = self._poll_of.get(fd)
        if poll is not None and poll.there[fd] is connection:
            self._forget(fd)

    def _forget(self, fd: int) -> None:
        poll = self._poll_of.pop(fd, None)
        if poll is None:
            return
        del poll.there[fd]
        with contextlib.suppress(OSError):  # the loop has closed it before it told us
            poll.epoll.unregister(fd)
        self._close_if_empty(poll)

    def _emptiest(self) -> Poll | None:
        """The poll for the next socket."""
        found = min(self._polls, key=lambda poll: len(poll.there), default=None)
        if found is None or (len(found.there) >= ROOM and len(self._polls) < POLLS):
            made = self._opened(self._round)
            if made is not None:
                self._polls.append(made)
            return made or found
        return found

    def _close_if_empty(self, poll: Poll) -> None:
        if not poll.there:
            self._polls.remove(poll)
            if poll in self._resting:
                self._resting.remove(poll)
            poll.close()
            self._arm(poll.loop)

    def _round(self, poll: Poll) -> None:
        """Reads each socket of a poll that has something; more of them than it can at once, after
        the loop's turn."""
        poll.read_at = poll.loop.time()
        found = poll.epoll.poll(0, AT_ONCE)
        for fd, _ in found:
            connection = poll.there.get(fd)
            if connection is not None:  # else another one's end has ended it
                connection.readable()
        if self.pace is None:
            return
        self.pace.gathered()
        if poll.there and 0 < len(found) < AT_ONCE and self.pace.period() > 0:
            poll.rest()
            if not self._resting:
                self._turned = poll.read_at
            self._resting.append(poll)
            self._arm(poll.loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Those that rest take turns, evenly, and none rests for longer than a period."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._resting:
            period = self._period()
            evenly = self._turned + period / len(self._resting)
            self._due = min(evenly, self._resting[0].read_at + period)
            self._timer = loop.call_at(self._due, self._turn, loop)

    def _period(self) -> float:
        return self.pace.period() if self.pace is not None else 0.0

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        # What is late is made up for, as far as the next turn.
        self._turned = max(self._due, loop.time() - self._period() / len(self._resting))
        poll = self._resting.popleft()
        poll.watch()  # and so it is where nothing is found, or a read raises
        self._arm(loop)
        self._round(poll)


class Poll:
    """An epoll that the loop watches, unless it rests; `there` is what it reads, by number, and
    `read_at` when it did so last, on the loop's clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ready: Round) -> None:
        """Raises NotImplementedError where the loop watches no descriptors, OSError."""
        self.epoll = select.epoll()
        self.there: dict[int, Readable] = {}
        self.loop, self._ready, self.read_at = loop, ready, 0.0
        try:
            self.watch()
        except (NotImplementedError, OSError):
            self.epoll.close()
            raise

    def watch(self) -> None:
        self.loop.add_reader(self.epoll.fileno(), self._ready, self)

    def rest(self) -> None:
        self.loop.remove_reader(self.epoll.fileno())

    def close(self) -> None:
        self.rest()
        self.epoll.close()


Round = Callable[[Poll], None]
Opener = Callable[[Round], Poll | None]


def _opened(ready: Round) -> Poll | None:
    if not hasattr(select, "epoll"):
        return None
    try:
        return Poll(asyncio.get_running_loop(), ready)
    except (NotImplementedError, OSError):
        return None
