"""One request under way: from the bytes of its connection to a sink without an await.

Strategy: the connection hands over each read; the parser and the sink are called in that same
call, with no task, future or queue between. An exchange knows its connection only while it
has one, so that what is called after the end can never reach the next exchange there.

- The sink gets `head`, any number of `body`, and `end`: once, last, and without a head if
  there was none.
- Only the last chunk, or the whole Content-Length, is a clean end. What stands before an
  error is delivered first, so it makes no difference how the bytes were cut into reads.
- An exception out of a sink is a bug of ours: the connection is closed, the sink gets its
  `end` with a plain `TransportError`, and the exception goes to the event loop's exception
  handler. It does not unwind further, because what happens then differs by loop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Protocol

from holdfast import errors
from holdfast.transport.response import Response

MAX_REST = 16 * 1024  # bytes of a released response that are still read
REST = 1.0  # seconds that they may take
STALE = 1.0
"""Seconds after the sending in which a used connection that closes counts as closed before: the
other side's end, or its reset, takes a round trip to come here. One that closes later was read
from, and what was asked has been worked on: to ask again would have it done, and paid, twice."""


class Sink(Protocol):
    """Where a response goes. Called from the event loop: it must not block."""

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """The final head. Names are lower-case; values of a repeated one are joined by ", "."""

    def body(self, data: bytes) -> None:
        """All body bytes of one network read, joined; never empty, at most once a read."""

    def end(self, error: errors.TransportError | None) -> None:
        """The last call; None is a clean end.

        Truncated: closed before the response's end, or closed without a length that would
        show the end. ProtocolViolation: not HTTP/1.1 or TLS, over a limit, or in a coding that
        was not asked for. TransportError: the sink's own failure. Or what `abort` was given.
        """


class Carrier(Protocol):
    """What an exchange needs of its connection."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def begun(self) -> None:
        """The response has, and it is to be read on: again after each `resume`."""

    def done(self, *, reusable: bool) -> None:
        """The exchange is over; without `reusable` the socket is closed at once."""


class Exchange:
    """One request under way, made by `Transport.open`. `bytes_read` counts what came from the
    other side, heads and framing included, TLS not; `connected` is true from the moment when
    the request is sent, and stays so when the connection is lost."""

    __slots__ = (
        "__weakref__",
        "_answered",
        "_carrier",
        "_headed",
        "_paused",
        "_response",
        "_rest",
        "_sink",
        "_stale_until",
        "bytes_read",
        "connected",
    )

    def __init__(self, sink: Sink, max_head: int) -> None:
        self.bytes_read = 0
        self.connected = False
        self._carrier: Carrier | None = None
        self._sink: Sink | None = sink  # None once there is nothing more to tell it
        self._response = Response(max_head)
        self._headed = False
        self._paused = False
        self._answered: asyncio.Future[bool] | None = None
        self._stale_until = math.inf  # by the loop's clock; until then it may be sent again
        self._rest: asyncio.TimerHandle | None = None

    def pause(self) -> None:
        """Stop reading the socket; what was read before still comes. Idempotent."""
        if self._carrier is not None:
            self._paused = True
            self._carrier.pause()

    def resume(self) -> None:
        """Read on. Idempotent."""
        if self._carrier is not None:
            self._paused = False
            self._carrier.resume()
            if self._headed:
                self._carrier.begun()

    def abort(self, error: errors.TransportError | None = None) -> None:
        """Close the socket at once. The sink gets `end(error)`; without an error, nothing more.
        Idempotent, and without effect after the end."""
        self._finish(error, tell=error is not None)

    def release(self) -> None:
        """Nothing more of the response is wanted, and its end is near: the rest is thrown away,
        so that the connection can serve again. The socket is closed where that takes over
        `MAX_REST` bytes or `REST` seconds. The sink hears nothing more. Idempotent."""
        if self._sink is not None and self._rest is None:
            self._rest = asyncio.get_running_loop().call_later(REST, self.abort)
            self._sink = _Rest(self)
            if self._paused:
                self.resume()

    def begin(self, carrier: Carrier) -> None:
        """The request is sent over this connection."""
        self._carrier, self.connected = carrier, True
        if self._answered is not None:
            self._stale_until = self._answered.get_loop().time() + STALE

    def answered(self) -> asyncio.Future[bool]:
        """Asked for where the connection has served before: True once the response has begun
        or the exchange has ended, False if the connection closed at once (`STALE`) and without a
        byte of a response; then the sink hears nothing, because the request is to be sent
        again."""
        if self._answered is None:
            self._answered = asyncio.get_running_loop().create_future()
            if self._sink is None:
                self._answered.set_result(True)
        return self._answered

    def received(self, data: bytes | memoryview) -> None:
        """One read."""
        self.bytes_read += len(data)
        sink, response = self._sink, self._response
        if sink is None:
            return
        fault, begins = response.feed(data), False
        try:
            if not self._headed:
                self._settle(True)
                if response.headed:
                    self._headed = begins = True
                    sink.head(response.status, response.headers)
            parts = response.parts
            if parts and self._sink is not None:
                body = parts[0] if len(parts) == 1 else b"".join(parts)
                parts.clear()
                sink.body(body)
        except Exception as error:
            self._finish(errors.TransportError("The response could not be taken in."))
            self._report(error)
            return
        if response.complete or fault is not None:
            self._finish(fault)
        elif begins and self._carrier is not None and not self._paused:
            self._carrier.begun()

    def lost(self, error: Exception | None) -> None:
        """The connection is gone; `error` is what the event loop said of it, None an end."""
        if self._sink is not None and self._unread(error):
            self._settle(False)
            self._finish(None, tell=False)
            return
        how = "was reset" if isinstance(error, ConnectionError) else "closed"
        if not self._headed:
            where = "before the response's head was complete"
        elif {"content-length", "transfer-encoding"}.isdisjoint(self._response.headers):
            where = "and the response has no length, so that its end cannot be known"
        else:
            where = "in the middle of the response's body"
        self._finish(errors.Truncated(f"The connection {how} {where}."))

    def _unread(self, error: Exception | None) -> bool:
        """Whether the request met a connection that the other side had closed before."""
        if self._answered is None or self.bytes_read:
            return False
        # What timed out was open: its other side may have read the request, and is cut off.
        if error is not None and not isinstance(error, ConnectionError):
            return False
        return self._answered.get_loop().time() <= self._stale_until

    def _finish(self, error: errors.TransportError | None, *, tell: bool = True) -> None:
        sink, self._sink = self._sink, None
        if sink is None:
            return
        carrier, self._carrier = self._carrier, None
        if self._rest is not None:
            self._rest.cancel()
        self._response.close()
        if carrier is not None:
            if self._paused:
                carrier.resume()
            carrier.done(reusable=tell and error is None and self._response.reusable)
        self._settle(True)
        if tell:
            try:
                sink.end(error)
            except Exception as fault:
                self._report(fault)

    def _settle(self, answered: bool) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(answered)

    def _report(self, fault: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "A sink of the transport failed", "exception": fault, "exchange": self}
        )


class _Rest:
    """The sink of a released exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._room = MAX_REST

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        pass

    def body(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            self._exchange.abort()

    def end(self, error: errors.TransportError | None) -> None:
        pass
