"""Which sockets may stay while all places are taken, or while they hold too much.

Strategy: a socket is either answered or it waits: its next request has not begun, or is not
whole yet, or it does not take its answer. Whoever waits the longest gives way to a newcomer, so a
crowd that never says what it wants keeps nobody out; who sends a body that somebody wants gives way
only after all of these, and who is answered never does. What all sockets together hold is bounded,
each kind by itself, so that nobody is sent away for what strangers hold of another: heads,
bodies, and answers that are not taken; beyond a bound the socket goes that holds of it since the
longest time. Each call takes the same time however many there are. There is one door for a server;
its sockets tell it what becomes of them.
"""

from __future__ import annotations

import collections
from typing import NamedTuple, Protocol


class Visitor(Protocol):
    """What is let in."""

    def give_way(self) -> None:
        """Closes at once, without a word: a status would stop an EventSource for ever."""


class Bounds(NamedTuple):
    """Bytes of all sockets together: of heads that are not whole and requests behind another, of
    bodies (the largest that `server.max_body` allows, and a head), of answers that wait."""

    heads: int = 16 * 1024 * 1024
    bodies: int = 65 * 1024 * 1024
    answers: int = 64 * 1024 * 1024


class _Held:
    """Bytes of one kind, by who holds them, in the order in which they began to."""

    def __init__(self, most: int) -> None:
        self.by: collections.OrderedDict[Visitor, int] = collections.OrderedDict()
        self._most, self._sum = most, 0

    def put(self, socket: Visitor, size: int) -> None:
        self._sum += size - self.by.get(socket, 0)
        self.by[socket] = size

    def drop(self, socket: Visitor) -> None:
        self._sum -= self.by.pop(socket, 0)

    @property
    def too_much(self) -> bool:
        return self._sum > self._most


class Door:
    """At most `max_sockets` are inside."""

    def __init__(self, max_sockets: int, bounds: Bounds | None = None) -> None:
        self._max_sockets = max_sockets
        self._inside: set[Visitor] = set()
        # In the order in which they began to wait.
        self._waiting: collections.OrderedDict[Visitor, None] = collections.OrderedDict()
        self._heads, self._bodies, self._answers = map(_Held, bounds or Bounds())

    def enter(self, socket: Visitor) -> bool:
        """Lets a newcomer in, who waits from now on; False where everybody is being answered."""
        if len(self._inside) >= self._max_sockets:
            first = next(iter(self._waiting or self._bodies.by), None)
            if first is None:
                return False
            self._send_away(first)
        self._inside.add(socket)
        self._waiting[socket] = None
        return True

    def waits(self, socket: Visitor) -> None:
        """It is answered, and its next request is waited for from now on; or it does not take the
        answer."""
        if socket in self._inside:
            self._waiting[socket] = None

    def took(self, socket: Visitor, size: int) -> None:
        """So many bytes came of a head, or of requests behind the one that is answered. It may be
        this socket that goes."""
        self._hold(self._heads, socket, self._heads.by.get(socket, 0) + size)

    def took_body(self, socket: Visitor, size: int) -> None:
        """So many bytes came of a body that is wanted. It may be this socket that goes."""
        if socket in self._inside:
            self._waiting.pop(socket, None)
            self._heads.drop(socket)
        self._hold(self._bodies, socket, self._bodies.by.get(socket, 0) + size)

    def keeps(self, socket: Visitor, size: int) -> None:
        """So many bytes of its answers wait to be taken. It may be this socket that goes, but not
        if it is alone: an answer may be larger than the bound."""
        self._hold(self._answers, socket, size, spared=1)

    def took_answers(self, socket: Visitor) -> None:
        """Next to nothing of its answers waits any more."""
        self._answers.drop(socket)

    def _hold(self, held: _Held, socket: Visitor, size: int, spared: int = 0) -> None:
        if socket in self._inside:
            held.put(socket, size)
            while held.too_much and len(held.by) > spared:
                self._send_away(next(iter(held.by)))

    def whole(self, socket: Visitor) -> None:
        """Its request is whole: it is being answered."""
        self.answers(socket)
        self.forget(socket)

    def answers(self, socket: Visitor) -> None:
        """It is being answered, and takes it; what came of further requests still counts."""
        self._waiting.pop(socket, None)
        self._answers.drop(socket)

    def forget(self, socket: Visitor) -> None:
        """Nothing is left of what came of its requests."""
        self._heads.drop(socket)
        self._bodies.drop(socket)

    def leave(self, socket: Visitor) -> None:
        """It is closed. Idempotent."""
        self.whole(socket)
        self._inside.discard(socket)

    def _send_away(self, socket: Visitor) -> None:
        self.leave(socket)
        socket.give_way()
