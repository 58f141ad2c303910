"""One answer over many connections: wherever they break, the answer is exact.

Strategy: the scripted server's response is cut at every single byte, from the first of its
head to its last; what the client gave out, and what it asked for next, is compared with what
the bytes before the cut held. Sleeping is simulated, so nothing here waits.
"""

from __future__ import annotations

import random

import pytest
from tests.unit.client import scripted

from holdfast import client, errors, events
from holdfast.client import reading


async def check(answer: reading.AnswerStream, story: scripted.Story) -> None:
    """Reads all events: each exactly once, in order, and the text proved."""
    got = [event async for event in answer]
    assert [event.seq for event in got] == list(range(1, len(story.bodies) + 1))
    assert [event.body for event in got] == story.bodies
    final = await answer.final()
    assert final.choice().content == "".join(scripted.TEXTS)
    assert final.complete == story.bodies[-1]


async def collect(answer: reading.AnswerStream, into: list[events.Event]) -> None:
    async for event in answer:
        into.append(event)


async def test_a_response_in_one_piece() -> None:
    story = scripted.plain()
    async with (
        scripted.serving(story) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert answer.stream_id == scripted.STREAM
        await check(answer, story)
        assert answer.position == events.Position(scripted.EPOCH, len(story.bodies))
        assert answer.reconnects == 0
        assert len(server.asked) == 1


async def test_a_response_byte_by_byte() -> None:
    story = scripted.plain()
    pieces = [story.response()[i : i + 1] for i in range(len(story.response()))]
    async with (
        scripted.serving(story, scripted.says(*pieces)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        await check(answer, story)
        assert answer.reconnects == 0


def whole_events(story: scripted.Story, cut: int) -> int:
    """How many events lie whole before the cut of the response."""
    end, count = len(scripted.begin()), 0
    for block in story.blocks():
        framed = scripted.chunk(block)
        if cut < end + len(framed) - 2:  # without the line break behind the block
            break
        end, count = end + len(framed), count + 1
    return count


async def test_a_response_cut_at_every_byte() -> None:
    story = scripted.plain("Hold ", "𝄞")
    full = story.response()
    text = "Hold 𝄞"
    async with scripted.serving(story) as server, scripted.connected(server) as opened:
        for cut in range(len(full) + 1):
            server.asked.clear()
            server.scenes = [scripted.says(full[:cut])]
            async with opened.stream(**scripted.PROMPT) as answer:
                got = [event async for event in answer]
                assert (await answer.final()).choice().content == text
            assert [event.seq for event in got] == [1, 2, 3, 4, 5]
            had = whole_events(story, cut)
            again = server.asked[1:]
            if had == 5:
                assert again == []
            elif cut < len(scripted.begin()):
                assert [asked.line for asked in again] == ["POST /v1/streams HTTP/1.1"]
                assert again[0].body == server.asked[0].body
                key = "idempotency-key"
                assert again[0].headers[key] == server.asked[0].headers[key]
            else:
                assert [asked.line.split()[0] for asked in again] == ["GET"]
                last = again[0].headers.get("last-event-id", "")
                assert last == (story.id(had) if had else "")


async def test_a_resumed_response_cut_at_every_byte() -> None:
    story = scripted.plain("Hold ", "𝄞")
    full = story.response(after=2)
    async with scripted.serving(story) as server, scripted.connected(server) as opened:
        for cut in range(len(full) + 1):
            server.asked.clear()
            server.scenes = [scripted.says(full[:cut])]
            async with opened.resume(scripted.STREAM, after=f"{scripted.EPOCH}-2") as answer:
                assert [event.seq async for event in answer] == [3, 4, 5]
            assert server.asked[0].headers["last-event-id"] == story.id(2)


@pytest.mark.parametrize("seed", range(20))
async def test_many_cuts_of_one_answer(seed: int) -> None:
    dice = random.Random(seed)
    story = scripted.plain()

    async def cut(connection: scripted.Connection) -> None:
        full = server.respond(connection.asked)
        part = full[: dice.randrange(len(full))]
        size = dice.choice([1, 7, 100, 10_000])
        await connection.send(*(part[i : i + size] for i in range(0, len(part), size)))
        if dice.random() < 0.3:
            connection.reset()

    async with (
        scripted.serving(story, *[cut] * 15) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        await check(answer, story)


async def test_a_reset_in_the_midst_of_an_event() -> None:
    story = scripted.plain()
    half = story.response()[: len(scripted.begin()) + 300]
    async with (
        scripted.serving(story, scripted.says(half, reset=True)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        await check(answer, story)


async def test_a_clean_end_without_the_terminal_event_is_a_cut() -> None:
    story = scripted.plain()
    some = scripted.begin() + scripted.chunk(story.block(1) + story.block(2)) + scripted.END
    async with (
        scripted.serving(story, scripted.says(some)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        await check(answer, story)
        assert answer.reconnects == 1
        assert server.asked[1].headers["last-event-id"] == story.id(2)


async def test_nothing_is_asked_after_the_terminal_event() -> None:
    story = scripted.plain()
    unclean = story.response().removesuffix(scripted.END)
    async with (
        scripted.serving(story, scripted.says(unclean)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        await check(answer, story)
        assert [event async for event in answer] == []
        assert len(server.asked) == 1


async def test_the_first_event_tells_the_id_where_no_header_does() -> None:
    story = scripted.plain()
    nameless = scripted.begin(stream_id="") + scripted.chunk(story.block(1))
    async with (
        scripted.serving(story, scripted.says(nameless)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert answer.stream_id == ""
        await check(answer, story)
        assert answer.stream_id == scripted.STREAM
        assert server.asked[1].line.startswith("GET")


async def test_backing_off_doubles_and_progress_resets_it() -> None:
    story, clock = scripted.plain(), scripted.Time()
    nothing = scripted.says(scripted.begin())
    one_more = scripted.says(scripted.begin() + scripted.chunk(story.block(1)))
    async with (
        scripted.serving(story, nothing, nothing, nothing, one_more) as server,
        scripted.connected(server, clock) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        await check(answer, story)
    assert clock.slept == [0.25, 0.5, 1.0, 0.25]
    assert answer.reconnects == 4


async def test_what_was_had_before_a_rewind_is_no_progress() -> None:
    story, clock = scripted.plain(), scripted.Time()
    again = scripted.begin() + scripted.chunk(scripted.REWIND + story.block(1) + story.block(2))
    first = scripted.begin() + scripted.chunk(story.block(1) + story.block(2))
    async with (
        scripted.serving(story, scripted.says(first), *[scripted.says(again)] * 3) as server,
        scripted.connected(server, clock) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert (await answer.final()).choice().content == "".join(scripted.TEXTS)
    assert clock.slept == [0.25, 0.5, 1.0, 2.0]


async def test_a_refused_connection_is_tried_again() -> None:
    story, clock = scripted.plain(), scripted.Time()
    server = scripted.Server(story)
    await server.open()
    await server.close()

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        if len(clock.slept) == 3:
            await server.open(server.port)

    try:
        async with (
            client.AsyncClient(server.url, clock=clock.clock, sleep=sleep) as opened,
            opened.stream(**scripted.PROMPT) as answer,
        ):
            await check(answer, story)
    finally:
        await server.close()
    assert len(clock.slept) == 3


async def test_giving_up_and_trying_again() -> None:
    story, clock = scripted.plain(), scripted.Time()
    server = scripted.Server(story)
    await server.open()
    async with scripted.connected(server, clock, give_up_after=60.0) as opened:
        server.scenes = [scripted.says(story.response()[:-300])]
        async with opened.stream(**scripted.PROMPT) as answer:
            got = [await anext(answer)]
            await server.close()
            with pytest.raises(errors.GaveUp, match="refused the connection"):
                await collect(answer, got)
            assert sum(clock.slept) <= 60.0 < sum(clock.slept) + 15.0
            assert answer.position.seq == got[-1].seq
            await server.open(server.port)
            await collect(answer, got)
            assert [event.seq for event in got] == list(range(1, len(story.bodies) + 1))
        await server.close()


async def test_giving_up_before_the_first_response() -> None:
    server, clock = scripted.Server(scripted.plain()), scripted.Time()
    await server.open()
    await server.close()
    async with scripted.connected(server, clock) as opened:
        with pytest.raises(errors.GaveUp):
            await opened.stream(**scripted.PROMPT).__aenter__()
    assert 285.0 < sum(clock.slept) <= 300.0
