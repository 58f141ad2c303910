"""One provider call: the sink between the provider's bytes and the stream.

Strategy: the transport calls `head`, `body` and `end`; everything that they say becomes event
bodies at once, synchronously, through the translator. `run` waits for the one outcome:
None for a whole answer, else the error that ended the call. Deadlines are data (`overdue` is
pure); who sweeps all attempts of a node calls `sweep`, so no timer runs for a stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec
import structlog

from holdfast import errors, events, request, transport
from holdfast.providers import base
from holdfast.telemetry import histogram

MAX_ERROR_BODY = 64 * 1024
"""Bytes of a refusal that are read; with them it counts as whole."""

REFUSAL = 10.0
"""Seconds that the body of a refusal may take; then what is there must do."""

MAX_BODY = 1 << 30
"""Bytes of an answer as the provider sends it. Some send 400 bytes a token, so this is over two
million tokens: it only ends what never says anything, such as comments without end."""

LINGER = 2.0
"""Seconds that usage and the end marker may take once every choice has finished."""


_log = structlog.get_logger("holdfast")


class Deadlines(msgspec.Struct, frozen=True, gc=False):
    """Seconds; `connect` is part of `first_byte`."""

    first_byte: float
    first_content: float
    between_contents: float
    total: float


class Marks(msgspec.Struct, gc=False):
    """When things happened, on the loop's clock; None where they have not. `begun` is when the
    answer began, `content` when it said something last."""

    opened: float
    first_byte: float | None = None
    begun: float | None = None
    content: float | None = None
    finished: float | None = None


def overdue(marks: Marks, deadlines: Deadlines, now: float) -> str | None:
    """What the provider is late with, as a sentence; None while it is in time."""
    if now - marks.opened > deadlines.total:
        return f"The answer took over {deadlines.total:g} s in all."
    if marks.first_byte is None:
        if now - marks.opened > deadlines.first_byte:
            return f"The provider sent no byte for {deadlines.first_byte:g} s."
    elif marks.content is None:
        if now - marks.opened > deadlines.first_content:
            return f"The provider sent nothing of the answer for {deadlines.first_content:g} s."
    elif now - marks.content > deadlines.between_contents:
        return f"The provider fell silent for {deadlines.between_contents:g} s in mid-answer."
    return None


class Attempt:
    """A `transport.Sink`. `say` gets the bodies of each network read, never an empty list;
    `between` the times from one to the next. `usage` is what the provider has told of it."""

    __slots__ = (
        "_between",
        "_call",
        "_deadlines",
        "_exchange",
        "_gathered",
        "_loop",
        "_opening",
        "_outcome",
        "_paused_at",
        "_provider",
        "_received",
        "_refusal",
        "_refusal_body",
        "_say",
        "_stream",
        "_translator",
        "marks",
        "usage",
    )

    def __init__(
        self,
        provider: base.Provider,
        wanted: request.Request,
        call: transport.Request,
        deadlines: Deadlines,
        say: Callable[[list[events.Body]], None],
        stream: events.StreamId,
        between: histogram.Recorder | None = None,
    ) -> None:
        self._between = between or histogram.Recorder()
        self.usage: events.Usage | None = None
        self._provider, self._call, self._deadlines, self._say = provider, call, deadlines, say
        self._stream = stream
        self._translator = provider.translator(wanted)
        self._loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[errors.HoldfastError | None] = self._loop.create_future()
        self._opening: asyncio.Timeout | None = None
        self._exchange: base.Exchange | None = None
        self._refusal: tuple[int, Mapping[str, str]] | None = None
        self._refusal_body = bytearray()
        self._paused_at: float | None = None
        self._received = self._gathered = 0
        self.marks = Marks(self._loop.time())

    async def run(self) -> errors.HoldfastError | None:
        """Makes the call and waits for its end; None is a whole answer."""
        if not self._outcome.done():
            await self._open()
        try:
            return await self._outcome
        finally:
            self._leave()
            # Who listens has us: a cycle would wait for the garbage collector.
            self._say = _unheard

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(None) as self._opening:
                self._exchange = await self._provider.open(self._call, self)
        except TimeoutError:
            self._settle(errors.ProviderTimeout())  # `stop` came first and has set another
        except errors.TransportError as error:
            self._settle(_named(error))
        finally:
            self._opening = None

    def stop(self, error: errors.HoldfastError) -> None:
        """Ends the call now, with this outcome, unless it has one; the usage known by now is
        told."""
        if self._outcome.done():
            return
        self._settle(error)
        if self._exchange is not None:
            self._exchange.abort()
        elif self._opening is not None:
            self._opening.reschedule(self._loop.time())
        try:
            self._tell(self._translator.cut())
        except Exception as bug:  # ours; whoever stops a call has other things to do
            _log.error("translator_failed", stream=self._stream, trace=errors.trace(bug))

    def _settle(self, outcome: errors.HoldfastError | None) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.marks.first_byte = self._loop.time()
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if status != 200 or kind == "application/json":
            self._refusal = (status, headers)

    def body(self, data: bytes) -> None:
        if self._outcome.done():
            return
        if self._refusal is not None:
            self._refusal_body += data[: MAX_ERROR_BODY - len(self._refusal_body)]
            if len(self._refusal_body) == MAX_ERROR_BODY:
                self.end(None)
            return
        translator = self._translator
        self._received += len(data)
        bodies = translator.feed(data)
        if bodies:
            self._tell(bodies)
        if translator.gathered != self._gathered:
            self._gathered = translator.gathered
            self.marks.content = self._loop.time()
        if self._received > MAX_BODY:
            self.stop(errors.ProviderMalformed(f"The provider sent over {MAX_BODY} bytes."))
            return
        if translator.error is not None or translator.done:
            self._settle(translator.error)
            self._leave()

    def _leave(self) -> None:
        """Nothing more is wanted of the call. After the end marker only the last chunk of the
        body is missing, and the connection can serve again."""
        if self._exchange is None:
            return
        if self._translator.done:
            self._exchange.release()
        else:
            self._exchange.abort()

    def _tell(self, bodies: list[events.Body]) -> None:
        if not bodies:
            return
        now, marks = self._loop.time(), self.marks
        if type(bodies[-1]) is not events.Chunk:  # most are, alone
            self._note(bodies)
        elif marks.begun is not None and marks.content is not None:
            self._between.add(int((now - marks.content) * histogram.SECOND))
        if marks.begun is None and any(type(body) is events.Chunk for body in bodies):
            marks.begun = now
        marks.content = now
        if not self._translator.finished:
            marks.finished = None
        elif marks.finished is None:
            marks.finished = now
        self._say(bodies)

    def _note(self, bodies: list[events.Body]) -> None:
        for body in bodies:
            if isinstance(body, events.Usage):
                self.usage = body

    def end(self, error: errors.TransportError | None) -> None:
        if self._outcome.done():
            return
        try:
            if self._refusal is not None:
                status, headers = self._refusal
                body = bytes(self._refusal_body)
                self._settle(self._provider.failure(status, headers, body))
                return
            translator = self._translator
            self._tell(translator.end() if error is None else translator.cut())
        except Exception as bug:  # ours; but the outcome must be told
            _log.error("translator_failed", stream=self._stream, trace=errors.trace(bug))
            self._settle(errors.ProviderMalformed())
            return
        translator = self._translator
        if translator.error is not None or translator.done or translator.finished:
            self._settle(translator.error)
        elif error is None:
            self._settle(
                errors.ProviderInterrupted("The provider's answer ended without its end marker.")
            )
        else:
            self._settle(_named(error))

    def sweep(self, now: float) -> None:
        """Ends the call where a deadline has passed; does nothing while it is paused."""
        if self._outcome.done() or self._paused_at is not None:
            return
        finished = self.marks.finished
        if finished is not None:
            if now - finished > LINGER:
                self._settle(None)
            return
        late = overdue(self.marks, self._deadlines, now)
        if self._refusal is not None:
            if late is not None or now - (self.marks.first_byte or now) > REFUSAL:
                self.end(None)  # the status says more than that its body is late
        elif late is not None:
            self.stop(errors.ProviderTimeout(late))

    def pause(self) -> None:
        """Stops reading the provider; the content deadlines and the linger stand still
        meanwhile."""
        if self._exchange is not None and self._paused_at is None:
            self._paused_at = self._loop.time()
            self._exchange.pause()

    def resume(self) -> None:
        if self._exchange is None or self._paused_at is None:
            return
        marks, passed = self.marks, self._loop.time() - self._paused_at
        if marks.content is not None:
            marks.content += passed
        if marks.finished is not None:
            marks.finished += passed
        self._paused_at = None
        self._exchange.resume()


def _unheard(bodies: list[events.Body]) -> None:
    """Nothing is said after the end."""


_NAMES: tuple[tuple[type[errors.TransportError], type[errors.ProviderError]], ...] = (
    (errors.Unreachable, errors.ProviderUnreachable),
    (errors.DeadlineExceeded, errors.ProviderTimeout),
    (errors.Truncated, errors.ProviderInterrupted),
    (errors.ProtocolViolation, errors.ProviderMalformed),
)


def _named(error: errors.TransportError) -> errors.ProviderError:
    for transport_class, provider_class in _NAMES:
        if isinstance(error, transport_class):
            return provider_class(error.message)
    return errors.ProviderFailed(error.message)
