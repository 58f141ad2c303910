"""Two sockets and a line each way between them: the moving part of `fault_proxy`.

Strategy: callbacks of the event loop alone. A direction reads when its line has room, and
writes one piece a turn when the line says that one is due; what the kernel does not take waits,
and the line with it. When a receiver turns out to be gone, its sender learns that through the
line of the other direction, as in a network, and not behind the back of that line's faults.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable

from holdfast.testing import faults

BUFFER = 64 << 10
"""Bytes that wait in one direction; so a long latency also bounds the rate."""

NO_LINGER = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing the socket resets its connection."""

_DRAIN = 16
# Reads before a socket is closed: a close with bytes unread would be a reset.


class Direction:
    """From one socket to the other. `passed` counts the bytes that the receiver's kernel took."""

    def __init__(self, source: socket.socket, sink: socket.socket, line: faults.Line) -> None:
        self.line, self.passed, self.done = line, 0, False
        self._source, self._sink = source, sink
        self._loop = asyncio.get_running_loop()
        self._unsent = memoryview(b"")
        self._reading = self._writing = self._ended = self._gone = False
        self._timer: asyncio.Handle | None = None

    @property
    def held(self) -> int:
        """Bytes that were read and wait, at most `BUFFER`."""
        return self.line.held + len(self._unsent)

    def join(self, back: Direction, pair: Pair) -> None:
        """Tells it about the other direction and the owner of both, before it runs."""
        self._back, self._pair = back, pair

    def run(self) -> None:
        """Does what is due, and sees to it that it is called when more is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._unsent and not self._gone:
            self._act()
        if not self._pair.closed:
            self._read_if_there_is_room()

    def stop(self) -> None:
        """Lets go of the loop."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._source)
        self._loop.remove_writer(self._sink)

    def _act(self) -> None:
        due, now = self.line.due(), self._loop.time()
        if due is None:
            return
        if due > now:
            self._timer = self._loop.call_at(due, self.run)
            return
        act = self.line.take(now)
        if isinstance(act, faults.Cut):
            self._pair.cut(act.rst)
        elif isinstance(act, faults.Reset):
            self._pair.close()
        elif isinstance(act, faults.HalfClose):
            self._shut()
        else:
            self._unsent = act
            self._write()
        idle = self._pair.closed or self._gone or self._unsent
        if not idle and self.line.due() is not None:
            self._timer = self._loop.call_soon(self.run)

    def _shut(self) -> None:
        with contextlib.suppress(OSError):  # gone already: its end has been or will be read
            self._sink.shutdown(socket.SHUT_WR)
        self.done = True
        self._pair.close_if_done()

    def _write(self) -> None:
        try:
            sent = self._sink.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._unsent = memoryview(b"")
            self._gone = True
            self._back.line.end(self._loop.time(), rst=True)
            self._back.run()
            return
        self.passed += sent
        self._unsent = self._unsent[sent:]
        if self._unsent and not self._writing:
            self._writing = True
            self._loop.add_writer(self._sink, self._writable)

    def _writable(self) -> None:
        self._write()
        if self._unsent or self._pair.closed:
            return
        self._loop.remove_writer(self._sink)
        self._writing = False
        self.run()

    def _read_if_there_is_room(self) -> None:
        wanted = not self._ended and not self._gone and self.held < BUFFER
        if wanted and not self._reading:
            self._loop.add_reader(self._source, self._readable)
        elif self._reading and not wanted:
            self._loop.remove_reader(self._source)
        self._reading = wanted

    def _readable(self) -> None:
        now = self._loop.time()
        try:
            data = self._source.recv(BUFFER - self.held)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._ended = True
            self.line.end(now, rst=True)
        else:
            if data:
                self.line.put(data, now)
            else:
                self._ended = True
                self.line.end(now)
        self.run()


class Pair:
    """A client's socket and one that is to reach the server. `ended` is called once, when both
    are closed, with whether they were cut."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        up: faults.Line,
        down: faults.Line,
        ended: Callable[[bool], None],
    ) -> None:
        self.closed = False
        self._client, self._server, self._ended = client, server, ended
        self.up, self.down = Direction(client, server, up), Direction(server, client, down)
        self.up.join(self.down, self)
        self.down.join(self.up, self)
        self._connected = False

    def connect(self, address: tuple[str, int]) -> None:
        """Reaches for the server, and runs when it is there; else the client is reset."""
        loop = asyncio.get_running_loop()
        result = self._server.connect_ex(address)
        if result == errno.EINPROGRESS:
            loop.add_writer(self._server, self._on_connected)
        else:
            self._on_connected(result)

    def run(self) -> None:
        """Begins, or looks anew after the faults were changed."""
        self._connected = True
        for direction in (self.up, self.down):
            if not self.closed:
                direction.run()

    def set(self, chosen: faults.Faults) -> None:
        """Other faults for both directions."""
        self.up.line.set(chosen.up)
        self.down.line.set(chosen.down)
        if self._connected:
            self.run()

    def cut(self, rst: bool) -> None:
        """Ends it at once, both ways, with RST or FIN; what waited is lost."""
        self._close(rst, cut=True)

    def close(self) -> None:
        """Resets it, and counts that for no fault. Idempotent."""
        self._close(rst=True, cut=False)

    def close_if_done(self) -> None:
        """Closes both sockets once both directions have ended."""
        if self.up.done and self.down.done:
            self._close(rst=False, cut=False)

    def _on_connected(self, result: int | None = None) -> None:
        asyncio.get_running_loop().remove_writer(self._server)
        if result is None:
            result = self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result:
            self.close()
        else:
            self.run()

    def _close(self, rst: bool, cut: bool) -> None:
        if self.closed:
            return
        self.closed = True
        self.up.stop()
        self.down.stop()
        for sock in (self._client, self._server):
            if rst:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            else:
                _drain(sock)
            sock.close()
        self._ended(cut)


def _drain(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # nothing more, or gone
        for _ in range(_DRAIN):
            if not sock.recv(BUFFER):
                return
