"""Calls to Redis are cancelled at any moment; no answer goes to another, no connection is lost.

Strategy: the way to a real Valkey is a proxy that delays and slices at random, so that cancels find
calls unsent, on their way, and half answered. Every event tells its stream and its number. Writers
make a cancelled append again, unchanged, as the ticker does.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import pytest
from tests import redis_servers

from holdfast import events
from holdfast.eventlog import base
from holdfast.eventlog.redis import address, engine
from holdfast.testing import fault_proxy, faults
from holdfast.testing.eventlog import parts

SEED = 20_261_129
STREAMS, READERS, CALLS = 30, 120, 25
ROUNDS = int(os.environ.get("HOLDFAST_ROUNDS", "1"))
LIMIT = 60 * ROUNDS
"""Seconds that the whole may take."""

SLOW = faults.Faults(
    up=(faults.Latency(0.002, jitter=0.002),),
    down=(faults.Latency(0.002, jitter=0.002), faults.Slices(900, variation=800)),
)
CONNECTIONS = 3
"""Of an engine on one server: to write, to read, for hints."""

T = TypeVar("T")


class Cancelled(Exception):
    """The call was cancelled, as it was to be."""


class Storm:
    """Makes calls, and counts how they ended."""

    def __init__(self, log: base.EventLog, seed: int) -> None:
        self.log, self.dice = log, random.Random(seed)
        self.done = self.cancelled = 0

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """What it returns; raises `Cancelled`."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        if self.dice.random() < 0.6:
            loop.call_later(self.dice.random() * 0.02, task.cancel)
        try:
            found = await task
        except asyncio.CancelledError:
            self.cancelled += 1
            raise Cancelled from None
        self.done += 1
        return found

    async def write(self, pen: parts.Pen) -> None:
        """Appends until all is there, one batch again and again until its fate is known."""
        for _ in range(CALLS):
            seqs = range(pen.last + 1, pen.last + 1 + self.dice.randint(1, 3))
            tick = (pen.batch(*(parts.chunk(f"{pen.stream} {seq}") for seq in seqs)),)
            while True:
                try:
                    results = await self.call(self.log.append(tick))
                except Cancelled:
                    continue
                break
            assert results == [base.Ok()]
            pen.last = seqs[-1]

    async def read(self, pens: list[parts.Pen]) -> None:
        for _ in range(CALLS):
            pen = self.dice.choice(pens)
            try:
                match self.dice.randrange(4):
                    case 0:
                        info = await self.call(self.log.stat(pen.stream))
                        assert isinstance(info, base.Info)
                        assert info.header.session_id == pen.stream
                    case 1:
                        some = self.dice.sample(pens, 3)
                        heads = await self.call(self.log.heads([one.stream for one in some]))
                        assert [head and head.epoch for head in heads] == [p.epoch for p in some]
                    case _:
                        await self.page(pen)
            except Cancelled:
                pass

    async def page(self, pen: parts.Pen) -> None:
        after = self.dice.randint(1, pen.last)
        page = await self.call(self.log.read(pen.stream, events.Position(pen.epoch, after)))
        assert [event.seq for event in page.events] == [
            after + 1 + at for at in range(len(page.events))
        ]
        for event in page.events:
            assert isinstance(event.body, events.Chunk)
            assert event.body.delta == f"{pen.stream} {event.seq}"


@pytest.fixture
async def proxy(valkey: redis_servers.Server) -> AsyncIterator[fault_proxy.FaultProxy]:
    async with fault_proxy.FaultProxy(valkey.port, SLOW, seed=SEED) as made:
        yield made


@pytest.mark.case("1.15")
async def test_no_answer_goes_to_another_caller(proxy: fault_proxy.FaultProxy) -> None:
    where = address.Address((("127.0.0.1", proxy.port),), database=redis_servers.next_database())
    log = engine.RedisLog(where)
    await log.start()
    try:
        async with asyncio.timeout(LIMIT):
            for number in range(ROUNDS):
                storm = Storm(log, SEED + number)
                pens = [await begun(log) for _ in range(STREAMS)]
                async with asyncio.TaskGroup() as group:
                    for pen in pens:
                        group.create_task(storm.write(pen))
                    for _ in range(READERS):
                        group.create_task(storm.read(pens))
                for pen in pens:
                    found = await parts.read_all(log, pen.stream)
                    assert [event.seq for event in found] == list(range(1, pen.last + 1))
                assert min(storm.done, storm.cancelled) > STREAMS * CALLS / 2
        assert (proxy.accepted, proxy.open) == (CONNECTIONS, CONNECTIONS)
    finally:
        await log.close()


async def begun(log: base.EventLog) -> parts.Pen:
    """A stream whose header names it too."""
    stream = events.new_stream_id()
    life = await log.create(
        stream, parts.header(session_id=stream), (parts.chunk(f"{stream} 1"),), 1_000
    )
    assert isinstance(life, base.Life)
    return parts.Pen(log, stream, life)
