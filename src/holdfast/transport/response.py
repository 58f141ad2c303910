"""What the bytes of one response say; no I/O.

Strategy: the httptools parser calls back into `Response`, which only notes what it is told.
The exchange looks at `headed`, `parts` and `complete` after each `feed`, so nothing of ours
runs in the midst of parsing, and what stands before an error is never lost to it. A response
has a `Response` of its own: no limit, header or state of one is met by the next.
"""

from __future__ import annotations

import httptools

from holdfast import errors

MAX_HEAD = 64 * 1024  # bytes: all heads of a response; after them, reads in a row without body
MAX_INTERIM = 16  # heads of status 1xx that are skipped


class _Leftover(Exception):
    """Another message begins: none was asked for, so the parser shall not go into it."""


class Response:
    """One response, as far as its bytes have come. `reusable` is said of a complete one: its
    connection may carry another exchange, as far as the response can tell."""

    __slots__ = (
        "__weakref__",
        "_fields",
        "_head_bytes",
        "_interim",
        "_max_head",
        "_quiet_bytes",
        "complete",
        "headed",
        "headers",
        "on_body",
        "parser",
        "parts",
        "reusable",
        "status",
    )

    def __init__(self, max_head: int) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.headed = False
        self.complete = False
        self.reusable = False
        self.on_body = self.parts.append  # called by the parser itself: no Python frame a chunk
        self._fields: dict[str, list[str]] = {}
        self._max_head = max_head
        self._head_bytes = 0
        self._quiet_bytes = 0
        self._interim = 0
        self.parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes | memoryview) -> errors.ProtocolViolation | None:
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
                self.reusable = False
                return None
            # The parser wraps what a callback raised.
            cause = error.__context__
            if isinstance(cause, errors.ProtocolViolation):
                return cause
            return errors.ProtocolViolation(f"The response is not valid HTTP/1.1: {error}.")
        if self.parts:
            self._quiet_bytes = 0
            return None
        self._quiet_bytes += len(data)
        full = self._head_bytes == self._max_head and not self.headed
        if full or self._quiet_bytes > self._max_head:
            return errors.ProtocolViolation(f"Over {self._max_head} bytes of head or framing.")
        return None

    def close(self) -> None:
        """Nothing more will be fed. The parser refers back: so no garbage cycle is left."""
        del self.parser

    def on_message_begin(self) -> None:
        # Empty lines after the end never come here: they are part of no message (RFC 9112, 2.2).
        if self.complete:
            raise _Leftover

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
            modern = self.parser.get_http_version() == "1.1"
            self.reusable = modern and self.parser.should_keep_alive()
