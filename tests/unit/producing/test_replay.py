"""An answer that is told twice: what is written comes once, what is new comes whole.

Strategy: an answer is a list of bodies. Its first telling is gathered by ticks at random places
and cut off at one of them; the second is given in reads of random size. Whatever the cuts, both
together are the answer; and one that differs anywhere in what is written lets nothing through.
"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors, events
from holdfast.producing import pending, replay

EXTRA = msgspec.Raw(b'{"signature":"x"}')
TEXTS = st.text("aé🌊", max_size=4)

CHUNKS = st.builds(
    events.Chunk,
    st.sampled_from(["content", "reasoning", "tool_call", "opaque"]),
    TEXTS,
    st.sampled_from([0, 1]),
    st.sampled_from([None, 0, 1]),
    st.sampled_from([None, "call_1"]),
    st.none(),
    st.sampled_from([None, None, 0, 1]),
    st.sampled_from([msgspec.UNSET, msgspec.UNSET, msgspec.UNSET, EXTRA]),
)
BODIES: st.SearchStrategy[events.Body] = st.one_of(
    CHUNKS,
    st.builds(events.Finish, st.sampled_from([0, 1]), st.just("stop"), st.just("stop")),
    st.builds(events.Usage, st.integers(0, 2)),
    st.builds(events.Citation, st.just("https://example.org/")),
)
ANSWERS = st.lists(BODIES, max_size=12)
CUTS = st.lists(st.integers(0, 12), max_size=6)
SIZES = st.sampled_from([0, 3, 8192])


def ticks(answer: list[events.Body], cuts: list[int], chunk_bytes: int) -> list[events.Body]:
    """The answer as a log has it: gathered from tick to tick, encoded and decoded."""
    found: list[events.Body] = []
    gathered = pending.Pending(chunk_bytes)
    for place, body in enumerate(answer):
        gathered.add(body)
        if place in cuts:
            found += gathered.take()
    found += gathered.take()
    return [_kept(body) for body in found]


def _kept(body: events.Body) -> events.Body:
    draft = events.draft(body)
    return events.Event(draft.kind, draft.data, 1, 1, 0).body


def spelled(bodies: list[events.Body]) -> replay.Written:
    reading = replay.Reading()
    for body in bodies:
        reading.add(body)
    return reading.written


def told_again(
    written: replay.Written, answer: list[events.Body], cuts: list[int]
) -> tuple[list[events.Body], replay.Replay]:
    again, new, read = replay.Replay(written), [], []
    for place, body in enumerate(answer):
        read.append(body)
        if place in cuts:
            new += again.take(read)
            read = []
    return new + again.take(read), again


@given(ANSWERS, CUTS, SIZES, CUTS, st.data())
def test_both_tellings_together_are_the_answer(
    answer: list[events.Body], cuts: list[int], size: int, reads: list[int], data: st.DataObject
) -> None:
    written = ticks(answer, cuts, size)
    written = written[: data.draw(st.integers(0, len(written)))]
    new, again = told_again(spelled(written), answer, reads)
    assert again.caught_up
    assert spelled(written + new) == spelled(answer)
    length = sum(len(body.delta) for body in written if isinstance(body, events.Chunk))
    assert spelled(written).characters == length


@given(ANSWERS, CUTS, SIZES, st.data())
def test_another_answer_is_never_taken_for_it(
    answer: list[events.Body], cuts: list[int], size: int, data: st.DataObject
) -> None:
    written = ticks(answer, cuts, size)
    other = data.draw(ANSWERS)
    sum_of_other = replay.Reading()
    same_begin = False
    for body in other:
        sum_of_other.add(body)
        same_begin = same_begin or sum_of_other.written == spelled(written)
    again = replay.Replay(spelled(written))
    try:
        new = again.take(other)
    except errors.ContinuationDiverged:
        assert not same_begin
    else:
        if again.caught_up:
            assert spelled(written + new) == spelled(other)
        else:
            assert new == []


def test_a_piece_that_is_written_in_part_gives_its_rest() -> None:
    written = spelled([events.Chunk("content", "sea é", 0, None, "id", None, 2)])
    whole = events.Chunk("content", "sea é🌊!", 0, None, "id", None, 2)
    again = replay.Replay(written)
    assert again.take([whole, events.Usage(1)]) == [events.Chunk("content", "🌊!"), events.Usage(1)]


@pytest.mark.parametrize(
    "other",
    [
        events.Chunk("content", "sex"),
        events.Chunk("reasoning", "sea"),
        events.Chunk("content", "sea", 1),
        events.Chunk("content", "sea", 0, None, "id"),
        events.Finish(0, "stop", "stop"),
    ],
    ids=["text", "type", "choice", "id", "kind"],
)
def test_whatever_differs_is_told(other: events.Body) -> None:
    again = replay.Replay(spelled([events.Chunk("content", "sea")]))
    with pytest.raises(errors.ContinuationDiverged):
        again.take([other, events.Chunk("content", " and much more than was written")])
    assert not again.caught_up
    assert again.take([events.Usage(1)]) == []
    with pytest.raises(errors.ContinuationDiverged):
        again.take([events.Finish(0, "stop", "stop")])


def test_what_is_about_calls_is_no_part_of_it() -> None:
    said: list[events.Body] = [events.Kept("resp_1"), events.Chunk("content", "a")]
    noted = [*said, events.Attempt(1, "p", "m", "provider_failed"), events.Adopted(1 << 16)]
    assert spelled(noted) == spelled(said) == spelled([said[1]])
    again = replay.Replay(spelled(said))
    assert again.take([events.Kept("resp_1")]) == []
    assert not again.caught_up
    assert again.take([events.Chunk("content", "a")]) == []
    assert again.caught_up
    assert again.take([events.Kept("resp_1"), events.Chunk("content", "b")]) == [
        events.Chunk("content", "b")
    ]


def test_what_a_call_has_cost_is_no_part_of_it() -> None:
    """A call that breaks off in the middle tells its usage, and may be made again."""
    again = replay.Replay(spelled([events.Chunk("content", "sea")]))
    assert again.take([events.Chunk("content", "s"), events.Usage(1)]) == []
    assert (again.caught_up, again.new) == (False, False)
    assert again.take([events.Chunk("content", "ea")]) == []
    assert (again.caught_up, again.new) == (True, False)
    assert again.take([events.Usage(1)]) == [events.Usage(1)]
    assert not again.new
    assert again.take([events.Chunk("content", "!")]) == [events.Chunk("content", "!")]
    assert again.new
