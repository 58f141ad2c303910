"""Stream ids tell whose they are to who knows the secret, and to nobody else."""

from __future__ import annotations

import random
import secrets

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast import events
from holdfast.access import ids, principal
from holdfast.access.principal import Principal

SECRET = bytes(range(32))
OTHER = bytes(range(1, 33))

TENANTS = st.text("ab._-:@+9", min_size=1, max_size=5)
USERS = st.text("ab/ .é\N{GRINNING FACE}", min_size=1, max_size=5)

ALICE, BOB, ACME = Principal("acme", "alice"), Principal("acme", "bob"), Principal("acme")
GLOBEX, NAMESAKE = Principal("globex"), Principal("globex", "alice")
ADMIN = Principal("ops", "root", frozenset(("admin",)))

WRITTEN = {"acme/alice": "XxZR4hmZXuRKkp0HyFnRDZ9Xz4WhLiYA", "": "uA1tf6VYhfdBUuSwYfxrx6RAul"}
"""The ids of the key `k`, by owner."""


def may_be(stream: events.StreamId, asker: Principal, secret: bytes = SECRET) -> bool:
    return ids.may_be(secret, stream, asker)


def tagged(kind: str, owner: str) -> events.StreamId:
    if kind == "new":
        return ids.new(SECRET, owner)
    return ids.derived(SECRET, owner, secrets.token_hex(8))


@pytest.mark.parametrize("kind", ["new", "derived"])
@given(tenant=TENANTS, user=USERS, other=TENANTS, neighbour=USERS)
def test_an_id_may_be_its_owners_and_his_tenants(
    kind: str, tenant: str, user: str, other: str, neighbour: str
) -> None:
    """One of another may pass once in 2^30."""
    assume(tenant != other)
    assume(user != neighbour)
    owner = Principal(tenant, user)
    stream = tagged(kind, owner.owner)
    assert may_be(stream, owner)
    assert may_be(stream, Principal(tenant))
    assert not may_be(stream, Principal(tenant, neighbour))
    assert not may_be(stream, Principal(other))
    assert not may_be(stream, Principal(other, user))


@pytest.mark.parametrize("kind", ["new", "derived"])
def test_an_id_of_the_tenant_itself_is_none_of_its_users(kind: str) -> None:
    stream = tagged(kind, ACME.owner)
    assert may_be(stream, ACME)
    for other in (ALICE, GLOBEX, NAMESAKE):
        assert not may_be(stream, other)


@pytest.mark.parametrize("kind", ["new", "derived"])
def test_who_sees_all_may_see_each(kind: str) -> None:
    for stream in (tagged(kind, ALICE.owner), tagged(kind, ""), events.StreamId("z" * 32)):
        assert may_be(stream, ADMIN)
        assert may_be(stream, principal.ANYBODY)
        assert may_be(stream, Principal("", stream=stream))
        assert may_be(stream, Principal("globex", "bob", stream=stream))


def test_whoever_may_see_a_stream_finds_it() -> None:
    """What `owns` agrees to, `may_be` never hides."""
    people = [ALICE, BOB, ACME, GLOBEX, NAMESAKE, ADMIN, principal.ANYBODY]
    for owner in people:
        for asker in people:
            stream = ids.new(SECRET, owner.owner)
            assert may_be(stream, asker) or not principal.owns(asker, owner.owner, stream)


def test_names_that_run_into_each_other_are_told_apart() -> None:
    """The tenant `ab` with the user `c`, and the tenant `a` with the user `bc`, and so on."""
    owners = [("a", "b"), ("a", "b/"), ("ab", ""), ("a", ""), ("ab", "c"), ("a", "bc"), ("oa", "b")]
    for owner in owners:
        stream = ids.new(SECRET, Principal(*owner).owner)
        for asker in owners:
            right = asker == owner or asker == (owner[0], "")
            assert may_be(stream, Principal(*asker)) is right, (owner, asker)


def test_a_tenants_tag_is_no_owners_tag() -> None:
    """A user whose name would make his owner's name that of the tenant, were they not marked."""
    number = 12345
    assert ids._tag(SECRET, number, "tacme") != ids._tag(SECRET, number, "oacme")


@pytest.mark.parametrize("asker", [ALICE, ACME])
def test_with_another_secret_nothing_is_anybodys(asker: Principal) -> None:
    for _ in range(100):
        stream = ids.new(SECRET, asker.owner)
        assert not may_be(stream, asker, OTHER)
        assert not may_be(ids.new(OTHER, asker.owner), asker)


# Their shape


@pytest.mark.parametrize("owner", ["acme/alice", "acme/", "a/" + "\N{GRINNING FACE}" * 200])
def test_an_id_with_an_owner_has_32_letters(owner: str) -> None:
    for stream in (ids.new(SECRET, owner), ids.derived(SECRET, owner, "key")):
        assert len(stream) == ids.LETTERS == 32
        assert events.stream_id(stream) == stream


def test_an_id_without_an_owner_has_26_letters() -> None:
    for stream in (ids.new(SECRET, ""), ids.derived(SECRET, "", "key")):
        assert len(stream) == 26
        assert events.stream_id(stream) == stream
        for asker in (ALICE, ACME, GLOBEX):
            assert not may_be(stream, asker)


def test_26_letters_never_pass_for_32() -> None:
    """Also those of an id whose last letters are zeros, which the number does not tell apart."""
    stream = ids._tagged(SECRET, ACME.owner, random.Random(7).getrandbits(90))
    assert stream.endswith("000000")
    assert may_be(stream, ACME)
    assert not may_be(events.StreamId(stream[:26]), ACME)
    assert not may_be(events.StreamId(stream[:26]), ALICE)


def test_the_last_numbers_pass_through() -> None:
    """All bits of the random part come back: the tags are over what is read, not what was made."""
    for number in (0, 1, 2**127, 2**128 - 1):
        stream = ids._tagged(SECRET, ALICE.owner, number)
        assert events.number_of(stream) >> 60 == number
        assert may_be(stream, ALICE)
        assert may_be(stream, ACME)
        assert not may_be(stream, BOB)


@pytest.mark.parametrize("stream", ["z" * 32, "0" * 32, "z" * 26, "0" * 26])
def test_ids_that_nobody_made(stream: str) -> None:
    for asker in (ALICE, ACME):
        assert not may_be(events.StreamId(stream), asker)


def test_a_hundred_thousand_random_ids_are_nobodys() -> None:
    draw = random.Random(20_000)
    for _ in range(100_000):
        stream = events.spelled(draw.getrandbits(190), 32)
        assert not may_be(stream, ACME)
        assert not may_be(stream, ALICE)


@pytest.mark.parametrize(("asker", "shift"), [(ACME, 30), (ALICE, 0)])
def test_every_bit_of_a_tag_counts(asker: Principal, shift: int) -> None:
    """And the other tag's bits do not: it is another's business."""
    number = events.number_of(ids.new(SECRET, ALICE.owner))
    passes = [may_be(events.spelled(number ^ 1 << bit, 32), asker) for bit in range(188)]
    other = range(30 - shift, 60 - shift)
    assert [bit for bit in range(188) if passes[bit]] == list(other)


def test_new_ids_differ() -> None:
    for owner in ("acme/alice", ""):
        assert len({ids.new(SECRET, owner) for _ in range(1000)}) == 1000


def test_an_id_tells_nobody_else_whose_it_is() -> None:
    """Two ids of one owner share no tag, so that they cannot be seen to be of one."""
    made = [events.number_of(ids.new(SECRET, ALICE.owner)) for _ in range(1000)]
    for shift in (0, 30):
        assert len({number >> shift & (1 << 30) - 1 for number in made}) > 990


# Ids of Idempotency-Keys


def test_a_key_has_one_id_on_every_node() -> None:
    """Written out, so that a change of the way would be seen: it would buy answers again."""
    assert ids.derived(SECRET, "acme/alice", "k") == WRITTEN["acme/alice"]
    assert ids.derived(SECRET, "", "k") == WRITTEN[""]


def test_another_owner_key_or_secret_has_another_id() -> None:
    said = [(s, o, k) for s in (SECRET, OTHER) for o in ("a/b", "a/", "c/b", "") for k in "kK"]
    assert len({ids.derived(*one) for one in said}) == len(said)


@given(st.text("ab/", max_size=4), st.text("ab/", max_size=4), st.text("ab/", max_size=4))
def test_an_owner_and_a_key_never_run_into_each_other(one: str, two: str, three: str) -> None:
    assume(two)
    left = ids.derived(SECRET, f"t/{one}", two + three)
    right = ids.derived(SECRET, f"t/{one}{two}", three)
    assert left != right
