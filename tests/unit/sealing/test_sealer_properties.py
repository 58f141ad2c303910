"""What holds of frames and wrapped keys whatever is packed, wherever it is put.

Strategy: hypothesis names owners, streams, kinds and places, with a liking for those that are alike
when written one after the other, and one stream's units are put into another order, life, stream
and owner, each of which must be seen.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors
from holdfast.sealing import codec, ring, sealer

KINDS = st.sampled_from(range(codec.REDO, codec.CONNECTION + 1))
NAMES = st.text(st.sampled_from("ab/\0é"), max_size=6) | st.text(max_size=12)
PLACES = st.binary(max_size=12) | st.sampled_from([b"", b"1-2", b"1-21", b"2-1", b"11-2"])
DATA = st.binary(max_size=300)

RING = ring.Ring((ring.RingKey("a" * 16, b"a" * 32, 0), ring.RingKey("b" * 16, b"b" * 32, 0)))
BOTH = sealer.Sealer(RING, clock=lambda: 0)
KEY = bytes(32)


def refused(one: codec.Codec, kind: int, blob: bytes, place: bytes) -> None:
    with pytest.raises(errors.LogCorrupt):
        one.unpack(kind, blob, place)


@given(KINDS, DATA, PLACES, NAMES, NAMES, st.booleans())
def test_what_was_sealed_comes_back(
    kind: int, data: bytes, place: bytes, owner: str, stream: str, compress: bool
) -> None:
    one = BOTH.new(stream, owner, BOTH.current(owner))
    blob = one.pack(kind, data, place, compress=compress)
    assert BOTH.open(stream, owner, one.wrapped).unpack(kind, blob, place) == data
    if not compress:
        assert len(blob) == codec.SEALED_OVERHEAD + len(data)


@given(st.tuples(KINDS, PLACES), st.tuples(KINDS, PLACES), DATA, st.booleans())
def test_no_kind_and_place_opens_another(
    here: tuple[int, bytes], there: tuple[int, bytes], data: bytes, compress: bool
) -> None:
    sealed = codec.Sealed(KEY, b"", "acme/alice", "s")
    blob = sealed.pack(here[0], data, here[1], compress=compress)
    if here == there:
        assert sealed.unpack(there[0], blob, there[1]) == data
    else:
        refused(sealed, there[0], blob, there[1])


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_no_two_owners_and_streams_are_bound_alike(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert (codec.bound_to(*one) == codec.bound_to(*other)) == (one == other)


@given(st.tuples(NAMES, NAMES, PLACES), st.tuples(NAMES, NAMES, PLACES))
def test_nor_with_the_place_that_follows(
    one: tuple[str, str, bytes], other: tuple[str, str, bytes]
) -> None:
    """Under the same key: what is sealed for one owner, stream and place is of no other."""
    blob = codec.Sealed(KEY, b"", *one[:2]).pack(codec.BATCH, b"x", one[2])
    opener = codec.Sealed(KEY, b"", *other[:2])
    if one == other:
        assert opener.unpack(codec.BATCH, blob, other[2]) == b"x"
    else:
        refused(opener, codec.BATCH, blob, other[2])


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES), st.sampled_from(RING.keys))
def test_a_wrapped_key_is_of_one_stream_of_one_owner(
    mine: tuple[str, str], other: tuple[str, str], by: ring.RingKey
) -> None:
    wrapped = BOTH.new(*mine, by.id).wrapped
    assert wrapped is not None
    assert (len(wrapped), codec.key_id(wrapped)) == (codec.WRAPPED_BYTES, by.id)
    again = BOTH.rewrapped(*mine, wrapped, RING.keys[0].id)
    assert codec.key_id(again) == RING.keys[0].id
    assert again[codec.WRAPPED_BYTES - 48 :] != wrapped[codec.WRAPPED_BYTES - 48 :]
    for moved in (wrapped, again):
        if mine == other:
            assert BOTH.open(*other, moved).wrapped == moved
        else:
            with pytest.raises(errors.LogCorrupt):
                BOTH.open(*other, moved)
            with pytest.raises(errors.LogCorrupt):
                BOTH.rewrapped(*other, moved, by.id)


@given(st.binary(max_size=120))
def test_whatever_is_no_frame_is_refused(blob: bytes) -> None:
    sealed = codec.Sealed(KEY, b"", "acme/alice", "s")
    begins = (b"", bytes((codec.VERSION, codec.SEALED)), bytes((codec.VERSION, codec.KEY)))
    for begin in begins:
        refused(sealed, codec.BATCH, begin + blob, b"")
    for begin in begins:
        with pytest.raises(errors.LogCorrupt):
            BOTH.open("s", "acme/alice", begin + blob + b"x")


@given(st.binary(min_size=32, max_size=32))
def test_a_key_that_is_named_otherwise_is_missing(id_: bytes) -> None:
    """The name that stands in clear on a wrapped key is bound to it too."""
    wrapped = BOTH.new("s", "acme/alice", RING.keys[0].id).wrapped
    assert wrapped is not None
    for by in (RING.keys[1].id, id_[:8].hex()):
        renamed = wrapped[:2] + bytes.fromhex(by) + wrapped[10:]
        with pytest.raises(errors.LogCorrupt):
            BOTH.open("s", "acme/alice", renamed)


def test_a_guard_is_no_data_key_and_a_data_key_no_guard() -> None:
    """Both are wrapped by one key of the ring."""
    by = RING.keys[0].id
    key = BOTH.new_store()
    with pytest.raises(errors.LogCorrupt):
        BOTH.open("", "", key.guard(by))
    wrapped = BOTH.new("", "", by).wrapped
    assert wrapped is not None
    with pytest.raises(errors.SettingsError):
        BOTH.open_store({by: wrapped}, "log.db")
    secret = key.codec.pack(codec.SECRET, b"s" * 32)
    refused(BOTH.new("", "", by), codec.SECRET, secret, b"")


# A stream's units, as an engine places them: behind which event of which life

UNITS = [(b"1-0", b"one"), (b"1-1", b"two"), (b"1-2", b"two"), (b"2-2", b"two"), (b"2-3", b"three")]
PLACED = [place for place, _ in UNITS]


@pytest.mark.case("4.25")
@pytest.mark.parametrize(("here", "there"), [*itertools.permutations(PLACED, 2)])
def test_no_unit_stands_for_another_of_its_stream(here: bytes, there: bytes) -> None:
    """Swapped, repeated, left out, or of a life that has been replaced: then it stands elsewhere,
    also where it says the same."""
    one = BOTH.new("s", "acme/alice", RING.keys[0].id)
    blobs = {place: one.pack(codec.BATCH, data, place) for place, data in UNITS}
    assert [one.unpack(codec.BATCH, blobs[place], place) for place, _ in UNITS] == [
        data for _, data in UNITS
    ]
    refused(one, codec.BATCH, blobs[here], there)


@pytest.mark.case("4.25")
@pytest.mark.parametrize(("stream", "owner"), [("t", "acme/alice"), ("s", "acme/bob"), ("s", "")])
def test_no_stream_is_moved_with_all_that_it_has(stream: str, owner: str) -> None:
    """Its wrapped key does not open there, and with the key itself none of its units does."""
    one = BOTH.new("s", "acme/alice", RING.keys[0].id)
    with pytest.raises(errors.LogCorrupt):
        BOTH.open(stream, owner, one.wrapped)
    thief = codec.Sealed(KEY, b"", "acme/alice", "s")
    for place, data in UNITS:
        blob = thief.pack(codec.BATCH, data, place)
        refused(codec.Sealed(KEY, b"", owner, stream), codec.BATCH, blob, place)
