"""Scripted bytes in the place of a socket.

Strategy: a script is an iterator of (delay in seconds, bytes); a `Playback` is the exchange
that plays it into a sink, on the event loop's own timers and with no task. Each piece is due
at a time that counts from the start, so a late timer delays nothing that follows, and one
call of `body` carries all that is due. A script that ends is a clean end; one that raises a
`TransportError` ends with it; a delay of `math.inf` is silence until somebody aborts.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping

import msgspec

from holdfast import errors, request, transport
from holdfast.providers import base, demo, failures

MAX_BODY = 64 << 10
"""Bytes after which a call of `body` takes no further piece, so that a pause is heard."""

Script = Iterator[tuple[float, bytes]]


class Playback:
    """A `base.Exchange` that begins at once; to be made where the event loop runs.

    What falls due while it is paused waits, and comes in one go, `MAX_BODY` at a time.
    """

    def __init__(
        self,
        script: Script,
        sink: transport.Sink,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._script = script
        self._sink: transport.Sink | None = sink
        self._head: tuple[int, Mapping[str, str]] | None
        self._head = (status, headers or {"content-type": "text/event-stream"})
        self._pending: bytes | None = None  # the next piece; None where it is not fetched yet
        self._due = self._loop.time()
        self._paused = False
        self._timer: asyncio.Handle = self._loop.call_soon(self._advance)

    def pause(self) -> None:
        """Hold back what is due. Idempotent."""
        self._paused = True

    def resume(self) -> None:
        """Play on; what fell due meanwhile comes at once. Idempotent."""
        if self._paused and self._sink is not None:
            self._timer.cancel()
            self._timer = self._loop.call_soon(self._advance)
        self._paused = False

    def abort(self, error: errors.TransportError | None = None) -> None:
        """Stop. The sink gets `end(error)`; without an error, nothing more. Idempotent."""
        sink, self._sink = self._sink, None
        self._timer.cancel()
        if sink is not None and error is not None:
            sink.end(error)

    def release(self) -> None:
        """Nothing more is wanted: there is no connection to keep."""
        self.abort()

    def _advance(self) -> None:
        """Send what is due, and come again for the rest."""
        sink = self._sink
        if self._paused or sink is None:
            return
        try:
            if self._head is not None:
                head, self._head = self._head, None
                sink.head(*head)
            self._play(sink)
        except Exception:
            # A bug in a sink or a script: it ends this exchange, and the event loop reports it.
            self.abort(errors.TransportError("The response could not be taken in."))
            raise
        if self._sink is not None and not self._paused and self._due < math.inf:
            self._timer = self._loop.call_at(self._due, self._advance)

    def _play(self, sink: transport.Sink) -> None:
        now = self._loop.time()
        due: list[bytes] = []
        size, ended = 0, False
        failure: errors.TransportError | None = None
        try:
            while size < MAX_BODY and self._fetch() <= now:
                due.append(self._pending or b"")
                size += len(due[-1])
                self._pending = None
        except StopIteration:
            ended = True
        except errors.TransportError as error:
            ended, failure = True, error
        if size and self._sink is not None:
            sink.body(b"".join(due))
        if ended and self._sink is not None:
            self._sink = None
            self._timer.cancel()  # it has fired, and still refers to us
            sink.end(failure)

    def _fetch(self) -> float:
        """When the next piece is due."""
        if self._pending is None:
            delay, self._pending = next(self._script)
            self._due += delay
        return self._due


class Demo(base.Provider):
    """The provider that needs no key and no network: a `base.Provider` for `demo`'s scripts."""

    kind = "demo"

    def __init__(self, name: str = "demo") -> None:
        self.name = name

    def prepare(self, wanted: request.Request, model: str) -> transport.Request:
        """See `base.Provider.prepare`; the body is the plan of the answer."""
        return _call(demo.plan(wanted, model))

    def replay(
        self, wanted: request.Request, model: str, kept: str | None, written: int
    ) -> transport.Request | None:
        """See `base.Provider.replay`: the plan is the same each time, so nothing need be kept."""
        plan = msgspec.structs.replace(demo.plan(wanted, model), ahead=written)
        return _call(plan)

    def translator(self, wanted: request.Request) -> base.Translator:
        """See `base.Provider.translator`."""
        return demo.Translator(choices=wanted.n, source=self.name)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> errors.ProviderError:
        """See `base.Provider.failure`."""
        return failures.Source(self.name).of_response(status, headers, body)

    async def open(self, call: transport.Request, sink: transport.Sink) -> base.Exchange:
        """See `base.Provider.open`."""
        plan = demo.unpack(call.body)
        status, headers = demo.head(plan)
        return Playback(demo.script(plan), sink, status=status, headers=headers)


def _call(plan: demo.Plan) -> transport.Request:
    return transport.Request("POST", "http://demo.invalid/", (), demo.pack(plan))
