"""The Redis engine's judgement of positions and of what it is given to read.

Strategy: which position a stream holds is compared with the reference streams, for all lives and
numbers around its edges.
"""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors, events
from holdfast.eventlog import streams
from holdfast.eventlog.redis import blocks, pages
from holdfast.sealing import codec
from holdfast.testing.eventlog.parts import COMPLETE, chunk, header

STREAM = events.new_stream_id()


def lives(runs: bytes) -> pages.Lives:
    found, _ = pages.said(STREAM, runs, b"0")
    return found


@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_a_position_is_good_where_the_stream_has_it(lengths: list[int]) -> None:
    stream, runs = streams.Stream(STREAM, header()), []
    for number, length in enumerate(lengths, 1):
        runs.append(b"%d:%d" % (number << 16, stream.last + 1))
        stream.begin(number << 16)
        stream.write(length * (chunk("x"),), 7)
    for epoch in (0, 1, *(number << 16 for number in range(1, len(lengths) + 2))):
        for seq in range(stream.last + 2):
            good = False
            with contextlib.suppress(errors.UnknownPosition):
                stream.page(events.Position(epoch, seq), 1)
                good = True
            held = pages.holds(lives(b",".join(runs)), stream.last, events.Position(epoch, seq))
            assert held is good, (epoch, seq)


def test_a_stream_without_events_holds_the_beginning_alone() -> None:
    assert pages.holds(lives(b"65536:1"), 0, events.BEGIN)
    assert not pages.holds(lives(b"65536:1"), 0, events.Position(1 << 16, 1))


RUNS = b"%d:1" % (1 << 16)


def entries(*lasts: tuple[int, int], epoch: int = 1 << 16, end: bool = False) -> list[bytes]:
    """Of batches that end at these numbers and have so many events; `end`: the last one closes."""
    found: list[bytes] = []
    for last, count in lasts:
        drafts = count * (chunk("x"),)
        if end and (last, count) == lasts[-1]:
            drafts = (*drafts[1:], COMPLETE)
        block = blocks.pack(codec.PLAIN, STREAM, epoch, last, drafts, 7)
        found += [b"%d-%d" % (epoch, last), block]
    return found


def after(
    seq: int, given_: list[bytes], last: int, runs: bytes = RUNS, *, ended: bool = False
) -> list[int]:
    position = events.Position(1 << 16, seq)
    found = pages.after(STREAM, codec.PLAIN, lives(runs), position, given_, last, ended=ended)
    return [event.seq for event in found]


@pytest.mark.parametrize(
    ("seq", "given_", "last", "wanted"),
    [
        (0, entries((3, 3), (5, 2)), 5, [1, 2, 3, 4, 5]),
        (2, entries((3, 3), (5, 2)), 5, [3, 4, 5]),
        (2, entries((3, 3)), 9, [3]),  # the rest is asked for next
        (5, [], 5, []),
        (0, [], 0, []),
    ],
)
def test_the_events_after_a_position(
    seq: int, given_: list[bytes], last: int, wanted: list[int]
) -> None:
    assert after(seq, given_, last) == wanted


@pytest.mark.parametrize(
    ("seq", "given_", "last"),
    [
        (0, [], 5),  # all of them are gone
        (0, entries((5, 2)), 5),  # the first
        (3, entries((7, 2)), 9),  # the next
        (0, entries((3, 3), (7, 2)), 9),  # one in between
        (0, entries((3, 3), (3, 3)), 9),  # one is there twice
        (2, entries((2, 2)), 5),  # none that is new
        (0, entries((3, 3), (5, 2)), 4),  # more than there are
    ],
)
def test_a_gap_is_told(seq: int, given_: list[bytes], last: int) -> None:
    with pytest.raises(errors.LogCorrupt, match=STREAM):
        after(seq, given_, last)


def test_what_another_life_wrote_there_is_refused() -> None:
    """As after a failover that lost a tail, of which somebody has a copy."""
    earlier, later = 1 << 16, 2 << 16
    runs = b"%d:1,%d:4" % (earlier, later)
    mine = [*entries((3, 3)), *entries((4, 1), (6, 2), epoch=later)]
    assert after(0, mine, 6, runs) == [1, 2, 3, 4, 5, 6]
    for other in (
        entries((3, 3), (4, 1), (6, 2)),  # as the earlier one had gone on
        [*entries((3, 3), (4, 1)), *entries((6, 2), epoch=later)],
        [*entries((3, 3), epoch=later), *entries((4, 1), (6, 2), epoch=later)],
    ):
        with pytest.raises(errors.LogCorrupt, match="another life"):
            after(0, other, 6, runs)


@pytest.mark.parametrize("seq", [0, 2, 5])
def test_what_is_closed_has_its_end(seq: int) -> None:
    whole = entries((3, 3), (5, 2), end=True)
    assert after(seq, whole, 5, ended=True) == list(range(seq + 1, 6))
    for cut in (entries((3, 3), (5, 2)), []):
        with pytest.raises(errors.LogCorrupt, match=STREAM):
            after(seq, cut, 5, ended=True)
    with pytest.raises(errors.LogCorrupt, match="lacks its end"):
        after(7, whole, 7, ended=True)  # to who is told of more than there was
    assert after(0, entries((3, 3)), 5, ended=True) == [1, 2, 3]  # the rest is asked for next


@pytest.mark.parametrize(
    ("runs", "seq"), [(b"", b"1"), (b"1:1,", b"1"), (b"1:x", b"1"), (b"1:1", b"")]
)
def test_what_is_no_sense_is_refused(runs: bytes, seq: bytes) -> None:
    with pytest.raises(errors.LogCorrupt, match=STREAM):
        pages.said(STREAM, runs, seq)
