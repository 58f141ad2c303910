"""How an answer may be used: leaving, closing, cancelling, waiting, reading slowly."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.client import scripted

from holdfast import client, errors, events

WHOLE = "".join(scripted.TEXTS)


async def test_leaving_early_closes_the_connection_and_cancels_nothing() -> None:
    story = scripted.plain()
    left = asyncio.Event()

    async def scene(connection: scripted.Connection) -> None:
        await connection.send(scripted.begin(), scripted.chunk(story.block(1) + story.block(2)))
        await connection.gone()
        left.set()

    async with scripted.serving(story, scene) as server, scripted.connected(server) as opened:
        async with opened.stream(**scripted.PROMPT) as answer:
            assert await anext(answer.text_stream) == "Hold"
        await asyncio.wait_for(left.wait(), 5)
        with pytest.raises(errors.ClientError, match="is closed"):
            await anext(answer)
        with pytest.raises(errors.ClientError, match="is closed"):
            await answer.final()
    assert len(server.asked) == 1


async def test_an_answer_that_was_not_entered_cannot_be_read() -> None:
    async with (
        scripted.serving(scripted.plain()) as server,
        scripted.connected(server) as opened,
    ):
        with pytest.raises(errors.ClientError, match="is closed"):
            await anext(opened.stream(**scripted.PROMPT))
    assert server.asked == []


async def test_an_answer_outlives_no_client() -> None:
    scene, clock = scripted.holds(scripted.begin()), scripted.Time()
    async with (
        scripted.serving(scripted.plain(), scene) as server,
        scripted.connected(server, clock) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        task = asyncio.create_task(answer.final())
        await asyncio.sleep(0)
        await opened.close()
        with pytest.raises(errors.ClientError, match="is closed"):
            await task
        with pytest.raises(errors.ClientError, match="is closed"):
            await opened.stream(**scripted.PROMPT).__aenter__()
    assert clock.slept == []


async def test_one_task_reads_at_a_time() -> None:
    story, more = scripted.plain(), asyncio.Event()

    async def scene(connection: scripted.Connection) -> None:
        await connection.send(scripted.begin())
        await more.wait()
        await connection.send(story.response().removeprefix(scripted.begin()))

    async with (
        scripted.serving(story, scene) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        first = asyncio.create_task(answer.final())
        await asyncio.sleep(0)
        with pytest.raises(errors.ClientError, match="Another task"):
            await anext(answer)
        more.set()
        assert (await first).choice().content == WHOLE


async def test_a_cancelled_read_can_be_tried_again() -> None:
    """Cancelled at every turn of the event loop, the answer is exact all the same."""
    story = scripted.plain()

    async def cut(connection: scripted.Connection) -> None:
        await connection.send(server.respond(connection.asked)[:700])

    async with (
        scripted.serving(story, *[cut] * 20) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        got: list[events.Event] = []
        turns = 0
        while not got or got[-1].kind != "complete":
            task = asyncio.ensure_future(anext(answer))
            for _ in range(turns % 40):
                await asyncio.sleep(0)
            turns += 1
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                got.append(task.result())
        assert [event.seq for event in got] == list(range(1, len(story.bodies) + 1))
        assert (await answer.final()).choice().content == WHOLE
        assert turns > len(got)


async def test_cancelling_does_not_prolong_the_delay() -> None:
    story, clock = scripted.plain(), scripted.Time()
    asleep: list[float] = []

    async def sleep(seconds: float) -> None:
        """Half of it passes, and whoever waits is tired of it; the last one is slept out."""
        asleep.append(seconds)
        clock.now += seconds / 2 if len(asleep) < 4 else seconds
        if len(asleep) < 4:
            raise asyncio.CancelledError

    scene = scripted.says(scripted.begin(), scripted.chunk(scripted.away(8000)))
    async with (
        scripted.serving(story, scene) as server,
        client.AsyncClient(server.url, clock=clock.clock, sleep=sleep, draw=lambda: 0.0) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        for _ in range(3):
            with pytest.raises(asyncio.CancelledError):
                await anext(answer)
        assert (await anext(answer)).kind == "start"
    assert asleep == [8.0, 4.0, 2.0, 1.0]


async def test_silence_counts_as_a_cut() -> None:
    story, clock = scripted.plain(), scripted.Time()
    mute = scripted.holds(scripted.begin(), scripted.chunk(story.block(1)))
    async with (
        scripted.serving(story, mute) as server,
        scripted.connected(server, clock) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert (await anext(answer)).kind == "start"
        clock.now += 45.0
        assert (await anext(answer)).seq == 2
    assert len(server.asked) == 2


async def test_no_head_in_time_is_asked_again() -> None:
    async def sleep(seconds: float) -> None:
        pass

    async with (
        scripted.serving(scripted.plain(), scripted.holds()) as server,
        client.AsyncClient(
            server.url, read_timeout=0.05, give_up_after=10.0, sleep=sleep
        ) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert (await answer.final()).choice().content == WHOLE
    assert len(server.asked) >= 2


async def test_entering_can_be_cancelled() -> None:
    heard, left = asyncio.Event(), asyncio.Event()

    async def mute(connection: scripted.Connection) -> None:
        heard.set()
        await connection.gone()
        left.set()

    async with (
        scripted.serving(scripted.plain(), mute) as server,
        scripted.connected(server) as opened,
    ):
        task = asyncio.create_task(opened.stream(**scripted.PROMPT).__aenter__())
        await heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(left.wait(), 5)


async def test_a_slow_consumer_stops_the_server_and_loses_nothing() -> None:
    piece = "x" * 16_384
    story = scripted.plain(*[piece] * 1024)
    sent = 0

    async def scene(connection: scripted.Connection) -> None:
        nonlocal sent
        await connection.send(scripted.begin())
        for block in story.blocks():
            await connection.send(scripted.chunk(block))
            sent += 1
        await connection.send(scripted.END)

    async with (
        scripted.serving(story, scene) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert (await anext(answer)).kind == "start"
        still, before = 0, -1
        while still < 200:  # turns of the loop in which the server could not send
            still, before = (still + 1 if sent == before else 0), sent
            await asyncio.sleep(0)
        assert sent < 1000
        final = await answer.final()
        assert final.choice().content == piece * 1024
        assert answer.reconnects == 0
    assert sent == len(story.bodies)
