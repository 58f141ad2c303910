"""HTTP/1.1 exchanges that we begin: from the socket to a sink without an await.

Strategy: an `Exchange` is itself the `asyncio.Protocol` of its connection. Every network
read goes through the httptools parser and on to a synchronous `Sink` in the same call, with
no task, future or queue between. `_Response` is the parser's side and does no I/O,
`Exchange` the socket's; `Transport` connects, and owns what is under way.

- The sink gets `head`, any number of `body`, and `end`: once, last, and without a head if
  there was none. `open` either returns and the sink gets its `end`, or raises and the sink
  hears nothing from then on. The sink may be called before `open` has returned.
- Only the last chunk, or the whole Content-Length, is a clean end. What stands before an
  error is delivered first, so it makes no difference how the bytes were cut into reads.
- An exception out of a sink is a bug of ours: the connection is closed, the sink gets its
  `end` with a plain `TransportError`, and the exception goes to the event loop's exception
  handler. It does not unwind further, because what happens then differs by loop and by TLS.
- Time limits other than the one for connecting are the caller's: it sees the bytes, and aborts.
- A redirect is a status like any other: to follow it could carry a key to another host.
- Error texts name host and port, never the path, the query, a header's value or the body.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Protocol, cast

import httptools
import msgspec

from holdfast import errors

CONNECT_TIMEOUT = 10.0  # seconds, for name look-up, connecting and the TLS handshake together
MAX_HEAD = 64 * 1024  # bytes: all heads of a response; after them, reads in a row without body
MAX_INTERIM = 16  # heads of status 1xx that are skipped

_PORTS = (80, 443)
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_OURS = ("accept-encoding", "connection", "content-length", "host", "transfer-encoding")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_URL = re.compile(
    r"(https?)://((?:[\w-]{1,63}\.)*[\w-]{1,63}\.?|\[[\da-fA-F:.]+\])(?::(\d{1,5}))?"
    r"(/[!\"$->@-~]*)?(\?[!\"$-~]*)?(?:#[!-~]*)?",
    re.ASCII,
)


class Request(msgspec.Struct, frozen=True):
    """One request; a bad one cannot exist: `ValueError`, which never quotes url or values.

    `url` is absolute, http or https, in ASCII (percent-encoded), without userinfo; a fragment
    is not sent. `headers` may not hold those that the transport writes: Host, Connection,
    Accept-Encoding and the body's length. HEAD and CONNECT, whose responses end in another
    way, are not spoken.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def __post_init__(self) -> None:
        if self.method not in _METHODS:
            raise ValueError(f"the method must be one of {', '.join(_METHODS)}")
        _split(self.url)
        for name, value in self.headers:
            if not _NAME.fullmatch(name):
                raise ValueError("a header name holds a character that is not allowed there")
            if name.lower() in _OURS:
                raise ValueError(f"the header {name} is written by the transport itself")
            if not _VALUE.fullmatch(value):
                raise ValueError(f"the value of {name} holds a character that is not ASCII text")

    def __repr__(self) -> str:
        """Without path, headers and body: they hold keys and prompts."""
        _, host, port, _ = _split(self.url)
        return f"Request({self.method} {host}:{port})"

    def encode(self) -> bytes:
        """The request as it goes over the wire."""
        secure, host, port, target = _split(self.url)
        host = f"[{host}]" if ":" in host else host
        lines = [f"{self.method} {target} HTTP/1.1"]
        lines.append(f"Host: {host}" if port == _PORTS[secure] else f"Host: {host}:{port}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += ["Accept-Encoding: identity", "Connection: close"]
        if self.body or self.method.startswith("P"):
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + self.body


def _split(url: str) -> tuple[bool, str, int, str]:
    """Whether TLS, the host (an IPv6 address without brackets), the port, path and query."""
    found = _URL.fullmatch(url)
    if found is None or int(found[3] or 0) > 65535:
        raise ValueError(
            "the url must be http(s)://host[:port][/path][?query] in visible ASCII, "
            "with no user name or password"
        )
    secure = found[1] == "https"
    target = (found[4] or "/") + (found[5] or "")
    return secure, found[2].strip("[]"), int(found[3] or _PORTS[secure]), target


class Sink(Protocol):
    """Where a response goes. Called from the event loop: it must not block."""

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """The final head. Names are lower-case; values of a repeated one are joined by ", "."""

    def body(self, data: bytes) -> None:
        """All body bytes of one network read, joined; never empty, at most once a read."""

    def end(self, error: errors.TransportError | None) -> None:
        """The last call; None is a clean end.

        Truncated: closed before the response's end, or closed without a length that would
        show the end. ProtocolViolation: not HTTP/1.1, over a limit, or in a coding that was
        not asked for. TransportError: the sink's own failure. Or what `abort` was given.
        """


class _Complete(Exception):
    """The message has ended: the parser shall not look at what follows it."""


class _Response:
    """What the parser has found. Nothing is called out of it in the midst of parsing: the
    exchange looks at `headed`, `parts` and `complete` after each `feed`."""

    def __init__(self, max_head: int) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.headed = False
        self.complete = False
        self.on_body = self.parts.append  # called by the parser itself: no Python frame a chunk
        self._fields: dict[str, list[str]] = {}
        self._max_head = max_head
        self._head_bytes = 0
        self._quiet_bytes = 0
        self._interim = 0
        self.parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> errors.ProtocolViolation | None:
        """Take one read; return what is wrong with it, if anything is."""
        try:
            if not self.headed:
                room = self._max_head - self._head_bytes
                self._head_bytes += min(len(data), room)
                self.parser.feed_data(data[:room])
                data = data[room:] if self.headed else b""
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self.complete:
                return None
            # The parser wraps what a callback raised.
            cause = error.__context__
            if isinstance(cause, errors.ProtocolViolation):
                return cause
            return errors.ProtocolViolation(f"The response is not valid HTTP/1.1: {error}.")
        self._quiet_bytes = 0 if self.parts else self._quiet_bytes + len(data)
        full = self._head_bytes == self._max_head and not self.headed
        if full or self._quiet_bytes > self._max_head:
            return errors.ProtocolViolation(f"Over {self._max_head} bytes of head or framing.")
        return None

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer comes here too; nothing reads those.
        values = self._fields.setdefault(name.decode("ascii").lower(), [])
        values.append(value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        fields, self._fields = self._fields, {}
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise errors.ProtocolViolation(f"The response is in HTTP/{version}.")
        if self.status < 200:
            self._interim += 1
            if self.status < 100 or self.status == 101 or self._interim > MAX_INTERIM:
                raise errors.ProtocolViolation(f"Head {self._interim} has status {self.status}.")
            return
        self.headers = {name: ", ".join(values) for name, values in fields.items()}
        self.headed = True
        for name, plain in (("content-encoding", "identity"), ("transfer-encoding", "chunked")):
            if self.headers.get(name, plain).lower() != plain:
                raise errors.ProtocolViolation(f"The response has a {name} other than {plain}.")

    def on_message_complete(self) -> None:
        if self.headed:
            self.complete = True
            raise _Complete


class Exchange(asyncio.Protocol):
    """One request under way, made by `Transport.open`. `bytes_read` counts what came from the
    network, heads and framing included; `connected` stays true when the connection is lost."""

    def __init__(
        self, payload: bytes, sink: Sink, max_head: int, lost: Callable[[Exchange], None]
    ) -> None:
        self.bytes_read = 0
        self.connected = False
        self._transport: asyncio.Transport | None = None
        self._payload = payload
        self._sink: Sink | None = sink  # None once there is nothing more to tell it
        self._response = _Response(max_head)
        self._headed = False
        self._lost = lost

    def pause(self) -> None:
        """Stop reading the socket; what was read before still comes. Idempotent."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on. Idempotent."""
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self, error: errors.TransportError | None = None) -> None:
        """Close the socket at once. The sink gets `end(error)`; without an error, nothing more.
        Idempotent, and without effect after the end."""
        self._finish(error, tell=error is not None)

    def _finish(self, error: errors.TransportError | None, *, tell: bool = True) -> None:
        sink, self._sink = self._sink, None
        if sink is None:
            return
        del self._response.parser  # it refers back: so no garbage cycle is left
        if self._transport is not None:
            # Not close(): that waits until the other side has read the whole request.
            self._transport.abort()
        if tell:
            try:
                sink.end(error)
            except Exception as fault:
                self._report(fault)

    def _report(self, fault: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "A sink of the transport failed", "exception": fault, "protocol": self}
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports have no class in common with asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.connected = True
        if self._sink is None:  # given up meanwhile: an answer must not be bought any more
            self._transport.abort()
        else:
            self._transport.write(self._payload)
        self._payload = b""

    def data_received(self, data: bytes) -> None:
        self.bytes_read += len(data)
        sink, response = self._sink, self._response
        if sink is None:
            return
        fault = response.feed(data)
        try:
            if response.headed and not self._headed:
                self._headed = True
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

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(self)
        how = "was reset" if isinstance(exc, ConnectionError) else "closed"
        if not self._headed:
            where = "before the response's head was complete"
        elif {"content-length", "transfer-encoding"}.isdisjoint(self._response.headers):
            where = "and the response has no length, so that its end cannot be known"
        else:
            where = "in the middle of the response's body"
        self._finish(errors.Truncated(f"The connection {how} {where}."))


class Transport:
    """Opens exchanges, and owns the ones under way. One for a process is enough."""

    def __init__(
        self,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        max_head: int = MAX_HEAD,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`connect_timeout` in seconds, `max_head` in bytes. Without `ssl_context`, certificates
        are verified against the system's roots."""
        self._connect_timeout = connect_timeout
        self._max_head = max_head
        self._ssl_context = ssl_context
        self._under_way: dict[Exchange, asyncio.Timeout] = {}
        self._empty = asyncio.Event()
        self._closed = False

    async def open(self, request: Request, sink: Sink) -> Exchange:
        """Connect and write the request; what comes back, and every later failure, is the sink's.

        Raises Unreachable (name look-up, refusal, TLS; or the transport is closed) and
        DeadlineExceeded (`connect_timeout` has passed).
        """
        if self._closed:
            raise errors.Unreachable("The transport is closed.")
        secure, host, port, _ = _split(request.url)
        if secure and self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()  # reads files: once, when needed
        exchange = Exchange(request.encode(), sink, self._max_head, self._forget)
        try:
            async with asyncio.timeout(self._connect_timeout) as deadline:
                self._under_way[exchange] = deadline
                await asyncio.get_running_loop().create_connection(
                    lambda: exchange, host, port, ssl=self._ssl_context if secure else None
                )
        except BaseException as error:
            exchange.abort()
            # Also if it did connect: uvloop tells no loss of a connection so interrupted.
            self._forget(exchange)
            if isinstance(error, TimeoutError) and self._closed:
                raise errors.Unreachable("The transport was closed.") from None
            if isinstance(error, OSError):
                raise _why(error, secure, f"{host}:{port}") from error
            raise
        return exchange

    async def close(self) -> None:
        """Abort what is under way (Truncated) and what is connecting (Unreachable); return when
        every socket is closed, which no other side can delay. Idempotent."""
        self._closed = True
        for exchange, deadline in list(self._under_way.items()):
            if exchange.connected:
                exchange.abort(errors.Truncated("The transport was closed."))
            elif not deadline.expired():
                deadline.reschedule(0)
        while self._under_way:
            self._empty.clear()
            await self._empty.wait()

    def _forget(self, exchange: Exchange) -> None:
        self._under_way.pop(exchange, None)
        if not self._under_way:
            self._empty.set()


def _why(error: OSError, secure: bool, where: str) -> errors.TransportError:
    """Why there is no connection to `where` (host and port)."""
    if isinstance(error, TimeoutError):
        return errors.DeadlineExceeded(f"Connecting to {where} took too long.")
    detail = str(error.strerror or error).rstrip(".")
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"TLS: the certificate of {where} was refused: {error.verify_message.rstrip('.')}"
    elif isinstance(error, ssl.SSLError):
        text = f"TLS: the handshake with {where} failed: {error.reason}"
    elif isinstance(error, socket.gaierror):
        text = f"The name in {where} could not be looked up: {detail}"
    # With several addresses the loop raises one OSError that only quotes the others.
    elif isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        text = f"{where} refused the connection"
    elif secure and isinstance(error, ConnectionError):
        text = f"TLS: {where} broke off the handshake"
    else:
        text = f"{where} could not be reached: {detail}"
    return errors.Unreachable(f"{text}.")
