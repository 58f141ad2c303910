"""Two providers that play a script, a route to both, and a producer on a memory log.

Strategy: a provider plays one answer for each call, and writes down when and what it was asked, in
simulated time. What a test looks at is the stream's events, as a reader would fold them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from tests.unit.producing import scripted
from tests.unit.producing.answering import LIMITS

from holdfast import answer, errors, events, request, transport
from holdfast.producing import breaker, course, fallback, producer, tally, ticker
from holdfast.providers import registry

Play = Callable[[scripted.Exchange], None]
WANTED = request.Request("m", [request.Message("user", "Say it.")], max_tokens=1000)
TEXT = "The holdfast grips the rock, and the kelp grows twenty metres toward the light."


def whole(text: str, *more: events.Body) -> Play:
    """An answer with this text and a clean end."""

    def play(exchange: scripted.Exchange) -> None:
        exchange.head()
        for piece in (text[:5], text[5:]):
            if piece:
                exchange.say(scripted.content(piece))
        exchange.say(*more, scripted.stop(), finished=True)
        exchange.say(events.Usage(3, 4, 7), done=True)

    return play


def broken(*bodies: events.Body, error: errors.ProviderError | None = None) -> Play:
    """An answer that says this and fails."""

    def play(exchange: scripted.Exchange) -> None:
        exchange.head()
        for body in bodies:
            exchange.say(body)
        exchange.say(error=error or errors.ProviderOverloaded())

    return play


class Provider(scripted.Provider):
    """Plays `plays` in turn, the last one again and again."""

    def __init__(self, name: str, prefill: bool, now: Callable[[], float]) -> None:
        super().__init__()
        self.name, self._prefill, self._now = name, prefill, now
        self.plays: list[Play] = []
        self.asked: list[tuple[float, request.Request]] = []
        self._wanted = WANTED

    def prepare(self, wanted: request.Request, model: str) -> transport.Request:
        self._wanted = wanted
        return scripted.CALL

    def prefills(self, model: str) -> bool:
        return self._prefill

    async def open(self, call: transport.Request, sink: transport.Sink) -> scripted.Exchange:
        self.asked.append((self._now(), self._wanted))
        self.at_once = self.plays[min(len(self.asked), len(self.plays)) - 1]
        return await super().open(call, sink)


class Stage:
    """Two providers, `a` and `b`, and a log. `discarded` is what they were to stop keeping."""

    def __init__(self, prefill: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.log = scripted.Log()
        self.discarded: list[tuple[str, str]] = []
        self.a, self.b = (Provider(name, prefill, loop.time) for name in "ab")
        self.begun = loop.time()
        load = ticker.Load(lambda: 0.0, lambda: 0.0)
        self.ticker = ticker.Ticker(self.log, flush_interval=0.1, patience=30.0, load=load)

    async def run(
        self,
        wanted: request.Request = WANTED,
        guards: breaker.Breakers | None = None,
        **policy: Any,
    ) -> answer.Answer:
        """The whole stream, folded."""
        stream, life = await self.log.begin()
        self.stream = stream
        targets = (registry.Target(self.a, "m"), registry.Target(self.b, "n"))
        route = course.Route(targets, "a/m", fallback.Policy(**policy), "⏵")
        work = producer.Work(
            stream, life, wanted, course.Call(0, scripted.CALL), tally.Tally(), route
        )
        written = scripted.producing(
            work, LIMITS, self.ticker, self.log, guards=guards, discard=self._discard
        )
        self.producer = written
        await written.run()
        folded = answer.Answer()
        for event in await self.log.events(stream):
            folded.add(event)
        return folded

    def _discard(self, kept: course.Keeping) -> None:
        self.discarded.append((kept[0].name, kept[1]))

    async def kinds(self) -> list[str]:
        found = await self.log.bodies(self.stream)
        return [type(body).__name__ for body in found][1:]

    @property
    def times(self) -> list[tuple[str, float]]:
        """Who was called, and how long after the begin."""
        calls = [(at - self.begun, each.name) for each in (self.a, self.b) for at, _ in each.asked]
        return [(name, round(at, 3)) for at, name in sorted(calls)]


@contextlib.asynccontextmanager
async def stage(prefill: bool = False) -> AsyncGenerator[Stage, None]:
    made = Stage(prefill)
    ticking = asyncio.create_task(made.ticker.run())
    try:
        yield made
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


def proved(found: answer.Answer, text: str) -> None:
    """It is complete with exactly this text, and says so."""
    assert found.complete is not None, found.error
    assert found.choice().content == text
    assert found.complete.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert found.complete.attempts == len(found.attempts) + 1
