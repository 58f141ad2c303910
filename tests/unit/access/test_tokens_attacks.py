"""Tokens made by attackers: each is put out, for a reason that says nothing of it.

Strategy: a table of tokens that are wrong in one thing, with the sentence that each is answered
with; then what is true of any text, and of any letter of a good token.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.access import issuers

from holdfast import errors
from holdfast.access import public_keys, tokens

NO_TOKEN = "This is not a signed JSON Web Token."
TOO_LONG = "A token has at most 8192 characters."
NO_HEADER = "The token's header is no JSON object."
EXTENSION = "The token's header asks for an extension that is not known here."
NOT_FOR_ACCESS = "The token is not one for access."
ALGORITHM = "The token is signed by an algorithm that is not accepted here."
NO_KID = "The token does not name its key (kid)."
UNKNOWN_KEY = "The token's key is none of its issuer's keys."
NOT_ITS_KEY = "The token's algorithm is not that of its key."
SIGNATURE = "The token's signature is not valid."

GOOD = issuers.token()
HEAD, SAID, SIGNED = GOOD.split(".")
EVIL = issuers.private("P-256", "attacker")


def refusal(token: str, keys: public_keys.Keys | None = None, **changes: Any) -> str:
    with pytest.raises(errors.Unauthorized) as caught:
        tokens.verify(token, keys or issuers.keys(), issuers.rules(**changes), issuers.NOW)
    return caught.value.message


def under(**changes: Any) -> str:
    """A token that the issuer signed, under a header with these changes."""
    return issuers.token(head=issuers.header(**changes))


def embedded(**header: Any) -> str:
    """A token that an attacker signed, whose header says where the key for it is."""
    return issuers.token(head=issuers.header(**header), key=EVIL)


def unsigned(algorithm: Any) -> str:
    return f"{issuers.b64(issuers.header(alg=algorithm))}.{SAID}."


def der() -> str:
    """Signed rightly, but in the form that certificates have."""
    key = issuers.private("P-256")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(f"{HEAD}.{SAID}".encode(), ec.ECDSA(hashes.SHA256()))
    return f"{HEAD}.{SAID}.{issuers.b64(signature)}"


def loose() -> str:
    """Bits that no byte needs are set: other letters for the same signature."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = letters[letters.index(SIGNED[-1]) + 1]
    assert base64.urlsafe_b64decode(SIGNED[:-1] + last + "==") == base64.urlsafe_b64decode(
        SIGNED + "=="
    )
    return GOOD[:-1] + last


def raw(head: str | bytes) -> str:
    """A token that the issuer signed, under this header."""
    return issuers.token(head=head)


RSA = issuers.header("RS256")
NO_SIGNATURE = issuers.b64(bytes(64))

SHAPES: dict[str, tuple[str, str]] = {
    "nothing": ("", NO_TOKEN),
    "a word": ("token", NO_TOKEN),
    "dots": ("..", NO_TOKEN),
    "two parts": (f"{HEAD}.{SAID}", NO_TOKEN),
    "four parts": (f"{GOOD}.{SIGNED}", NO_TOKEN),
    "five parts, encrypted": (f"{GOOD}.{SIGNED}.{SIGNED}", NO_TOKEN),
    "no header": (f".{SAID}.{SIGNED}", NO_TOKEN),
    "no claims": (f"{HEAD}..{SIGNED}", NO_TOKEN),
    "no signature": (f"{HEAD}.{SAID}.", NO_TOKEN),
    "as JSON": (json.dumps({"payload": SAID, "protected": HEAD, "signature": SIGNED}), NO_TOKEN),
    "a space before it": (f" {GOOD}", NO_TOKEN),
    "a line feed behind it": (f"{GOOD}\n", NO_TOKEN),
    "a line feed in it": (f"{HEAD}\n.{SAID}.{SIGNED}", NO_TOKEN),
    "a NUL behind it": (f"{GOOD}\0", NO_TOKEN),
    "padded": (f"{GOOD}==", NO_TOKEN),
    "plain base64": (f"{HEAD}.{SAID}.{'+/' * 43}", NO_TOKEN),
    "letters of another script": (f"{HEAD}.{SAID}.{'ж' * 86}", NO_TOKEN),
    "half a surrogate pair": (f"{HEAD}.{SAID}.\ud83d", NO_TOKEN),
    "SQL": ("' OR '1'='1", NO_TOKEN),
    "one character too many": (
        f"{HEAD}.{'A' * (8191 - len(HEAD) - len(SIGNED))}.{SIGNED}",
        TOO_LONG,
    ),
    "1 MB": ("A" * 1_000_000, TOO_LONG),
    "1 MB of dots": ("." * 1_000_000, TOO_LONG),
    "a header that is no base64": (f"{HEAD}A.{SAID}.{SIGNED}", NO_HEADER),
    "a header that is no JSON": (raw("alg"), NO_HEADER),
    "a header that is a list": (raw('["ES256"]'), NO_HEADER),
    "a header that is null": (raw("null"), NO_HEADER),
    "a header nested deeply": (raw("[" * 5000), NO_HEADER),
    "a header with NaN": (raw('{"alg": NaN}'), NO_HEADER),
    "a header in UTF-16": (raw(issuers.header().encode("utf-16")), NO_HEADER),
    "a header with a byte order mark": (raw("\ufeff" + issuers.header()), NO_HEADER),
    "two algorithms": (raw(issuers.header()[:-1] + ', "alg": "none"}'), NO_HEADER),
    "two keys": (raw(issuers.header()[:-1] + ', "kid": "ec-256"}'), NO_HEADER),
}

ALGORITHMS: dict[str, tuple[str, str]] = {
    "none, unsigned": (unsigned("none"), NO_TOKEN),
    "none": (under(alg="none"), ALGORITHM),
    "None": (under(alg="None"), ALGORITHM),
    "NONE": (under(alg="NONE"), ALGORITHM),
    "nOnE": (under(alg="nOnE"), ALGORITHM),
    "an empty one": (under(alg=""), ALGORITHM),
    "no algorithm": (under(alg=None), ALGORITHM),
    "null": (raw('{"alg": null, "kid": "ec-256"}'), ALGORITHM),
    "a list": (under(alg=["ES256"]), ALGORITHM),
    "an object": (under(alg={"ES256": 1}), ALGORITHM),
    "a number": (under(alg=256), ALGORITHM),
    "lower case": (under(alg="es256"), ALGORITHM),
    "a space behind it": (under(alg="ES256 "), ALGORITHM),
    "a curve that is not ours": (under(alg="ES256K"), ALGORITHM),
    "the public key as a secret, PEM": (
        issuers.hs256(issuers.header("HS256", kid="rsa-1"), issuers.encoded("RSA", Encoding.PEM)),
        ALGORITHM,
    ),
    "the public key as a secret, DER": (
        issuers.hs256(issuers.header("HS256", kid="rsa-1"), issuers.encoded("RSA", Encoding.DER)),
        ALGORITHM,
    ),
    "no secret": (issuers.hs256(issuers.header("HS256"), b""), ALGORITHM),
    "HMAC under RS256": (issuers.hs256(RSA, issuers.encoded("RSA", Encoding.PEM)), SIGNATURE),
    "RS256 with an EC key": (under(alg="RS256", kid="ec-256"), NOT_ITS_KEY),
    "ES256 with an RSA key": (under(kid="rsa-1"), NOT_ITS_KEY),
    "ES256 with a key of P-384": (under(kid="ec-384"), NOT_ITS_KEY),
    "ES512 with a key of P-256": (under(alg="ES512"), NOT_ITS_KEY),
    "EdDSA with an EC key": (under(alg="EdDSA"), NOT_ITS_KEY),
    "ES256 with an Ed25519 key": (under(kid="ed-1"), NOT_ITS_KEY),
    "signed by PS256, called RS256": (issuers.token(head=RSA, algorithm="PS256"), SIGNATURE),
    "signed by RS512, called RS256": (issuers.token(head=RSA, algorithm="RS512"), SIGNATURE),
}

HEADERS: dict[str, tuple[str, str]] = {
    "crit": (under(crit=["exp"]), EXTENSION),
    "crit that is in the header": (under(crit=["x"], x=1), EXTENSION),
    "crit, empty": (under(crit=[]), EXTENSION),
    "crit, a text": (under(crit="alg"), EXTENSION),
    "crit, null": (raw('{"alg": "ES256", "kid": "ec-256", "crit": null}'), EXTENSION),
    "crit of b64": (under(crit=["b64"], b64=False), EXTENSION),
    "crit of b64, true": (under(crit=["b64"], b64=True), EXTENSION),
    "b64 alone": (under(b64=False), EXTENSION),
    "for a logout": (under(typ="logout+jwt"), NOT_FOR_ACCESS),
    "a proof of possession": (under(typ="dpop+jwt"), NOT_FOR_ACCESS),
    "a kind that is no text": (under(typ=["JWT"]), NOT_FOR_ACCESS),
    "an empty kind": (under(typ=""), NOT_FOR_ACCESS),
    "no kid": (under(kid=None), NO_KID),
    "a list of kids": (under(kid=["ec-256"]), NO_KID),
    "an object": (under(kid={"ec-256": 1}), NO_KID),
    "a number": (under(kid=0), NO_KID),
    "true": (under(kid=True), NO_KID),
    "null": (raw('{"alg": "ES256", "kid": null}'), NO_KID),
    "an empty kid": (under(kid=""), UNKNOWN_KEY),
    "a path": (under(kid="../../x"), UNKNOWN_KEY),
    "a path to nothing": (under(kid="/dev/null"), UNKNOWN_KEY),
    "SQL": (under(kid="' OR '1'='1"), UNKNOWN_KEY),
    "a command": (under(kid="ec-256|sleep 9"), UNKNOWN_KEY),
    "a NUL": (under(kid="ec-256\0"), UNKNOWN_KEY),
    "a kid in other letters": (under(kid="EC-256"), UNKNOWN_KEY),
    "a kid with a space": (under(kid="ec-256 "), UNKNOWN_KEY),
    "a kid of 5000": (under(kid="k" * 5000), UNKNOWN_KEY),
    "a kid of 1 MB": (under(kid="k" * 1_000_000), TOO_LONG),
    "half a surrogate pair": (under(kid="\ud83d"), UNKNOWN_KEY),
    "a name that objects have": (under(kid="__class__"), UNKNOWN_KEY),
    "an address": (under(kid="https://evil.example/jwks"), UNKNOWN_KEY),
    "jwk": (embedded(jwk=issuers.jwk(EVIL, "ec-256")), SIGNATURE),
    "jku": (embedded(jku="https://evil.example/jwks"), SIGNATURE),
    "x5u": (embedded(x5u="https://evil.example/chain"), SIGNATURE),
    "x5c": (embedded(x5c=["MIIB"]), SIGNATURE),
    "a key of one's own": (embedded(kid="evil", jwk=issuers.jwk(EVIL, "evil")), UNKNOWN_KEY),
}

SIGNATURES: dict[str, tuple[str, str]] = {
    "another's key": (issuers.token(key=EVIL), SIGNATURE),
    "zeros": (f"{HEAD}.{SAID}.{NO_SIGNATURE}", SIGNATURE),
    "zeros under RS256": (f"{issuers.b64(RSA)}.{SAID}.{issuers.b64(bytes(256))}", SIGNATURE),
    "zeros under EdDSA": (
        f"{issuers.b64(issuers.header('EdDSA'))}.{SAID}.{NO_SIGNATURE}",
        SIGNATURE,
    ),
    "one byte": (f"{HEAD}.{SAID}.AA", SIGNATURE),
    "half of it": (f"{HEAD}.{SAID}.{SIGNED[:43]}", SIGNATURE),
    "twice": (f"{HEAD}.{SAID}.{SIGNED}{SIGNED}", SIGNATURE),
    "in DER": (der(), SIGNATURE),
    "a letter that cannot be alone": (f"{HEAD}.{SAID}.{SIGNED[:-1]}", SIGNATURE),
    "loose bits": (loose(), SIGNATURE),
    "of another token": (f"{HEAD}.{issuers.b64(issuers.claims(sub='root'))}.{SIGNED}", SIGNATURE),
    "of another header": (f"{issuers.b64(issuers.header(x=1))}.{SAID}.{SIGNED}", SIGNATURE),
    "of the other parts": (f"{HEAD}.{SAID[:-4]}.{SIGNED}", SIGNATURE),
}

ATTACKS = {
    f"{kind}: {name}": row
    for kind, rows in {
        "shape": SHAPES,
        "algorithm": ALGORITHMS,
        "header": HEADERS,
        "signature": SIGNATURES,
    }.items()
    for name, row in rows.items()
}


@pytest.mark.case("4.11")
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack(name: str) -> None:
    token, reason = ATTACKS[name]
    assert refusal(token) == reason


def test_the_token_that_the_attacks_begin_with_is_good() -> None:
    for token in (GOOD, raw(issuers.header()), under(), issuers.token(head=RSA, algorithm="RS256")):
        assert tokens.verify(token, issuers.keys(), issuers.RULES, issuers.NOW).user == "alice"


@pytest.mark.case("4.11")
def test_a_token_has_a_size() -> None:
    def of(size: int) -> str:
        return issuers.token(issuers.claims(x="x" * size))

    size = next(size for size in range(5000, 7000) if len(of(size)) > tokens.MAX_TOKEN)
    assert len(of(size - 1)) in (8191, 8192)
    assert tokens.verify(of(size - 1), issuers.keys(), issuers.RULES, issuers.NOW).user == "alice"
    assert refusal(of(size)) == TOO_LONG


@pytest.mark.case("4.11")
def test_addresses_and_keys_in_a_header_are_ignored() -> None:
    """Some issuers send them with every token: it is good, and by their own key."""
    other = issuers.jwk(EVIL, "ec-256")
    token = under(jku="https://evil.example/", x5u="http://x", x5c=["MIIB"], jwk=other, x5t="x")
    assert tokens.verify(token, issuers.keys(), issuers.RULES, issuers.NOW).key == "ec-256"


@pytest.mark.case("4.11")
def test_an_algorithm_that_the_rules_do_not_name() -> None:
    assert refusal(GOOD, algorithms=("RS256", "ES384")) == ALGORITHM


@pytest.mark.case("4.11")
@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS512"])
def test_an_algorithm_that_the_key_is_not_for(algorithm: str) -> None:
    listed = issuers.jwk(issuers.private("RSA"), "rsa-1", alg="PS256")
    keys = public_keys.Keys.parse(issuers.document(listed))
    assert refusal(issuers.token(algorithm=algorithm), keys) == NOT_ITS_KEY
    token = issuers.token(algorithm="PS256")
    assert tokens.verify(token, keys, issuers.RULES, issuers.NOW).key == "rsa-1"


@pytest.mark.case("4.11")
def test_a_kid_is_only_looked_up() -> None:
    for kid in ("../../x", "' OR '1'='1", "ключ"):
        listed = issuers.jwk(issuers.private("P-256"), kid)
        keys = public_keys.Keys.parse(issuers.document(listed))
        found = tokens.verify(under(kid=kid), keys, issuers.RULES, issuers.NOW)
        assert found.key == kid
        assert refusal(GOOD, keys) == UNKNOWN_KEY


@pytest.mark.case("4.11")
def test_a_key_that_was_withdrawn() -> None:
    assert refusal(GOOD, public_keys.Keys({})) == UNKNOWN_KEY


@pytest.mark.parametrize("name", [name for name, row in ATTACKS.items() if row[1] != SIGNATURE])
def test_who_looks_for_the_key_refuses_as_early_as_can_be(name: str) -> None:
    """What no key could help asks nobody for one."""
    token, reason = ATTACKS[name]
    if reason in (UNKNOWN_KEY, NOT_ITS_KEY):
        assert isinstance(tokens.key_id(token, issuers.RULES), str)
        return
    with pytest.raises(errors.Unauthorized, match=r"[Tt]oken"):
        tokens.key_id(token, issuers.RULES)


# Any text at all

ANY: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: f"{HEAD}.{SAID}.{text}",
    lambda text: f"{HEAD}.{text}.{SIGNED}",
    lambda text: f"{text}.{SAID}.{SIGNED}",
    lambda text: f"{issuers.b64(text.encode(errors='surrogatepass'))}.{SAID}.{SIGNED}",
]


@pytest.mark.case("4.11")
@given(st.sampled_from(ANY), st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*"))
def test_any_text_is_refused_and_nothing_else(shape: Callable[[str], str], text: str) -> None:
    refusal(shape(text))


NAMES = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "cty", "enc"])


@pytest.mark.case("4.11")
@given(st.dictionaries(NAMES, issuers.anything(), min_size=1, max_size=4))
def test_any_header_is_refused_or_does_no_harm(changes: dict[str, Any]) -> None:
    base = {"alg": "ES256", "kid": "ec-256"}
    token = issuers.token(head=json.dumps({**base, **changes}))
    try:
        found = tokens.verify(token, issuers.keys(), issuers.RULES, issuers.NOW)
    except errors.Unauthorized:
        return
    assert changes.keys().isdisjoint({"crit", "b64"})
    assert found.key == "ec-256"


@pytest.mark.case("4.11")
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_no_letter_of_a_token_can_be_another(algorithm: str) -> None:
    good = issuers.token(algorithm=algorithm)
    for place, letter in enumerate(good):
        for other in "Ab-.":
            if letter != other:
                refusal(good[:place] + other + good[place + 1 :])


@pytest.mark.case("4.11")
def test_a_refusal_says_nothing_of_the_token() -> None:
    """Nor does what it was raised from, where a traceback is written."""
    secret = "cmFyZS1zZWNyZXQ"
    for token in (
        issuers.token(issuers.claims(sub=f"{secret}\n")),
        issuers.token(issuers.claims(iss=secret)),
        issuers.token(issuers.claims(aud=[secret])),
        issuers.token(issuers.claims(tenant=f"{secret}/")),
        issuers.token(f'{{"{secret}": '),
        under(kid=secret),
        under(alg=secret),
        under(typ=secret),
        f"{HEAD}.{SAID}.{secret}",
        secret,
    ):
        with pytest.raises(errors.Unauthorized) as caught:
            tokens.verify(token, issuers.keys(), issuers.RULES, issuers.NOW)
        trace = errors.trace(caught.value)
        assert secret not in trace
        assert trace.count("Traceback") == 1
