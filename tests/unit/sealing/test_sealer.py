"""What is sealed comes back under its own key and in its own place, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast import errors
from holdfast.sealing import codec, compressing, sealer
from holdfast.sealing.ring import Ring, RingKey, dump, needed, new_key, parse

A, B = RingKey("a" * 16, b"a" * 32, 0), RingKey("b" * 16, b"b" * 32, 1000)
OWN = RingKey("c" * 16, b"c" * 32, 500, "acme")


def made(*keys: RingKey, now: int = 0) -> sealer.Sealer:
    return sealer.Sealer(Ring(keys), clock=lambda: now)


def begun(one: sealer.Sealer, stream: str = "s", owner: str = "acme/u") -> codec.Codec:
    return one.new(stream, owner, one.current(owner))


def test_what_was_sealed_comes_back_by_the_wrapped_key() -> None:
    first = begun(made(A))
    assert first.wrapped is not None
    assert codec.key_id(first.wrapped) == A.id
    blob = first.pack(codec.BATCH, b"secret text", b"1-2")
    assert blob[:2] == b"\x01\x10"
    assert b"secret" not in blob
    again = made(A).open("s", "acme/u", first.wrapped)
    assert again.unpack(codec.BATCH, blob, b"1-2") == b"secret text"


@pytest.mark.case("4.25")
@pytest.mark.parametrize("compress", [False, True])
def test_every_changed_bit_and_every_cut_is_refused(compress: bool) -> None:
    one = begun(made(A))
    blob = one.pack(codec.RECORD, b"text " * 40, b"1-2", compress=compress)
    for bit in range(len(blob) * 8):
        broken = bytearray(blob)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(errors.LogCorrupt):
            one.unpack(codec.RECORD, bytes(broken), b"1-2")
    for length in range(len(blob)):
        with pytest.raises(errors.LogCorrupt):
            one.unpack(codec.RECORD, blob[:length], b"1-2")


def test_every_changed_bit_of_a_wrapped_key_is_refused() -> None:
    one = made(A, B)
    wrapped = begun(one).wrapped
    assert wrapped is not None
    for bit in range(len(wrapped) * 8):
        broken = bytearray(wrapped)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(errors.LogCorrupt):
            one.open("s", "acme/u", bytes(broken))


Move = Callable[[sealer.Sealer, codec.Codec], codec.Codec]
MOVES: dict[str, Move] = {
    "another stream": lambda one, it: one.open("t", "acme/u", it.wrapped),
    "another owner": lambda one, it: one.open("s", "acme/v", it.wrapped),
    "parts of the names exchanged": lambda one, it: one.open("us", "acme/", it.wrapped),
    "another stream's key": lambda one, it: begun(one, "s"),
    "no key": lambda one, it: codec.PLAIN,
}


@pytest.mark.case("4.25")
@pytest.mark.parametrize("where", MOVES)
def test_what_was_sealed_is_refused_elsewhere(where: str) -> None:
    one = made(A)
    it = begun(one)
    blob = it.pack(codec.BATCH, b"text", b"1-2")
    with pytest.raises(errors.LogCorrupt):
        MOVES[where](one, it).unpack(codec.BATCH, blob, b"1-2")


def test_what_was_sealed_is_refused_in_another_place_and_as_another_kind() -> None:
    it = begun(made(A))
    blob = it.pack(codec.BATCH, b"text", b"2-7")
    for kind, place in ((codec.BATCH, b"1-7"), (codec.BATCH, b""), (codec.RECORD, b"2-7")):
        with pytest.raises(errors.LogCorrupt, match="seal"):
            it.unpack(kind, blob, place)


@pytest.mark.case("4.25")
def test_plain_bytes_are_refused_where_a_stream_is_sealed() -> None:
    it = begun(made(A))
    with pytest.raises(errors.LogCorrupt, match="not sealed"):
        it.unpack(codec.BATCH, codec.PLAIN.pack(codec.BATCH, b"forged" * 9))


@pytest.mark.case("4.25")
def test_sealed_again_the_same_bytes_are_others() -> None:
    it = begun(made(A))
    some = {it.pack(codec.BATCH, b"the same tick", b"1-2") for _ in range(1000)}
    assert len({blob[2:14] for blob in some}) == 1000


def test_two_streams_have_two_keys_and_a_takeover_the_same() -> None:
    one = made(A)
    first, second = begun(one, "s"), begun(one, "t")
    with pytest.raises(errors.LogCorrupt):
        second.unpack(codec.BATCH, first.pack(codec.BATCH, b"x"))
    over = one.open("s", "acme/u", first.wrapped)
    assert first.unpack(codec.BATCH, over.pack(codec.BATCH, b"x")) == b"x"


def test_rewrapped_a_key_opens_by_the_new_one_alone() -> None:
    both = made(A, B)
    it = begun(both)
    assert it.wrapped is not None
    new = both.rewrapped("s", "acme/u", it.wrapped, B.id)
    blob = it.pack(codec.BATCH, b"x")
    assert made(B).open("s", "acme/u", new).unpack(codec.BATCH, blob) == b"x"
    with pytest.raises(errors.KeyMissing, match=A.id):
        made(B).open("s", "acme/u", it.wrapped)


def test_a_ring_that_changes_changes_what_is_new() -> None:
    one = made(A)
    before = begun(one)
    one.replace(Ring((A, RingKey("b" * 16, b"b" * 32, 0))))
    assert one.current("acme/u") == B.id
    assert one.open("s", "acme/u", before.wrapped).wrapped == before.wrapped


def test_without_a_ring_or_off_nothing_new_is_sealed() -> None:
    off = sealer.Sealer(Ring((A,)), on=False)
    for one in (sealer.OFF, off):
        assert one.current("acme/u") == ""
        assert begun(one) is codec.PLAIN
    it = begun(made(A))
    assert (
        off.open("s", "acme/u", it.wrapped).unpack(codec.BATCH, it.pack(codec.BATCH, b"x")) == b"x"
    )
    with pytest.raises(errors.KeyMissing):
        sealer.OFF.open("s", "acme/u", it.wrapped)


def test_a_store_opens_by_each_of_its_guards() -> None:
    key = made(A, B).new_store()
    guards = {A.id: key.guard(A.id), B.id: key.guard(B.id)}
    blob = key.codec.pack(codec.SECRET, b"s" * 32)
    opened = made(A, B).open_store(guards, "log.db")
    assert opened is not None
    assert opened.codec.unpack(codec.SECRET, blob) == b"s" * 32
    assert made(A).open_store({}, "log.db") is None


def test_a_store_does_not_open_without_a_key_or_with_a_wrong_one() -> None:
    key = made(A).new_store()
    guards = {A.id: key.guard(A.id)}
    with pytest.raises(
        errors.SettingsError, match=f"is sealed by the key {A.id}, which the key ring"
    ):
        made(B).open_store(guards, "log.db")
    with pytest.raises(errors.SettingsError, match=f"the key {A.id}, and there is no key ring"):
        sealer.OFF.open_store(guards, "log.db")
    with pytest.raises(errors.SettingsError, match="is not the one"):
        made(RingKey(A.id, b"z" * 32, 0)).open_store(guards, "log.db")
    with pytest.raises(errors.SettingsError, match="is not the one"):
        made(A, B).open_store({B.id: guards[A.id]}, "log.db")
    other = made(A, B).new_store()
    with pytest.raises(errors.SettingsError, match="mixed up"):
        made(A, B).open_store({**guards, B.id: other.guard(B.id)}, "log.db")


def test_the_newest_key_that_has_begun_is_used() -> None:
    ring = Ring((A, B, OWN))

    def current(tenant: str, now: int, ring: Ring = ring) -> str:
        return sealer.Sealer(ring, clock=lambda: now).current(f"{tenant}/u")

    assert current("", 999) == A.id
    assert current("", 1000) == B.id
    assert current("acme", 500) == OWN.id
    assert current("acme", 0) == OWN.id  # its own, also before its time: never another's
    assert current("other", 2000) == B.id
    assert current("", 0, Ring((B,))) == B.id  # a clock that was set back
    assert (ring.newest(), ring.newest("acme"), ring.newest("other")) == (B, OWN, None)


@pytest.mark.parametrize(
    ("now", "overlap", "wanted"),
    [
        (500, 0, "abcd"),  # the oldest is used from the start, and the others will be
        (5000, 0, "bcd"),
        (5000, 1, "abcd"),  # another node's clock may be behind
        (6000, 1000, "bcd"),
        (9000, 0, "cd"),
        (9999, 1000, "bcd"),
        (9999, 6000, "abcd"),  # one that was followed twice meanwhile too
        (10_000, 1000, "cd"),
    ],
)
def test_a_key_is_needed_as_long_as_something_new_may_be_under_it(
    now: int, overlap: int, wanted: str
) -> None:
    said = (("c", 9000, ""), ("a", 1000, ""), ("d", 2000, "acme"), ("b", 5000, ""))
    keys = [RingKey(letter * 16, b"k" * 32, since, whose) for letter, since, whose in said]
    assert "".join(sorted(one[0] for one in needed(keys, now, overlap))) == wanted


def test_a_large_ring_is_sorted_once_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done on the loop of a node, for thousands of tenants."""
    looked = 0

    class Counted(RingKey, frozen=True):
        def __getattribute__(self, name: str) -> object:
            nonlocal looked
            looked += name == "since"
            return super().__getattribute__(name)

    keys = [Counted(f"{n:016x}", b"k" * 32, n % 4, f"t{n // 4}") for n in range(2000)]
    looked = 0
    assert len(needed(keys, 2, 0)) == 1000
    assert looked <= 5 * len(keys)


def test_a_ring_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="one id"):
        Ring((A, RingKey(A.id, b"z" * 32, 0)))
    with pytest.raises(ValueError, match="no key"):
        Ring((OWN,))
    with pytest.raises(ValueError, match="no key"):
        Ring((A, OWN)).without(A.id)
    with pytest.raises(ValueError, match="32 bytes"):
        RingKey("a" * 16, b"short", 0)
    with pytest.raises(ValueError, match="hexadecimal"):
        RingKey("A" * 16, b"a" * 32, 0)


def test_a_ring_is_read_back_and_shows_nothing() -> None:
    ring = Ring((A, B, OWN, new_key(7)))
    assert parse(dump(ring)) == ring
    assert "aaaaaaaa" not in repr(ring).replace(A.id, "")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b'{"version":1,"keys":[]}',
        b'{"version":1,"keys":[{"id":"aaaaaaaaaaaaaaaa","secret":"c2VjcmV0","since":0}]}',
        b'{"version":1,"keys":[{"id":"aaaaaaaaaaaaaaaa","secret":"%","since":0}]}',
    ],
)
def test_what_is_no_ring_is_refused_without_being_shown(text: bytes) -> None:
    with pytest.raises(errors.SettingsError, match="no key ring") as caught:
        parse(text)
    assert "c2VjcmV0" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_ring_of_a_newer_version_is_told() -> None:
    with pytest.raises(errors.SettingsError, match="version 2"):
        parse(b'{"version":2,"keys":[]}')


@pytest.mark.parametrize("how", [compressing.ZLIB, compressing.ZSTD])
def test_both_compressions_are_read(how: int) -> None:
    data = b"some text, and again " * 50
    if how == compressing.ZLIB:
        import zlib

        less = zlib.compress(data)
    else:
        import zstandard

        less = zstandard.ZstdCompressor().compress(data)
    assert compressing.expand(how, less) == data
    for broken in (less[:-1], less + b"x", b"x" + less):
        with pytest.raises(errors.LogCorrupt):
            compressing.expand(how, broken)


def test_what_grows_stays_as_it_is() -> None:
    assert compressing.compress(b"x" * 10) == (compressing.NONE, b"x" * 10)
    how, less = compressing.compress(b"x" * 1000)
    assert how != compressing.NONE
    assert len(less) < 50
