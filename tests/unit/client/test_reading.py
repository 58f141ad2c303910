"""The answer under way: what it gives out, what ends it, what it refuses to do."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.unit.client import scripted

from holdfast import client, errors, events
from holdfast.client import reading

WHOLE = "".join(scripted.TEXTS)


async def texts(answer: reading.AnswerStream) -> list[str]:
    return [text async for text in answer.text_stream]


async def test_text_comes_piece_by_piece() -> None:
    bodies: list[events.Body] = [
        scripted.start(),
        events.Chunk("reasoning", "Hm."),
        scripted.text("Hold"),
        scripted.text("other", choice=1),
        scripted.text(""),
        events.Chunk("tool_call", "{}", call=0, id="c", name="f"),
        scripted.text("fast"),
        scripted.complete("Holdfast"),
    ]
    async with (
        scripted.serving(scripted.Story(bodies)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert await texts(answer) == ["Hold", "fast"]
        final = await answer.final()
    assert final.choice().reasoning == "Hm."
    assert final.choice().tool_calls[0].name == "f"


async def test_three_ways_read_on_from_the_same_place() -> None:
    async with (
        scripted.serving(scripted.plain()) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert (await anext(answer)).kind == "start"
        assert await anext(answer.text_stream) == "Hold"
        assert await anext(answer.text_stream) == "fast "
        assert answer.so_far.choice().content == "Holdfast "
        assert (await anext(answer)).seq == 4
        assert (await answer.final()).choice().content == WHOLE
        assert await texts(answer) == []
    assert (await answer.final()).choice().content == WHOLE


async def test_heartbeats_are_not_given_out() -> None:
    story = scripted.plain()
    parts = [scripted.chunk(scripted.HEARTBEAT + block + b": ping\n") for block in story.blocks()]
    scene = scripted.says(scripted.begin(), *parts, scripted.END)
    async with (
        scripted.serving(story, scene) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert [event.kind async for event in answer].count("heartbeat") == 0
        assert (await answer.final()).choice().content == WHOLE


def away(retry_ms: int) -> bytes:
    return scripted.transient(events.Reconnect(retry_ms, "drain"), retry_ms=retry_ms)


async def test_reconnect_is_obeyed_at_once() -> None:
    story, clock = scripted.plain(), scripted.Time()
    first = scripted.begin() + scripted.chunk(story.block(1) + away(2500))
    async with (
        # The server does not even close: the event alone sends away.
        scripted.serving(story, scripted.holds(first)) as server,
        scripted.connected(server, clock) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert [event.seq async for event in answer] == list(range(1, len(story.bodies) + 1))
    assert clock.slept == [2.5 + 0.25]
    assert answer.reconnects == 1
    assert server.asked[1].headers["last-event-id"] == story.id(1)


async def test_a_server_that_only_sends_away_is_given_up() -> None:
    story, clock = scripted.plain(), scripted.Time()
    full = scripted.says(scripted.begin() + scripted.chunk(away(60_000)))
    async with (
        scripted.serving(story, *[full] * 10) as server,
        scripted.connected(server, clock) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        with pytest.raises(errors.GaveUp, match="asked to come back: drain") as gave_up:
            await answer.final()
    assert gave_up.value.retry_after == 60.0
    assert sum(clock.slept) <= 300.0


async def test_retry_is_the_delay_after_a_cut() -> None:
    story, clock = scripted.plain(), scripted.Time()
    hint = scripted.transient(events.Heartbeat("now"), retry_ms=4000)
    first = scripted.says(scripted.begin() + scripted.chunk(hint + story.block(1)))
    async with (
        scripted.serving(story, first) as server,
        scripted.connected(server, clock) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        await answer.final()
    assert clock.slept == [4.25]


def rewound(story: scripted.Story, after: int) -> scripted.Scene:
    """The first events, then a rewind of this reader's position and the whole stream."""
    parts = [*story.blocks()[:after], scripted.REWIND, *story.blocks()]
    return scripted.says(scripted.begin(), *map(scripted.chunk, parts), scripted.END)


async def test_a_rewind_is_given_out_and_the_answer_follows_whole() -> None:
    story = scripted.plain()
    async with (
        scripted.serving(story, rewound(story, 3)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        got = [(event.kind, event.seq) async for event in answer]
        final = await answer.final()
    assert got[3] == ("rewind", 0)
    assert [seq for _, seq in got[4:]] == list(range(1, len(story.bodies) + 1))
    assert final.choice().content == WHOLE


async def test_a_cut_after_a_rewind_asks_from_the_first_event() -> None:
    story = scripted.plain()
    first = scripted.begin() + scripted.chunk(story.block(1) + story.block(2) + scripted.REWIND)
    async with (
        scripted.serving(story, scripted.says(first)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert (await answer.final()).choice().content == WHOLE
    assert "last-event-id" not in server.asked[1].headers


async def test_a_rewind_after_text_raises_and_iterating_again_gives_it_whole() -> None:
    story = scripted.plain()
    async with (
        scripted.serving(story, rewound(story, 3)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        given = [await anext(answer.text_stream), await anext(answer.text_stream)]
        assert given == ["Hold", "fast "]
        with pytest.raises(errors.Rewound) as rewind:
            await anext(answer.text_stream)
        assert rewind.value.retryable
        assert await texts(answer) == list(scripted.TEXTS)


async def test_a_durable_rewind_after_text_raises_too() -> None:
    bodies: list[events.Body] = [scripted.start(), scripted.text("wrong"), events.Rewind("restart")]
    story = scripted.story(*bodies, scripted.text("right"), scripted.complete("right"))
    async with (
        scripted.serving(story) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert await anext(answer.text_stream) == "wrong"
        with pytest.raises(errors.Rewound):
            await anext(answer.text_stream)
        assert await texts(answer) == ["right"]
        assert (await answer.final()).choice().content == "right"


async def test_a_rewind_before_any_text_goes_unnoticed() -> None:
    story = scripted.plain()
    async with (
        scripted.serving(story, rewound(story, 1)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert await texts(answer) == list(scripted.TEXTS)


async def test_whoever_saw_the_rewind_event_is_not_told_again() -> None:
    story = scripted.plain()
    async with (
        scripted.serving(story, rewound(story, 3)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert await anext(answer.text_stream) == "Hold"
        async for event in answer:
            if event.kind == "rewind":
                break
        assert await texts(answer) == list(scripted.TEXTS)


async def test_an_error_event_ends_the_answer() -> None:
    failed = events.Error("provider_overloaded", "The provider is overloaded.", True)
    story = scripted.story(scripted.start(), scripted.text("Hal"), failed)
    async with (
        scripted.serving(story) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert await anext(answer.text_stream) == "Hal"
        with pytest.raises(errors.AnswerFailed) as failure:
            await anext(answer.text_stream)
        error = failure.value
        assert (error.code, error.message, error.retryable) == (
            failed.code,
            failed.message,
            failed.retryable,
        )
        with pytest.raises(errors.AnswerFailed):
            await answer.final()
        assert answer.so_far.choice().content == "Hal"


async def test_an_error_event_is_the_last_that_iteration_gives() -> None:
    story = scripted.story(scripted.start(), events.Error("cancelled", "", False))
    async with (
        scripted.serving(story) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert [event.kind async for event in answer] == ["start", "error"]
        assert answer.so_far.status == "cancelled"


async def test_a_wrong_end_fails_every_way_of_reading_for_good() -> None:
    end = scripted.complete("a", sha256="0" * 64)
    story = scripted.story(scripted.start(), scripted.text("a"), end)
    async with (
        scripted.serving(story) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        with pytest.raises(errors.VerificationFailed):
            await texts(answer)
        for _ in range(2):
            with pytest.raises(errors.VerificationFailed):
                await answer.final()
        with pytest.raises(errors.VerificationFailed):
            await anext(answer)
        assert len(server.asked) == 1


async def test_a_gap_is_no_reason_to_come_back() -> None:
    story = scripted.plain()
    scene = scripted.says(scripted.begin(), scripted.chunk(story.block(1) + story.block(3)))
    async with (
        scripted.serving(story, scene) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        with pytest.raises(errors.VerificationFailed, match="a gap between"):
            await answer.final()
        assert len(server.asked) == 1


async def test_an_answer_over_its_limit_ends() -> None:
    async with (
        scripted.serving(scripted.plain()) as server,
        scripted.connected(server, max_answer=300) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        for _ in range(2):
            with pytest.raises(errors.ClientError, match="over 300 bytes"):
                await answer.final()


PROBLEM = json.dumps(
    {"title": "T", "status": 0, "detail": "Why not.", "code": "some_code"}
).encode()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 501])
async def test_a_final_verdict_is_raised_on_entering(status: int) -> None:
    clock = scripted.Time()
    scene = scripted.says(scripted.refusal(status, PROBLEM))
    async with (
        scripted.serving(scripted.plain(), scene) as server,
        scripted.connected(server, clock) as opened,
    ):
        with pytest.raises(errors.RequestRefused, match=r"Why not\.") as refused:
            await opened.stream(**scripted.PROMPT).__aenter__()
    assert (refused.value.status, refused.value.code) == (status, "some_code")
    assert clock.slept == []


async def test_a_final_verdict_in_the_midst_is_raised_where_it_comes() -> None:
    story = scripted.plain()
    first = scripted.says(scripted.begin(), scripted.chunk(story.block(1)))
    gone = scripted.says(scripted.refusal(410, PROBLEM))
    async with (
        scripted.serving(story, first, gone) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert (await anext(answer)).kind == "start"
        for _ in range(2):
            with pytest.raises(errors.RequestRefused):
                await anext(answer)
    assert len(server.asked) == 2


async def test_what_is_no_event_stream_is_refused() -> None:
    page = scripted.begin(content_type="text/html") + scripted.chunk(b"<p>") + scripted.END
    async with (
        scripted.serving(scripted.plain(), scripted.says(page)) as server,
        scripted.connected(server) as opened,
    ):
        with pytest.raises(errors.RequestRefused, match="answered 200, with text/html"):
            await opened.stream(**scripted.PROMPT).__aenter__()


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_passing_refusal_is_waited_out_with_the_same_key(status: int) -> None:
    story, clock = scripted.plain(), scripted.Time()
    scene = scripted.says(scripted.refusal(status, PROBLEM, "Retry-After: 3"))
    async with (
        scripted.serving(story, scene, scene) as server,
        scripted.connected(server, clock) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert (await answer.final()).choice().content == WHOLE
    assert clock.slept == [3.25, 3.5]
    assert [asked.line.split()[0] for asked in server.asked] == ["POST"] * 3
    assert len({(asked.headers["idempotency-key"], asked.body) for asked in server.asked}) == 1
    assert answer.reconnects == 0


async def test_204_confirms_that_nothing_is_left() -> None:
    story = scripted.plain()
    async with (
        scripted.serving(story) as server,
        scripted.connected(server) as opened,
        opened.resume(scripted.STREAM, after=story.id(len(story.bodies))) as answer,
    ):
        assert [event async for event in answer] == []
        # What only the whole can prove is read again.
        assert (await answer.final()).choice().content == WHOLE
    assert "last-event-id" not in server.asked[1].headers


async def test_204_without_the_terminal_event_is_not_believed() -> None:
    story = scripted.plain()
    first = scripted.says(scripted.begin(), scripted.chunk(story.block(1)))
    async with (
        scripted.serving(story, first, scripted.says(scripted.refusal(204))) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        with pytest.raises(errors.VerificationFailed, match="sent no end"):
            await answer.final()


async def test_resuming_gives_the_rest_and_final_proves_the_whole() -> None:
    story = scripted.plain()
    async with (
        scripted.serving(story) as server,
        scripted.connected(server) as opened,
        opened.resume(scripted.STREAM, after=events.Position(scripted.EPOCH, 3)) as answer,
    ):
        assert await texts(answer) == list(scripted.TEXTS[2:])
        assert (await answer.final()).choice().content == WHOLE
    assert [asked.headers.get("last-event-id") for asked in server.asked] == [story.id(3), None]


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
    scene = scripted.holds(scripted.begin())
    async with (
        scripted.serving(scripted.plain(), scene) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        task = asyncio.create_task(answer.final())
        await asyncio.sleep(0)
        await opened.close()
        with pytest.raises(errors.ClientError, match="is closed"):
            await task
        with pytest.raises(errors.ClientError, match="is closed"):
            await opened.stream(**scripted.PROMPT).__aenter__()


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

    scene = scripted.says(scripted.begin(), scripted.chunk(away(8000)))
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
        client.AsyncClient(server.url, read_timeout=0.05, sleep=sleep) as opened,
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
