"""Which sockets may stay while all places are taken, or while they hold too much.

Strategy: a socket is either answered or it waits: its next request has not begun, or is not
whole yet, or it does not take its answer. Whoever waits the longest gives way to a newcomer, so a
crowd that never says what it wants keeps nobody out; who sends a body that the application reads
gives way only after all of these, and who is answered never does. What all sockets together hold is
bounded, each kind by itself, so that nobody is sent away for what strangers hold of another: heads,
bodies that nobody reads yet, and answers that are not taken. Beyond a bound the socket goes that
holds of it since the longest time; of answers, one of the tenant that holds most (`shared`). Each
call takes the same time however many there are. There is one door for a server; its sockets tell it
what becomes of them.
"""

from __future__ import annotations

import collections
from typing import NamedTuple, Protocol

from holdfast.http import shared


class Visitor(Protocol):
    """What is let in."""

    tenant: str

    def give_way(self) -> None:
        """Closes at once, without a word: a status would stop an EventSource for ever."""


class Bounds(NamedTuple):
    """Bytes of all sockets together: of heads that are not whole and requests behind another, of
    bodies that came and were not read, of answers that wait."""

    heads: int = 16 * 1024 * 1024
    bodies: int = 64 * 1024 * 1024
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
        self._sending: collections.OrderedDict[Visitor, None] = collections.OrderedDict()
        bounds = bounds or Bounds()
        self._heads, self._bodies = _Held(bounds.heads), _Held(bounds.bodies)
        self._answers = shared.Shared[Visitor](bounds.answers)

    def enter(self, socket: Visitor) -> bool:
        """Lets a newcomer in, who waits from now on; False where everybody is being answered."""
        if len(self._inside) >= self._max_sockets:
            first = next(iter(self._waiting or self._sending), None)
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
            self._sending.pop(socket, None)
            self._waiting[socket] = None

    def took(self, socket: Visitor, size: int) -> None:
        """So many bytes came of a head, or of requests behind the one that is answered. It may be
        this socket that goes."""
        self._hold(self._heads, socket, self._heads.by.get(socket, 0) + size)

    def took_body(self, socket: Visitor, size: int) -> None:
        """So many bytes came of a body. They count until it is read, and may send this socket
        away."""
        self._heads.drop(socket)
        if socket not in self._sending:
            self._hold(self._bodies, socket, self._bodies.by.get(socket, 0) + size)

    def sends(self, socket: Visitor) -> None:
        """The application reads its body from now on, and sees to what all of those hold."""
        if socket in self._inside:
            self._waiting.pop(socket, None)
            self._sending[socket] = None
            self.forget(socket)

    def keeps(self, socket: Visitor, size: int) -> None:
        """So many bytes of its answers wait to be taken. It may be this socket that goes, but not
        if it is alone: an answer may be larger than the bound."""
        if socket in self._inside:
            for one in self._answers.put(socket, size):
                self._send_away(one)

    def took_answers(self, socket: Visitor) -> None:
        """Next to nothing of its answers waits any more."""
        self._answers.drop(socket)

    def _hold(self, held: _Held, socket: Visitor, size: int) -> None:
        if socket in self._inside:
            held.put(socket, size)
            while held.too_much:
                self._send_away(next(iter(held.by)))

    def whole(self, socket: Visitor) -> None:
        """Its request is whole, or nobody reads on: it is being answered."""
        self._answered(socket)
        self.forget(socket)

    def answers(self, socket: Visitor) -> None:
        """It is being answered, and takes it; what came of further requests still counts."""
        self._answered(socket)
        self._answers.drop(socket)

    def _answered(self, socket: Visitor) -> None:
        self._waiting.pop(socket, None)
        self._sending.pop(socket, None)

    def forget(self, socket: Visitor) -> None:
        """Nothing is left of what came of its requests."""
        self._heads.drop(socket)
        self._bodies.drop(socket)

    def leave(self, socket: Visitor) -> None:
        """It is closed. Idempotent."""
        self.answers(socket)
        self.forget(socket)
        self._inside.discard(socket)

    def _send_away(self, socket: Visitor) -> None:
        self.leave(socket)
        socket.give_way()
