"""The producer: the one writer of a stream.

Strategy: it gathers what its attempt says, gives the ticker a batch when asked, and keeps a
tally of what it wrote, so that the terminal event can prove the text. `run` is its only task: it
wakes when an attempt ends, asks the pure policy what to do, writes the terminal event and
waits until that is in the log. Back-pressure is counted here: what is said but not yet
durable pauses the provider's socket, and never a reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable

import msgspec

from holdfast import errors, events, request, transport
from holdfast.eventlog import base as log_base
from holdfast.producing import attempt, fallback, pending, replay, tally, ticker
from holdfast.providers import base


class Limits(msgspec.Struct, frozen=True, gc=False):
    """Bytes, and seconds for the deadlines."""

    buffer_size: int
    unsaved: int
    stream: int
    deadlines: attempt.Deadlines


class Call(msgspec.Struct, frozen=True):
    """Whom to ask, and what. `written` is there where a stream is taken over whose answer is
    told again: it is what the answer must begin with."""

    provider: base.Provider
    model: str
    request: transport.Request
    written: replay.Written | None = None


class Work(msgspec.Struct, frozen=True):
    """What a producer is to bring, and how it begins. `life` is its right to write, `tally` what
    is written already, `age_ms` how long ago the stream was created, `provider` whose answer it is
    by the stream's header."""

    stream: events.StreamId
    life: log_base.Life
    wanted: request.Request
    first: Call | fallback.GiveUp | fallback.Finish
    tally: tally.Tally
    age_ms: int = 0
    provider: str = ""


URGENT_SHARE = 0.8
"""A buffer filled to this share is appended without waiting any longer."""


class Producer:
    """A `ticker.Writer`. `settle` is told how many bytes became unsaved (+) or saved (-)."""

    def __init__(
        self,
        work: Work,
        limits: Limits,
        tick: ticker.Ticker,
        account: Callable[[int], None] = lambda change: None,
    ) -> None:
        wanted = work.wanted
        self._work, self._limits, self._ticker, self._account = work, limits, tick, account
        self._loop = asyncio.get_running_loop()
        buffer_size = wanted.buffer_size or limits.buffer_size
        # 0 ms: a piece is an event, whatever comes between two ticks.
        self._pending = pending.Pending(0 if wanted.flush_interval_ms == 0 else buffer_size)
        self._urgent_at = int(buffer_size * URGENT_SHARE)
        self._hold = (wanted.flush_interval_ms or 0) / 1000
        self.due = 0.0
        self.unread_since: float | None = None
        """Since when nobody reads the stream, where that is looked at."""
        self._epoch, self._last = work.life.epoch, work.life.last
        self._flying = 0
        self._begun = self._loop.time() - work.age_ms / 1000
        self._tally = work.tally
        self._attempt: attempt.Attempt | None = None
        self._attempts = work.tally.calls
        self._stopped: errors.HoldfastError | None = None
        self._stopping = asyncio.Event()
        self._terminal: events.Complete | events.Error | None = None
        self._broken: errors.HoldfastError | None = None
        self._ended = self._terminal_flying = False
        self._done: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> events.Complete | events.Error | None:
        """Brings the answer. Returns the terminal event once it is in the log, or None
        where another life has taken the stream over."""
        try:
            error = await self._work_through(self._work.first)
        except Exception:
            # A bug, for whoever owns the task to tell; the stream gets its end all the same.
            self._end(events.failure(errors.HoldfastError()))
            await self._done
            raise
        error = error or self._broken  # an answer that lost a part is never complete
        self._end(self._complete() if error is None else events.failure(error))
        await self._done
        return self._terminal if self._terminal_flying else None

    async def _work_through(
        self, step: Call | fallback.GiveUp | fallback.Finish
    ) -> errors.HoldfastError | None:
        """The error that the stream ends with; None where its answer is whole."""
        match step:
            case fallback.Finish():
                return None
            case fallback.GiveUp(cause):
                return cause
        calls = 0
        while True:
            calls += 1
            again = replay.Replay(step.written) if step.written is not None else None
            error = await self._try(step, again)
            if error is None:
                return None
            after = fallback.next_step(calls, error, again is not None and not again.new)
            if isinstance(after, fallback.GiveUp):
                return after.error
            await self._rest(after.delay)

    async def _rest(self, seconds: float) -> None:
        """Returns when the time is over, or the stream is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _try(self, call: Call, again: replay.Replay | None) -> errors.HoldfastError | None:
        if self._stopped is not None:
            return self._stopped
        self._attempts += 1
        say = self._say if again is None else functools.partial(self._say_again, again)
        made = self._attempt = attempt.Attempt(
            call.provider, self._work.wanted, call.request, self._limits.deadlines, say
        )
        error = await made.run()
        if isinstance(error, errors.ProviderError):
            taken_ms = int((self._loop.time() - made.marks.opened) * 1000)
            self._note_attempt(call, error, taken_ms)
        elif error is None and again is not None and not again.caught_up:
            return errors.ContinuationDiverged()  # it is shorter than what is written
        return error

    def _note_attempt(self, call: Call, error: errors.ProviderError, taken_ms: int) -> None:
        provider, number = call.provider.name, self._attempts
        said = events.Attempt(number, provider, call.model, error.code, error.message, taken_ms)
        self._say([said])

    @property
    def kept(self) -> str | None:
        """The id under which the provider keeps the answer, if it does."""
        return self._tally.kept

    def stop(self, error: errors.HoldfastError) -> None:
        """Ends the stream with this error, at once and for good; a second call is nothing."""
        if self._ended or self._stopped is not None:
            return
        self._stopped = error
        self._stopping.set()
        if self._attempt is not None:
            self._attempt.stop(error)

    def sweep(self, now: float) -> None:
        """Looks at the deadlines; called a few times a second for all producers."""
        if self._attempt is not None:
            self._attempt.sweep(now)

    def _say(self, bodies: list[events.Body]) -> None:
        if self._ended:
            return
        gathered = self._pending
        before = gathered.size
        if not before:
            self.due = self._loop.time() + self._hold if self._hold else 0.0
        for body in bodies:
            gathered.add(body)
        self._account(gathered.size - before)
        urgent = gathered.size >= self._urgent_at
        if urgent:
            self.due = 0.0
        self._ticker.touch(self, urgent=urgent)
        if gathered.size + self._flying > self._limits.unsaved and self._attempt is not None:
            self._attempt.pause()

    def _say_again(self, again: replay.Replay, bodies: list[events.Body]) -> None:
        """Says what is new in an answer that is told a second time."""
        try:
            new = again.take(bodies)
        except errors.ContinuationDiverged as error:
            self.stop(error)
            return
        if new:
            self._say(new)

    def _end(self, terminal: events.Complete | events.Error) -> None:
        if not self._done.done():
            before = self._pending.size
            self._pending.add(terminal)
            self._account(self._pending.size - before)
            self._ended, self.due = True, 0.0
            self._ticker.touch(self, urgent=True)

    def take(self, now_ms: int) -> log_base.Batch | None:
        gathered = self._pending.size
        if not gathered:
            return None
        self._flying = gathered
        drafts = []
        for body in self._pending.take():
            self._tally.add(body)
            if body.kind in events.TERMINAL:
                body = self._terminal = self._final(body)
            drafts.append(events.draft(body))
        self._tally.stored += sum(len(draft.data) for draft in drafts)
        self._last += len(drafts)
        self._terminal_flying = self._ended
        if self._tally.stored > self._limits.stream:
            limit = self._limits.stream
            self.stop(errors.StreamTooLarge(f"The answer is over {limit} bytes."))
        return log_base.Batch(self._work.stream, self._epoch, self._last, now_ms, tuple(drafts))

    def settled(self, result: log_base.Result) -> None:
        self._account(-self._flying)
        self._flying = 0
        if isinstance(result, log_base.Ok):
            if self._terminal_flying:
                self._finish()
            elif result.cancelled:
                self.stop(errors.Cancelled())
            if self._attempt is not None and self._pending.size <= self._limits.unsaved // 2:
                self._attempt.resume()
            return
        # Another life writes, or the log forgot what it had acknowledged: this life is over.
        self._terminal_flying = False
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
        self._account(-(self._flying + self._pending.size))
        self._flying = 0
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

    def _final(self, body: events.Body) -> events.Complete | events.Error:
        """A `complete` gets its counts at last, when everything before it is counted."""
        return body if isinstance(body, events.Error) else self._complete()

    def _complete(self) -> events.Complete:
        duration_ms = int((self._loop.time() - self._begun) * 1000)
        return self._tally.complete(self._work.wanted.n, self._attempts, duration_ms)
