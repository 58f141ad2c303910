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
from holdfast.eventlog import base, streams
from holdfast.eventlog.redis import blocks, engine
from holdfast.testing.eventlog.parts import chunk, header

STREAM = events.new_stream_id()


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
            held = engine._holds(b",".join(runs), stream.last, events.Position(epoch, seq))
            assert held is good, (epoch, seq)


def test_a_stream_without_events_holds_the_beginning_alone() -> None:
    assert engine._holds(b"65536:1", 0, events.BEGIN)
    assert not engine._holds(b"65536:1", 0, events.Position(1 << 16, 1))


def entries(*lasts: tuple[int, int]) -> list[bytes]:
    """Of batches that end at these numbers and have so many events."""
    found: list[bytes] = []
    for last, count in lasts:
        block = blocks.pack(STREAM, 1 << 16, last, count * (chunk("x"),), 7)
        found += [b"%d-%d" % (1 << 16, last), block]
    return found


@pytest.mark.parametrize(
    ("after", "given_", "last", "wanted"),
    [
        (0, entries((3, 3), (5, 2)), 5, [1, 2, 3, 4, 5]),
        (2, entries((3, 3), (5, 2)), 5, [3, 4, 5]),
        (2, entries((3, 3)), 9, [3]),  # the rest is asked for next
        (5, [], 5, []),
        (0, [], 0, []),
    ],
)
def test_the_events_after_a_position(
    after: int, given_: list[bytes], last: int, wanted: list[int]
) -> None:
    found = engine._after(STREAM, events.Position(1 << 16, after), given_, last)
    assert [event.seq for event in found] == wanted


@pytest.mark.parametrize(
    ("after", "given_", "last"),
    [
        (0, [], 5),  # all of them are gone
        (0, entries((5, 2)), 5),  # the first
        (3, entries((7, 2)), 9),  # the next
        (0, entries((3, 3), (7, 2)), 9),  # one in between
        (0, entries((3, 3), (3, 3)), 9),  # one is there twice
        (2, entries((2, 2)), 5),  # none that is new
    ],
)
def test_a_gap_is_told(after: int, given_: list[bytes], last: int) -> None:
    with pytest.raises(errors.LogCorrupt, match=STREAM):
        engine._after(STREAM, events.Position(1 << 16, after), given_, last)


def test_what_is_known_of_a_stream() -> None:
    bare, request = blocks.pack_header(STREAM, header())
    fields = {b"header": bare, b"request": request, b"epoch": b"65536", b"seq": b"1"}
    info = base.Info(STREAM, header(), base.Head(65536, 1, False), "pending")
    assert engine._known(STREAM, fields) == info
    ended = {b"ended": b"9", b"status": b"error", b"said": b"1", b"cancelled": b"1"}
    assert engine._known(STREAM, {**fields, **ended}) == base.Info(
        STREAM, header(), base.Head(65536, 1, True), "error", cancelled=True, ended_at=9
    )
    running = engine._known(STREAM, {**fields, b"said": b"1"})
    assert isinstance(running, base.Info)
    assert running.status == "streaming"
    assert engine._known(STREAM, {b"expired": b"5", b"owner": b"me"}) == base.Tombstone("me", 5)
    assert engine._known(STREAM, {}) is None
