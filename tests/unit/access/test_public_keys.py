"""Key sets: which keys of a document are taken, for what, and which documents are none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.access import issuers

from holdfast.access import public_keys

RSA, P256, ED = issuers.private("RSA"), issuers.private("P-256"), issuers.private("Ed25519")

# The two keys of RFC 7517, appendix A.1; the first is for encryption.
RFC_7517 = b"""
{"keys": [
  {"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
   "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "use": "enc", "kid": "1"},
  {"kty": "RSA",
   "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJE\
CPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQ\
MicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3\
XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
   "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
]}"""


def parse(*listed: Any) -> public_keys.Keys:
    return public_keys.Keys.parse(issuers.document(*listed))


def test_the_keys_of_the_rfc() -> None:
    (key,) = public_keys.Keys.parse(RFC_7517).by_id.values()
    assert (key.id, key.kind, key.algorithm) == ("2011-04-29", "RSA", "RS256")
    assert isinstance(key.public, rsa.RSAPublicKey)
    assert key.public.key_size == 2048
    signing = public_keys.Keys.parse(RFC_7517.replace(b'"enc"', b'"sig"'))
    assert sorted(signing.by_id) == ["1", "2011-04-29"]
    assert isinstance(signing.by_id["1"].public, ec.EllipticCurvePublicKey)


@pytest.mark.parametrize("kind", issuers.KID)
def test_each_kind_is_taken_as_it_was_published(kind: str) -> None:
    private = issuers.private(kind)
    (key,) = parse(issuers.jwk(private, "k")).by_id.values()
    assert key.kind == kind
    assert key.public == private.public_key()


@pytest.mark.parametrize("kind", issuers.KID)
@pytest.mark.parametrize("algorithm", [*public_keys.ALGORITHMS, "HS256", "none", "", "rs256"])
def test_a_key_fits_the_algorithms_of_its_kind_alone(kind: str, algorithm: str) -> None:
    fitting = {
        "RSA": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
        "P-256": {"ES256"},
        "P-384": {"ES384"},
        "P-521": {"ES512"},
        "Ed25519": {"EdDSA"},
    }
    assert issuers.keys().by_id[issuers.KID[kind]].fits(algorithm) == (algorithm in fitting[kind])


def test_a_key_fits_its_own_algorithm_alone() -> None:
    (key,) = parse(issuers.jwk(RSA, "k", alg="PS256")).by_id.values()
    assert [name for name in public_keys.ALGORITHMS if key.fits(name)] == ["PS256"]


def long(bits: int) -> str:
    """A number of so many bits, in base64url; odd, as a modulus is."""
    return issuers.b64((2 ** (bits - 1) + 1).to_bytes((bits + 7) // 8, "big"))


def coordinates(**changes: Any) -> dict[str, Any]:
    return issuers.jwk(P256, "bad", **changes)


PASSED_OVER: dict[str, Any] = {
    "no object": "key",
    "a list": ["kty", "RSA"],
    "null": None,
    "no kty": issuers.jwk(RSA, "bad", kty=None),
    "a kind that nobody knows": issuers.jwk(RSA, "bad", kty="PQC"),
    "a kind in lower case": issuers.jwk(RSA, "bad", kty="rsa"),
    "a kind that is no text": issuers.jwk(RSA, "bad", kty=["RSA"]),
    "a symmetric key": {"kty": "oct", "kid": "bad", "k": "c2VjcmV0", "alg": "HS256"},
    "no kid": issuers.jwk(RSA, "bad", kid=None),
    "an empty kid": issuers.jwk(RSA, ""),
    "a kid that is a number": issuers.jwk(RSA, "bad", kid=7),
    "a kid that is too long": issuers.jwk(RSA, "k" * 201),
    "a kid with a line feed": issuers.jwk(RSA, "bad\n"),
    "a kid with half a surrogate pair": issuers.jwk(RSA, "bad\ud800"),
    "for encryption": issuers.jwk(RSA, "bad", use="enc"),
    "a use that is no text": issuers.jwk(RSA, "bad", use=1),
    "for signing, not verifying": issuers.jwk(RSA, "bad", key_ops=["sign"]),
    "for no operation": issuers.jwk(RSA, "bad", key_ops=[]),
    "operations that are no list": issuers.jwk(RSA, "bad", key_ops="verify"),
    "an algorithm of another kind": issuers.jwk(RSA, "bad", alg="ES256"),
    "an algorithm for encryption": issuers.jwk(RSA, "bad", alg="RSA-OAEP", use=None),
    "a symmetric algorithm": issuers.jwk(RSA, "bad", alg="HS256"),
    "no algorithm at all": issuers.jwk(RSA, "bad", alg="none"),
    "an algorithm that is no text": issuers.jwk(RSA, "bad", alg=["RS256"]),
    "a private key": issuers.jwk(RSA, "bad", d="AQAB"),
    "an RSA key of 2047 bits": issuers.jwk(RSA, "bad", n=long(2047)),
    "an RSA key of 1024 bits": issuers.jwk(RSA, "bad", n=long(1024)),
    "an RSA key of 8193 bits": issuers.jwk(RSA, "bad", n=long(8193)),
    "an exponent of 33 bits": issuers.jwk(RSA, "bad", e=long(33)),
    "an exponent of 1": issuers.jwk(RSA, "bad", e="AQ"),
    "an even exponent": issuers.jwk(RSA, "bad", e="AQAC"),
    "no exponent": issuers.jwk(RSA, "bad", e=None),
    "no modulus": issuers.jwk(RSA, "bad", n=None),
    "a modulus that is a number": issuers.jwk(RSA, "bad", n=2**2048 + 1),
    "a modulus in plain base64": issuers.jwk(RSA, "bad", n="+/" * 200),
    "a modulus with padding": issuers.jwk(RSA, "bad", n=long(2048) + "=="),
    "a modulus with a rest": issuers.jwk(RSA, "bad", n="A" * 401),
    "no curve": coordinates(crv=None),
    "an unknown curve": coordinates(crv="P-192"),
    "a curve that is not ours": coordinates(crv="secp256k1"),
    "another curve than the point's": coordinates(crv="P-384"),
    "a point off the curve": coordinates(y=issuers.jwk(P256, "k")["x"]),
    "a short coordinate": coordinates(x="AQAB"),
    "a coordinate with a zero before it": coordinates(
        x=issuers.b64(b"\0" + P256.public_key().public_numbers().x.to_bytes(32, "big"))
        if isinstance(P256, ec.EllipticCurvePrivateKey)
        else ""
    ),
    "no y": coordinates(y=None),
    "an Edwards curve under EC": coordinates(crv="Ed25519"),
    "an unknown Edwards curve": issuers.jwk(ED, "bad", crv="Ed448"),
    "a curve for exchange": issuers.jwk(ED, "bad", crv="X25519"),
    "a short Edwards point": issuers.jwk(ED, "bad", x="AQAB"),
}


@pytest.mark.case("4.11")
@pytest.mark.parametrize("name", PASSED_OVER)
def test_what_cannot_be_used_is_passed_over(name: str) -> None:
    good = issuers.jwk(ED, "good")
    assert list(parse(PASSED_OVER[name], good).by_id) == ["good"]
    assert list(parse(good, PASSED_OVER[name]).by_id) == ["good"]


TAKEN: dict[str, dict[str, Any]] = {
    "without a use": issuers.jwk(RSA, "k", use=None),
    "for verifying": issuers.jwk(RSA, "k", use=None, key_ops=["sign", "verify"]),
    "with its algorithm": issuers.jwk(RSA, "k", alg="PS512"),
    "with a certificate, which nobody looks at": issuers.jwk(RSA, "k", x5c=["no"], x5u="http://x"),
    "2048 bits": issuers.jwk(RSA, "k", n=long(2048)),
    "8192 bits": issuers.jwk(RSA, "k", n=long(8192)),
    "an exponent of 32 bits": issuers.jwk(RSA, "k", e=long(32)),
    "an exponent of 3": issuers.jwk(RSA, "k", e="Aw"),
    "a modulus with a zero before it": issuers.jwk(RSA, "k", n="AAAA" + issuers.jwk(RSA, "k")["n"]),
    "a kid of 200 characters": issuers.jwk(ED, "k" * 200),
    "a kid of any script": issuers.jwk(ED, "ключ № 1"),
    "a kid like a path": issuers.jwk(ED, "../../x"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_can_be_used_is_taken(name: str) -> None:
    assert list(parse(TAKEN[name]).by_id) == [TAKEN[name]["kid"]]


def test_the_first_of_two_keys_with_one_id_counts() -> None:
    enciphering = issuers.jwk(RSA, "k", use="enc")
    (key,) = parse(enciphering, issuers.jwk(ED, "k"), issuers.jwk(P256, "k")).by_id.values()
    assert isinstance(key.public, ed25519.Ed25519PublicKey)


def test_a_set_may_be_empty() -> None:
    assert parse().by_id == {}


def test_a_set_cannot_be_changed() -> None:
    keys: Any = parse(issuers.jwk(ED, "k"))
    with pytest.raises(TypeError):
        keys.by_id["other"] = keys.by_id["k"]
    with pytest.raises(AttributeError):
        keys.by_id = {}


NO_SETS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "Expecting value"),
    "a page": (b"<html>", "Expecting value"),
    "a list": (b"[]", "no object"),
    "a text": (b'"keys"', "no object"),
    "no keys": (b"{}", "a list of keys"),
    "one key": (issuers.document().replace(b"[]", b"{}"), "a list of keys"),
    "null": (b'{"keys": null}', "a list of keys"),
    "two lists": (b'{"keys": [], "keys": []}', "a name is there twice"),
    "a name twice in a key": (b'{"keys": [{"kid": "a", "kid": "b"}]}', "a name is there twice"),
    "NaN": (b'{"keys": [NaN]}', "NaN is no number"),
    "infinity": (b'{"keys": [-Infinity]}', "-Infinity is no number"),
    "something behind it": (b'{"keys": []} {}', "Extra data"),
    "cut off": (b'{"keys": [', "Expecting value"),
    "nested deeply": (b'{"keys": ' + b"[" * 50000, "nested too deeply"),
    "Latin-1": ('{"keys": [], "é": 1}'.encode("latin-1"), "utf-8"),
    "UTF-16": ('{"keys": []}'.encode("utf-16"), "utf-8"),
    "a byte order mark": (b'\xef\xbb\xbf{"keys": []}', "BOM"),
}


@pytest.mark.parametrize("name", NO_SETS)
def test_what_is_no_key_set_is_refused(name: str) -> None:
    document, reason = NO_SETS[name]
    with pytest.raises(ValueError, match=reason):
        public_keys.Keys.parse(document)


def test_a_document_has_a_size() -> None:
    document = issuers.document(issuers.jwk(ED, "k"))
    full = document + b" " * (public_keys.MAX_DOCUMENT - len(document))
    assert list(public_keys.Keys.parse(full).by_id) == ["k"]
    with pytest.raises(ValueError, match="at most 65536 bytes"):
        public_keys.Keys.parse(full + b" ")


def test_a_set_has_so_many_keys() -> None:
    many = [issuers.jwk(ED, f"k{number}") for number in range(public_keys.MAX_KEYS)]
    assert len(parse(*many).by_id) == 100
    with pytest.raises(ValueError, match="at most 100 keys"):
        parse(*many, None)


MEMBERS = st.sampled_from(["kty", "kid", "use", "key_ops", "alg", "crv", "n", "e", "x", "y", "d"])


@given(
    st.sampled_from(list(issuers.KID)),
    st.dictionaries(MEMBERS, issuers.anything(finite=True), max_size=3),
)
def test_no_key_ends_the_reading(kind: str, changes: dict[str, Any]) -> None:
    """Whatever stands in it: it is taken or passed over."""
    listed = {**issuers.jwk(issuers.private(kind), "k"), **changes}
    for key in public_keys.Keys.parse(json.dumps({"keys": [listed]}).encode()).by_id.values():
        assert key.kind in public_keys.ALGORITHMS.values()


@given(st.binary() | st.text().map(str.encode))
def test_no_document_ends_otherwise_than_as_none(document: bytes) -> None:
    try:
        public_keys.Keys.parse(document)
    except ValueError:
        return
