"""What a transport has open in one event loop: connections under way, idle and being made.

Strategy: a socket, a timer and a future belong to the loop that made them, so what holds them
belongs to one loop too. A transport that is used in another loop begins a new `Held`, and leaves
the old one to its loop: if that still runs, its timer closes what is idle there; if it is closed,
nothing of it is touched. The pool decides and this file acts. One timer serves all that is idle.
"""

from __future__ import annotations

import asyncio
import ssl

from holdfast import errors
from holdfast.transport import pool, reads
from holdfast.transport.connection import Connection


class Held:
    """All connections of one transport in one loop; called from that loop alone.

    `connections` has each with the deadline it is being made under, None once it is made.
    `loading` is the reading of the system's root certificates."""

    def __init__(self, max_idle: int, keep_alive: float) -> None:
        """As `Transport` takes them."""
        self.pool: pool.Pool[Connection] = pool.Pool(max_idle, keep_alive)
        self.connections: dict[Connection, asyncio.Timeout | None] = {}
        self.bodies = reads.Reads()
        self.timer: asyncio.TimerHandle | None = None
        self.loading: asyncio.Future[ssl.SSLContext] | None = None
        self._empty = asyncio.Event()

    def idle_one(self, origin: object) -> Connection | None:
        """The one that serves next, no longer idle."""
        while (idle := self.pool.take(origin, asyncio.get_running_loop().time())) is not None:
            if idle.usable:  # else its loss has not been told yet
                return idle
        return None

    def rest(self, idle: Connection) -> None:
        """It may carry the next exchange."""
        now = asyncio.get_running_loop().time()
        for surplus in self.pool.put(idle.origin, idle, now):
            surplus.retire()
        self._schedule()

    def forget(self, lost: Connection) -> None:
        """Its socket is closed. Idempotent."""
        self.pool.drop(lost)
        self.connections.pop(lost, None)
        if not self.connections:
            self._empty.set()

    async def close(self) -> None:
        """As `Transport.close`; those being made meet the end of their deadline."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        for each, deadline in list(self.connections.items()):
            if deadline is None:
                each.abort(errors.Truncated("The transport was closed."))
            elif not deadline.expired():
                deadline.reschedule(0)
        while self.connections:
            self._empty.clear()
            await self._empty.wait()

    def _schedule(self) -> None:
        expiry = self.pool.next_expiry()
        if self.timer is None and expiry is not None:
            self.timer = asyncio.get_running_loop().call_at(expiry, self._expire)

    def _expire(self) -> None:
        self.timer = None
        for old in self.pool.expired(asyncio.get_running_loop().time()):
            old.retire()
        self._schedule()
