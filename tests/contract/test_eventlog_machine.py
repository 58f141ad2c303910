"""Any order of calls: the log and its readers against a plain list.

Strategy: hypothesis makes up a history of calls, good and bad ones, for a handful of streams;
each goes to the engine and to `modelled.Model`, and both must say the same. Readers are the
loop of `eventlog.reader` on a `watch.Watch`; they join anywhere, go away and come back. After
each call the log must read as the model does, and every reader must have what the model has
behind its position. While hints are lost readers may lag, and two polls must bring them up.

A history runs in an event loop of its own: simulated for the memory engine, where a wake-up
that is lost shows at once, and a plain one for SQLite, which has threads. HOLDFAST_ROUNDS
multiplies the number of histories.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar, cast

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.contract import attached, modelled

from holdfast import errors, events
from holdfast.eventlog import base, memory, watch
from holdfast.eventlog.sqlite import engine
from holdfast.testing import simulated
from holdfast.testing.eventlog.parts import CANCELLED, COMPLETE, FAILED, chunk, header, read_all

ROUNDS = int(os.environ.get("HOLDFAST_ROUNDS", "1"))
STREAMS = 5
READERS = 6

T = TypeVar("T")
places = st.integers(0, STREAMS - 1)
texts = st.lists(st.text("aé\U0001f980\n", max_size=8) | st.just("x" * 200), max_size=4)
endings = st.sampled_from([None, None, None, None, COMPLETE, FAILED, CANCELLED])
moves = st.sampled_from(["next", "next", "next", "stale", "future", "gap"])
parts = st.tuples(places, moves, texts, endings)


def stream_at(place: int) -> events.StreamId:
    return events.derived_stream_id(hashlib.sha256(b"%d" % place).digest())


class Machine(RuleBasedStateMachine):
    """The calls. `unheard` are streams with news whose hints were lost."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = self.new_loop()
        self._ears = attached.Muffled(self.new_log())
        self.log = cast(base.EventLog, self._ears)
        self.watch = watch.Watch(self.log)
        self.model = modelled.Model()
        self.readers: list[attached.Reader] = []
        self.unheard: set[events.StreamId] = set()
        self._tick: base.Tick = ()
        self._ts = 1_000
        self.run(self.log.start())

    def new_loop(self) -> asyncio.AbstractEventLoop:
        raise NotImplementedError

    def new_log(self) -> base.EventLog:
        raise NotImplementedError

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def teardown(self) -> None:
        try:
            for one in self.readers:
                self.run(one.stop())
            self.run(self.log.close())
            self.run(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    def _news_of(self, stream: events.StreamId) -> None:
        if self._ears.deaf:
            self.unheard.add(stream)
        else:
            self.unheard.discard(stream)

    def _time(self) -> int:
        self._ts += 1
        return self._ts

    @initialize()
    def two_streams_with_a_reader_each(self) -> None:
        for place in (0, 1):
            self.create(place)
            self.join(place, 0, "good")

    @rule(place=places)
    def create(self, place: int) -> None:
        stream, ts = stream_at(place), self._time()
        asked = header(ts, request=b"?" * 40)
        known = self.model.streams.get(stream)
        if stream in self.model.expired:
            with contextlib.suppress(errors.StreamExpired):
                raise AssertionError(self.run(self.log.create(stream, asked, (chunk("a"),), ts)))
            return
        made = self.run(self.log.create(stream, asked, (chunk("a"),), ts))
        if known is not None:
            assert made == base.Exists(known.header)
            return
        assert isinstance(made, base.Life)
        assert made.last == 1
        self.model.streams[stream] = modelled.Stream(stream, asked, made)
        self.model.streams[stream].write((chunk("a"),), ts)

    @rule(asked=st.lists(parts, min_size=1, max_size=4))
    def append(self, asked: list[tuple[int, str, list[str], events.Draft | None]]) -> None:
        ts = self._time()
        tick = []
        for place, move, said, ending in {part[0]: part for part in asked}.values():
            drafts = tuple(map(chunk, said)) + ((ending,) if ending else ())
            found = self.model.streams.get(stream_at(place))
            epoch, last = (found.epoch, len(found.events)) if found else (1 << 16, 1)
            if move in ("stale", "future"):
                epoch += (1 << 16) * (-1 if move == "stale" else 1)
            last += len(drafts) + (3 if move == "gap" else 0)
            tick.append(base.Batch(stream_at(place), epoch, last, ts, drafts))
        self._tick = tuple(tick)
        self.again()

    @rule()
    def again(self) -> None:
        """The newest tick, sent unchanged, whatever has happened since."""
        results = self.run(self.log.append(self._tick))
        assert results == [self.model.append(batch) for batch in self._tick]
        for batch in self._tick:
            self._news_of(batch.stream)

    @rule(place=places, ending=st.sampled_from([COMPLETE, FAILED]))
    def refused(self, place: int, ending: events.Draft) -> None:
        """A tick that no log may hold: what is good in it is not written either."""
        found = self.model.streams.get(stream_at(place))
        if found is not None:
            seq = len(found.events) + 1
            good = base.Batch(found.id, found.epoch, seq, 1, (chunk("good"),))
            bad = base.Batch(found.id, found.epoch, seq + 2, 1, (ending, chunk("bad")))
            with contextlib.suppress(ValueError):
                raise AssertionError(self.run(self.log.append((good, bad))))

    @rule(place=places)
    def claim(self, place: int) -> None:
        stream, ts = stream_at(place), self._time()
        life = self.run(self.log.claim(stream, ts))
        assert (life is not None) == self.model.open(stream)
        if life is not None:
            self.model.claimed(stream, life, ts)
            self._news_of(stream)

    @rule(place=places)
    def request_cancel(self, place: int) -> None:
        stream = stream_at(place)
        assert self.run(self.log.request_cancel(stream)) == self.model.open(stream)
        if self.model.open(stream):
            self.model.streams[stream].cancelled = True

    @rule(age=st.integers(0, 12), limit=st.integers(1, 3))
    def expire(self, age: int, limit: int) -> None:
        old = self.model.old(self._ts - age)
        count = self.run(self.log.expire(self._ts - age, limit))
        assert count == min(limit, len(old))
        heads = self.run(self.log.heads(sorted(old)))
        gone = {stream for stream, head in zip(sorted(old), heads, strict=True) if head is None}
        assert len(gone) == count
        for stream in gone:
            self.model.expire(stream)
        self.run(self._forget(gone))

    async def _forget(self, gone: set[events.StreamId]) -> None:
        for one in self.readers:
            if one.stream in gone:
                await one.stop()
        self.readers = [one for one in self.readers if one.stream not in gone]

    def _position(self, place: int, seq: int, how: str) -> events.Position:
        """`good` (round the length), `beyond` the end, of a life that never was or is not the
        event's."""
        held = self.model.streams[stream_at(place)]
        seq %= len(held.events) + 1
        if how == "beyond":
            return events.Position(held.epoch, len(held.events) + 1 + seq)
        if seq == 0:
            return events.BEGIN
        right = held.events[seq - 1].epoch
        epoch = {"good": right, "lost": right ^ 1, "another": held.epoch}[how]
        return events.Position(epoch, seq)

    @rule(
        place=places,
        seq=st.integers(0, 40),
        how=st.sampled_from(["good", "good", "beyond", "lost", "another"]),
        limit=st.integers(1, 5) | st.just(base.PAGE_EVENTS),
    )
    def read(self, place: int, seq: int, how: str, limit: int) -> None:
        stream = stream_at(place)
        if stream not in self.model.streams:
            with contextlib.suppress(errors.StreamNotFound):
                raise AssertionError(self.run(self.log.read(stream, events.BEGIN)))
            return
        after = self._position(place, seq, how)
        try:
            page = self.run(self.log.read(stream, after, limit))
        except errors.UnknownPosition:
            assert not self.model.streams[stream].holds(after)
        else:
            assert self.model.streams[stream].holds(after)
            self.model.check_page(stream, after, limit, page)

    @rule(
        place=places,
        seq=st.integers(0, 40),
        how=st.sampled_from(["good", "good", "beyond", "lost"]),
    )
    def join(self, place: int, seq: int, how: str) -> None:
        if len(self.readers) < READERS and stream_at(place) in self.model.streams:
            joined = attached.Reader(self.log, self.watch, stream_at(place))
            self.readers.append(joined)
            self._start(joined, self._position(place, seq, how))

    def _start(self, one: attached.Reader, after: events.Position) -> None:
        async def start() -> None:
            one.start(after)

        self.run(start())

    @rule(which=st.integers(0, READERS - 1))
    def drop(self, which: int) -> None:
        if self.readers:
            self.run(self.readers[which % len(self.readers)].stop())

    @rule(which=st.integers(0, READERS - 1))
    def resume(self, which: int) -> None:
        stopped = [one for one in self.readers if one.task is None]
        if stopped:
            one = stopped[which % len(stopped)]
            self._start(one, one.position)

    @rule(which=st.integers(0, READERS - 1))
    def hold(self, which: int) -> None:
        """Holds back what this reader has read, or lets it go."""
        if self.readers:
            go = self.readers[which % len(self.readers)].go
            go.clear() if go.is_set() else go.set()

    @rule(deaf=st.booleans())
    def hints(self, deaf: bool) -> None:
        self._ears.deaf = deaf

    @rule()
    def poll(self) -> None:
        for _ in range(2):
            self.run(self.watch.poll())
        self.unheard.clear()

    @invariant()
    def the_log_is_the_model(self) -> None:
        self.run(self._compare())

    async def _compare(self) -> None:
        streams = [stream_at(place) for place in range(STREAMS)]
        held = [self.model.streams.get(stream) for stream in streams]
        assert await self.log.heads(streams) == [one and one.head for one in held]
        assert await self.log.find(base.Query()) == self.model.newest_first
        assert set(await self.log.orphans(STREAMS)) == self.model.orphans
        for stream, one in zip(streams, held, strict=True):
            if one is not None:
                assert await self.log.stat(stream) == one.info
                assert await read_all(self.log, stream) == one.events
            else:
                stone = await self.log.stat(stream)
                owner = stone.owner if isinstance(stone, base.Tombstone) else stone
                assert owner == self.model.expired.get(stream)

    @invariant()
    def every_reader_has_what_follows_its_position(self) -> None:
        for one in self.readers:
            self.run(self._check(one))

    async def _check(self, one: attached.Reader) -> None:
        prompt = one.task is not None and one.go.is_set() and one.stream not in self.unheard
        if prompt:
            await one.until(len(self.model.streams[one.stream].events) - one.begin)
        wanted = self.model.streams[one.stream].events[one.begin :]
        assert one.got == wanted[: len(one.got)]
        if prompt:
            assert one.got == wanted
        if one.task is not None and one.task.done():
            one.task.result()
            assert not self.model.open(one.stream)


class MemoryMachine(Machine):
    def new_loop(self) -> asyncio.AbstractEventLoop:
        return simulated.Loop()

    def new_log(self) -> base.EventLog:
        return memory.MemoryLog()

    def teardown(self) -> None:
        super().teardown()
        assert isinstance(self._loop, simulated.Loop)
        assert self._loop.faults == []


class SqliteMachine(Machine):
    """A checkpoint every few calls, and a cache that holds little."""

    def new_loop(self) -> asyncio.AbstractEventLoop:
        self._folder = tempfile.TemporaryDirectory(prefix="holdfast-")
        return asyncio.new_event_loop()

    def new_log(self) -> base.EventLog:
        path = Path(self._folder.name) / "log.db"
        return engine.SqliteLog(path, checkpoint_bytes=600, cache_bytes=3_000)

    def teardown(self) -> None:
        super().teardown()
        self._folder.cleanup()

    @rule()
    def restart(self) -> None:
        self.run(self.log.close())
        self.run(self.log.start())
        self.model.restarted()


def bounded(examples: int, *, shrink: bool) -> settings:
    return settings(
        max_examples=examples * ROUNDS,
        stateful_step_count=40,
        phases=[phase for phase in Phase if shrink or phase is not Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


TestMemory = MemoryMachine.TestCase
TestMemory.settings = bounded(200, shrink=True)
# To make a history shorter takes hundreds of files, and a lost wake-up `attached.PATIENCE` each.
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = bounded(60, shrink=False)
