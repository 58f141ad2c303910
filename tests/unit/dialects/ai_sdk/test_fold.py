"""Events as frames: what nearly all of them are is copied, and must not show it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dialects.ai_sdk import reading

from holdfast import errors, events
from holdfast.dialects import ai_sdk

DIALECT = ai_sdk.Dialect()

TEXTS = st.one_of(
    st.text(max_size=6), st.sampled_from(['","', '\\","name":"x', '"}', "\\", "\n", "\u2028", '",'])
)
BLOCKS = st.sampled_from([None, None, None, 0, 1])
EXTRAS = st.sampled_from(
    [msgspec.UNSET, msgspec.UNSET, msgspec.Raw(b'{"a":"b"}'), msgspec.Raw(b'"x"')]
)
TYPES: Any = st.sampled_from(["content", "content", "content", "reasoning", "refusal", "opaque"])
CHUNKS = st.builds(
    events.Chunk,
    TYPES,
    TEXTS,
    choice=st.sampled_from([0, 0, 0, 1]),
    name=st.sampled_from([None, None, "n"]),
    block=BLOCKS,
    extra=EXTRAS,
)
CALLS = st.builds(
    events.Chunk,
    st.just("tool_call"),
    st.sampled_from(["", "{", "}", '"a":', "1", '{"a":"b"}', "]"]),
    call=st.sampled_from([None, 0, 1, 2]),
    id=st.sampled_from([None, "", "c", "d"]),
    name=st.sampled_from([None, "f", ""]),
    extra=st.sampled_from(
        [msgspec.UNSET, msgspec.Raw(b'"x"'), msgspec.Raw(b'{"thoughtSignature":"s"}')]
    ),
)
NOTES = st.sampled_from(
    [
        events.Finish(0, "stop", None),
        events.Usage(input_tokens=1),
        events.Citation("https://a.example"),
        events.Attempt(2, "p", "m", error="e"),
        events.Fallback("a/b", "c/d", "why", True, 0, 0),
        events.Adopted(1),
        events.Kept("k"),
    ]
)
ENDS = st.sampled_from(
    [
        reading.complete(),
        reading.complete("tool_calls", usage=events.Tokens(1, 2, 3)),
        events.Error("provider_failed", "It broke.", True),
        events.Error(errors.Cancelled.code, "Stopped.", False),
        events.Rewind("restart"),
    ]
)
STREAMS = st.tuples(st.lists(CHUNKS | CALLS | NOTES, max_size=20), ENDS)


def told(bodies: list[events.Body]) -> list[bytes]:
    """The frames of each event, the start first."""
    fold = DIALECT.fold(reading.STREAM, reading.HEADER)
    return [fold.render(event) for event in reading.numbered([reading.START, *bodies])]


@given(STREAMS)
def test_any_stream_is_a_message_that_ends_once(
    stream: tuple[list[events.Body], events.Body],
) -> None:
    bodies, end = stream
    frames = told([*bodies, end, reading.complete(), events.Chunk("content", "late")])
    found = reading.chunks(b"".join(frames))
    made = reading.message(found)
    types = [chunk["type"] for chunk in found]
    ends = [kind for kind in types if kind in reading.ENDS]
    assert len(ends) == 1
    assert types[-2:] == [ends[0], "done"] if ends[0] != "error" else types[-1] == "error"
    text = "".join(part["text"] for part in made["parts"] if part["type"] == "text")
    spoken = [one for one in bodies if isinstance(one, events.Chunk) and not one.choice]
    assert text == "".join(one.delta for one in spoken if one.type in ("content", "refusal"))
    thought = "".join(part["text"] for part in made["parts"] if part["type"] == "reasoning")
    assert thought == "".join(one.delta for one in spoken if one.type == "reasoning")


@given(STREAMS)
def test_the_answer_as_one_message_is_what_a_page_makes_of_the_stream(
    stream: tuple[list[events.Body], events.Body],
) -> None:
    bodies, end = stream
    whole = DIALECT.whole(reading.STREAM, reading.HEADER)
    for event in reading.numbered([reading.START, *bodies, end]):
        whole.add(event)
    page = reading.message(reading.chunks(b"".join(told([*bodies, end]))))
    assert msgspec.json.decode(whole.body()) == page


@given(STREAMS)
def test_every_reader_gets_the_same_bytes(stream: tuple[list[events.Body], events.Body]) -> None:
    bodies, end = stream
    assert told([*bodies, end]) == told([*bodies, end])


def test_a_piece_is_copied_as_it_is_stored() -> None:
    spoken: list[events.Body] = [events.Chunk("content", text) for text in ("A", 'é"\\', '","')]
    assert told(spoken)[1:] == [
        b'data: {"type":"text-start","id":"0"}\n\n'
        b'data: {"type":"text-delta","id":"0","delta":"A"}\n\n',
        'data: {"type":"text-delta","id":"0","delta":"é\\"\\\\"}\n\n'.encode(),
        b'data: {"type":"text-delta","id":"0","delta":"\\",\\""}\n\n',
    ]


@pytest.mark.parametrize("kind", ["content", "reasoning"])
def test_a_piece_with_more_beside_it_is_not_copied(kind: events.ChunkType) -> None:
    first = events.Chunk(kind, "A")
    beside = events.Chunk(kind, "B", extra=msgspec.Raw(b'"x"'))
    assert b"extra" not in b"".join(told([first, beside]))


def test_a_lost_place_is_an_error_and_the_end() -> None:
    fold = DIALECT.fold(reading.STREAM, reading.HEADER)
    start, piece, more = reading.numbered(
        [reading.START, events.Chunk("content", "A"), events.Chunk("content", "B")]
    )
    fold.render(start)
    fold.render(piece)
    assert not fold.ended
    (chunk,) = reading.chunks(fold.rewind("unknown_position"))
    assert chunk["type"] == "error"
    assert '"code":"unknown_position"' in chunk["errorText"]
    assert fold.ended
    assert fold.render(more) == b""
