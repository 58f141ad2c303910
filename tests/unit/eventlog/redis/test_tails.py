"""The tails: what this node wrote last answers a read only where it is the whole truth."""

from __future__ import annotations

from holdfast import events
from holdfast.eventlog import base
from holdfast.eventlog.redis import tails
from holdfast.testing.eventlog import parts

STREAM = events.new_stream_id()
EPOCH = 1 << 16


def batch(last: int, *drafts: events.Draft, epoch: int = EPOCH) -> base.Batch:
    return base.Batch(STREAM, epoch, last, 5_000, drafts)


def filled(begun: int = 1) -> tails.Tails:
    """Events 2 to 6 of a life that began at `begun`."""
    found = tails.Tails()
    found.add(batch(3, parts.chunk("b"), parts.chunk("c")), begun)
    found.add(batch(4, parts.chunk("d")), begun)
    found.add(batch(6, parts.chunk("e"), parts.chunk("f")), begun)
    return found


def seqs(page: base.Page | None) -> list[int] | None:
    return None if page is None else [event.seq for event in page.events]


def read(some: tails.Tails, seq: int, epoch: int = EPOCH, limit: int = 100) -> base.Page | None:
    return some.page(STREAM, events.Position(epoch, seq), limit)


def test_what_follows_a_position_comes_whole() -> None:
    for seq in range(1, 6):
        assert seqs(read(filled(), seq)) == list(range(seq + 1, 7))


def test_what_is_not_the_tails_to_judge_is_asked_of_redis() -> None:
    assert read(filled(), 0) is None  # before it
    assert read(filled(), 6) is None  # at its end: another node may have written more
    assert read(filled(), 7) is None
    assert read(filled(), 3, EPOCH + 1) is None
    assert filled().page(events.new_stream_id(), events.Position(EPOCH, 3), 100) is None


def test_the_event_before_a_life_s_first_is_of_another_life() -> None:
    """So a position that names this life there was never good."""
    assert read(filled(begun=2), 1) is None
    assert seqs(read(filled(begun=2), 2)) == [3, 4, 5, 6]


def test_a_page_is_as_large_as_is_asked_for_and_says_that_there_is_more() -> None:
    page = read(filled(), 2, limit=2)
    assert page is not None
    assert (seqs(page), page.more, page.closed) == ([3, 4], True, False)
    page = read(filled(), 2, limit=4)
    assert page is not None
    assert (page.more, page.position) == (False, events.Position(EPOCH, 6))


def test_the_end_closes_the_page_that_reaches_it() -> None:
    some = filled()
    some.add(batch(7, parts.COMPLETE), 1)
    page = read(some, 5)
    assert page is not None
    assert (seqs(page), page.closed) == ([6, 7], True)
    page = read(some, 5, limit=1)
    assert page is not None
    assert not page.closed


def test_a_batch_that_is_told_again_changes_nothing() -> None:
    some = filled()
    some.add(batch(6, parts.chunk("e"), parts.chunk("f")), 1)
    some.add(batch(4, parts.chunk("d")), 1)
    some.add(batch(6), 1)
    assert seqs(read(some, 1)) == [2, 3, 4, 5, 6]


def test_a_gap_or_another_life_begins_anew() -> None:
    some = filled()
    some.add(batch(9, parts.chunk("i")), 1)
    assert read(some, 5) is None
    assert seqs(read(some, 8)) == [9]
    some.add(batch(10, parts.chunk("j"), epoch=2 * EPOCH), 10)
    assert read(some, 8) is None
    assert read(some, 9, 2 * EPOCH) is None


def test_a_tail_is_bounded_in_batches_and_in_bytes() -> None:
    some = tails.Tails()
    for last in range(2, 3 * tails.TAIL_BATCHES):
        some.add(batch(last, parts.chunk("x")), 1)
    newest = 3 * tails.TAIL_BATCHES - 1
    assert read(some, newest - tails.TAIL_BATCHES - 1) is None
    found = seqs(read(some, newest - tails.TAIL_BATCHES))
    assert found == list(range(newest - tails.TAIL_BATCHES + 1, newest + 1))
    some = tails.Tails()
    for last in range(2, 10):
        some.add(batch(last, parts.chunk("x" * (tails.TAIL_BYTES // 2))), 1)
    assert read(some, 7) is None
    assert seqs(read(some, 8)) == [9]


def test_what_is_dropped_is_asked_of_redis() -> None:
    some = filled()
    some.drop(STREAM)
    some.drop(STREAM)
    assert read(some, 3) is None
    assert len(some) == 0
