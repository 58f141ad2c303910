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
  handler. It is not left to unwind, because what then happens differs by loop and by TLS.
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
from typing import Protocol
from urllib import parse

import httptools
import msgspec

from holdfast import errors

CONNECT_TIMEOUT = 10.0  # seconds: name look-up, connecting and the TLS handshake together
MAX_HEAD = 64 * 1024  # bytes: all heads of a response; then, what brings no body (trailers)
MAX_INTERIM = 16  # heads of status 1xx that are skipped

_PORTS = (80, 443)
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_OURS = ("accept-encoding", "connection", "content-length", "host", "transfer-encoding")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_URL = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[0-9a-z._-]+|[0-9a-f:.]+")


class Request(msgspec.Struct, frozen=True):
    """One request; a bad one cannot exist: `ValueError`, which never quotes what it refuses.

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
    # The pattern goes first: urlsplit silently drops the line breaks that it refuses.
    if not _URL.fullmatch(url):
        raise ValueError("the url is empty, or holds a character other than visible ASCII")
    try:
        parts = parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        raise ValueError("the url's host or port is malformed") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("the url must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("the url must not hold a user name or password")
    if not _HOST.fullmatch(host):
        raise ValueError("the url has no host, or one with characters not allowed there")
    secure = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return secure, host, _PORTS[secure] if port is None else port, target


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
        self._parser = httptools.HttpResponseParser(self)

    def release(self) -> None:
        """Part from the parser, which refers back to this object: no garbage cycle is left."""
        del self._parser

    def feed(self, data: bytes) -> errors.ProtocolViolation | None:
        """Take one read; return what is wrong with it, if anything is."""
        try:
            if not self.headed:
                data = self._feed_head(data)
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self.complete:
                return None
            # The parser wraps what a callback raised.
            cause = error.__context__
            if isinstance(cause, errors.ProtocolViolation):
                return cause
            return errors.ProtocolViolation(f"The response is not valid HTTP/1.1: {error}.")
        self._quiet_bytes = 0 if self.parts else self._quiet_bytes + len(data)
        if self._quiet_bytes > self._max_head:
            return errors.ProtocolViolation(f"{self._max_head} bytes came without head or body.")
        return None

    def _feed_head(self, data: bytes) -> bytes:
        """Parse what a head may still hold and return the rest, all of it quiet if no head came."""
        room = self._max_head - self._head_bytes
        self._parser.feed_data(data[:room])
        self._head_bytes += min(len(data), room)
        return data[room:]

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.headed:  # else a trailer
            self._fields.setdefault(name.decode("ascii").lower(), []).append(value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        fields, self._fields = self._fields, {}
        version = self._parser.get_http_version()
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
