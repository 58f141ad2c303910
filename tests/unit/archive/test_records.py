"""Segments as they are cut, and how much of a stream is in memory meanwhile."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.archives import EPOCH, OLD_EPOCH, Told, told

from holdfast import errors, events, storage
from holdfast.archive import records
from holdfast.sealing import codec, ring, sealer


async def cut(one: Told, size: int = 7) -> list[records.Segment]:
    return [part async for group in records.groups(one.info, one.pages(size)) for part in group]


async def test_a_segment_is_of_one_life_and_holds_so_much_at_most() -> None:
    texts = ["a"] * 1500 + ["b" * 40_000] * 3 + ["c" * 200_000] + ["d"] * 10
    one = told(*texts, adopted=True)
    segments = await cut(one)
    for part in segments:
        assert len(part.kinds) <= records.SEGMENT_EVENTS
        assert len(part.data) <= records.SEGMENT_BYTES or len(part.kinds) == 1
        assert part.crcs == [
            zlib.crc32(event.data) for event in one.all[part.first - 1 : part.last]
        ]
    assert [part.first for part in segments[1:]] == [part.last + 1 for part in segments[:-1]]
    assert [part.epoch for part in segments] == sorted(part.epoch for part in segments)
    assert {part.epoch for part in segments} == {OLD_EPOCH, EPOCH}
    assert len(segments) < 10
    full = [part for part in segments if len(part.kinds) == records.SEGMENT_EVENTS]
    assert len(full) == 0 or full[0].last - full[0].first == records.SEGMENT_EVENTS - 1


async def test_a_segment_may_be_full_to_the_last_byte_and_event() -> None:
    overhead = len(events.draft(events.Chunk("content", "x")).data) - 1
    half = "x" * (records.SEGMENT_BYTES // 2 - overhead)
    start = len(told().all[0].data)
    exact = "x" * (records.SEGMENT_BYTES - 2 * overhead - start - len("y"))
    segments = await cut(told(exact, "y", half, half, "z"))
    assert [len(part.data) for part in segments[:2]] == [records.SEGMENT_BYTES] * 2
    many = await cut(told(*["a"] * (2 * records.SEGMENT_EVENTS - 2)))
    assert [len(part.kinds) for part in many] == [records.SEGMENT_EVENTS] * 2


async def test_rule_3_a_stream_is_never_whole_in_memory() -> None:
    """A group is given out before the next one is asked for."""
    one, asked, given = told(*["x" * 10_000] * 1000), 0, 0

    async def pages() -> AsyncIterator[Sequence[events.Event]]:
        nonlocal asked
        for event in one.all:
            asked += len(event.data)
            yield (event,)

    async for group in records.groups(one.info, pages()):
        given += sum(len(part.data) for part in group)
        assert asked - given <= records.SEGMENT_BYTES + 20_000
        assert sum(len(part.data) for part in group) <= records.GROUP_BYTES + 20_000
    assert given == asked > 9 * records.GROUP_BYTES


@given(
    sizes=st.lists(st.integers(0, 40_000), max_size=30),
    after=st.integers(0, 31),
    limit=st.integers(0, 40),
    adopted=st.booleans(),
)
async def test_a_page_is_the_same_whatever_the_segments(
    sizes: list[int], after: int, limit: int, adopted: bool
) -> None:
    one = told(*("x" * size for size in sizes), adopted=adopted)
    position = one.all[after - 1].position if 0 < after <= len(one.all) else events.BEGIN
    pager = records.Pager(one.info.head, position, limit)
    for part in await cut(one):
        if part.last > position.seq and not pager.full:
            pager.add(part)
    rest = one.all[position.seq :]
    assert pager.page == storage.cut(rest, position, limit, len(one.all), ended=True)


async def test_bytes_fit_their_own_place_alone() -> None:
    one, other = told("a", adopted=True), told("a", adopted=True)
    first, second = await cut(one)
    row = records.packed(codec.PLAIN, one.info.stream, first)
    assert records.unpacked(codec.PLAIN, one.info.stream, row) == first
    places = [(other.info.stream, first.epoch, 1), (one.info.stream, second.epoch, 1)]
    for stream, epoch, seq in [*places, (one.info.stream, first.epoch, second.first)]:
        moved = msgspec.structs.replace(row, epoch=epoch, first=seq)
        with pytest.raises(errors.LogCorrupt):
            records.unpacked(codec.PLAIN, stream, moved)


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_stream_takes_less_than_two_fifths_of_its_bytes(sealed: bool) -> None:
    """An answer of a thousand tokens, told as providers tell them, of a text that people wrote."""
    text = (Path(__file__).parents[3] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    one = told(*re.findall(r" ?\w{1,6}|\W", text)[:1000])
    by: codec.Codec = codec.PLAIN
    if sealed:
        ring_key = ring.RingKey("a" * 16, b"k" * 32, 0)
        sealer_ = sealer.Sealer(ring.Ring((ring_key,)))
        by = sealer_.new(one.info.stream, "acme/ann", ring_key.id)
    rows = [records.packed(by, one.info.stream, part) for part in await cut(one)]
    assert sum(len(row.data) for row in rows) < 0.4 * sum(len(event.data) for event in one.all)
