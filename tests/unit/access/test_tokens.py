"""Tokens: what is let in, what a token says, and every claim that puts one out.

Strategy: a table of claims for each answer. All tokens here are signed rightly; what attackers make
of tokens is in `test_tokens_attacks`. The time is a number.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.access import issuers
from tests.unit.access.issuers import NOW, SOON

from holdfast import errors
from holdfast.access import public_keys, tokens


def verified(token: str, now: float = NOW, **changes: Any) -> tokens.Claims:
    return tokens.verify(token, issuers.keys(), issuers.rules(**changes), now)


def refusal(token: str, now: float = NOW, **changes: Any) -> str:
    with pytest.raises(errors.Unauthorized) as caught:
        verified(token, now, **changes)
    return caught.value.message


# What is let in


@pytest.mark.parametrize("algorithm", public_keys.ALGORITHMS)
def test_a_good_token_of_each_algorithm(algorithm: str) -> None:
    kid = issuers.KID[public_keys.ALGORITHMS[algorithm]]
    token = issuers.token(algorithm=algorithm)
    assert tokens.key_id(token, issuers.RULES) == kid
    assert verified(token) == tokens.Claims("acme", "alice", frozenset({"read"}), kid, SOON + 30)
    only = (algorithm,)
    assert verified(token, algorithms=only).key == kid


def test_a_token_ends_when_it_says_so() -> None:
    """With the leeway, and for whoever looks at `expires_at` at the same moment."""
    token = issuers.token()
    end = verified(token).expires_at
    assert end == SOON + 30
    assert verified(token, end - 0.001).expires_at == end
    assert refusal(token, end) == "The token has expired (exp)."


GOOD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # name: changes of the claims, what the answer is then
    "a list of audiences": ({"aud": ["other", "holdfast"]}, {}),
    "a list of one": ({"aud": ["holdfast"]}, {}),
    "a fraction of a second": ({"exp": SOON + 0.9}, {"expires_at": SOON + 30}),
    "as an exponent": ({"exp": 1.8000006e9}, {"expires_at": SOON + 30}),
    "the last moment there is": ({"exp": 253402300799}, {"expires_at": 253402300829}),
    "expired within the leeway": ({"exp": int(NOW) - 29}, {"expires_at": int(NOW) + 1}),
    "no iat": ({"iat": None}, {}),
    "an iat of the leeway": ({"iat": NOW + 30}, {}),
    "an nbf that is past": ({"nbf": NOW - 1}, {}),
    "an nbf of the leeway": ({"nbf": NOW + 30}, {}),
    "an nbf of 0": ({"nbf": 0}, {}),
    "claims that nobody knows": ({"jti": "1", "x": {"y": [1, {"z": None}]}}, {}),
    "both scopes": ({"scope": "generate read"}, {"scopes": {"generate", "read"}}),
    "scopes in any order, twice": (
        {"scope": "read  read generate"},
        {"scopes": {"generate", "read"}},
    ),
    "scopes that are not ours": ({"scope": "openid read email"}, {"scopes": {"read"}}),
    "more than it may": ({"scope": "read admin"}, {"scopes": {"read"}}),
    "none of ours": ({"scope": "openid"}, {"scopes": set()}),
    "no scope in the scope": ({"scope": ""}, {"scopes": set()}),
    "a scope in other letters": ({"scope": "READ"}, {"scopes": set()}),
    "two scopes with a tab": ({"scope": "read\tgenerate"}, {"scopes": set()}),
    "a list of scopes": ({"scope": ["generate", "email"]}, {"scopes": {"generate"}}),
    "an empty list of scopes": ({"scope": []}, {"scopes": set()}),
    "scp, a text": ({"scope": None, "scp": "generate read"}, {"scopes": {"generate", "read"}}),
    "scp, a list": ({"scope": None, "scp": ["generate"]}, {"scopes": {"generate"}}),
    "scope before scp": ({"scp": ["generate"]}, {"scopes": {"read"}}),
    "no claim of scopes": ({"scope": None}, {"scopes": {"generate", "read"}}),
    "a tenant of each sign": ({"tenant": "Az09._:@+-"}, {"tenant": "Az09._:@+-"}),
    "a tenant of 64": ({"tenant": "t" * 64}, {"tenant": "t" * 64}),
    "a user of one": ({"sub": "a"}, {"user": "a"}),
    "a user of 200": ({"sub": "u" * 200}, {"user": "u" * 200}),
    "a user of another script": ({"sub": "सुनीता 李 🐙"}, {"user": "सुनीता 李 🐙"}),
    "a user with slashes": ({"sub": "auth0|a/../b c"}, {"user": "auth0|a/../b c"}),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_let_in(name: str) -> None:
    changes, told = GOOD[name]
    found = verified(issuers.token(issuers.claims(**changes)))
    base = {"tenant": "acme", "user": "alice", "scopes": {"read"}, "expires_at": SOON + 30}
    wanted = {**base, **told, "key": "ec-256"}
    assert {field: getattr(found, field) for field in wanted} == wanted


def test_a_text_of_bytes_beyond_ascii_is_utf_8() -> None:
    said = json.dumps({**issuers.SAID, "sub": "Bjørk"}, ensure_ascii=False)
    assert verified(issuers.token(said)).user == "Bjørk"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+JWT", None])
def test_what_a_token_for_access_calls_itself(kind: str | None) -> None:
    assert verified(issuers.token(head=issuers.header(typ=kind))).user == "alice"


def test_without_a_claim_for_it_everybody_has_one_tenant() -> None:
    for said in (issuers.claims(), issuers.claims(tenant=None), issuers.claims(tenant=7)):
        assert verified(issuers.token(said), tenant_claim=None).tenant == "default"


def test_any_claim_may_name_the_tenant() -> None:
    said = issuers.claims(**{"https://example.com/org": "globex"})
    token = issuers.token(said)
    assert verified(token, tenant_claim="https://example.com/org").tenant == "globex"
    assert verified(token, tenant_claim="sub").tenant == "alice"


# What is put out

MISSING = "is missing, or is no time in seconds since 1970."
NO_EXP, NO_NBF, NO_IAT = (f"The token's {name} {MISSING}" for name in ("exp", "nbf", "iat"))
ISSUER = "The token is of another issuer (iss)."
AUDIENCE = "The token is for another audience (aud)."
EXPIRED = "The token has expired (exp)."
EARLY = "The token is not valid yet (nbf)."
TO_COME = "The token was issued at a time that is to come (iat)."
TENANT = "The token's tenant is missing, or is not 1 to 64 letters, digits or ._:@+-."
USER = "The token's sub is missing, or is not 1 to 200 printable characters."
SCOPE, SCP = (
    f"The token's {name} is neither a text nor a list of texts." for name in ("scope", "scp")
)

NO_TIMES: dict[str, Any] = {
    "a text": str(SOON),
    "a date": "2027-01-15T08:10:00Z",
    "true": True,
    "false": False,
    "a list": [SOON],
    "an object": {"seconds": SOON},
    "negative": -1,
    "a little negative": -0.5,
    "in milliseconds": SOON * 1000,
    "the end of days": 253402300800,
    "huge": 10**400,
    "a huge float": 1e300,
}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no issuer": ({"iss": None}, ISSUER),
    "another issuer": ({"iss": "https://evil.example/"}, ISSUER),
    "an issuer without its slash": ({"iss": "https://issuer.example"}, ISSUER),
    "an issuer with more behind it": ({"iss": "https://issuer.example/x"}, ISSUER),
    "an issuer in other letters": ({"iss": "https://ISSUER.example/"}, ISSUER),
    "a list of issuers": ({"iss": ["https://issuer.example/"]}, ISSUER),
    "no audience": ({"aud": None}, AUDIENCE),
    "another audience": ({"aud": "other"}, AUDIENCE),
    "an audience with more behind it": ({"aud": "holdfast-admin"}, AUDIENCE),
    "a part of the audience": ({"aud": "hold"}, AUDIENCE),
    "an audience in other letters": ({"aud": "Holdfast"}, AUDIENCE),
    "an empty audience": ({"aud": ""}, AUDIENCE),
    "no audiences": ({"aud": []}, AUDIENCE),
    "other audiences": ({"aud": ["a", "b"]}, AUDIENCE),
    "an audience and a number": ({"aud": ["holdfast", 1]}, AUDIENCE),
    "a list in the list": ({"aud": [["holdfast"]]}, AUDIENCE),
    "an object of audiences": ({"aud": {"holdfast": True}}, AUDIENCE),
    "no exp": ({"exp": None}, NO_EXP),
    "expired": ({"exp": int(NOW) - 30}, EXPIRED),
    "expired long ago": ({"exp": 0}, EXPIRED),
    "an nbf over the leeway": ({"nbf": NOW + 30.5}, EARLY),
    "an iat over the leeway": ({"iat": NOW + 30.5}, TO_COME),
    "no tenant": ({"tenant": None}, TENANT),
    "an empty tenant": ({"tenant": ""}, TENANT),
    "a tenant of 65": ({"tenant": "t" * 65}, TENANT),
    "a tenant with a slash": ({"tenant": "acme/alice"}, TENANT),
    "a tenant with a space": ({"tenant": "acme inc"}, TENANT),
    "a tenant with a line feed": ({"tenant": "acme\n"}, TENANT),
    "a tenant with a NUL": ({"tenant": "acme\0"}, TENANT),
    "a tenant of another script": ({"tenant": "асме"}, TENANT),
    "digits of another script": ({"tenant": "١٢"}, TENANT),
    "a tenant that is a number": ({"tenant": 7}, TENANT),
    "a list of tenants": ({"tenant": ["acme"]}, TENANT),
    "no user": ({"sub": None}, USER),
    "an empty user": ({"sub": ""}, USER),
    "a user of 201": ({"sub": "u" * 201}, USER),
    "a user that is a number": ({"sub": 7}, USER),
    "a list of users": ({"sub": ["alice"]}, USER),
    "a user with a line feed": ({"sub": "alice\nroot"}, USER),
    "a user with a NUL": ({"sub": "alice\0"}, USER),
    "a user with an escape": ({"sub": "\x1b[2Jalice"}, USER),
    "a user with a C1 control": ({"sub": "alice\x9b"}, USER),
    "a user with DEL": ({"sub": "alice\x7f"}, USER),
    "a user with a line separator": ({"sub": "alice\u2028"}, USER),
    "a user that runs backwards": ({"sub": "alice\u202egnp"}, USER),
    "a user with nothing to see": ({"sub": "alice\u200b"}, USER),
    "half a surrogate pair": ({"sub": "alice\ud83d"}, USER),
    "a scope that is a number": ({"scope": 7}, SCOPE),
    "a scope that is an object": ({"scope": {"read": True}}, SCOPE),
    "a scope that is true": ({"scope": True}, SCOPE),
    "numbers among the scopes": ({"scope": ["read", 1]}, SCOPE),
    "lists among the scopes": ({"scope": [["read"]]}, SCOPE),
    "an scp that is a number": ({"scope": None, "scp": 7}, SCP),
    **{f"exp: {name}": ({"exp": value}, NO_EXP) for name, value in NO_TIMES.items()},
    **{f"nbf: {name}": ({"nbf": value}, NO_NBF) for name, value in NO_TIMES.items()},
    **{f"iat: {name}": ({"iat": value}, NO_IAT) for name, value in NO_TIMES.items()},
}


@pytest.mark.case("4.11")
@pytest.mark.parametrize("name", BAD)
def test_what_is_put_out(name: str) -> None:
    changes, reason = BAD[name]
    assert refusal(issuers.token(issuers.claims(**changes))) == reason


NULLS = {"iss": ISSUER, "aud": AUDIENCE, "exp": NO_EXP, "nbf": NO_NBF, "iat": NO_IAT}
NULLS |= {"tenant": TENANT, "sub": USER, "scope": SCOPE}


@pytest.mark.case("4.11")
@pytest.mark.parametrize("claim", NULLS)
def test_null_is_not_as_if_it_were_not_there(claim: str) -> None:
    said = json.dumps({**issuers.SAID, claim: None})
    assert refusal(issuers.token(said)) == NULLS[claim]


def spelled(text: str) -> str:
    """The claims with this where exp is."""
    return issuers.claims().replace(f'"exp": {SOON}', text)


NO_OBJECT = "The token's claims are no JSON object."
PAYLOADS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("{}", ISSUER),
    "nothing but space": (" ", NO_OBJECT),
    "a list": (f"[{issuers.claims()}]", NO_OBJECT),
    "a text": ('"sub"', NO_OBJECT),
    "a number": ("1", NO_OBJECT),
    "null": ("null", NO_OBJECT),
    "no JSON": ("sub=alice", NO_OBJECT),
    "cut off": (issuers.claims()[:-1], NO_OBJECT),
    "something behind it": (issuers.claims() + "{}", NO_OBJECT),
    "a name twice": (issuers.claims()[:-1] + ', "sub": "root"}', NO_OBJECT),
    "a name twice, spelled otherwise": (
        issuers.claims()[:-1] + r', "s\u0075b": "root"}',
        NO_OBJECT,
    ),
    "a name twice, further down": (issuers.claims()[:-1] + ', "x": {"a": 1, "a": 2}}', NO_OBJECT),
    "NaN": (spelled('"exp": NaN'), NO_OBJECT),
    "infinity": (spelled('"exp": Infinity'), NO_OBJECT),
    "a number that is infinite": (spelled('"exp": 1e999'), NO_EXP),
    "a number of 5000 digits": (spelled(f'"exp": {"9" * 5000}'), NO_OBJECT),
    "a number in hexadecimal": (spelled('"exp": 0x7fffffff'), NO_OBJECT),
    "nested deeply": ("[" * 5000, NO_OBJECT),
    "nested deeply, an object": ('{"a":' * 1200, NO_OBJECT),
    "not UTF-8": (issuers.claims(sub="ALICE").encode().replace(b"ALICE", b"\xff"), NO_OBJECT),
    "a surrogate in UTF-8": (b'{"sub": "\xed\xa0\x80"}', NO_OBJECT),
    "an overlong slash": (b'{"sub": "\xc0\xaf"}', NO_OBJECT),
    "UTF-16": (issuers.claims().encode("utf-16"), NO_OBJECT),
    "UTF-32": (issuers.claims().encode("utf-32-le"), NO_OBJECT),
    "a byte order mark": ("\ufeff" + issuers.claims(), NO_OBJECT),
    "a raw line feed in a text": ('{"sub": "a\n"}', NO_OBJECT),
}


@pytest.mark.case("4.11")
@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads_that_say_nothing(name: str) -> None:
    payload, reason = PAYLOADS[name]
    assert refusal(issuers.token(payload)) == reason


# Two tokens


@pytest.mark.case("4.6")
def test_two_tokens_that_share_a_long_prefix_are_two_tokens() -> None:
    """One of them by the last letter of its signature, one by its user, after 4,000 letters."""
    long = {"x": "x" * 3000}
    said = {name: value for name, value in issuers.SAID.items() if name != "sub"}
    alice, bob = (
        issuers.token(json.dumps({**long, **said, "sub": user}), algorithm="RS256")
        for user in ("alice", "bobby")
    )
    assert alice[:4000] == bob[:4000]
    forged = "The token's signature is not valid."
    for _ in range(2):
        assert verified(alice).user == "alice"
        assert verified(bob).user == "bobby"
        assert refusal(alice[:-1] + ("A" if alice[-1] != "A" else "Q")) == forged
        assert refusal(alice.rpartition(".")[0] + "." + bob.rpartition(".")[2]) == forged


# Rules


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"algorithms": ("HS256",)}, "the algorithms of tokens are some of RS256, "),
        ({"algorithms": ("RS256", "none")}, "the algorithms of tokens are some of RS256, "),
        ({"algorithms": ("rs256",)}, "the algorithms of tokens are some of RS256, "),
        ({"algorithms": ("ES256K",)}, "the algorithms of tokens are some of RS256, "),
        ({"algorithms": ()}, "the algorithms of tokens are some of RS256, "),
        ({"issuer": ""}, "cannot be empty"),
        ({"audience": ""}, "cannot be empty"),
        ({"tenant_claim": ""}, "cannot be empty"),
    ],
)
def test_rules_that_cannot_be(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        issuers.rules(**changes)


# Any claims at all

NAMES = st.sampled_from([*issuers.SAID, "nbf", "scp"])


@given(st.dictionaries(NAMES, issuers.anything(), max_size=3))
def test_whatever_is_said_is_let_in_or_put_out(changes: dict[str, Any]) -> None:
    token = issuers.token(json.dumps({**issuers.SAID, **changes}))
    try:
        found = verified(token)
    except errors.Unauthorized:
        return
    assert found.scopes <= {"generate", "read"}
    assert found.expires_at > NOW
    assert found.user
    assert found.user.isprintable()
