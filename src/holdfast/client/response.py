"""One response, as the sink that the transport fills and one iterator empties.

Strategy: bytes are parsed as they come, in the network's own call; the iterator is woken when
there is a head, an event or the end, and otherwise sleeps with one timer, for silence. What
nobody has asked for yet is bounded: over the limit the socket is not read, so that the server
learns from TCP that its reader is slow. A wait that is cancelled takes nothing with it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from holdfast import errors, events, sse, transport
from holdfast.client import reconnect

# What a frame costs beside its data, so that empty ones are limited too.
_FRAME_COST = 128
_MAX_DETAIL = 1000

_REDIRECTS = (301, 302, 303, 307, 308)
_ORIGIN = re.compile(r"(https?://(?:[\w.-]+|\[[\da-f:.]+\])(?::\d+)?)(?:[/?#].*)?", re.A | re.I)


class Limits(msgspec.Struct, frozen=True):
    """`read_timeout`: seconds without a byte that count as a cut: three heartbeats.

    `max_buffer`: bytes of events that wait for the iterator; over it the socket is not read
    until they are below half. One network read may come on top, and one unfinished event
    (sse.MAX_EVENT). `max_body`: bytes of a response that is no event stream; the largest is
    the snapshot of an answer, of which a server keeps 16 MiB by default.
    """

    read_timeout: float = 45.0
    max_buffer: int = 256 * 1024
    max_body: int = 64 << 20


class _Problem(msgspec.Struct):
    """What we read of RFC 9457 problem details."""

    code: str = ""
    detail: str = ""
    title: str = ""


def _sent_away(frame: sse.Frame) -> reconnect.Happened:
    """What a `reconnect` event says; one that cannot be read sends away all the same."""
    try:
        body = events.decode(frame.event, frame.data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, events.Reconnect):
        return reconnect.Happened("The server asked to come back.")
    text = f"The server asked to come back: {body.reason}"
    return reconnect.Happened(text[:_MAX_DETAIL], hint=max(0, body.retry_ms) / 1000)


def _silence(seconds: float) -> str:
    return f"Nothing came for {seconds:g} s."


def _not_ours(status: int, location: str) -> str:
    """What to say of a status that no server of ours gives; "" for any other."""
    if status in _REDIRECTS:
        origin = _ORIGIN.fullmatch(location)
        where = f" to {origin[1]}" if origin else ""
        return (
            f"The server answered {status}, a redirect{where}: redirects are not followed, "
            "as the API key is for this server alone; correct base_url (--url)."
        )
    if status == 407:
        return (
            "The proxy wants other credentials (status 407): they stand in its URL, "
            "user:password@host, percent-encoded."
        )
    return ""


class Response:
    """A `transport.Sink` on one side; on the other only one task may wait.

    `status` is 0 until there is a head. `content` is the body of what is no event stream.
    `last_byte` is when the last byte came, by the clock that was given.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.status = 0
        self.is_stream = False
        self.ended = False
        self.content = bytearray()
        self.last_byte = clock()
        self._headers: Mapping[str, str] = {}
        self._error: errors.HoldfastError | None = None
        self._parser = sse.Parser()
        self._frames: deque[sse.Frame] = deque()
        self._buffered = 0
        self._limits = limits
        self._clock = clock
        self._paused = False
        self._exchange: transport.Exchange | None = None
        self._wake: asyncio.Future[None] | None = None

    async def open(self, way: transport.Transport, request: transport.Request) -> None:
        """Raises TransportError where no connection could be made, or nothing came in time."""
        allowed = self._limits.read_timeout
        try:
            # On a kept connection it returns with the first byte, which may never come.
            async with asyncio.timeout(allowed):
                self._exchange = await way.open(request, self)
        except TimeoutError:
            raise errors.DeadlineExceeded(_silence(allowed)) from None
        # What was sent at once came in before there was an exchange to stop.
        if self.ended:
            self._exchange.abort()
        elif self._paused:
            self._exchange.pause()

    def close(self) -> None:
        self.ended = True
        if self._exchange is not None:
            self._exchange.abort()
        self._notify()

    def header(self, name: str) -> str:
        return self._headers.get(name, "")

    async def headed(self) -> None:
        """Returns when there is a head, or the end without one."""
        await self._wait(lambda: self.status != 0)

    async def whole(self) -> None:
        """Returns at the end. Raises ClientError where `content` is over its limit."""
        await self._wait(lambda: False)
        self._raise_fault()

    async def next(self) -> sse.Frame | None:
        """The next frame, or None at the end. Raises SseError for one over its limit."""
        await self._wait(lambda: bool(self._frames))
        if not self._frames:
            self._raise_fault()
            return None
        frame = self._frames.popleft()
        self._buffered -= len(frame.data) + _FRAME_COST
        if self._paused and self._buffered < self._limits.max_buffer // 2:
            self._paused = False
            self.last_byte = self._clock()
            if self._exchange is not None:
                self._exchange.resume()
        return frame

    @property
    def succeeded(self) -> bool:
        """Whether the whole `content` of a 200, 201, 202 or 204 is there."""
        return self.status in (200, 201, 202, 204) and self.ended and self._error is None

    def json(self) -> dict[str, Any]:
        """`content` as an object, {} if it is empty. Raises ClientError for anything else."""
        try:
            return msgspec.json.decode(self.content or b"{}", type=dict[str, Any])
        except (ValueError, RecursionError):
            raise errors.ClientError("The response's body is not a JSON object.") from None

    def happened(self, last: sse.Frame | None = None) -> reconnect.Happened:
        """Why this did not bring what was wanted; `last` is the `reconnect` that ended it."""
        if last is not None:
            return _sent_away(last)
        if self.is_stream or not self.status or (self.status < 300 and self._error):
            text = self._error.message if self._error else "The response ended before its answer."
            return reconnect.Happened(text, hint=(self._parser.retry_ms or 0) / 1000)
        try:
            problem = msgspec.json.decode(self.content, type=_Problem)
        except (ValueError, RecursionError):
            problem = _Problem()
        kind = self.header("content-type") or "no content type"
        text = _not_ours(self.status, self.header("location")) or problem.detail or problem.title
        text = text or f"The server answered {self.status}, with {kind}."
        hint = reconnect.retry_after(self.header("retry-after"), time.time())
        return reconnect.Happened(text[:_MAX_DETAIL], self.status, problem.code, hint)

    def _raise_fault(self) -> None:
        """Raises what would be the same at the next try; a cut is not."""
        if self._error is not None and not isinstance(self._error, errors.TransportError):
            raise self._error

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self._headers = status, headers
        kind = self.header("content-type").partition(";")[0].strip().lower()
        self.is_stream = status == 200 and kind == "text/event-stream"
        self.last_byte = self._clock()
        self._notify()

    def body(self, data: bytes) -> None:
        self.last_byte = self._clock()
        if self.ended:
            return
        if not self.is_stream:
            self.content += data
            if len(self.content) > self._limits.max_body:
                text = f"The response is over {self._limits.max_body} bytes."
                self._fail(errors.ClientError(text))
            return
        try:
            frames = self._parser.feed(data)
        except errors.SseError as error:
            self._fail(error)
            return
        if frames:
            self._frames += frames
            self._buffered += sum(len(frame.data) + _FRAME_COST for frame in frames)
            if self._buffered > self._limits.max_buffer and not self._paused:
                self._paused = True
                if self._exchange is not None:
                    self._exchange.pause()
            self._notify()

    def end(self, error: errors.TransportError | None) -> None:
        if not self.ended:
            self._error, self.ended = error, True
            try:
                self._parser.finish()
            except errors.SseError as fault:
                self._error = fault
            self._notify()

    def _fail(self, error: errors.HoldfastError) -> None:
        self._error = error
        self.close()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _wait(self, done: Callable[[], bool]) -> None:
        """Waits until it is done or ended; silence ends it."""
        allowed = self._limits.read_timeout
        while not (done() or self.ended):
            self._wake = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(self.last_byte + allowed - self._clock()):
                    await self._wake
            except TimeoutError:
                # Bytes that complete no event wake nobody, but they are a sign of life.
                if self._clock() - self.last_byte >= allowed:
                    self._fail(errors.DeadlineExceeded(_silence(allowed)))
