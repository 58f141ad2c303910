"""The answer as one message: what a page makes of the stream."""

from __future__ import annotations

import msgspec
from hypothesis import given
from tests.unit.dialects.ai_sdk import drawn, reading

from holdfast import events
from holdfast.dialects import ai_sdk

DIALECT = ai_sdk.Dialect()


@given(drawn.STREAMS)
def test_it_is_what_a_page_makes_of_the_stream(
    stream: tuple[list[events.Body], events.Body],
) -> None:
    bodies, end = stream
    if isinstance(end, events.Rewind):
        return  # which a page cannot follow
    whole = DIALECT.whole(reading.STREAM, reading.HEADER)
    fold = DIALECT.fold(reading.STREAM, reading.HEADER)
    frames = []
    for event in reading.numbered([reading.START, *bodies, end]):
        whole.add(event)
        frames.append(fold.render(event))
    page = reading.message(reading.chunks(b"".join(frames)))
    assert msgspec.json.decode(whole.body()) == page


def test_it_can_be_had_in_the_middle() -> None:
    whole = DIALECT.whole(reading.STREAM, reading.HEADER)
    start, first, second = reading.numbered(
        [reading.START, events.Chunk("content", "Sa"), events.Chunk("content", "lt")]
    )
    whole.add(start)
    whole.add(first)
    for event, text in ((None, "Sa"), (second, "Salt")):
        if event is not None:
            whole.add(event)
        part = {"type": "text", "text": text, "state": "streaming"}
        assert msgspec.json.decode(whole.body())["parts"] == [{"type": "step-start"}, part]


def test_an_answer_that_began_anew_is_the_new_one_alone() -> None:
    call = events.Chunk("tool_call", "{}", call=0, id="c", name="f")
    old: list[events.Body] = [events.Chunk("content", "Sa"), call, events.Rewind("restart")]
    new: list[events.Body] = [events.Chunk("content", "Tide"), reading.complete()]
    made = []
    for bodies in (old + new, new):
        whole = DIALECT.whole(reading.STREAM, reading.HEADER)
        for event in reading.numbered([reading.START, *bodies]):
            whole.add(event)
        made.append(msgspec.json.decode(whole.body()))
    assert made[0] == made[1]
    assert made[0]["parts"][1:] == [{"type": "text", "text": "Tide", "state": "done"}]
