"""Events as frames: what nearly all of them are is copied, and must not show it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from tests.unit.dialects.ai_sdk import drawn, reading

from holdfast import events
from holdfast.dialects import ai_sdk

DIALECT = ai_sdk.Dialect()


def told(bodies: list[events.Body]) -> list[bytes]:
    """The frames of each event, the start first."""
    fold = DIALECT.fold(reading.STREAM, reading.HEADER)
    return [fold.render(event) for event in reading.numbered([reading.START, *bodies])]


@given(drawn.STREAMS)
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


@given(drawn.STREAMS)
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
