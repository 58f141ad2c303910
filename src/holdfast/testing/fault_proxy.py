"""A TCP proxy that makes faults: what networks do to connections, when a test wants it.

Strategy: two sockets a connection and two lines (`faults`), one for each direction; plain
callbacks of the event loop move bytes from socket to line to socket (`fault_sockets`), so there
is no task to leak and a thousand connections cost little. A direction is read only while its
line has room: what the receiver does not take is not taken from the sender. What happens to a
connection follows from its number and the seed alone, and can be changed while it is open.

    slow = faults.Faults(down=(faults.Latency(0.05), faults.Cut(after=4096, rst=True)))
    async with fault_proxy.FaultProxy(port, slow) as proxy:
        ...     # talk to proxy.url in the place of the server at `port`
        proxy.set(faults.NONE)      # from now on, open connections too
        proxy.cut_all(rst=True)

    fault_proxy.FaultProxy(port, faults.seeded(7, draw))    # each connection has its own faults

Without faults it is honest: a half-close is passed on as such, and a reset as a reset. An end
without RST is a close: who goes on sending to it is answered with a reset, as by a process that
has ended. The event loop must watch plain sockets, as those of asyncio on POSIX and uvloop do.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import random
import socket
from types import TracebackType
from typing import Self

from holdfast.testing import fault_sockets, faults

MAX_OPEN = 10_000
"""Connections at once; further ones wait to be accepted."""

BACKLOG = 1024
"""Connections that wait to be accepted."""

REST_SECONDS = 0.1
"""No connection is accepted for so long when there are too many, or no descriptor is left."""


_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# Any other error of `accept` is about a client that has gone again.


class FaultProxy:
    """Listens at `port` (`url` for HTTP) and passes on to the port `target` of the same address.

    `chosen` are the faults of all connections, or a function from a connection's number to its
    own. `buffers`: bytes of the kernel's buffers of each socket, where its defaults would hide
    a slow reader. `accepted` and `cuts` (ended by a fault or on demand) count connections from
    the start. `target` may be changed: it is where the next connection goes.
    """

    def __init__(
        self,
        target: int,
        chosen: faults.Faults | faults.Choose = faults.NONE,
        *,
        seed: int = 0,
        host: str = "127.0.0.1",
        buffers: int | None = None,
    ) -> None:
        self.target, self.seed, self.buffers = target, seed, buffers
        self.port = self.accepted = self.cuts = 0
        # An address and no name: to look one up would hold the loop.
        self._host = str(ipaddress.ip_address(host))
        self._choose = _chooser(chosen)
        self._asked = self._up = self._down = 0
        self._open: dict[int, fault_sockets.Pair] = {}
        self._listener: socket.socket | None = None
        self._resting: asyncio.TimerHandle | None = None

    @property
    def url(self) -> str:
        """Where clients find it, for HTTP."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._open)

    @property
    def bytes_up(self) -> int:
        """Bytes passed on to the server so far."""
        return self._up + sum(pair.up.passed for pair in self._open.values())

    @property
    def bytes_down(self) -> int:
        """Bytes passed on to clients so far."""
        return self._down + sum(pair.down.passed for pair in self._open.values())

    @property
    def held(self) -> int:
        """Bytes that were taken from one side and wait for the other, in all connections."""
        return sum(pair.up.held + pair.down.held for pair in self._open.values())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Listens on a free port. Raises `OSError`."""
        listener = self._socket()
        try:
            listener.bind((self._host, 0))
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        self._loop, self._listener = asyncio.get_running_loop(), listener
        self._loop.add_reader(listener, self._accept)

    async def close(self) -> None:
        """Stops listening and resets every connection. Idempotent, and safe before `start`."""
        listener, self._listener = self._listener, None
        if self._resting is not None:
            self._resting.cancel()
        if listener is not None:
            self._loop.remove_reader(listener)
            listener.close()
        for pair in tuple(self._open.values()):
            pair.close()

    def set(self, chosen: faults.Faults | faults.Choose) -> None:
        """Other faults, from now on: for open connections too, whose bytes count from here."""
        self._choose = _chooser(chosen)
        for number, pair in tuple(self._open.items()):
            pair.set(self._choose(number))

    def cut_all(self, rst: bool = False, share: float = 1.0) -> int:
        """Ends open connections at once, or a share of them (0 to 1): which, follows from the
        seed, the connection's number and how often this was called. Returns how many."""
        self._asked += 1
        cut = 0
        for number, pair in tuple(self._open.items()):
            if random.Random(f"{self.seed} cut {self._asked} {number}").random() < share:
                pair.cut(rst)
                cut += 1
        return cut

    def _socket(self) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        made.setblocking(False)
        if self.buffers is not None:
            # Those of a listening socket are also those of what it accepts.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffers)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffers)
        return made

    def _accept(self) -> None:
        assert self._listener is not None
        if self.open >= MAX_OPEN:
            self._rest(self._listener)
            return
        client = None
        try:
            client, _ = self._listener.accept()
            server = self._socket()
        except OSError as error:
            if client is not None:
                client.close()
            if error.errno in _NO_ROOM:
                self._rest(self._listener)
            return
        self._join(client, server)

    def _join(self, client: socket.socket, server: socket.socket) -> None:
        number = self.accepted
        self.accepted += 1
        for sock in (client, server):
            sock.setblocking(False)
            # Each write is on its way at once: slices stay slices.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        chosen = self._choose(number)
        up = faults.Line(chosen.up, f"{self.seed} up {number}")
        down = faults.Line(chosen.down, f"{self.seed} down {number}")
        pair = fault_sockets.Pair(client, server, up, down, functools.partial(self._ended, number))
        self._open[number] = pair
        pair.connect((self._host, self.target))

    def _ended(self, number: int, cut: bool) -> None:
        pair = self._open.pop(number)
        self._up += pair.up.passed
        self._down += pair.down.passed
        self.cuts += cut

    def _rest(self, listener: socket.socket) -> None:
        self._loop.remove_reader(listener)
        self._resting = self._loop.call_later(REST_SECONDS, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        self._loop.add_reader(listener, self._accept)


def _chooser(chosen: faults.Faults | faults.Choose) -> faults.Choose:
    return (lambda _: chosen) if isinstance(chosen, faults.Faults) else chosen
