"""Blocks are read as they were written, or not at all.

Strategy: each byte of a block and of a header is changed once, and each is shown where it does not
belong: in another stream, under another id. None may pass, and what is said holds no text.
"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors, events
from holdfast.eventlog.redis import blocks
from holdfast.sealing import codec
from holdfast.testing.eventlog.parts import COMPLETE, chunk, header

STREAM, OTHER = events.StreamId("s" * 32), events.StreamId("o" * 32)
EPOCH = (3 << 16) + 5
DRAFTS = (chunk("secret one"), chunk("secret two"), COMPLETE)
BLOCK = blocks.pack(codec.PLAIN, STREAM, EPOCH, 9, DRAFTS, 77)
ENTRY = b"%d-9" % EPOCH
SEALED = codec.Sealed(b"k" * codec.KEY_BYTES, b"", "me", STREAM)


def unpacked(
    blob: bytes, stream: events.StreamId = STREAM, entry: bytes = ENTRY
) -> list[events.Event]:
    return list(blocks.unpack(codec.PLAIN, stream, entry, blob))


def test_a_block_has_its_events() -> None:
    assert unpacked(BLOCK) == [
        events.Event(draft.kind, draft.data, EPOCH, seq, 77)
        for seq, draft in zip((7, 8, 9), DRAFTS, strict=True)
    ]


@given(
    texts=st.lists(st.text(max_size=50), min_size=1, max_size=20),
    epoch=st.integers(1, 2**62),
    before=st.integers(0, 2**40),
    ts=st.integers(0, 2**42),
)
def test_any_block_has_its_events(texts: list[str], epoch: int, before: int, ts: int) -> None:
    drafts, last = tuple(map(chunk, texts)), before + len(texts)
    blob = blocks.pack(codec.PLAIN, STREAM, epoch, last, drafts, ts)
    found = unpacked(blob, entry=b"%d-%d" % (epoch, last))
    assert [(event.kind, event.data) for event in found] == [(d.kind, d.data) for d in drafts]
    assert [event.seq for event in found] == list(range(before + 1, last + 1))
    assert {(event.epoch, event.ts) for event in found} == {(epoch, ts)}


def changed(blob: bytes) -> list[bytes]:
    """With each byte another, without the last bytes, with one more."""
    flipped = [
        blob[:at] + bytes([blob[at] ^ mask]) + blob[at + 1 :]
        for at in range(len(blob))
        for mask in (0x01, 0x80)
    ]
    return [*flipped, *(blob[:size] for size in range(len(blob))), blob + b"\0"]


@pytest.mark.parametrize("how", [codec.PLAIN, SEALED], ids=["plain", "sealed"])
def test_a_changed_block_is_refused(how: codec.Codec) -> None:
    block = blocks.pack(how, STREAM, EPOCH, 9, DRAFTS, 77)
    assert len(list(blocks.unpack(how, STREAM, ENTRY, block))) == 3
    for blob in changed(block):
        with pytest.raises(errors.LogCorrupt) as caught:
            list(blocks.unpack(how, STREAM, ENTRY, blob))
        assert STREAM in caught.value.message
        assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("stream", "entry"),
    [
        (OTHER, ENTRY),
        (STREAM, b"%d-10" % EPOCH),
        (STREAM, b"%d-9" % (EPOCH + 1)),
        (STREAM, b"%d" % EPOCH),
        (STREAM, b"%d-9-9" % EPOCH),
        (STREAM, b""),
        (STREAM, b"one-two"),
    ],
)
def test_a_block_of_another_place_is_refused(stream: events.StreamId, entry: bytes) -> None:
    with pytest.raises(errors.LogCorrupt):
        unpacked(BLOCK, stream, entry)


@pytest.mark.parametrize(
    "block",
    [
        (77, b"\2\2", (1,), b"x"),  # an event without its size
        (77, b"\2", (2,), b"x"),  # more bytes than there are
        (77, b"\2", (1,), b"xy"),  # fewer
        (77, b"\7", (1,), b"x"),  # a kind that nobody knows
        (77, b"\2", (1,)),
        ("now", b"\2", (1,), b"x"),
    ],
)
def test_a_sealed_block_of_no_sense_is_refused(block: object) -> None:
    """As if a newer version, or a bug, had written it."""
    place = b"%b:%d-%d" % (STREAM.encode(), EPOCH, 9)
    blob = codec.PLAIN.pack(codec.BATCH, msgspec.msgpack.encode(block), place)
    with pytest.raises(errors.LogCorrupt):
        unpacked(blob)


@pytest.mark.parametrize("request_", [b"", b'{"q":"secret"}'])
def test_a_header_is_read_as_it_was_written(request_: bytes) -> None:
    wanted = header(5, request=request_, session_id="s", buffer_size=3)
    assert (
        blocks.unpack_header(codec.PLAIN, STREAM, *blocks.pack_header(codec.PLAIN, STREAM, wanted))
        == wanted
    )


@pytest.mark.parametrize("how", [codec.PLAIN, SEALED], ids=["plain", "sealed"])
def test_a_changed_header_is_refused(how: codec.Codec) -> None:
    bare, request = blocks.pack_header(how, STREAM, header())
    assert blocks.unpack_header(how, STREAM, bare, request) == header()
    pairs = [(blob, request) for blob in changed(bare)]
    pairs += [(bare, blob) for blob in changed(request) if blob]
    for pair in [*pairs, (request, bare), (bare, bare), (BLOCK, b"")]:
        with pytest.raises(errors.LogCorrupt) as caught:
            blocks.unpack_header(how, STREAM, *pair)
        assert STREAM in caught.value.message


def test_a_header_of_another_stream_is_refused() -> None:
    mine, others = (
        blocks.pack_header(codec.PLAIN, STREAM, header()),
        blocks.pack_header(codec.PLAIN, OTHER, header()),
    )
    for pair in ((others[0], mine[1]), (mine[0], others[1])):
        with pytest.raises(errors.LogCorrupt):
            blocks.unpack_header(codec.PLAIN, STREAM, *pair)


def test_a_header_may_have_fields_that_are_not_known_here() -> None:
    newer = {"owner": "me", "created_at": 1, "provider": "p", "model": "m", "colour": "green"}
    blob = codec.PLAIN.pack(codec.HEADER, msgspec.msgpack.encode(newer), STREAM.encode())
    assert blocks.unpack_header(codec.PLAIN, STREAM, blob, b"").owner == "me"
