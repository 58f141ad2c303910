"""Sealed bytes come back as they were, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors
from holdfast.sealing import codec

KINDS = st.sampled_from(
    [codec.REDO, codec.SEGMENT, codec.RECORD, codec.HEADER, codec.REQUEST, codec.BATCH]
)


def test_the_frame_is_what_the_docstring_says() -> None:
    # The CRC-32 of 01 00 01 "abc", as gzip writes it.
    assert codec.PLAIN.pack(codec.REDO, b"abc") == b"\x01\x00" + bytes.fromhex("b38d4708") + b"abc"
    assert len(codec.PLAIN.pack(codec.REDO, b"")) == codec.OVERHEAD
    assert (codec.REDO, codec.SEGMENT, codec.RECORD, codec.HEADER, codec.REQUEST) == (1, 2, 3, 4, 5)


@given(KINDS, st.binary(max_size=2000))
def test_what_was_packed_comes_back(kind: int, data: bytes) -> None:
    assert codec.PLAIN.unpack(kind, codec.PLAIN.pack(kind, data)) == data


def test_every_changed_bit_is_seen() -> None:
    blob = codec.PLAIN.pack(codec.RECORD, b"some bytes")
    for bit in range(len(blob) * 8):
        broken = bytearray(blob)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(errors.LogCorrupt):
            codec.PLAIN.unpack(codec.RECORD, bytes(broken))


def test_every_cut_is_seen() -> None:
    blob = codec.PLAIN.pack(codec.RECORD, b"some bytes")
    for length in range(len(blob)):
        with pytest.raises(errors.LogCorrupt):
            codec.PLAIN.unpack(codec.RECORD, blob[:length])
    with pytest.raises(errors.LogCorrupt):
        codec.PLAIN.unpack(codec.RECORD, blob + b"\0")


def test_bytes_of_another_kind_are_refused() -> None:
    with pytest.raises(errors.LogCorrupt, match="checksum"):
        codec.PLAIN.unpack(codec.RECORD, codec.PLAIN.pack(codec.SEGMENT, b"some bytes"))


def test_what_a_newer_version_made_is_refused_by_name() -> None:
    blob = codec.PLAIN.pack(codec.REDO, b"x")
    with pytest.raises(errors.LogCorrupt, match="unknown codec 7, made by a newer version"):
        codec.PLAIN.unpack(codec.REDO, blob[:1] + b"\x07" + blob[2:])
    with pytest.raises(errors.LogCorrupt, match="unknown frame version 2, made by a newer"):
        codec.PLAIN.unpack(codec.REDO, b"\x02" + blob[1:])
    with pytest.raises(errors.LogCorrupt, match="5 bytes are too few"):
        codec.PLAIN.unpack(codec.REDO, blob[:5])


@given(KINDS, st.binary(max_size=200), st.binary(min_size=1, max_size=50), st.binary(max_size=50))
def test_bytes_of_one_place_are_refused_in_another(
    kind: int, data: bytes, bound: bytes, other: bytes
) -> None:
    blob = codec.PLAIN.pack(kind, data, bound)
    assert len(blob) == codec.OVERHEAD + len(data)
    assert codec.PLAIN.unpack(kind, blob, bound) == data
    for wrong in {b"", bound + b"x", other} - {bound}:
        with pytest.raises(errors.LogCorrupt):
            codec.PLAIN.unpack(kind, blob, wrong)
