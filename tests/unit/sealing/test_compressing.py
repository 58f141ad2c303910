"""Both compressions, each without the other's library, and what neither may be made to do."""

from __future__ import annotations

import random
import re
import tracemalloc
import zlib
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors
from holdfast.sealing import codec, compressing

HOW = {"zlib": compressing.ZLIB, "zstd": compressing.ZSTD}
TEXT = b'{"type":"chunk","data":{"delta":"and again "}}' * 40
MIB = 1 << 20


@pytest.fixture(params=HOW)
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A node with the library, or without."""
    name: str = request.param
    monkeypatch.setattr(compressing, "zstandard", zstandard if name == "zstd" else None)
    return HOW[name]


def squeezed(how: int, data: bytes, **more: Any) -> bytes:
    if how == compressing.ZLIB:
        return zlib.compress(data)
    return zstandard.ZstdCompressor(**more).compress(data)


def sealed() -> codec.Sealed:
    return codec.Sealed(b"k" * 32, b"", "acme/alice", "s")


@pytest.mark.parametrize("one", [codec.PLAIN, sealed()], ids=["plain", "sealed"])
def test_what_is_packed_says_by_what(how: int, one: codec.Codec) -> None:
    blob = one.pack(codec.RECORD, TEXT, b"p", compress=True)
    assert (blob[0], blob[1] & 0x0F) == (codec.VERSION, how)
    assert len(blob) < len(TEXT) // 4
    assert one.unpack(codec.RECORD, blob, b"p") == TEXT


@given(st.binary(max_size=300), st.integers(1, 40), st.booleans(), st.booleans())
def test_any_bytes_come_back(data: bytes, times: int, with_zstd: bool, is_sealed: bool) -> None:
    data *= times
    one: codec.Codec = sealed() if is_sealed else codec.PLAIN
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compressing, "zstandard", zstandard if with_zstd else None)
        blob = one.pack(codec.RECORD, data, b"p", compress=True)
    how = blob[1] & 0x0F
    if len(data) < compressing.SMALL_BYTES:
        assert how == compressing.NONE
    assert one.unpack(codec.RECORD, blob, b"p") == data
    over = codec.SEALED_OVERHEAD if is_sealed else codec.OVERHEAD
    assert len(blob) <= over + len(data)


def test_what_grows_is_kept_as_it_is(how: int) -> None:
    noise = random.Random(1).randbytes(5000)
    assert compressing.compress(noise) == (compressing.NONE, noise)
    at_least = b"a" * compressing.SMALL_BYTES
    assert compressing.compress(at_least[1:])[0] == compressing.NONE
    assert compressing.compress(at_least)[0] == how


def test_each_node_reads_what_the_other_one_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for zstd without its library, which says what to install."""
    one = sealed()
    by_zstd = one.pack(codec.RECORD, TEXT, compress=True)
    monkeypatch.setattr(compressing, "zstandard", None)
    by_zlib = one.pack(codec.RECORD, TEXT, compress=True)
    for other in (one, codec.PLAIN):
        plain = other.pack(codec.RECORD, TEXT, compress=True)
        assert other.unpack(codec.RECORD, plain) == TEXT
    with pytest.raises(errors.LogCorrupt, match=re.escape("pip install zstandard")):
        one.unpack(codec.RECORD, by_zstd)
    monkeypatch.setattr(compressing, "zstandard", zstandard)
    assert one.unpack(codec.RECORD, by_zlib) == one.unpack(codec.RECORD, by_zstd) == TEXT


@pytest.mark.parametrize("unknown", [3, 7, 0x0F, 99])
def test_an_unknown_compression_is_told(unknown: int) -> None:
    with pytest.raises(errors.LogCorrupt, match=f"unknown compression {unknown}, made by a newer"):
        compressing.expand(unknown, TEXT)
    if unknown <= 0x0F:
        blob = bytearray(sealed().pack(codec.RECORD, TEXT))
        blob[1] |= unknown
        with pytest.raises(errors.LogCorrupt, match="unknown codec"):
            sealed().unpack(codec.RECORD, bytes(blob))


@pytest.mark.parametrize("name", HOW)
def test_one_that_says_another_is_refused(name: str) -> None:
    """The seal of a sealed one sees it; a plain one's checksum too, and what was not compressed."""
    how = HOW[name]
    (other,) = set(HOW.values()) - {how}
    for data in (squeezed(how, TEXT), TEXT, b""):
        with pytest.raises(errors.LogCorrupt, match="cannot be expanded"):
            compressing.expand(other, data)
    for one in (codec.PLAIN, sealed()):
        blob = one.pack(codec.RECORD, TEXT, compress=True)
        for wrong in {compressing.NONE, *HOW.values()} - {blob[1] & 0x0F}:
            forged = blob[:1] + bytes((blob[1] & 0xF0 | wrong,)) + blob[2:]
            with pytest.raises(errors.LogCorrupt, match=r"checksum|seal"):
                one.unpack(codec.RECORD, forged)


# Bombs


@pytest.mark.case("4.15")
@pytest.mark.parametrize("name", HOW)
def test_what_grows_beyond_the_bound_is_refused_before_it_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressing, "MAX_BYTES", MIB)
    bomb = squeezed(HOW[name], bytes(64 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(errors.LogCorrupt, match="cannot be expanded"):
            compressing.expand(HOW[name], bomb)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * MIB
    assert compressing.expand(HOW[name], squeezed(HOW[name], bytes(MIB))) == bytes(MIB)


@pytest.mark.case("4.15")
def test_zstd_that_does_not_say_its_size_is_refused() -> None:
    """It could be of any."""
    silent = squeezed(compressing.ZSTD, TEXT, write_content_size=False)
    with pytest.raises(errors.LogCorrupt, match="does not say its size"):
        compressing.expand(compressing.ZSTD, silent)


@pytest.mark.case("4.15")
def test_zstd_that_is_longer_than_it_says_is_refused() -> None:
    less = bytearray(squeezed(compressing.ZSTD, bytes(60_000)))
    assert zstandard.frame_content_size(bytes(less)) == 60_000
    at = less.index((60_000 - 256).to_bytes(2, "little"))
    less[at : at + 2] = (1_000).to_bytes(2, "little")
    assert zstandard.frame_content_size(bytes(less)) == 1_256
    with pytest.raises(errors.LogCorrupt, match="cannot be expanded"):
        compressing.expand(compressing.ZSTD, bytes(less))


@pytest.mark.parametrize("name", HOW)
def test_two_in_one_are_refused(name: str) -> None:
    how = HOW[name]
    one = squeezed(how, TEXT)
    for wrong in (one + one, one + b"\0", one[:-1], one[:3], b"\0" + one):
        with pytest.raises(errors.LogCorrupt, match="cannot be expanded"):
            compressing.expand(how, wrong)


# What sizes tell


@pytest.mark.case("4.23")
def test_a_size_depends_on_that_text_alone(how: int) -> None:
    """Nothing of one stream is in another one's compression, whatever was compressed before."""
    secret = b"the word is " + random.Random(2).randbytes(40).hex().encode()
    sizes = {len(compressing.compress(TEXT + secret)[1])}
    for before in (secret * 50, TEXT + secret, b"x" * 100_000, random.Random(3).randbytes(9000)):
        compressing.compress(before)
        sizes.add(len(compressing.compress(TEXT + secret)[1]))
    assert len(sizes) == 1


@pytest.mark.case("4.23")
def test_within_one_record_a_guess_shows_in_its_size(how: int) -> None:
    """As docs/threats.md says: who can put text into a record, and see its size at rest, learns
    whether what he guessed stands there too. So no credential ever does."""
    word = random.Random(4).randbytes(20).hex().encode()
    wrong = random.Random(5).randbytes(20).hex().encode()
    with_guess, without = (
        len(compressing.compress(TEXT + word + b" ... " + guess)[1]) for guess in (word, wrong)
    )
    assert without - with_guess >= len(word) // 4
