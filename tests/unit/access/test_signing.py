"""A signed URL grants what was signed, and nothing that was changed afterwards.

Strategy: the query goes the whole way: as text, read by the framework that the server uses, which
takes the last of a parameter that is there twice.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import string
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from holdfast import errors
from holdfast.access import signing

SECRET = bytes(range(32))
OTHER = bytes(range(1, 33))
STREAM, ANOTHER = "0123456789ABCDEFGHIJKLMNOPQRSTUV", "1123456789ABCDEFGHIJKLMNOPQRSTUV"
GRANT = signing.Grant(STREAM, "key:0123456789ab", 1_700_000_000)
NOW = GRANT.expires - 60.0

LETTERS = string.ascii_letters + string.digits + "-_"


def signed(grant: signing.Grant = GRANT, secret: bytes = SECRET) -> dict[str, str]:
    return dict(parse_qsl(signing.query(secret, grant), keep_blank_values=True))


def verified(
    query: str | Mapping[str, str], stream: str = STREAM, now: float = NOW, secret: bytes = SECRET
) -> signing.Grant:
    text = query if isinstance(query, str) else urlencode(query, errors="surrogatepass")
    return signing.verified(secret, stream, QueryParams(text), now)


def refused(
    query: str | Mapping[str, str], stream: str = STREAM, now: float = NOW, secret: bytes = SECRET
) -> None:
    with pytest.raises(errors.Unauthorized) as caught:
        verified(query, stream, now, secret)
    assert caught.value.message == "The signed URL is not valid, or not any more."


# What it grants


@pytest.mark.parametrize("key", ["key:0123456789ab", "jwt:k=1&x y/é", "hook:", "", "a" * 300])
def test_what_was_signed_is_granted_again_and_again(key: str) -> None:
    grant = signing.Grant(STREAM, key, GRANT.expires)
    for _ in range(2):
        assert verified(signing.query(SECRET, grant)) == grant


@given(
    stream=st.text(max_size=40), key=st.text(max_size=40), expires=st.integers(1, 999_999_999_999)
)
def test_whatever_is_signed_comes_back(stream: str, key: str, expires: int) -> None:
    grant = signing.Grant(stream, key, expires)
    query = signing.query(SECRET, grant)
    assert query.isascii()
    assert verified(query, stream, expires - 1) == grant


def test_the_query_has_three_parameters_that_need_no_quoting() -> None:
    said = signed()
    assert tuple(said) == signing.PARAMETERS == ("expires", "key", "signature")
    assert (said["expires"], said["key"]) == ("1700000000", "key:0123456789ab")
    assert len(said["signature"]) == 43
    assert set(said["signature"]) <= set(LETTERS)


def test_the_signature_is_written_out() -> None:
    """Nodes of two versions take each other's: 256 bits over everything, each with its length."""
    parts = (STREAM, GRANT.key, "1700000000")
    said = b"holdfast read\0" + b"".join(
        len(part).to_bytes(4, "big") + part.encode() for part in parts
    )
    digest = hmac.digest(SECRET, said, hashlib.sha256)
    assert base64.urlsafe_b64decode(signed()["signature"] + "=") == digest


def test_it_is_told_by_its_signature_that_a_request_is_signed() -> None:
    assert signing.is_signed(signed())
    assert signing.is_signed({"signature": ""})
    assert not signing.is_signed({"expires": "1", "key": "x", "after": "1-2"})
    assert not signing.is_signed({})


def test_further_parameters_are_of_no_account() -> None:
    """`after` changes from one connection to the next."""
    assert verified(f"after=1-2&{signing.query(SECRET, GRANT)}&x=1") == GRANT


# What it does not


@pytest.mark.case("4.3")
@pytest.mark.parametrize("name", signing.PARAMETERS)
def test_a_parameter_that_is_missing_or_empty(name: str) -> None:
    said = signed()
    refused({**said, name: ""})
    value = said.pop(name)
    refused(said)
    refused({**said, name.upper(): value})


@pytest.mark.case("4.3")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("expires", "1700000001"),
        ("expires", "1800000000"),
        ("expires", "170000000"),
        ("expires", "17000000000"),
        ("expires", "01700000000"),
        ("expires", "+1700000000"),
        ("expires", "1700000000.0"),
        ("expires", "1_700_000_000"),
        ("expires", " 1700000000"),
        ("expires", "1700000000\n"),
        ("expires", "1.7e9"),
        ("expires", "\uff11700000000"),
        ("expires", "\u0661\u0667\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660"),
        ("expires", "0"),
        ("expires", "-1"),
        ("expires", "9" * 5000),
        ("expires", "inf"),
        ("key", "key:0123456789aB"),
        ("key", "key:0123456789ab "),
        ("key", "key:0123456789ab\0"),
        ("key", "KEY:0123456789ab"),
        ("key", "0123456789ab"),
        ("key", "hook:0123456789ab"),
        ("key", "hook:"),
        ("key", "\ud800"),
        ("key", "x" * 100_000),
        ("signature", "A" * 43),
        ("signature", "\ud800"),
        ("signature", "é" * 43),
        ("signature", "\0"),
        ("signature", "x" * 1_000_000),
    ],
)
def test_a_parameter_that_was_altered(name: str, value: str) -> None:
    refused({**signed(), name: value})


@pytest.mark.case("4.3")
def test_a_signature_counts_to_its_last_letter_and_bit() -> None:
    """The last letter has two bits more than are signed; base64 itself would pass over them."""
    said = signed()
    right = said["signature"]
    for place in range(43):
        for letter in LETTERS if place == 42 else "xyz":
            altered = right[:place] + letter + right[place + 1 :]
            if altered != right:
                refused({**said, "signature": altered})
    for altered in (right[:-1], right + "A", right + "=", f" {right}", f"{right}\n", right.lower()):
        refused({**said, "signature": altered})


@pytest.mark.case("4.3")
@pytest.mark.parametrize("name", signing.PARAMETERS)
def test_a_parameter_that_is_there_twice(name: str) -> None:
    """One of them counts, and it is the same for the signature as for what is granted."""
    query, wrong = signing.query(SECRET, GRANT), {"expires": "1800000000"}.get(name, "x")
    refused(f"{query}&{name}={wrong}")
    refused(f"{query}&{name}=")
    assert verified(f"{name}={wrong}&{query}") == GRANT
    assert verified(f"{query}&{query}") == GRANT


@pytest.mark.case("4.3")
@pytest.mark.parametrize(
    "stream", [ANOTHER, "", STREAM[:-1], STREAM + "0", STREAM.lower(), STREAM + "\0", "\ud800"]
)
def test_another_stream(stream: str) -> None:
    refused(signed(), stream)


@pytest.mark.case("4.3")
def test_it_ends_to_the_second() -> None:
    for now in (0.0, GRANT.expires - 1.0, GRANT.expires - 0.001):
        assert verified(signed(), now=now) == GRANT
    for now in (float(GRANT.expires), GRANT.expires + 1.0, 1e12):
        refused(signed(), now=now)


@pytest.mark.case("4.3")
def test_another_secret() -> None:
    refused(signed(), secret=OTHER)
    refused(signed(secret=OTHER))
    refused(signed(secret=b""))


@pytest.mark.case("4.3")
def test_what_was_signed_for_nothing_grants_nothing() -> None:
    """Also where somebody has the secret sign what no URL can say."""
    for expires in (0, -1, 10**12):
        refused(signed(signing.Grant(STREAM, "", expires)), now=0.0)


@pytest.mark.case("4.3")
def test_parts_of_two_grants_make_no_third() -> None:
    grants = [
        signing.Grant(stream, key, expires)
        for stream in (STREAM, ANOTHER)
        for key in ("key:a", "key:b")
        for expires in (GRANT.expires, GRANT.expires + 60)
    ]
    made = {signed(grant)["signature"] for grant in grants}
    assert len(made) == len(grants)
    for stream, key, expires, grant in itertools.product(
        (STREAM, ANOTHER), ("key:a", "key:b"), (GRANT.expires, GRANT.expires + 60), grants
    ):
        said = {"expires": str(expires), "key": key, "signature": signed(grant)["signature"]}
        if signing.Grant(stream, key, expires) == grant:
            assert verified(said, stream) == grant
        else:
            refused(said, stream)


@pytest.mark.case("4.3")
@given(st.text("ab1:", max_size=5), st.text("ab1:", max_size=5), st.integers(1, 2000))
def test_letters_cannot_move_from_one_part_to_the_next(one: str, two: str, expires: int) -> None:
    """Without their lengths `ab` and `c` would be signed as `a` and `bc` are."""
    said = one + two
    right = signing._signature(SECRET, signing.Grant(one, two, expires))
    for cut in range(len(said) + 1):
        moved = signing.Grant(said[:cut], said[cut:], expires)
        assert (signing._signature(SECRET, moved) == right) is (moved.stream == one)
    digits = str(expires)
    for cut in range(1, len(digits)):
        rest = digits[cut:]
        if rest[0] != "0":
            moved = signing.Grant(one, two + digits[:cut], int(rest))
            assert signing._signature(SECRET, moved) != right


@pytest.mark.case("4.3")
@given(
    st.fixed_dictionaries(
        {}, optional={name: st.text(st.characters(), max_size=60) for name in signing.PARAMETERS}
    )
)
def test_whatever_is_said_without_the_secret_is_one_refusal(said: dict[str, str]) -> None:
    assume(said != signed())
    refused(
        "&".join(
            f"{name}={quote(value.encode(errors='surrogatepass'), safe='')}"
            for name, value in said.items()
        )
    )


def test_bytes_that_are_no_utf_8_are_one_refusal() -> None:
    for name in signing.PARAMETERS:
        refused(f"{signing.query(SECRET, GRANT)}&{name}=%ff%fe")
        refused({**signed(), name: "\ud83d"})
    raw = {**signed(), "key": "\udcff"}
    with pytest.raises(errors.Unauthorized):
        signing.verified(SECRET, STREAM, raw, NOW)
    with pytest.raises(errors.Unauthorized):
        signing.verified(SECRET, STREAM, {**raw, "signature": ""}, NOW)
    with pytest.raises(errors.Unauthorized):
        signing.verified(SECRET, STREAM, {**signed(), "signature": "\udcff"}, NOW)
    with pytest.raises(errors.Unauthorized):
        signing.verified(SECRET, "\udcff", {**signed(), "signature": ""}, NOW)
