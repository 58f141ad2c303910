"""What the file's blobs hold: the bytes, the way back, and what is refused."""

from __future__ import annotations

import sys
from array import array
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors, events
from holdfast.eventlog import base, streams
from holdfast.eventlog.sqlite import redo
from holdfast.sealing import codec
from holdfast.testing.eventlog.parts import COMPLETE, chunk, header
from holdfast.testing.eventlog.sealing import OLD, by

STREAM = events.StreamId("0123456789ABCDEFGHIJabcdef")
PLAIN = (redo.Create, redo.Append, redo.Claim, redo.Cancel)
A, B = events.Draft("chunk", b"{}"), events.Draft("complete", b'{"x":1}')
OPERATIONS: list[redo.Operation] = [
    redo.Create(STREAM, header(request=b"secret prompt", client_id="c"), 65536, (A,), 1),
    redo.Append((base.Batch(STREAM, 65536, 3, 5, (A, A)), base.Batch(STREAM, 1, 2, 3, ()))),
    redo.Claim(STREAM, 131072, (A,), 7),
    redo.Cancel(STREAM),
]


def test_operations_come_back_in_their_order() -> None:
    blob = redo.pack_group([redo.encode(operation) for operation in OPERATIONS])
    assert redo.unpack_group(blob) == OPERATIONS
    many = [redo.Cancel(events.new_stream_id()) for _ in range(300)]
    assert redo.unpack_group(redo.pack_group([redo.encode(one) for one in many])) == many


def test_the_bytes_are_these() -> None:
    """A file that an older version wrote must stay readable: change this test with care."""
    tick = redo.Append((base.Batch(STREAM, 65537, 2, 9, (A,)),))
    payload = (
        b"\xdd\x00\x00\x00\x02"
        b"\x82\xa2op\xa6append\xa4tick\x91\x85\xa6stream\xba0123456789ABCDEFGHIJabcdef"
        b"\xa5epoch\xce\x00\x01\x00\x01\xa4last\x02\xa2ts\x09"
        b"\xa6drafts\x91\x82\xa4kind\xa5chunk\xa4data\xc4\x02{}"
        b"\x82\xa2op\xa6cancel\xa6stream\xba0123456789ABCDEFGHIJabcdef"
    )
    blob = redo.pack_group([redo.encode(tick), redo.encode(redo.Cancel(STREAM))])
    assert codec.PLAIN.unpack(codec.REDO, blob) == payload
    assert set(msgspec.structs.asdict(OPERATIONS[0])) == {
        "stream", "header", "epoch", "drafts", "ts"
    }  # fmt: skip
    assert [field.name for field in msgspec.structs.fields(redo.Block)] == [
        "first", "runs", "cancelled", "order", "kinds", "ends", "times", "data"
    ]  # fmt: skip


def test_the_request_is_sealed_by_itself() -> None:
    sealed = codec.PLAIN.pack(codec.REQUEST, b"secret prompt")
    assert sealed in redo.encode(OPERATIONS[0])
    blob = redo.pack_header(header(request=b"secret prompt"))
    assert sealed in blob
    assert redo.unpack_header(blob) == header(request=b"secret prompt")
    assert redo.unpack_header(redo.pack_header(header(request=b""))) == header(request=b"")


def test_of_a_sealed_stream_only_its_place_is_in_clear() -> None:
    sealing = by(OLD)
    mine = sealing.new(STREAM, "me", OLD.id)
    plain = events.new_stream_id()
    both = redo.Append((base.Batch(plain, 1, 2, 3, (A,)), base.Batch(STREAM, 9, 3, 5, (A, B))))
    told = [*OPERATIONS, both, redo.Append((base.Batch(plain, 1, 3, 3, (A,)),))]
    blob = redo.pack_group([redo.encode(operation, {STREAM: mine}) for operation in told])
    assert b"secret prompt" not in blob
    create, append, claim, cancel, mixed, other = redo.unpack_group(blob)
    assert isinstance(create, redo.SealedCreate)
    assert isinstance(append, redo.SealedAppend)
    assert isinstance(claim, redo.SealedClaim)
    assert isinstance(mixed, redo.SealedAppend)
    assert (cancel, other) == (OPERATIONS[3], told[-1])
    was = OPERATIONS[0]
    assert isinstance(was, redo.Create)
    assert redo.unpack_header(create.header, mine) == was.header
    assert (create.owner, create.created_at, create.epoch, create.ts) == ("me", 1_000, 65536, 1)
    assert redo.open_drafts(create, mine) == redo.open_drafts(claim, mine) == (A,)
    assert [redo.open_drafts(unit, mine) for unit in append.tick] == [(A, A), ()]
    assert redo.open_drafts(mixed.tick[0], codec.PLAIN) == (A,)
    assert redo.open_drafts(mixed.tick[1], mine) == (A, B)
    assert [redo.is_plain(one) for one in (create, append, claim, cancel, mixed, other)] == [
        False, False, False, False, True, True
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{"epoch": 65537}, {"last": 4}, {"count": 1}, {"sealed": b""}, {"sealed": b"\x01\x00"}],
)
def test_a_unit_in_another_place_does_not_open(change: dict[str, Any]) -> None:
    mine = by(OLD).new(STREAM, "me", OLD.id)
    (made,) = redo.unpack_group(redo.pack_group([redo.encode(OPERATIONS[1], {STREAM: mine})]))
    assert isinstance(made, redo.SealedAppend)
    with pytest.raises(errors.LogCorrupt):
        redo.open_drafts(msgspec.structs.replace(made.tick[0], **change), mine)
    with pytest.raises(errors.LogCorrupt):
        redo.open_drafts(made.tick[0], by(OLD).new(STREAM, "me", OLD.id))
    with pytest.raises(errors.LogCorrupt, match="has no key"):
        redo.open_drafts(made.tick[0], codec.PLAIN)


def test_what_cannot_be_read_back_is_corrupt() -> None:
    blob = redo.pack_group([redo.encode(operation) for operation in OPERATIONS])
    for length in (0, 5, 6, len(blob) - 1):
        with pytest.raises(errors.LogCorrupt):
            redo.unpack_group(blob[:length])
    for payload in (b"", b"\x91\xa1x", b"\xdd\x00\x00\x00\x02\xc0", b"\x91\x81\xa2op\xa3new"):
        with pytest.raises(errors.LogCorrupt, match="payload cannot be read"):
            redo.unpack_group(codec.PLAIN.pack(codec.REDO, payload))
    with pytest.raises(errors.LogCorrupt, match="payload cannot be read"):
        redo.unpack_header(codec.PLAIN.pack(codec.HEADER, b"\x80"))
    with pytest.raises(errors.LogCorrupt, match="payload cannot be read"):
        redo.unpack_block(codec.RECORD, codec.PLAIN.pack(codec.RECORD, b"\xc3"))
    broken = msgspec.msgpack.encode(header(request=b"not sealed"))
    with pytest.raises(errors.LogCorrupt, match="frame version"):
        redo.unpack_header(codec.PLAIN.pack(codec.HEADER, broken))


def stream_of(*drafts: events.Draft) -> streams.Stream:
    all_streams = streams.Streams()
    all_streams.create(STREAM, header(), 65536, drafts, 1)
    found = all_streams.get(STREAM)
    assert found is not None
    return found


def same(one: streams.Stream, other: streams.Stream) -> bool:
    names = set(streams.Stream.__slots__)
    return all(getattr(one, name) == getattr(other, name) for name in names)


@pytest.mark.parametrize("count", [1, 2, 300])
def test_a_stream_comes_back_from_one_block_or_from_many(count: int) -> None:
    whole = stream_of(*(chunk(f"{n} \u2028") for n in range(count)), COMPLETE)
    whole.runs, whole.epoch = ((1, 65536), (2, 131072)), 131072
    whole.cancelled = True
    for step in (1, 7, count + 1):
        copy, first = streams.Stream(STREAM, whole.header), 1
        while first <= whole.last:
            block = redo.cut(whole, first)
            part = streams.Stream(STREAM, whole.header)
            if step <= count:  # as if it had been cut when the stream was that long
                size = step * 8
                ends = array("Q", block.ends[:size])
                start = whole.ends[first - 2] if first > 1 else 0
                block = msgspec.structs.replace(
                    block,
                    kinds=block.kinds[:step],
                    ends=block.ends[:size],
                    times=block.times[:size],
                    data=block.data[: ends[-1] - start],
                )
            blob = redo.pack_block(codec.SEGMENT, block)
            redo.extend(copy, redo.unpack_block(codec.SEGMENT, blob))
            assert part.last == 0
            first = copy.last + 1
        assert same(copy, whole)
        assert copy.ended_at == 1


def test_a_block_from_a_machine_of_the_other_byte_order_is_read() -> None:
    whole = stream_of(chunk("a"), chunk("b"))
    block = redo.cut(whole, 1)
    ends, times = array("Q", block.ends), array("Q", block.times)
    ends.byteswap()
    times.byteswap()
    other = {"little": "big", "big": "little"}[sys.byteorder]
    copy = streams.Stream(STREAM, whole.header)
    redo.extend(
        copy,
        msgspec.structs.replace(block, order=other, ends=ends.tobytes(), times=times.tobytes()),
    )
    assert same(copy, whole)


@pytest.mark.parametrize(
    "change",
    [
        {"first": 2},
        {"kinds": b"\x02"},
        {"ends": bytes(8)},
        {"ends": bytes(16)},
        {"ends": bytes(15)},
        {"times": bytes(24)},
        {"times": bytes(3)},
        {"data": b"{}"},
    ],
)
def test_a_block_that_does_not_fit_is_corrupt(change: dict[str, object]) -> None:
    whole = stream_of(chunk("a"), chunk("b"))
    block = msgspec.structs.replace(redo.cut(whole, 1), **change)
    with pytest.raises(errors.LogCorrupt):
        redo.extend(streams.Stream(STREAM, whole.header), block)


def test_an_empty_block_changes_the_flag_alone() -> None:
    whole = stream_of(chunk("a"))
    copy = streams.Stream(STREAM, whole.header)
    redo.extend(copy, redo.cut(whole, 1))
    whole.cancelled = True
    redo.extend(copy, redo.cut(whole, 2))
    assert same(copy, whole)
    empty = streams.Stream(STREAM, whole.header)
    empty.begin(65536)
    redo.extend(copy := streams.Stream(STREAM, whole.header), redo.cut(empty, 1))
    assert same(copy, empty)


IDS = [events.new_stream_id() for _ in range(3)]
EPOCHS = st.integers(1, 3).map(lambda counter: counter << 16)
CREATES = st.builds(
    redo.Create, st.sampled_from(IDS), st.just(header()), st.just(65536), st.just((A,)), st.just(1)
)
BATCHES = st.builds(
    base.Batch,
    st.sampled_from(IDS),
    EPOCHS,
    st.integers(1, 6),
    st.just(5),
    st.sampled_from([(A,), (A, A), (A, B)]),
)
OTHERS = st.one_of(
    st.builds(redo.Append, st.lists(BATCHES, max_size=3).map(tuple)),
    st.builds(redo.Claim, st.sampled_from(IDS), EPOCHS, st.just((A,)), st.just(7)),
    st.builds(redo.Cancel, st.sampled_from(IDS)),
)


@given(st.lists(st.one_of(CREATES, OTHERS), max_size=30))
def test_the_same_operations_make_the_same_streams(operations: list[redo.Operation]) -> None:
    live, again = streams.Streams(), streams.Streams()
    verdicts = [redo.apply(live, operation) for operation in operations]
    blob = redo.pack_group([redo.encode(operation) for operation in operations])
    read = [operation for operation in redo.unpack_group(blob) if isinstance(operation, PLAIN)]
    assert [redo.apply(again, operation) for operation in read] == verdicts
    assert len(live) == len(again)
    for stream in live:
        found = again.get(stream.id)
        assert found is not None
        assert same(stream, found)
