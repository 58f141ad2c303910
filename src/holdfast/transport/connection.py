"""One socket, plain or under TLS, with at most one exchange at a time.

Strategy: a connection is made in steps that `Transport` awaits (`tunnel`, `encrypt`), then
carries one exchange after another. Every read goes through the TLS layers, if there are any,
to whoever is there: the exchange, the step under way, or nobody. What comes while nobody asked
closes the connection. The layers are a list, so TLS through a tunnel through TLS is no case of
its own.

The event loop reads until a response has begun; its body is read in a poll of ours (`reads`). It is
both kinds of protocol, because each event loop then takes its own faster way. uvloop
reads into a buffer of its own and calls `data_received`. asyncio would allocate 256 KiB for each
read so; it asks for a buffer instead, and gets the one that all connections of a transport
share: what is in it is used up before the next socket is read.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Hashable
from typing import cast

from holdfast import errors
from holdfast.transport import liveness, proxies, reads, tls
from holdfast.transport.exchange import Exchange

READ = 64 * 1024  # bytes of a read, at most

READS = 8
"""Of one socket in a round of `reads`, while each of them fills the buffer: a body that is large
must not wait for a round each time."""

_CLOSED = "it closed the connection"


class Connection(asyncio.Protocol, asyncio.BufferedProtocol):
    """One connection; `origin` is the pool's. `idle` is called when it may carry the next
    exchange, `closed` when its socket is closed."""

    __slots__ = (
        "_answer",
        "_bodies",
        "_buffer",
        "_closed",
        "_dropped",
        "_exchange",
        "_fd",
        "_idle",
        "_layers",
        "_socket",
        "_step",
        "_view",
        "origin",
    )

    def __init__(
        self,
        origin: Hashable,
        buffer: bytearray,
        bodies: reads.Reads,
        idle: Callable[[Connection], None],
        closed: Callable[[Connection], None],
    ) -> None:
        self.origin = origin
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._bodies, self._idle, self._closed = bodies, idle, closed
        self._fd: int | None = None  # while `bodies` has it
        self._socket: asyncio.Transport | None = None
        self._layers: list[tls.Tls] = []  # the first is next to the network
        self._exchange: Exchange | None = None
        self._answer: proxies.Answer | None = None
        self._step: asyncio.Future[int] | None = None
        self._dropped = False

    # For the transport

    @property
    def usable(self) -> bool:
        """Whether it can carry an exchange."""
        return self._socket is not None and not self._dropped and not self._socket.is_closing()

    async def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here on. Raises ssl.SSLError, ConnectionError, ProtocolViolation."""
        self._layers.append(tls.Tls(context, host))
        await self._stepped(lambda: self._unwrap(b"", len(self._layers) - 1))

    async def tunnel(self, head: bytes, max_head: int) -> int:
        """The status of the proxy's answer to `head`. Raises ConnectionError,
        ProtocolViolation."""
        self._answer = proxies.Answer(max_head)
        try:
            return await self._stepped(lambda: self._write(head, len(self._layers)))
        finally:
            self._answer = None

    async def _stepped(self, start: Callable[[], None]) -> int:
        step: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._step = step
        try:
            if self.usable:
                start()
            else:
                step.set_exception(ConnectionAbortedError(_CLOSED))
            return await step
        finally:
            self._step = None

    def begin(self, exchange: Exchange, payload: bytes) -> None:
        """Send the request; what comes back is the exchange's. It is told if the connection
        has been lost meanwhile."""
        if self._exchange is not None:
            raise RuntimeError("A connection carries one exchange at a time.")
        if not self.usable:
            exchange.lost(None)
            return
        self._exchange = exchange
        exchange.begin(self)
        self._write(payload, len(self._layers))

    def retire(self) -> None:
        """Close it while it is idle, as TLS wants it."""
        if self.usable:
            for depth in reversed(range(len(self._layers))):
                self._write(self._layers[depth].close(), depth)
        self._dropped = True
        if self._socket is not None:
            self._leave()
            self._socket.close()

    def abort(self, error: errors.TransportError | None = None) -> None:
        """Close the socket at once; an exchange gets `error` as its end."""
        exchange, self._exchange = self._exchange, None
        self._dropped = True
        if self._socket is not None:
            self._leave()
            # Not close(): that waits until the other side has read the whole request.
            self._socket.abort()
        if exchange is not None:
            exchange.abort(error)

    # For the exchange

    def pause(self) -> None:
        if self._socket is not None:
            self._leave()
            self._socket.pause_reading()

    def resume(self) -> None:
        if self._socket is not None and self._fd is None:
            self._socket.resume_reading()

    def begun(self) -> None:
        """The response has: the rest is its body."""
        if self._fd is not None or not self.usable or self._socket is None:
            return
        fd = self._socket.get_extra_info("socket").fileno()
        if self._bodies.add(fd, self):
            self._fd = fd
            self._socket.pause_reading()

    def _leave(self) -> None:
        """The event loop reads again, if anybody does."""
        if self._fd is not None:
            self._bodies.drop(self._fd, self)
            self._fd = None

    def done(self, *, reusable: bool) -> None:
        self._exchange = None
        if reusable and self.usable and not self._unsent():
            if self._fd is not None:
                self._leave()
                self.resume()
            self._idle(self)
        else:
            self.abort()

    def _unsent(self) -> int:
        return self._socket.get_write_buffer_size() if self._socket is not None else 0

    # For the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports have no class in common with asyncio's.
        self._socket = cast(asyncio.Transport, transport)
        if self._dropped:  # given up meanwhile
            self._socket.abort()
            return
        liveness.watch(self._socket.get_extra_info("socket"))

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._view[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        if self._layers:
            self._unwrap(data)
        elif self._exchange is not None:
            self._exchange.received(data)
        else:
            self._unclaimed(data)

    def readable(self) -> None:
        """See `reads.Readable`."""
        for _ in range(READS):
            if self._fd is None:  # also where what was read has ended or paused it
                return
            try:
                count = os.readv(self._fd, (self._buffer,))
            except BlockingIOError:
                return
            except OSError as error:
                self._over(error)
                return
            if not count:
                self._over(None)
                return
            self.data_received(self._view[:count])
            if count < len(self._buffer):
                return

    def eof_received(self) -> None:
        self._over(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over(exc)
        self._closed(self)

    def _unwrap(self, data: bytes | memoryview, first: int = 0) -> None:
        """Through the layers from the `first` on, to whoever is there."""
        ended = False
        try:
            for depth in range(first, len(self._layers)):
                layer = self._layers[depth]
                try:
                    data = layer.receive(data)
                finally:  # after a failure: the alert
                    self._write(layer.answer(), depth)
                ended = ended or layer.ended
        except (ssl.SSLError, errors.ProtocolViolation) as error:
            self._fail(error)
            return
        if self._answer is None and layer.ready:
            self._advance(0)
        if data:
            if self._exchange is not None:
                self._exchange.received(data)
            else:
                self._unclaimed(data)
        if ended:
            self._over(None)

    def _unclaimed(self, data: bytes | memoryview) -> None:
        """What comes while there is no exchange: the answer of a proxy, or nothing good."""
        if self._answer is None or self._step is None or self._step.done():
            self.abort()
            return
        try:
            status = self._answer.feed(data)
        except errors.ProtocolViolation as error:
            self._fail(error)
            return
        if status is not None:
            self._advance(status)

    def _advance(self, result: int | Exception) -> None:
        """The step under way is over, if there is one."""
        if self._step is None or self._step.done():
            return
        if isinstance(result, Exception):
            self._step.set_exception(result)
        else:
            self._step.set_result(result)

    def _write(self, data: bytes, depth: int) -> None:
        """Send it under the first `depth` layers."""
        for layer in reversed(self._layers[:depth]):
            data = layer.send(data)
        if data and self._socket is not None:
            self._socket.write(data)

    def _fail(self, error: ssl.SSLError | errors.ProtocolViolation) -> None:
        """The other side does not keep to TLS, or to what a proxy may answer."""
        self._advance(error)
        if isinstance(error, ssl.SSLError):
            self.abort(errors.ProtocolViolation(f"TLS failed: {error.reason}."))
        else:
            self.abort(error)

    def _over(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        exchange, self._exchange = self._exchange, None
        reset = exc if isinstance(exc, ConnectionError) else None
        self._advance(reset or ConnectionAbortedError(_CLOSED))
        self.abort()
        if exchange is not None:
            exchange.lost(exc)
