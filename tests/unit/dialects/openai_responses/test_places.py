"""A reader that comes back gets exactly what it has not got."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.dialects.openai_responses import reading
from tests.unit.dialects.openai_responses.reading import content, numbered, told

from holdfast import errors, events
from holdfast.dialects import openai_responses
from holdfast.dialects.openai_responses import fold, places

BODIES: list[Any] = [
    reading.START,
    events.Chunk("reasoning", "Hm."),
    content("a"),
    events.Adopted(2),
    content('"b"'),
    events.Chunk("tool_call", "{}", call=0, id="c", name="f"),
    content("c"),
]
ENDS: list[Any] = [
    reading.complete(),
    events.Error("provider_failed", "No.", False),
    events.Rewind("restart"),
]


def made() -> fold.Fold:
    return fold.Fold(reading.STREAM, reading.header(padded=True))


def behind(stream: list[events.Event], number: int) -> bytes | None:
    """What a reader gets behind this number, by the way that the route goes."""
    spoken = made()
    for at, event in enumerate(stream):
        rest = places.behind(spoken, event, number)
        if rest is not None:
            resumed = places.Resumed(spoken, rest)
            return b"".join(map(resumed.render, stream[at:]))
    return None


@pytest.mark.parametrize("end", ENDS, ids=lambda end: str(end.kind))
@pytest.mark.parametrize("claims", [(), (3,), (1, 4, 7)], ids=str)
def test_all_that_follows_each_frame_byte_for_byte(end: Any, claims: tuple[int, ...]) -> None:
    stream = numbered([*BODIES, end, *ENDS[:1]], claims)
    spoken = made()
    whole = b"".join(map(spoken.render, stream))
    seen = 0
    for event in told(whole):
        seen = whole.index(b"\n\n", seen) + 2
        assert behind(stream, event["sequence_number"]) == whole[seen:]
    assert seen == len(whole)


def test_a_number_that_never_was_is_not_guessed() -> None:
    stream = numbered([*BODIES, ENDS[0]], (3,))
    numbers = {event["sequence_number"] for event in told(b"".join(map(made().render, stream)))}
    last, claimed = max(numbers), 2 << 32
    before = max(number for number in numbers if number < claimed)
    for number in (before + 1, claimed - 1, last + 1, 10**17):
        assert behind(stream, number) is None


def test_one_that_is_read_on_ends_as_its_fold_does() -> None:
    first, *others = numbered([*BODIES, events.Rewind("restart")])
    spoken = made()
    rest = places.behind(spoken, first, 1)
    assert rest == b""
    resumed = places.Resumed(spoken, rest)
    for event in [first, *others]:
        resumed.render(event)
    assert resumed.ended
    said = told(places.Resumed(made(), b"").rewind("unknown_position"))
    assert said[0]["code"] == errors.Rewound.code


def test_ids_of_responses_and_of_streams() -> None:
    dialect = openai_responses.Dialect()
    assert dialect.stream_of(f"resp_{reading.STREAM}") == reading.STREAM
    assert dialect.stream_of(reading.STREAM) == ""
