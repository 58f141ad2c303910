"""Readers that join around the end of an answer: each gets the rest, and the same end.

Strategy: the streams are the demo's and end within a few turns of the event loop; readers of the
service itself, without HTTP, join at drawn positions and drawn moments, from before the last
event to after the terminal one. What each was given is compared with what the log holds. That
the same holds over the wire, for tabs that stay and tabs that come and go, is in test_resume.py.
"""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.integration import asking, harness

from holdfast import events, request
from holdfast import service as holdfast_service

JOINS = 10_000
STREAMS = 100
PIECES = 12

WANTED = request.Request(
    "demo",
    [request.Message("user", f"Hello.\n/demo rate=100000 tokens={PIECES} reasoning=3")],
    flush_interval_ms=0,
)


async def read(
    service: holdfast_service.Service, stream: events.StreamId, after: events.Position
) -> list[events.Event]:
    async with asyncio.timeout(harness.PATIENCE):
        return [event async for event in service.events(stream, after)]


async def joining(service: holdfast_service.Service, seed: int) -> tuple[int, int]:
    """One stream: how many readers joined while it was written, and how many after its end."""
    roll = random.Random(seed)
    made = await service.create(WANTED)
    seen: list[events.Event] = []
    lead = service.events(made.stream)
    joined: list[tuple[events.Position, asyncio.Task[list[events.Event]]]] = []

    def join() -> None:
        after = roll.choice(seen).position if seen and roll.random() < 0.9 else events.BEGIN
        joined.append((after, asyncio.create_task(read(service, made.stream, after))))

    share = JOINS // STREAMS
    async with asyncio.timeout(harness.PATIENCE):
        async for event in lead:
            seen.append(event)
            if len(seen) >= PIECES and len(joined) < share // 2:
                for _ in range(roll.randrange(share // 4)):
                    join()
                    for _ in range(roll.randrange(3)):
                        await asyncio.sleep(0)
    before = len(joined)
    while len(joined) < share:
        join()
        for _ in range(roll.randrange(3)):
            await asyncio.sleep(0)
    for after, task in joined:
        got = await task
        assert got == [event for event in seen if event.seq > after.seq]
    assert seen[-1].kind == "complete"
    return before, len(joined) - before


@pytest.mark.case("1.32")
async def test_who_joins_around_the_end_gets_the_rest_and_the_end() -> None:
    async with harness.running(harness.configured()) as server:
        counts = [await joining(server.service, seed) for seed in range(STREAMS)]
        assert sum(early + late for early, late in counts) == JOINS
        assert min(sum(early for early, _ in counts), sum(late for _, late in counts)) > JOINS / 10
        await asking.idle(server)
