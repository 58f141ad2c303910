"""The answer under way: what it gives out, and what it makes of rewind and reconnect."""

from __future__ import annotations

import pytest
from tests.unit.client import scripted

from holdfast import errors, events

WHOLE = "".join(scripted.TEXTS)


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
        assert await scripted.texts(answer) == ["Hold", "fast"]
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
        assert await scripted.texts(answer) == []
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


async def test_reconnect_is_obeyed_at_once() -> None:
    story, clock = scripted.plain(), scripted.Time()
    first = scripted.begin() + scripted.chunk(story.block(1) + scripted.away(2500))
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
    full = scripted.says(scripted.begin() + scripted.chunk(scripted.away(60_000)))
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
        assert await scripted.texts(answer) == list(scripted.TEXTS)


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
        assert await scripted.texts(answer) == ["right"]
        assert (await answer.final()).choice().content == "right"


async def test_a_rewind_before_any_text_goes_unnoticed() -> None:
    story = scripted.plain()
    async with (
        scripted.serving(story, rewound(story, 1)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert await scripted.texts(answer) == list(scripted.TEXTS)


def rewound_twice(story: scripted.Story) -> scripted.Scene:
    """A second rewind comes before there is text again."""
    parts = [*story.blocks()[:3], scripted.REWIND, story.block(1), scripted.REWIND, *story.blocks()]
    return scripted.says(scripted.begin(), *map(scripted.chunk, parts), scripted.END)


async def test_text_that_is_void_already_is_not_void_again() -> None:
    story = scripted.plain()
    async with (
        scripted.serving(story, rewound_twice(story)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        with pytest.raises(errors.Rewound):
            await scripted.texts(answer)
        assert await scripted.texts(answer) == list(scripted.TEXTS)


async def test_whoever_saw_the_rewind_event_is_not_told_again() -> None:
    story = scripted.plain()
    async with (
        scripted.serving(story, rewound_twice(story)) as server,
        scripted.connected(server) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert await anext(answer.text_stream) == "Hold"
        async for event in answer:
            if event.kind == "rewind":
                break
        assert await scripted.texts(answer) == list(scripted.TEXTS)
