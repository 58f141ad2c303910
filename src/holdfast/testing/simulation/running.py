"""One run: the plan of a seed is carried out, and what was seen is judged.

Strategy: `World` starts every actor as a task of its own, sees to it that one node after the
other is up, makes the faults, and ends them at the time of peace. From then on every stream has
to end and every reader has to have it, within `LIVENESS` simulated seconds. Then the store is
read, the last node closes, and the history goes to `checker`; what the node did not give back,
what it logged as its own bugs and an answer that failed without a cause (`ends`) count as
violations too.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog

from holdfast import answer, events, service
from holdfast.eventlog import base, memory
from holdfast.http import feed
from holdfast.providers import base as provider_base
from holdfast.testing import checker, history, simulated
from holdfast.testing.simulation import (
    asking,
    determined,
    ends,
    faulty,
    node,
    plan,
    promptness,
    provider,
    reading,
)
from holdfast.testing.simulation import record as recording

LIVENESS = 60.0
"""Seconds after the last fault in which everything has to have come to its end."""

LOOK = 0.1
"""Seconds between two looks whether everything has ended."""

BUGS = frozenset(
    ("job_failed", "producer_failed", "writer_failed", "translator_failed", "adoption_failed")
)
"""What the product logs only where it has a bug."""


class Parts(msgspec.Struct, frozen=True):
    """What a run is made of, besides the seed; each may be another one of its kind."""

    log: Callable[[], base.EventLog] = memory.MemoryLog
    provider: Callable[[], provider_base.Provider] = provider.GoesOn
    service: type[service.Service] = service.Service
    feeds: type[feed.Feeds] = feed.Feeds


class Outcome(msgspec.Struct, frozen=True):
    """What came of a seed. `violations` is empty where everything held."""

    seed: int
    violations: tuple[str, ...]
    entries: tuple[history.Entry, ...]


class World:
    def __init__(self, chance: random.Random, parts: Parts) -> None:
        self._chance, self._parts = chance, parts
        self.plan = plan.draw(chance)
        self.record = recording.Record()
        self._tasks: dict[asyncio.Task[Any], None] = {}
        drawn = self.plan
        self._shared = faulty.Shared(
            parts.log(), chance, self.record, self._start, drawn.pace, drawn.page
        )
        self._providers = [
            provider.Witnessed(
                each,
                self.record,
                chance,
                unreachable=drawn.unreachable,
                diverging=drawn.diverging,
            )
            for each in (parts.provider(), provider.Spare("spare"))
        ]
        self._node = self._made()
        self._up = asyncio.Event()
        self.complaints: list[str] = []

    def _made(self) -> node.Node:
        return node.Node(
            self._shared,
            self._providers,
            self.plan.config,
            service_class=self._parts.service,
            feeds_class=self._parts.feeds,
            busy=self.plan.busy,
        )

    def _start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.complaints.append(f"{task.get_name()} failed: {error!r}")

    async def up(self) -> node.Node:
        """The node that serves; waits for one."""
        while not self._node.up:
            await self._up.wait()
        return self._node

    async def run(self) -> None:
        """The whole story, to the end of the last node."""
        await self._begin()
        self._start(self._make_faults(), "faults")
        for asked in self.plan.answers:
            for _ in range(asked.times):
                self._start(self._use(asked), f"client {asked.number}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.plan.peace + LIVENESS):
                await self._settle()
        for task in tuple(self._tasks):
            self.complaints.append(f"{task.get_name()} did not come to its end")
            task.cancel()
        await self._keep()
        self.complaints += self._node.unsaved()
        self.complaints += await self._node.close()
        self.complaints += self._node.failures
        self.record.settle(ends.calls_a_life(self.plan))

    async def _begin(self) -> None:
        await self._node.start()
        self._up.set()

    async def _settle(self) -> None:
        """Returns when every actor is done, every stream has ended and the log told it."""
        while True:
            await asyncio.sleep(LOOK)
            there = self._there()
            heads = await self._shared.log.heads(there)
            ended = all(head is not None and head.closed for head in heads)
            if ended and not self._tasks and not self._node.unsaved():
                return

    def _there(self) -> list[events.StreamId]:
        gone = self.record.shredded
        return [stream for stream in self._shared.streams if stream not in gone]

    async def _make_faults(self) -> None:
        faulty_at_all = self.plan.faults != faulty.QUIET or self.plan.unreachable > 0
        if faulty_at_all:
            self.record.fault("weather", on=True)
        self._shared.faults = self.plan.faults
        for begin, end in self.plan.outages:
            self._start(self._outage(begin, end), "outage")
        begun = simulated.now()
        for at, how, away in self.plan.restarts:
            await asyncio.sleep(max(0.0, begun + at - simulated.now()))
            await self._restart(how, away)
        await asyncio.sleep(max(0.0, begun + self.plan.peace - simulated.now()))
        self._shared.faults = faulty.QUIET
        for each in self._providers:
            each.unreachable = 0.0
        if faulty_at_all:
            await asyncio.sleep(self.plan.faults.longest)  # what has begun goes on so long
            self.record.fault("weather", on=False)

    async def _outage(self, begin: float, end: float) -> None:
        await asyncio.sleep(begin)
        self.record.fault("outage", on=True)
        self._shared.out = True
        await asyncio.sleep(end - begin)
        self._shared.out = False
        self.record.fault("outage", on=False)

    async def _restart(self, how: plan.End, away: float) -> None:
        self.record.fault(how, on=True)
        self._up.clear()
        if how == "kill":
            await self._node.die()
        else:
            self.complaints += await self._node.close(drain=how == "drain")
        self.complaints += self._node.failures
        await asyncio.sleep(away)
        self._node = self._made()
        await self._begin()
        self.record.fault(how, on=False)

    async def _use(self, asked: plan.Asked) -> None:
        """A client asks, and has some read the stream, cancel or destroy it, or look in."""
        impatient = self.plan.impatient
        stream = await asking.ask(asked, self.up, self.record, self._chance, impatient)
        if stream is None:
            return
        if asked.shred_at is not None:
            self._start(self._shred(stream, asked.shred_at), "destroyer")
        for _ in range(asked.readers):
            self._start(self._read(stream), "reader")
        for _ in range(self.plan.visitors):
            self._start(self._visit(stream), "visitor")
        if asked.key and not await asking.refused(asked, self.up):
            self.complaints.append(f"{asked.key} led another body to a stream")
        if asked.cancel_at is not None:
            await asyncio.sleep(asked.cancel_at)
            await asking.cancel(stream, self.up, self.record, self._chance)

    async def _shred(self, stream: events.StreamId, after: float) -> None:
        await asyncio.sleep(after)
        await asking.shred(stream, self.up, self.record, self._chance)

    def _reader(self, stream: events.StreamId, kind: str = "reader") -> reading.Reader:
        return reading.Reader(
            self.record.name(f"{kind}-"),
            stream,
            self.record,
            self._chance,
            self._chance.choice(self.plan.manners),
            direct=self._chance.random() < 0.25,
        )

    async def _read(self, stream: events.StreamId) -> None:
        """Comes back until it has read to the end."""
        reader = self._reader(stream)
        await asyncio.sleep(self._chance.choice((0.0, self._chance.random())))
        while not await reader.read(await self.up()):
            await reader.again()

    async def _visit(self, stream: events.StreamId) -> None:
        """Looks in once, after a position that somebody had, or that nobody had."""
        await asyncio.sleep(self._chance.uniform(0.0, 3.0))
        known = self.record.positions.get(stream, [events.Position(1 << 16, 1)])
        place, made_up = self._chance.choice(known), self._chance.randrange(8)
        cursor, bad = str(place), made_up < 4
        if made_up == 0:
            cursor = str(events.Position(place.epoch, place.seq + 1000))
        elif made_up == 1:
            cursor = str(events.Position(place.epoch ^ 1, place.seq))
        elif made_up == 2:
            cursor = f"{place}-"
        elif made_up == 3:
            cursor = events.event_id(events.StreamId(stream[::-1]), place)
        elif stream not in self.record.positions:
            return
        await self._reader(stream, "visitor").read(await self.up(), cursor, bad=bad)

    async def _keep(self) -> None:
        """Writes down what the store holds, and looks whether each end proves its text, or has a
        cause."""
        for stream in sorted(self.record.shredded):
            if not isinstance(await self._shared.log.stat(stream), base.Tombstone):
                self.complaints.append(f"stream {stream} was destroyed, and has no tombstone")
        for stream in self._there():
            so_far, more, bodies = answer.Answer(), True, list[events.Body]()
            while more:
                page = await self._shared.log.read(stream, so_far.position)
                for event in page.events:
                    so_far.add(event)
                    bodies.append(event.body)
                    self._keep_event(stream, event, so_far)
                more = page.more
            end, text = so_far.complete, so_far.choice().content.encode()
            if end is not None and (end.chunks, end.length) != (so_far.chunks, len(text)):
                self.complaints.append(f"stream {stream} ends with counts that are not its own")
            if end is not None and end.sha256 != hashlib.sha256(text).hexdigest():
                self.complaints.append(f"stream {stream} ends with the proof of another text")
            self.complaints += ends.unexplained(stream, bodies, self.plan, self.record)

    def _keep_event(
        self, stream: events.StreamId, event: events.Event, so_far: answer.Answer
    ) -> None:
        sha256 = asking.sha256(so_far.choices) if event.kind in events.TERMINAL else ""
        said = history.digest(event.kind, event.data)
        code = event.body.code if isinstance(event.body, events.Error) else ""
        place = (stream, event.epoch, event.seq)
        self.record.add(
            history.Kept(simulated.now(), "log", *place, said, event.kind, sha256, code)
        )


def run(seed: int, parts: Parts | None = None) -> Outcome:
    """What comes of a seed. Raises what a bug of the simulation raises."""
    chance = random.Random(seed)
    worlds: list[World] = []

    async def story() -> None:
        worlds.append(World(chance, parts or Parts()))
        await worlds[0].run()

    with determined.drawn_from(chance), structlog.testing.capture_logs() as told:
        simulated.run(story(), seed)
    world = worlds[0]
    entries = tuple(world.record.entries)
    judged = checker.check(entries, liveness=LIVENESS)
    # A visitor has its position from somebody else, and comes once: it has no session.
    found = [f"{one}" for one in judged if one.rule != "I3" or " of visitor-" not in one.place]
    found += promptness.late(entries, world.record.quick)
    bugs = [f"{line['event']}: {line}" for line in told if line["event"] in BUGS]
    return Outcome(seed, tuple(found + world.complaints + bugs), entries)
