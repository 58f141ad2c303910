"""How an answer ends: proved, failed, refused, or read to its end before."""

from __future__ import annotations

import json

import pytest
from tests.unit.client import scripted

from holdfast import errors, events

WHOLE = "".join(scripted.TEXTS)


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
            await scripted.texts(answer)
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
        assert await scripted.texts(answer) == list(scripted.TEXTS[2:])
        assert (await answer.final()).choice().content == WHOLE
    assert [asked.headers.get("last-event-id") for asked in server.asked] == [story.id(3), None]


async def test_final_in_the_midst_of_a_rest_leaves_it_for_the_whole() -> None:
    story, clock = scripted.plain(), scripted.Time()
    rest = scripted.holds(scripted.begin(), *map(scripted.chunk, story.blocks(3)[:2]))
    async with (
        scripted.serving(story, rest) as server,
        scripted.connected(server, clock) as opened,
        opened.resume(scripted.STREAM, after=story.id(3)) as answer,
    ):
        assert (await anext(answer)).seq == 4
        assert (await answer.final()).choice().content == WHOLE
    assert clock.slept == []


async def test_time_counts_from_entering() -> None:
    clock = scripted.Time()
    async with (
        scripted.serving(scripted.plain(), scripted.says()) as server,
        scripted.connected(server, clock) as opened,
    ):
        answer = opened.stream(**scripted.PROMPT)
        clock.now += 1000.0
        async with answer:
            assert (await answer.final()).choice().content == WHOLE
