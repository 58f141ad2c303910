"""Tails answer only with what Redis has, and only what it would answer.

Strategy: whatever is written, every page that a tail gives is compared with that of the reference
streams; where it must not answer, it gives nothing.
"""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors, events
from holdfast.eventlog import base, streams
from holdfast.eventlog.redis import tails
from holdfast.testing.eventlog.parts import COMPLETE, chunk, header

STREAM = events.new_stream_id()
OLD, NEW = 1 << 16, 2 << 16


def batch(last: int, *drafts: events.Draft, epoch: int = NEW) -> base.Batch:
    return base.Batch(STREAM, epoch, last, 7, drafts)


def some(count: int) -> tuple[events.Draft, ...]:
    return tuple(chunk(f"word {number}") for number in range(count))


def filled(*batches: base.Batch, begun: int = 1) -> tails.Tails:
    made = tails.Tails()
    for one in batches:
        made.add(one, begun)
    return made


def seqs(page: base.Page | None) -> list[int] | None:
    return None if page is None else [event.seq for event in page.events]


@pytest.mark.parametrize(
    ("epoch", "seq", "wanted"),
    [
        (NEW, 4, [5, 6, 7, 8]),
        (NEW, 5, [6, 7, 8]),
        (NEW, 7, [8]),
        (NEW, 3, None),  # before the tail
        (NEW, 8, None),  # at the head: another node may have written since
        (NEW, 9, None),  # beyond it
        (OLD, 5, None),  # of a life that has lost this place
        (OLD, 4, None),
        (0, 0, None),
    ],
)
def test_what_a_tail_answers(epoch: int, seq: int, wanted: list[int] | None) -> None:
    made = filled(batch(6, *some(2)), batch(8, *some(2)))
    assert seqs(made.page(STREAM, events.Position(epoch, seq), 10)) == wanted


def test_the_event_before_a_life_is_not_of_it() -> None:
    """A tail that begins with a life cannot say whose the event before is."""
    made = filled(batch(6, *some(2)), begun=5)
    assert made.page(STREAM, events.Position(NEW, 4), 10) is None
    assert seqs(made.page(STREAM, events.Position(NEW, 5), 10)) == [6]


def test_another_stream_has_another_tail() -> None:
    made = filled(batch(2, *some(2)))
    assert made.page(events.new_stream_id(), events.Position(NEW, 1), 10) is None


def test_a_batch_that_is_told_again_is_there_once() -> None:
    made = filled(*2 * [batch(2, *some(2))], batch(3, *some(1)), batch(2, *some(2)))
    assert seqs(made.page(STREAM, events.Position(NEW, 1), 10)) == [2, 3]


@pytest.mark.parametrize(
    "then", [batch(7, *some(2)), batch(4, *some(2)), batch(5, *some(2), epoch=OLD)]
)
def test_a_gap_an_overlap_and_another_life_begin_a_new_tail(then: base.Batch) -> None:
    made = filled(batch(3, *some(3)), then)
    for epoch in (OLD, NEW):
        assert made.page(STREAM, events.Position(epoch, 1), 10) is None
    assert seqs(made.page(STREAM, events.Position(then.epoch, then.last - 1), 10)) == [then.last]


def test_an_empty_batch_begins_nothing() -> None:
    assert len(filled(batch(3))) == 0


def test_dropped_it_answers_no_more() -> None:
    made = filled(batch(2, *some(2)))
    made.drop(STREAM)
    made.drop(STREAM)
    assert made.page(STREAM, events.Position(NEW, 1), 10) is None
    assert len(made) == 0


def test_a_tail_holds_so_many_batches() -> None:
    edge = tails.TAIL_BATCHES
    made = filled(*(batch(last, *some(1)) for last in range(2, edge + 2)))
    assert seqs(made.page(STREAM, events.Position(NEW, 1), edge)) == list(range(2, edge + 2))
    made.add(batch(edge + 2, *some(1)), 1)
    assert made.page(STREAM, events.Position(NEW, 1), edge) is None
    assert seqs(made.page(STREAM, events.Position(NEW, 2), edge)) == list(range(3, edge + 3))


def test_a_tail_holds_so_many_bytes() -> None:
    half = chunk("x" * (tails.TAIL_BYTES // 2 - 200))
    made = filled(batch(2, half), batch(3, half))
    assert seqs(made.page(STREAM, events.Position(NEW, 1), 10)) == [2, 3]
    made.add(batch(4, half), 1)
    assert made.page(STREAM, events.Position(NEW, 1), 10) is None
    assert seqs(made.page(STREAM, events.Position(NEW, 2), 10)) == [3, 4]


def test_a_batch_that_is_larger_than_a_tail_is_kept_alone() -> None:
    large = chunk("x" * 2 * tails.TAIL_BYTES)
    made = filled(batch(2, *some(1)), batch(4, large, *some(1)))
    assert made.page(STREAM, events.Position(NEW, 1), 10) is None
    assert seqs(made.page(STREAM, events.Position(NEW, 2), 10)) == [3, 4]


@given(
    sizes=st.lists(st.integers(0, 4), max_size=12),
    claimed=st.sets(st.integers(0, 11)),
    ends=st.booleans(),
    epoch=st.sampled_from([0, OLD, NEW, NEW + OLD]),
    seq=st.integers(0, 50),
    limit=st.integers(0, 10),
)
def test_a_page_is_that_of_the_stream(
    sizes: list[int], claimed: set[int], ends: bool, epoch: int, seq: int, limit: int
) -> None:
    """Claims of this node end a tail, as its writer does it."""
    stream, made, begun = streams.Stream(STREAM, header()), tails.Tails(), 1
    stream.begin(OLD)
    for number, size in enumerate(sizes):
        if number in claimed:
            begun = stream.last + 1
            stream.begin(stream.epoch + OLD)
            made.drop(STREAM)
        last = ends and number == len(sizes) - 1
        drafts = (*some(size), *([COMPLETE] if last else []))
        one = base.Batch(STREAM, stream.epoch, stream.last + len(drafts), 7, drafts)
        stream.append(one)
        made.add(one, begun)
    after, wanted = events.Position(epoch, seq), None
    with contextlib.suppress(errors.UnknownPosition):
        wanted = stream.page(after, limit)
    found = made.page(STREAM, after, limit)
    assert found is None or found == wanted
