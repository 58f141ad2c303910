"""The producer: the one writer of a stream.

Strategy: it gathers what its attempt says, gives the ticker a batch when asked, and keeps a
tally of what it wrote, so that the terminal event can prove the text. `run` is its only task: it
follows the course of calls until the answer is whole or given up, writes the terminal event and
waits until that is in the log. Back-pressure is counted here: what is said but not yet
durable pauses the provider's socket, and never a reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
from collections.abc import Callable

import msgspec

from holdfast import errors, events, request, transport
from holdfast.eventlog import base as log_base
from holdfast.eventlog import reader
from holdfast.metering import meter
from holdfast.producing import attempt, bounds, breaker, course, pending, recent, tally, ticker
from holdfast.providers import registry
from holdfast.telemetry import record, tracing


class Work(msgspec.Struct, frozen=True):
    """What a producer is to bring, and how it begins. `life` is its right to write, `tally` what
    is written already, `age_ms` how long ago the stream was created; `meter` counts what it
    uses; `size` is that of the request, in bytes; `header` is the stream's, `span` this life's."""

    stream: events.StreamId
    life: log_base.Life
    wanted: request.Request
    first: course.Begin
    tally: tally.Tally
    route: course.Route = course.Route()
    age_ms: int = 0
    meter: meter.Meter | None = None
    size: int = 0
    header: log_base.Header | None = None
    span: tracing.Span = tracing.UNTRACED


URGENT_SHARE = 0.8
"""A buffer filled to this share is appended without waiting any longer."""


class Producer:
    """A `ticker.Writer` and a `course.Writer`. `reread` gives what is in the log of this stream;
    `account` is told how many bytes became unsaved (+) or saved (-), `discard` what a provider
    keeps and nobody will ask for, `forgotten` that the log has forgotten what follows a seq: it
    calls `resume` or `give_way` then; `keeps`: what was written last is kept for that."""

    __slots__ = (
        "_account",
        "_again",
        "_attempt",
        "_begun",
        "_breakers",
        "_broken",
        "_changed",
        "_counted",
        "_done",
        "_ended",
        "_epoch",
        "_forgotten",
        "_found",
        "_hold",
        "_last",
        "_limits",
        "_loop",
        "_pending",
        "_recent",
        "_reread",
        "_suspended",
        "_terminal",
        "_terminal_flying",
        "_ticker",
        "_urgent_at",
        "_work",
        "discard",
        "due",
        "first_chunk_ms",
        "flying",
        "stopped",
        "stream",
        "tally",
        "unread_since",
    )

    def __init__(
        self,
        work: Work,
        limits: bounds.Limits,
        tick: ticker.Ticker,
        reread: course.Reread,
        breakers: breaker.Breakers,
        account: Callable[[int], None] = lambda change: None,
        discard: Callable[[course.Keeping], None] = lambda kept: None,
        forgotten: Callable[[int], None] | None = None,
        counted: record.Record | None = None,
        *,
        keeps: bool = True,
    ) -> None:
        wanted = work.wanted
        self._work, self._limits, self._ticker, self._account = work, limits, tick, account
        self._reread, self._breakers, self.discard = reread, breakers, discard
        self._forgotten, self._counted = forgotten, counted or record.Record()
        self.stream = work.stream
        self._loop = asyncio.get_running_loop()
        buffer_size = wanted.buffer_size or limits.buffer_size
        if limits.cadence:
            buffer_size = max(buffer_size, limits.buffer_size)
        # 0 ms: a piece is an event, whatever comes between two ticks.
        apart = wanted.flush_interval_ms == 0 and not limits.cadence
        self._pending = pending.Pending(0 if apart else buffer_size)
        self._urgent_at = int(buffer_size * URGENT_SHARE)
        self._hold = _held((wanted.flush_interval_ms or 0) / 1000, limits.cadence)
        self.due = 0.0
        self.unread_since: float | None = None
        """Since when nobody reads the stream, where that is looked at."""
        self._epoch, self._last = work.life.epoch, work.life.last
        self._recent = recent.Recent(work.life.last) if keeps else None
        self._again: list[events.Draft] = []  # what the log forgot, to be written anew
        self._suspended = False  # there is no life to write in
        self.flying = 0
        self._begun = self._loop.time() - work.age_ms / 1000
        self.tally = work.tally
        self._found = (work.tally.chunks, work.tally.bytes)
        self.first_chunk_ms: int | None = None
        """How old the stream was when its answer began, where it began here."""
        self._attempt: attempt.Attempt | None = None
        self.stopped: errors.HoldfastError | None = None
        self._changed = reader.Flag()
        self._terminal: events.Complete | events.Error | None = None
        self._broken: errors.HoldfastError | None = None
        self._ended = self._terminal_flying = False
        self._done: asyncio.Future[None] = self._loop.create_future()
        if work.meter is not None:
            work.meter.watch(self.stop)

    async def run(self) -> events.Complete | events.Error | None:
        """Brings the answer. Returns the terminal event once it is in the log, or None
        where another life has taken the stream over."""
        work = self._work
        calls = course.Course(work.wanted, work.route, self, self._reread, self._breakers)
        try:
            error = await calls.run(work.first)
        except Exception:
            # A bug, for whoever owns the task to tell; the stream gets its end all the same.
            self._end(events.failure(errors.HoldfastError()))
            await self._done
            raise
        error = error or self._broken  # an answer that lost a part is never complete
        self._end(self._complete() if error is None else events.failure(error))
        await self._done
        return self._terminal if self._terminal_flying else None

    async def rest(self, seconds: float) -> None:
        """See `course.Writer.rest`."""
        end = self._loop.time() + seconds
        while self.stopped is None and (left := end - self._loop.time()) > 0:
            await self._change(left)

    async def until_saved(self) -> None:
        """See `course.Writer.until_saved`."""
        while self.stopped is None and (self._pending.size or self.flying or self._suspended):
            self.due = 0.0
            self._ticker.touch(self, urgent=True)
            await self._change()

    async def _change(self, seconds: float | None = None) -> None:
        """Returns when the stream was stopped or something of it saved, or the time is over."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def ask(
        self, target: registry.Target, call: transport.Request, between: course.Filter | None
    ) -> errors.HoldfastError | None:
        """See `course.Writer.ask`."""
        if self.stopped is not None:
            return self.stopped
        say = self.say if between is None else functools.partial(self._say_through, between)
        name, model = target.provider.name, target.model
        calls = self._counted.calls(name, model)
        wanted, deadlines = self._work.wanted, self._limits.deadlines
        span = self._work.span
        call = span.calls(self.tally.calls, name, model, call)
        made = self._attempt = attempt.Attempt(
            target.provider, wanted, call, deadlines, say, self.stream, calls.between
        )
        with calls.one():
            error = await made.run()
        if error is None and between is not None:
            try:
                self.say(between.end())
            except errors.ContinuationDiverged as diverged:
                error = diverged
        ended = record.Call(
            stream=self.stream,
            provider=name,
            model=model,
            began=made.marks.opened,
            seconds=self._loop.time() - made.marks.opened,
            first_chunk=made.marks.begun and made.marks.begun - made.marks.opened,
            error=error.code if error else "",
            usage=made.usage,
            host=call.place.host,
            port=call.place.port,
            label=self._counted.label(name, model),
        )
        self._counted.call_ended(ended)
        span.called(ended)
        return error

    @property
    def written(self) -> tuple[int, int]:
        """Chunks and bytes of the answer that were written here."""
        chunks, size = self._found
        return self.tally.chunks - chunks, self.tally.bytes - size

    @property
    def age_ms(self) -> int:
        """How long ago the stream was created."""
        return int((self._loop.time() - self._begun) * 1000)

    @property
    def keeping(self) -> course.Keeping | None:
        """See `course.Writer.keeping`."""
        route, kept = self._work.route, self.tally.kept
        name = self.tally.asked or route.first
        keepers = [one.provider for one in route.targets if one.name == name]
        return (keepers[0], kept) if keepers and kept is not None else None

    def stop(self, error: errors.HoldfastError) -> None:
        """Ends the stream with this error, at once and for good; a second call is nothing."""
        if self._ended or self.stopped is not None:
            return
        self.stopped = error
        self._changed.set()
        if self._attempt is not None:
            self._attempt.stop(error)

    def sweep(self, now: float) -> None:
        """Looks at the deadlines; called about once a second."""
        if self._attempt is not None:
            self._attempt.sweep(now)

    def say(self, bodies: list[events.Body]) -> None:
        """See `course.Writer.say`."""
        if self._ended or not bodies:
            return
        gathered = self._pending
        before = gathered.size
        if not before:
            self.due = self._next(self._hold) if self._hold else 0.0
        for body in bodies:
            gathered.add(body)
        self._account(gathered.size - before)
        urgent = gathered.size >= self._urgent_at
        if urgent:
            self.due = 0.0
        self._ticker.touch(self, urgent=urgent)
        if gathered.size + self.flying > self._limits.unsaved and self._attempt is not None:
            self._attempt.pause()
        if self._work.meter is not None:
            self._work.meter.said(bodies)  # at last: it may end the call, which says more then

    def _next(self, hold: float) -> float:
        """When what gathers from now on is due: a cadence hides when it came."""
        now = self._loop.time()
        into = (now - self._begun) % hold if self._limits.cadence else 0.0
        return now + hold - into

    def _say_through(self, between: course.Filter, bodies: list[events.Body]) -> None:
        try:
            self.say(between.take(bodies))
        except errors.ContinuationDiverged as error:
            if self._attempt is not None:
                self._attempt.stop(error)

    def _end(self, terminal: events.Complete | events.Error) -> None:
        if not self._done.done():
            before = self._pending.size
            self._pending.add(terminal)
            self._account(self._pending.size - before)
            cadence = self._limits.cadence
            self._ended, self.due = True, self._next(cadence) if cadence else 0.0
            self._ticker.touch(self, urgent=True)

    def take(self, now_ms: int) -> log_base.Batch | None:
        gathered = self._pending.size
        if self._suspended or not (gathered or self._again):
            return None
        drafts, self._again = self._again, []
        again = sum([len(draft.data) for draft in drafts]) if drafts else 0
        self.flying = gathered + again
        written, size = self.tally, again
        fallbacks = written.fallbacks
        for body in self._pending.take():
            written.add(body)
            if body.kind in events.TERMINAL:  # a `complete` gets its counts when all is counted
                body = self._terminal = body if isinstance(body, events.Error) else self._complete()
            made = events.draft(body)
            drafts.append(made)
            size += len(made.data)
        if self.first_chunk_ms is None and written.chunks and not self._found[0]:
            self.first_chunk_ms = self.age_ms
            self._counted.first_chunk.add(self.first_chunk_ms * 1000)
        if written.fallbacks != fallbacks:
            self._counted.fallbacks += written.fallbacks - fallbacks
            self._work.span.moved(written.target or "")
        written.stored += size - again
        self._last += len(drafts)
        if self._recent is not None:
            self._recent.add(drafts, size)
        self._terminal_flying = self._ended
        if written.stored > self._limits.stream:
            limit = self._limits.stream
            self.stop(errors.StreamTooLarge(f"The answer is over {limit} bytes."))
        return log_base.Batch(self._work.stream, self._epoch, self._last, now_ms, tuple(drafts))

    def settled(self, result: log_base.Result) -> None:
        self._account(-self.flying)
        self.flying = 0
        self._changed.set()
        if isinstance(result, log_base.Ok):
            if self._terminal_flying:
                self._finish()
            elif result.cancelled:
                self.stop(errors.Cancelled())
            if self._attempt is not None and self._pending.size <= self._limits.unsaved // 2:
                self._attempt.resume()
            return
        self._terminal_flying = False
        if isinstance(result, log_base.Lost) and self._forgotten is not None:
            self._suspended = True
            self._forgotten(result.last)
            return
        self.give_way()

    def resume(self, life: log_base.Life, last: int) -> bool:
        """Goes on in a new life, with all that follows the seq `last` written again. False where
        that is not known any more: then this producer is to give way."""
        kept = self._recent
        again = None if kept is None else kept.since(last)
        if kept is None or again is None:
            return False
        self._epoch, self._last, self._suspended = life.epoch, life.last, False
        self._again = again
        kept.move(life.last)
        self._account(sum(len(draft.data) for draft in again))
        self.due = 0.0
        self._ticker.touch(self, urgent=True)
        return True

    def give_way(self) -> None:
        """Another life writes this stream: this one is over."""
        self._suspended = False
        self.stop(errors.Interrupted())
        self._account(-self._pending.size)
        self._pending.take()
        self._ended = True
        self._finish()

    def stranded(self) -> None:
        self.stop(errors.LogLost("The event log could not be written for too long."))

    def failed(self, error: Exception) -> None:
        """What is gathered cannot be written: the stream ends with `internal`, and `run`
        raises where even that cannot be."""
        self._account(-(self.flying + self._pending.size))
        self.flying = 0
        self._pending.take()
        if self._broken is not None:
            if not self._done.done():
                self._done.set_exception(error)
            return
        self._broken = errors.HoldfastError("This stream could not be written.")
        if self._ended:
            self._end(events.failure(self._broken))
        else:
            self.stop(self._broken)

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _complete(self) -> events.Complete:
        return self.tally.complete(self._work.wanted.n, self.tally.calls, self.age_ms)


def _held(wanted: float, cadence: float) -> float:
    """Seconds over which pieces gather: what is wanted, as a whole number of cadences."""
    return cadence * max(1, math.ceil(wanted / cadence)) if cadence else wanted
