"""All streams that this node writes, and those that it takes over.

Strategy: every stream has one producer, a job of the supervisor's; this file knows them all. It
makes a new stream and starts one for it, or for an orphan, passes cancels on, looks at deadlines
for all of them in one sweep, and tells how a stream ended. A stream whose producer fails is taken
over once more, for its end alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable

import msgspec
import structlog

from holdfast import errors, events, storage, supervisor
from holdfast.eventlog import base
from holdfast.metering import line
from holdfast.producing import (
    adoption,
    bounds,
    breaker,
    course,
    discarding,
    fallback,
    opening,
    producer,
    rereading,
    routing,
    summary,
    survey,
    ticker,
)
from holdfast.telemetry import counts, observer, record, tracing

ADOPT_AT_ONCE = 100
"""Orphans that are adopted side by side."""

MAX_GIVEN_UP = 10_000
"""Orphans that are remembered as such; one beyond is tried again."""

ADOPT_EVERY = 0.5
"""Seconds between two looks for streams of nodes that have died."""

Create = Callable[
    [events.StreamId, base.Header, tuple[events.Draft, ...], int],
    Awaitable[base.Life | base.Exists],
]
"""As a log's."""

_log = structlog.get_logger("holdfast")


class Writers:
    """`len` counts the streams, from their making on. `create` makes a new one, and knows those too
    that have left `log`, which has all that is under way."""

    def __init__(
        self,
        log: base.EventLog,
        create: Create,
        routes: routing.Routing,
        tick: ticker.Ticker,
        tasks: supervisor.Supervisor,
        observers: observer.Observers,
        limits: bounds.Limits,
        breakers: breaker.Breakers,
        orphans: survey.Survey,
        waiting: line.Line,
        record: record.Record,
        tracer: tracing.Tracer = tracing.UNTRACED,
    ) -> None:
        self._log, self._create, self._routes, self._ticker = log, create, routes, tick
        self._tasks, self._observers, self._limits = tasks, observers, limits
        self._breakers, self._orphans = breakers, orphans
        self.line = waiting
        """Those whose turn to be made has not come, which `len` counts too."""
        self._producers: dict[events.StreamId, producer.Producer] = {}
        self._given_up: dict[events.StreamId, None] = {}
        """Orphans that met a bug here, or whose key is missing; another node, or the next process,
        may do better."""
        self._making = 0
        self._record, self._tracer = record, tracer
        self.unsaved = self.asked = 0
        """Bytes of all open streams: of what is not in the log yet, and of what was asked."""

    def __len__(self) -> int:
        return len(self._producers) + self._making

    def begin(
        self, work: producer.Work, header: base.Header, parent: tracing.Parent = tracing.NOBODY
    ) -> asyncio.Task[opening.Created]:
        """Makes the stream that this work is for, and begins to write it, whether or not somebody
        waits for it. `parent` is the trace that it is part of. Raises what the log's `create`
        raises, `errors.IdempotencyMismatch`, and `Overloaded` or `Draining` where its turn does
        not come."""
        place = work.first.request.place if isinstance(work.first, course.Call) else None
        span = self._tracer.begins(work.stream, header, work.wanted, place, parent)
        work = msgspec.structs.replace(work, span=span)
        header = msgspec.structs.replace(header, trace=span.trace)
        self._making += 1
        self.asked += work.size
        asked_at = asyncio.get_running_loop().time()
        making = self._tasks.job(self._make(work, header, asked_at), f"create {work.stream}")
        making.add_done_callback(lambda _: self._made(work))
        return making

    def _made(self, work: producer.Work) -> None:
        self._making -= 1
        self.asked -= work.size

    async def _make(
        self, work: producer.Work, header: base.Header, asked_at: float
    ) -> opening.Created:
        stream, fresh, why = work.stream, False, "refused"
        try:
            async with self.line.turn(storage.tenant_of(header.owner)):
                begin = opening.start(stream, header)
                found = await self._create(stream, header, (begin,), header.created_at)
            if isinstance(found, base.Exists):
                why = "attached"
                return opening.attach(stream, header, found.header)
            fresh = True
        except (errors.Overloaded, errors.Draining) as error:
            self._record.refused("line" if isinstance(error, errors.Overloaded) else "draining")
            raise
        finally:
            if not fresh:
                work.span.close(why)
                if work.meter is not None:
                    work.meter.take_back()
        self._record.started()
        self._observers.tell("stream_started", stream, header)
        age_ms = int((asyncio.get_running_loop().time() - asked_at) * 1000)
        self.write(msgspec.structs.replace(work, life=found, header=header, age_ms=age_ms))
        return opening.Created(stream, header, fresh=True)

    def write(self, work: producer.Work) -> None:
        """Begins to write a stream."""
        reread = functools.partial(rereading.reread, self._log, work.stream)
        written = producer.Producer(
            work,
            self._limits,
            self._ticker,
            reread,
            self._breakers,
            self._account,
            functools.partial(self._discard, work.stream),
            functools.partial(self._forgotten, work),
            self._record,
            keeps=self._log.forgets,
        )
        self._count(self._producers.get(work.stream))
        self._producers[work.stream] = written
        self.asked += work.size
        self._tasks.job(self._run(work, written), f"produce {work.stream}")

    def _forgotten(self, work: producer.Work, last: int) -> None:
        self._tasks.job(self._write_again(work, last), f"write {work.stream} again")

    async def _write_again(self, work: producer.Work, last: int) -> None:
        """The log has forgotten what follows this seq, or all of it: it is written again by a new
        life, or as far as it is there it is an orphan."""
        stream, written = work.stream, self._producers[work.stream]
        _log.warning("log_forgot", stream=stream, last=last)
        life = await adoption.claim(self._log, stream, events.now_ms())
        if life is not None:
            last = life.last - 1
        elif work.header is not None:
            life = await adoption.create(self._log, stream, work.header)
            last = 1
        if life is None:
            written.give_way()
        elif not written.resume(life, last):
            written.give_way()
            await self._take_over(stream)

    def counted(self) -> counts.Counts:
        """What was counted here since the node began."""
        running = [written.written for written in self._producers.values()]
        counted = counts.Counts(
            streams_active=len(self),
            written_chunks=sum(chunks for chunks, _ in running),
            written_bytes=sum(size for _, size in running),
        )
        return counts.added((self._record.counted(), counted))

    def _count(self, over: producer.Producer | None) -> None:
        """What a producer has written that writes no more."""
        if over is not None:
            self._record.wrote(*over.written)

    def _account(self, change: int) -> None:
        self.unsaved += change

    def _discard(self, stream: events.StreamId, kept: course.Keeping) -> None:
        self._tasks.job(discarding.discard(*kept, stream), f"discard {kept[1]}")

    async def _run(self, work: producer.Work, written: producer.Producer) -> None:
        try:
            terminal = await self._write(work, written)
            if isinstance(terminal, events.Error) and written.keeping is not None:
                # The answer will not be read; its provider is to stop writing it.
                await discarding.discard(*written.keeping, work.stream)
        finally:
            self.asked -= work.size
            if work.meter is not None:
                work.meter.close()
            work.span.close("interrupted")
            if self._producers.get(work.stream) is written:
                self._count(self._producers.pop(work.stream))

    async def _write(
        self, work: producer.Work, written: producer.Producer
    ) -> events.Complete | events.Error | None:
        """How the stream ends; None where another life has taken it over."""
        stream = work.stream
        terminal: events.Complete | events.Error | None
        try:
            terminal = await written.run()
        except Exception as error:
            _log.error("producer_failed", stream=stream, trace=errors.trace(error))
            cause = errors.HoldfastError("This stream could not be written.")
            terminal = events.failure(cause)
            # The end of an end that fails would never end.
            last = isinstance(work.first, fallback.GiveUp)
            work.span.ended({"status": "error", "code": cause.code}, None)
            if not last and await self._end(work, written, cause):
                return terminal
        self._tell(stream, terminal)
        facts = summary.facts(work, terminal, written.age_ms, written.first_chunk_ms)
        work.span.ended(facts, work.tally.usage)
        if facts["status"] in ("completed", "cancelled"):
            _log.info("stream_ended", **facts)
        else:
            _log.warning("stream_ended", **facts)
        return terminal

    def _tell(
        self, stream: events.StreamId, terminal: events.Complete | events.Error | None
    ) -> None:
        if isinstance(terminal, events.Complete):
            self._record.ended(stream, terminal)
            self._observers.tell("stream_completed", stream, terminal)
        else:
            if terminal is not None:  # else another node tells how it ends
                self._record.ended(stream, terminal)
            self._observers.tell("stream_failed", stream, terminal)

    def cancelled(self, stream: events.StreamId) -> None:
        """Somebody asked for the stream's end."""
        written = self._producers.get(stream)
        if written is not None:
            written.stop(errors.Cancelled())

    @property
    def under_way(self) -> Collection[producer.Producer]:
        """The producers of all streams."""
        return self._producers.values()

    def sweep(
        self,
        now: float,
        some: Iterable[producer.Producer],
        abandon_after: float,
        is_read: Callable[[events.StreamId], bool],
    ) -> None:
        """Looks at the deadlines of some, and cancels what nobody has read for `abandon_after`
        seconds, where that is not 0."""
        for written in some:
            written.sweep(now)
            if not abandon_after or is_read(written.stream):
                written.unread_since = None
            elif written.unread_since is None:
                written.unread_since = now
            elif now - written.unread_since > abandon_after:
                why = f"Nobody read this stream for {abandon_after:g} s."
                written.stop(errors.Cancelled(why))

    async def adopt_orphans(self, stopping: Callable[[], bool]) -> None:
        """Takes over the streams that dead processes left open, and those that will: never
        returns."""
        while True:
            if not stopping():
                found = await self._orphans.run()
                await self._adopt([one for one in found if one not in self._given_up], stopping)
            await asyncio.sleep(ADOPT_EVERY)

    async def _adopt(self, left: list[events.StreamId], stopping: Callable[[], bool]) -> None:
        outcomes = Counter[str]()
        while left and not stopping():
            some, left = left[:ADOPT_AT_ONCE], left[ADOPT_AT_ONCE:]
            jobs = [self._tasks.job(self._take_over(stream), f"adopt {stream}") for stream in some]
            for stream, result in zip(
                some, await asyncio.gather(*jobs, return_exceptions=True), strict=True
            ):
                if isinstance(result, BaseException):
                    self._give_up(stream, result)
                outcomes["failed" if isinstance(result, BaseException) else result] += 1
        if outcomes:
            _log.info(
                "orphans_adopted",
                continued=outcomes["continued"],
                ended=outcomes["ended"],
                gone=outcomes["gone"],
                failed=outcomes["failed"],
            )

    def _give_up(self, stream: events.StreamId, error: BaseException) -> None:
        self._given_up[stream] = None
        if len(self._given_up) > MAX_GIVEN_UP:
            del self._given_up[next(iter(self._given_up))]
        if isinstance(error, errors.LogCorrupt):
            self._record.unreadable(stream, error)  # which says all that there is to say
        else:
            _log.error("adoption_failed", stream=stream, trace=errors.trace(error))

    async def _take_over(self, stream: events.StreamId) -> str:
        """Gives a stream without a writer a new one; in a word what becomes of it."""
        now = events.now_ms()
        try:
            metered = self._orphans.metered
            work = await adoption.adopt(self._log, self._routes, stream, now, metered)
        finally:
            self._orphans.release(stream)
        if work is None:
            return "gone"
        self._record.adopted()
        if work.header is not None:
            span = self._tracer.adopts(stream, work.header, work.wanted)
            work = msgspec.structs.replace(work, span=span)
        self.write(work)
        # A cancel that came before the producer was there found nobody to tell.
        with contextlib.suppress(errors.LogError):  # else its next append tells
            info = await self._log.stat(stream)
            if isinstance(info, base.Info) and info.cancelled:
                self.cancelled(stream)
        return "continued" if isinstance(work.first, fallback.Ask) else "ended"

    async def _end(
        self, work: producer.Work, failed: producer.Producer, cause: errors.HoldfastError
    ) -> bool:
        """Gives a stream whose producer failed its end; false where it has one."""
        ending = await adoption.end(self._log, work.stream, cause, events.now_ms())
        if ending is None:
            return False
        known = {"header": work.header, "tally": failed.tally, "age_ms": failed.age_ms}
        self.write(msgspec.structs.replace(ending, **known))
        return True
