"""Blocks: a batch as bytes, and nothing that is not this batch in its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.redis import blocks
from holdfast.testing.eventlog import parts

STREAM = events.StreamId("0" * 26)
OTHER = events.StreamId("1" * 26)
BATCH = (parts.chunk("\U0001f980\n"), parts.chunk(""), parts.COMPLETE)
BLOB = blocks.pack(STREAM, 65_537, 9, BATCH, 5_000)
ENTRY = b"65537-9"


@given(texts=st.lists(st.text(), min_size=1, max_size=5), ts=st.integers(0, 2**53))
def test_a_batch_comes_back_as_it_went(texts: list[str], ts: int) -> None:
    batch = tuple(map(parts.chunk, texts))
    last = 7 + len(batch)
    found = list(
        blocks.unpack(STREAM, b"70000-%d" % last, blocks.pack(STREAM, 70_000, last, batch, ts))
    )
    assert [(event.kind, event.data) for event in found] == [
        (draft.kind, draft.data) for draft in batch
    ]
    assert [event.seq for event in found] == list(range(8, last + 1))
    assert {(event.epoch, event.ts) for event in found} == {(70_000, ts)}


def test_a_flipped_bit_is_seen_wherever_it_is() -> None:
    for at in range(len(BLOB)):
        broken = bytearray(BLOB)
        broken[at] ^= 1
        with pytest.raises(errors.LogCorrupt):
            list(blocks.unpack(STREAM, ENTRY, bytes(broken)))
    for size in range(len(BLOB)):
        with pytest.raises(errors.LogCorrupt):
            list(blocks.unpack(STREAM, ENTRY, BLOB[:size]))


@pytest.mark.parametrize(
    ("stream", "entry"),
    [
        (OTHER, ENTRY),
        (STREAM, b"65537-8"),
        (STREAM, b"65538-9"),
        (STREAM, b"x"),
        (STREAM, b"1-2-3"),
    ],
)
def test_a_block_of_another_place_is_refused(stream: events.StreamId, entry: bytes) -> None:
    """So an answer to another question is never taken for the one that was asked."""
    assert len(list(blocks.unpack(STREAM, ENTRY, BLOB))) == 3
    with pytest.raises(errors.LogCorrupt, match=str(stream)):
        list(blocks.unpack(stream, entry, BLOB))


def test_a_header_comes_back_with_its_request() -> None:
    for header in (parts.header(), parts.header(request=b""), parts.header(owner="ü/é")):
        bare, request = blocks.pack_header(STREAM, header)
        assert blocks.unpack_header(STREAM, bare, request) == header
        assert (request == b"") == (header.request == b"")
        with pytest.raises(errors.LogCorrupt):
            blocks.unpack_header(OTHER, bare, b"")
    with pytest.raises(errors.LogCorrupt):
        blocks.unpack_header(OTHER, *blocks.pack_header(STREAM, parts.header()))
    assert isinstance(parts.header(), base.Header)
