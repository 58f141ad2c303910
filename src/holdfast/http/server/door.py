"""Which sockets may stay while all places are taken.

Strategy: a socket is either answered or it waits: its next request has not begun, or is not
whole yet, or it does not take its answer. Whoever waits the longest gives way to a newcomer, so a
crowd that never says what it wants keeps nobody out; who is answered never gives way. The bytes of
all requests not answered yet are bounded too: beyond `max_bytes` together, the socket whose request
began first goes. Each call takes the same time however many there are. There is one door for a
server; its sockets tell it what becomes of them.
"""

from __future__ import annotations

import collections
from typing import Protocol

MAX_ARRIVING = 65 * 1024 * 1024
"""Bytes of all requests that are on their way: the largest body that `server.max_body` allows,
and a head."""


class Visitor(Protocol):
    """What is let in."""

    def give_way(self) -> None:
        """Closes at once, without a word: a status would stop an EventSource for ever."""


class Door:
    """At most `max_sockets` are inside."""

    def __init__(self, max_sockets: int, max_bytes: int = MAX_ARRIVING) -> None:
        self._max_sockets, self._max_bytes = max_sockets, max_bytes
        self._inside: set[Visitor] = set()
        # In the order in which they began to wait, and in which their requests began.
        self._waiting: collections.OrderedDict[Visitor, None] = collections.OrderedDict()
        self._arriving: collections.OrderedDict[Visitor, int] = collections.OrderedDict()
        self._bytes = 0

    def enter(self, socket: Visitor) -> bool:
        """Lets a newcomer in, who waits from now on; False where everybody is being answered."""
        if len(self._inside) >= self._max_sockets:
            if not self._waiting:
                return False
            self._send_away(next(iter(self._waiting)))
        self._inside.add(socket)
        self._waiting[socket] = None
        return True

    def waits(self, socket: Visitor) -> None:
        """It is answered, and its next request is waited for from now on; or it does not take the
        answer."""
        if socket in self._inside:
            self._waiting[socket] = None

    def took(self, socket: Visitor, size: int) -> None:
        """So many bytes came of requests that are not answered yet. It may be this one that
        goes."""
        if socket not in self._inside:
            return
        self._arriving[socket] = self._arriving.get(socket, 0) + size
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._send_away(next(iter(self._arriving)))

    def whole(self, socket: Visitor) -> None:
        """Its request is whole: it is being answered."""
        self.answers(socket)
        self.forget(socket)

    def answers(self, socket: Visitor) -> None:
        """It is being answered; what came of further requests still counts."""
        self._waiting.pop(socket, None)

    def forget(self, socket: Visitor) -> None:
        """Nothing is left of what came of its requests."""
        self._bytes -= self._arriving.pop(socket, 0)

    def leave(self, socket: Visitor) -> None:
        """It is closed. Idempotent."""
        self.whole(socket)
        self._inside.discard(socket)

    def _send_away(self, socket: Visitor) -> None:
        self.leave(socket)
        socket.give_way()
