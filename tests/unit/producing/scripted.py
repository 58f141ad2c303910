"""A log and a provider that do as the test says.

Strategy: the log is the memory engine, which follows a script before it takes a tick: it is
away, takes it and fails all the same, or gives another verdict. The provider's side of a call is
an `Exchange` that the test holds: what it says reaches the attempt in the same call, as it would
from a socket.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from holdfast import errors, events, request, transport
from holdfast.eventlog import base, memory
from holdfast.producing import (
    attempt,
    bounds,
    breaker,
    course,
    fallback,
    producer,
    rereading,
    ticker,
)
from holdfast.providers import base as providers
from holdfast.providers import registry
from holdfast.testing import simulated

HEADER = base.Header("", 0, "scripted", "m")
WANTED = request.Request("m", [request.Message("user", "Why is the sea salt?")])
CALL = transport.Request("POST", "http://provider.test/v1", ())
DEADLINES = attempt.Deadlines(
    first_byte=10.0, first_content=20.0, between_contents=30.0, total=100.0
)

AWAY = "the log is away"
TAKEN_AND_AWAY = "the log takes the tick and is away before it says so"

Step = str | list[base.Result] | asyncio.Event


class Log(memory.MemoryLog):
    """`script` holds what the next appends do; an Event is awaited first, a list is the answer.
    `ticks` holds every tick that came, also in vain, and `taken` those that were taken; `times`
    when they came, in seconds from the begin of simulated time."""

    def __init__(self) -> None:
        super().__init__()
        self.script: deque[Step] = deque()
        self.ticks: list[base.Tick] = []
        self.taken: list[base.Tick] = []
        self.times: list[float] = []

    async def append(self, tick: base.Tick) -> list[base.Result]:
        self.ticks.append(tick)
        self.times.append(round(simulated.now() - simulated.BEGIN, 6))
        step = self.script.popleft() if self.script else None
        if isinstance(step, asyncio.Event):
            await step.wait()
        if step == AWAY:
            raise errors.LogUnavailable
        if isinstance(step, list):
            return step
        results = await super().append(tick)
        self.taken.append(tick)
        if step == TAKEN_AND_AWAY:
            raise errors.LogUnavailable
        return results

    async def begin(self) -> tuple[events.StreamId, base.Life]:
        """A new stream with its `start`."""
        stream = events.new_stream_id()
        start = events.draft(events.Start(stream, "r", "scripted", "m", events.rfc3339(0)))
        life = await self.create(stream, HEADER, (start,), 0)
        assert isinstance(life, base.Life)
        return stream, life

    async def bodies(self, stream: events.StreamId) -> list[events.Body]:
        """All that the stream holds, without its `start`."""
        return [event.body for event in await self.events(stream)][1:]

    async def events(self, stream: events.StreamId) -> list[events.Event]:
        page = await self.read(stream, events.BEGIN)
        assert not page.more
        return list(page.events)


class Translator:
    """Says what its exchange says; `fed` is the bytes that it got."""

    def __init__(self) -> None:
        self.done = False
        self.finished = False
        self.error: errors.ProviderError | None = None
        self.fed: list[bytes] = []
        self.reply: list[events.Body] = []
        self.held: list[events.Body] = []
        self.known: list[events.Body] = []
        self.gathered = 0

    def feed(self, data: bytes) -> list[events.Body]:
        self.fed.append(data)
        reply, self.reply = self.reply, []
        return reply

    def end(self) -> list[events.Body]:
        held, self.held = self.held, []
        return held

    def cut(self) -> list[events.Body]:
        known, self.known = self.known, []
        return known


class Exchange:
    """One call under way, as the test plays it; `paused`, `aborted` and `released` are what
    became of it."""

    def __init__(self, sink: transport.Sink, translator: Translator) -> None:
        self.sink, self.translator = sink, translator
        self.paused = False
        self.aborted = self.released = 0

    def head(self, status: int = 200, content_type: str = "text/event-stream") -> None:
        self.sink.head(status, {"content-type": content_type})

    def say(
        self,
        *bodies: events.Body,
        finished: bool = False,
        done: bool = False,
        error: errors.ProviderError | None = None,
    ) -> None:
        """One network read that means this."""
        translator = self.translator
        translator.reply = list(bodies)
        translator.finished = translator.finished or finished
        translator.done, translator.error = done, error
        self.sink.body(b"data")

    def end(self, error: errors.TransportError | None = None) -> None:
        self.sink.end(error)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def abort(self, error: errors.TransportError | None = None) -> None:
        self.aborted += 1

    def release(self) -> None:
        self.released += 1


class Provider(providers.Provider):
    """`at_once` is played before `open` returns; `gate` keeps it from returning; `fault` is
    raised instead. `refusals` holds what `failure` was asked about."""

    name = "scripted"
    kind = "scripted"

    def __init__(self) -> None:
        self.at_once: Callable[[Exchange], None] = lambda exchange: None
        self.gate: asyncio.Event | None = None
        self.fault: Exception | None = None
        self.exchanges: list[Exchange] = []
        self.opened = 0
        self.interrupted = 0
        self.refusals: list[tuple[int, Mapping[str, str], bytes]] = []
        self._translators: list[Translator] = []

    @property
    def exchange(self) -> Exchange:
        """The newest call."""
        return self.exchanges[-1]

    def prepare(self, wanted: request.Request, model: str) -> transport.Request:
        return CALL

    def translator(self, wanted: request.Request) -> Translator:
        self._translators.append(Translator())
        return self._translators[-1]

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> errors.ProviderError:
        self.refusals.append((status, headers, body))
        return errors.ProviderRejected(f"scripted: HTTP {status}")

    async def open(self, call: transport.Request, sink: transport.Sink) -> Exchange:
        assert call is CALL
        self.opened += 1
        exchange = Exchange(sink, self._translators[-1])
        self.exchanges.append(exchange)
        self.at_once(exchange)
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.interrupted += 1
                raise
        if self.fault is not None:
            raise self.fault
        return exchange


def content(delta: str, choice: int = 0) -> events.Chunk:
    return events.Chunk("content", delta, choice)


def stop(choice: int = 0) -> events.Finish:
    return events.Finish(choice, "stop", "stop")


def route(provider: providers.Provider, **policy: Any) -> course.Route:
    """A route to this provider's model `m` alone, which is asked once unless `policy` says more."""
    target = registry.Target(provider, "m")
    return course.Route((target,), target.name, fallback.Policy(**{"attempts": 1, **policy}))


def producing(
    work: producer.Work,
    limits: bounds.Limits,
    tick: ticker.Ticker,
    log: base.EventLog,
    account: Callable[[int], None] = lambda change: None,
    guards: breaker.Breakers | None = None,
    discard: Callable[[course.Keeping], None] = lambda kept: None,
) -> producer.Producer:
    """A producer on this log, with breakers of its own unless there are `guards`."""
    reread = functools.partial(rereading.reread, log, work.stream)
    guards = guards or breaker.Breakers(breaker.Limits())
    return producer.Producer(work, limits, tick, reread, guards, account, discard)
