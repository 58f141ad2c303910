"""The producer: the one writer of a stream.

Strategy: it gathers what its attempt says, gives the ticker a batch when asked, and counts
what it wrote, so that the terminal event can prove the text. `run` is its only task: it
wakes when an attempt ends, asks the pure policy what to do, writes the terminal event and
waits until that is in the log. Back-pressure is counted here: what is said but not yet
durable pauses the provider's socket, and never a reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from holdfast import answer, errors, events, request, transport
from holdfast.eventlog import base as log_base
from holdfast.producing import attempt, fallback, pending, ticker
from holdfast.providers import base


class Limits(msgspec.Struct, frozen=True, gc=False):
    """Bytes, and seconds for the deadlines."""

    buffer_size: int
    unsaved: int
    stream: int
    deadlines: attempt.Deadlines


class Work(msgspec.Struct, frozen=True):
    """What a producer is to bring, and from whom."""

    stream: events.StreamId
    life: log_base.Life
    wanted: request.Request
    provider: base.Provider
    model: str
    call: transport.Request


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
        self._epoch, self._last = work.life.epoch, work.life.last
        self._stored = self._flying = 0
        self._begun = self._loop.time()
        self._proofs: dict[int, answer.Proof] = {0: answer.Proof()}
        self._finishes: dict[int, events.Finish] = {}
        self._usage: events.Tokens | None = None
        self._chunks = self._bytes = 0
        self._attempt: attempt.Attempt | None = None
        self._attempts = 0
        self._stopped: errors.HoldfastError | None = None
        self._terminal: events.Complete | events.Error | None = None
        self._broken: errors.HoldfastError | None = None
        self._ended = self._terminal_flying = False
        self._done: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> events.Complete | events.Error | None:
        """Brings the answer. Returns the terminal event once it is in the log, or None
        where another life has taken the stream over."""
        try:
            error = await self._try()
        except Exception:
            # A bug, for whoever owns the task to tell; the stream gets its end all the same.
            self._end(events.failure(errors.HoldfastError()))
            await self._done
            raise
        error = error or self._broken  # an answer that lost a part is never complete
        if error is None:
            self._end(self._complete())
        else:
            finished = self._attempt is not None and self._attempt.finished
            written = fallback.Written(self._chunks > 0, finished)
            self._end(events.failure(fallback.next_step(self._attempts, error, written).error))
        await self._done
        return self._terminal if self._terminal_flying else None

    async def _try(self) -> errors.HoldfastError | None:
        if self._stopped is not None:
            return self._stopped
        work = self._work
        self._attempts += 1
        self._attempt = attempt.Attempt(
            work.provider, work.wanted, work.call, self._limits.deadlines, self._say
        )
        error = await self._attempt.run()
        if isinstance(error, errors.ProviderError):
            self._note_attempt(error)
        return error

    def _note_attempt(self, error: errors.ProviderError) -> None:
        taken = self._loop.time() - (self._attempt.marks.opened if self._attempt else 0.0)
        self._say(
            [
                events.Attempt(
                    self._attempts,
                    self._work.provider.name,
                    self._work.model,
                    error.code,
                    error.message,
                    int(taken * 1000),
                )
            ]
        )

    def stop(self, error: errors.HoldfastError) -> None:
        """Ends the stream with this error, at once and for good; a second call is nothing."""
        if self._ended or self._stopped is not None:
            return
        self._stopped = error
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
            self._count(body)
            if body.kind in events.TERMINAL:
                body = self._terminal = self._final(body)
            drafts.append(events.draft(body))
        self._stored += sum(len(draft.data) for draft in drafts)
        self._last += len(drafts)
        self._terminal_flying = self._ended
        if self._stored > self._limits.stream:
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
        self._account(-self._pending.size)
        self._pending.take()
        self.stop(errors.Interrupted())
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

    def _count(self, body: events.Body) -> None:
        match body:
            case events.Chunk():
                self._chunks += 1
                if body.type == "content":
                    proof = self._proofs.get(body.choice)
                    if proof is None:
                        proof = self._proofs[body.choice] = answer.Proof()
                    self._bytes += proof.add(body.delta)
                else:
                    self._bytes += len(body.delta.encode())
            case events.Finish():
                self._finishes[body.choice] = body
            case events.Usage():
                self._usage = body.tokens

    def _final(self, body: events.Body) -> events.Complete | events.Error:
        """A `complete` gets its counts at last, when everything before it is counted."""
        return body if isinstance(body, events.Error) else self._complete()

    def _complete(self) -> events.Complete:
        first = self._finishes.get(0)
        proof = self._proofs[0]
        return events.Complete(
            finish_reason=first.finish_reason if first else "other",
            provider_finish_reason=first.provider_finish_reason if first else None,
            usage=self._usage,
            chunks=self._chunks,
            bytes=self._bytes,
            length=proof.length,
            sha256=proof.sha256,
            duration_ms=int((self._loop.time() - self._begun) * 1000),
            attempts=self._attempts,
            exact=True,
            choices=self._choice_ends() if self._work.wanted.n > 1 else None,
        )

    def _choice_ends(self) -> tuple[events.ChoiceEnd, ...]:
        ends = []
        for number in range(self._work.wanted.n):
            finish, proof = self._finishes.get(number), self._proofs.get(number, answer.Proof())
            reason = finish.finish_reason if finish else "other"
            ends.append(events.ChoiceEnd(number, reason, proof.length, proof.sha256))
        return tuple(ends)
