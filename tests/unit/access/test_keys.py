"""API keys: their shape, what is kept of one, and how one is found."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors
from holdfast.access import keys, principal
from holdfast.archive import base

SECRET = bytes(range(32))
OTHER = bytes(range(1, 33))
NOW = 1_700_000_000_000  # ms


def new(name: str = "web", tenant: str = "acme", **said: Any) -> tuple[str, base.Key]:
    return keys.new(SECRET, name, tenant, now=NOW, **said)


def ring(*kept: base.Key) -> keys.Ring:
    made = keys.Ring(7)
    for one in kept:
        made.add(one)
    return made


# What one looks like


def test_a_key_tells_its_id_and_hides_the_rest() -> None:
    token, kept = new()
    found = re.fullmatch(r"hfk_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})", token)
    assert found is not None
    assert found[1] == kept.id
    assert len(token) == 60 < keys.MAX_KEY
    told = repr(kept) + msgspec.json.encode(kept).decode()
    assert found[2] not in told
    assert token not in told
    assert kept.digest == keys.digest(SECRET, token)


def test_a_thousand_keys_differ_and_use_every_letter() -> None:
    made = [keys.new_token() for _ in range(1000)]
    assert len({id for id, _ in made}) == len({token for _, token in made}) == 1000
    letters = {letter for _, token in made for letter in token.removeprefix("hfk_")}
    assert len(letters - {"_"}) == 62
    places = [{token[place] for _, token in made} for place in (*range(4, 16), *range(17, 60))]
    assert min(map(len, places)) > 50  # every letter of a key is random, not only some


def test_a_key_holds_256_bits() -> None:
    assert 62**keys.SECRET_LETTERS > 2**256


def test_the_digest_is_a_keyed_blake2b_for_this_use_alone() -> None:
    said = hashlib.blake2b(b"hfk_x", digest_size=32, key=SECRET, person=b"holdfast key")
    assert keys.digest(SECRET, "hfk_x") == said.digest()
    assert keys.digest(OTHER, "hfk_x") != said.digest()
    plain = hashlib.blake2b(b"hfk_x", digest_size=32, key=SECRET)
    assert keys.digest(SECRET, "hfk_x") != plain.digest()


@given(st.text(max_size=300))
def test_every_text_has_a_digest(text: str) -> None:
    assert len(keys.digest(SECRET, text)) == 32


@given(st.characters(categories=["Cs"]))
def test_lone_surrogates_have_a_digest(letter: str) -> None:
    assert keys.digest(SECRET, letter) != keys.digest(SECRET, letter + letter)
    for other in ("?", "\ufffd", chr(ord(letter) ^ 1)):
        assert keys.digest(SECRET, letter) != keys.digest(SECRET, other)


# What is kept


def test_what_is_kept_of_a_usual_key() -> None:
    _, kept = new()
    digest, id = kept.digest, kept.id
    right = base.Key(
        id, digest, "web", "acme", "", ("generate", "read"), NOW, base.Quota(), None, None
    )
    assert kept == right


def test_what_is_said_is_kept() -> None:
    quota = base.Quota(streams=3)
    _, kept = new(user="al/ice é", scopes=("admin",), quota=quota, expires_at=NOW + 1)
    assert (kept.user, kept.scopes, kept.quota) == ("al/ice é", ("admin",), quota)
    assert kept.expires_at == NOW + 1


@pytest.mark.parametrize(
    "scopes", [("admin", "read", "generate"), ("read", "read", "generate", "admin", "read")]
)
def test_scopes_are_kept_once_and_in_one_order(scopes: tuple[str, ...]) -> None:
    assert new(scopes=scopes)[1].scopes == ("generate", "read", "admin")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"scopes": ()}, "The scopes are generate, read, metrics, admin"),
        ({"scopes": ("read", "write")}, "The scopes are generate, read, metrics, admin"),
        ({"scopes": ("Read",)}, "The scopes are"),
        ({"scopes": ("",)}, "The scopes are"),
        ({"name": ""}, "1 to 100 characters"),
        ({"name": "a" * 101}, "1 to 100 characters"),
        ({"name": "a\nb"}, "on one line"),
        ({"name": "a\x1b[2J"}, "on one line"),
        ({"name": "a\u2028b"}, "on one line"),
        ({"name": "a\x85b"}, "on one line"),
        ({"name": "\ud800"}, "1 to 100 characters"),
        ({"tenant": ""}, "belongs to a tenant"),
        ({"tenant": "a/b"}, "A tenant is"),
        ({"tenant": "a" * 65}, "A tenant is"),
        ({"user": "a\nb"}, "A user is"),
        ({"user": "\ud800"}, "A user is"),
        ({"user": "a" * 201}, "A user is"),
    ],
)
def test_what_no_key_can_have(said: dict[str, Any], told: str) -> None:
    with pytest.raises(errors.InvalidField, match=told):
        new(**said)


@pytest.mark.parametrize("name", ["a", "a" * 100, "Zoë's \N{GRINNING FACE}", " ", "hfk_x"])
def test_names_are_lines_of_text(name: str) -> None:
    assert new(name=name)[1].name == name


# Whom it lets in


def test_whom_a_key_lets_in() -> None:
    _, kept = new(user="alice", scopes=("read", "admin"), expires_at=NOW + 1500)
    found = keys.Held.of(kept).principal
    scopes, ends = frozenset(("read", "admin")), (NOW + 1500) / 1000
    assert found == principal.Principal("acme", "alice", scopes, f"key:{kept.id}", ends)
    assert found.stream is None


def test_a_key_without_an_end_has_none() -> None:
    assert keys.Held.of(new()[1]).principal.expires_at is None


@pytest.mark.parametrize(
    ("expires_at", "revoked_at", "now", "valid"),
    [
        (None, None, 0.0, True),
        (None, None, 1e12, True),
        (2000, None, 1.999, True),
        (2000, None, 2.0, False),
        (2000, None, 3.0, False),
        (0, None, 0.0, False),
        (None, 1000, 0.5, False),  # revoked is revoked, whatever this node's clock shows
        (None, 1000, 2.0, False),
        (None, 0, 2.0, False),
        (9000, 1000, 2.0, False),
    ],
)
def test_when_a_key_is_valid(
    expires_at: int | None, revoked_at: int | None, now: float, valid: bool
) -> None:
    kept = msgspec.structs.replace(new()[1], expires_at=expires_at, revoked_at=revoked_at)
    assert keys.valid(kept, now) is valid


# How it is found


def test_a_key_is_found_among_others() -> None:
    made = [new(str(number)) for number in range(20)]
    found = ring(*(kept for _, kept in made))
    assert found.revision == 7
    for token, kept in made:
        held = found.find(SECRET, token)
        assert held == keys.Held.of(kept)
        assert found.by_id[kept.id] == held
    assert len(found.by_id) == len(found.by_digest) == 20


def test_a_key_that_is_not_valid_is_found_too() -> None:
    token, kept = new(expires_at=1)
    kept = msgspec.structs.replace(kept, revoked_at=1)
    assert ring(kept).find(SECRET, token) == keys.Held.of(kept)


ALTERED: list[Callable[[str], str]] = [
    lambda token: "",
    lambda token: token[:-1],
    lambda token: token + "x",
    lambda token: token + "\0",
    lambda token: " " + token,
    lambda token: token + " ",
    lambda token: token.swapcase(),
    lambda token: token[:-1] + chr(ord(token[-1]) ^ 1),
    lambda token: "hfk" + token[4:],
    lambda token: token[:16],
    lambda token: token[:17],
    lambda token: token[4:16],
    lambda token: token[17:],
    lambda token: token[:4] + "x" * 12 + token[16:],
    lambda token: token[:17] + "x" * 43,
    lambda token: token * 2,
    lambda token: token + "x" * 10_000,
    lambda token: "\ud800" + token,
]


@pytest.mark.parametrize("number", range(len(ALTERED)))
def test_what_is_not_the_whole_key_is_not_found(number: int) -> None:
    token, kept = new()
    altered = ALTERED[number](token)
    assert altered != token
    assert ring(kept).find(SECRET, altered) is None
    assert ring(kept, new()[1]).find(SECRET, altered) is None


def test_with_another_secret_nothing_is_found() -> None:
    token, kept = new()
    assert ring(kept).find(OTHER, token) is None


def test_neither_the_digest_nor_the_id_is_a_key() -> None:
    """Who reads the store learns nothing that lets him in."""
    _, kept = new()
    for said in (kept.digest.hex(), kept.digest.decode("latin-1"), kept.id, f"hfk_{kept.id}_"):
        assert ring(kept).find(SECRET, said) is None


def test_a_text_is_looked_up_whole_or_not_at_all() -> None:
    """A key that begins as a longer text does is not what that text is."""
    long = "x" * keys.MAX_KEY
    kept = msgspec.structs.replace(new()[1], digest=keys.digest(SECRET, long))
    assert ring(kept).find(SECRET, long) is not None
    assert ring(kept).find(SECRET, long + "x") is None
    assert ring(kept).find(SECRET, long[:-1]) is None


def test_an_empty_ring_finds_nothing() -> None:
    assert keys.Ring().find(SECRET, new()[0]) is None
    assert keys.Ring().find(SECRET, "") is None
    assert keys.Ring().revision == -1


@given(st.text(max_size=200))
def test_no_other_text_is_a_key(text: str) -> None:
    assert RING.find(SECRET, text) is None


RING = ring(*(new()[1] for _ in range(5)))
