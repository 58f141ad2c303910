"""JSON Web Tokens (RFC 7519): from what a caller shows to what its issuer says of them. No I/O.

Strategy: nothing in a token chooses how it is verified. Its algorithm must be one that the
settings name, and fit the key itself; its key is found by a plain look-up of `kid` in the set that
the caller of `verify` holds; `jwk`, `jku`, `x5u` and `x5c` are ignored, so that no key and no
address comes out of a token. A header that asks for an extension (`crit`) is refused, as none is
known here. PyJWT checks the signature, and nothing is read of the claims before; what they say is
checked here, at the time that is passed in, because PyJWT goes by the system's clock.

Bytes that two readers could take differently are no token: a JSON name that is there twice,
padded or loose base64, another encoding than UTF-8. Refusals are fixed sentences: they say which
rule was broken, and nothing of the token.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

import msgspec

from holdfast import errors
from holdfast.access import principal, public_keys

if TYPE_CHECKING:
    import jwt

MAX_TOKEN = 8192
"""Characters, which are bytes too, of a token, and of a field that may bring one; what is longer is
not looked at."""

LEEWAY = 30
"""Seconds by which the issuer's clock may differ from ours."""

DEFAULT_TENANT = "default"
"""Whose everybody is where no claim names the tenant."""

KINDS = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")
"""What `typ` may say, in any case, if it is there: tokens for other ends (logout, proofs of
possession, security events) can have the same issuer, audience and key (RFC 8725, 3.11)."""

_LATEST = 253_402_300_799
# Seconds since 1970, the end of the year 9999: what is later was meant to be milliseconds.

SHAPE = re.compile(r"([\w-]+)\.([\w-]+)\.([\w-]*)", re.ASCII)
"""Of a token: header, claims and signature, which one that is not signed has empty."""


@functools.cache
def _signatures() -> jwt.PyJWS:
    # Imported where tokens are taken, by the first `Rules`: it would be the costliest tenth of the
    # start of every other node and command.
    import jwt

    return jwt.PyJWS(algorithms=list(public_keys.ALGORITHMS))


class Rules(msgspec.Struct, frozen=True):
    """What a token must be to let somebody in. Raises ValueError where that cannot be.

    `algorithms` are some of `public_keys.ALGORITHMS`. `tenant_claim` names the claim that says
    the tenant; with None everybody is of `DEFAULT_TENANT`. `scopes` are what a token may grant
    at most, and what one grants that says nothing of scopes.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    tenant_claim: str | None
    scopes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience or self.tenant_claim == "":
            raise ValueError("the issuer, the audience and the tenant's claim cannot be empty")
        if not self.algorithms or not set(self.algorithms) <= public_keys.ALGORITHMS.keys():
            known = ", ".join(public_keys.ALGORITHMS)
            raise ValueError(f"the algorithms of tokens are some of {known}")
        _signatures()  # now, and not while somebody waits


class Claims(msgspec.Struct, frozen=True):
    """Who somebody is by a token that was verified. `key` is the id of the key that signed it.
    `expires_at` (seconds since 1970) is when `verify` begins to refuse it: `LEEWAY` is in it,
    so that what was let in is not put out at once."""

    tenant: str
    user: str
    scopes: frozenset[str]
    key: str
    expires_at: int


def named_key(token: str) -> str:
    """The id of the key that a token names, before anything of it is looked at; empty for none."""
    try:
        kid = public_keys.json_object(public_keys.decoded(token.partition(".")[0])).get("kid")
    except ValueError:
        return ""
    return kid if isinstance(kid, str) else ""


def key_id(token: str, rules: Rules) -> str:
    """The id of the key that this is said to be signed by: what to look for before `verify`.
    Raises `errors.Unauthorized` for what would be refused with any key."""
    return _head(token, rules)[1]


def verify(token: str, keys: public_keys.Keys, rules: Rules, now: float) -> Claims:
    """What the token says, if it is valid at `now` (seconds since 1970). Raises
    `errors.Unauthorized`, and nothing else, whatever the text is."""
    algorithm, kid = _head(token, rules)
    key = keys.by_id.get(kid)
    if key is None:
        _refuse("The token's key is none of its issuer's keys.")
    if not key.fits(algorithm):
        _refuse("The token's algorithm is not that of its key.")
    payload = _payload(token, key, algorithm)
    try:
        said = public_keys.json_object(payload)
    except ValueError:
        raise errors.Unauthorized("The token's claims are no JSON object.") from None
    return _claims(said, rules, kid, now)


def _payload(token: str, key: public_keys.Key, algorithm: str) -> bytes:
    import jwt  # as in `_signatures`

    try:
        signed = _signatures().decode_complete(token, key.public, algorithms=[algorithm])
    except (jwt.PyJWTError, ValueError):
        raise errors.Unauthorized("The token's signature is not valid.") from None
    payload: bytes = signed["payload"]
    return payload


def _refuse(reason: str) -> NoReturn:
    raise errors.Unauthorized(reason)


def _head(token: str, rules: Rules) -> tuple[str, str]:
    """The algorithm and the key's id, neither of which is believed yet."""
    if len(token) > MAX_TOKEN:
        _refuse(f"A token has at most {MAX_TOKEN} characters.")
    parts = SHAPE.fullmatch(token)
    if parts is None or not parts[3]:
        _refuse("This is not a signed JSON Web Token.")
    try:
        said = public_keys.json_object(public_keys.decoded(parts[1]))
    except ValueError:
        raise errors.Unauthorized("The token's header is no JSON object.") from None
    if "crit" in said or "b64" in said:
        _refuse("The token's header asks for an extension that is not known here.")
    kind = said.get("typ", "jwt")
    if not isinstance(kind, str) or kind.lower() not in KINDS:
        _refuse("The token is not one for access.")
    algorithm, kid = said.get("alg"), said.get("kid")
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms:
        _refuse("The token is signed by an algorithm that is not accepted here.")
    if not isinstance(kid, str):
        _refuse("The token does not name its key (kid).")
    return algorithm, kid


def _claims(said: dict[str, Any], rules: Rules, kid: str, now: float) -> Claims:
    if said.get("iss") != rules.issuer:
        _refuse("The token is of another issuer (iss).")
    audience = said.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not _texts(audiences) or rules.audience not in audiences:
        _refuse("The token is for another audience (aud).")
    expires_at = int(_moment(said, "exp")) + LEEWAY
    if now >= expires_at:
        _refuse("The token has expired (exp).")
    if "nbf" in said and _moment(said, "nbf") > now + LEEWAY:
        _refuse("The token is not valid yet (nbf).")
    if "iat" in said and _moment(said, "iat") > now + LEEWAY:
        _refuse("The token was issued at a time that is to come (iat).")
    return Claims(_tenant(said, rules), _user(said), _scopes(said, rules), kid, expires_at)


def _moment(said: dict[str, Any], name: str) -> float:
    """A NumericDate: seconds since 1970, possibly with a fraction."""
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        _refuse(f"The token's {name} is missing, or is no time in seconds since 1970.")
    return value


def _tenant(said: dict[str, Any], rules: Rules) -> str:
    if rules.tenant_claim is None:
        return DEFAULT_TENANT
    value = said.get(rules.tenant_claim)
    if not isinstance(value, str) or not principal.is_tenant(value):
        _refuse("The token's tenant is missing, or is not 1 to 64 letters, digits or ._:@+-.")
    return value


def _user(said: dict[str, Any]) -> str:
    value = said.get("sub")
    if not isinstance(value, str) or not principal.is_user(value):
        _refuse("The token's sub is missing, or is not 1 to 200 printable characters.")
    return value


def _scopes(said: dict[str, Any], rules: Rules) -> frozenset[str]:
    """Of what is granted, what may be. `scope` counts before `scp`."""
    for name in ("scope", "scp"):
        if name in said:
            value = said[name]
            words = value.split(" ") if isinstance(value, str) else value
            if not _texts(words):
                _refuse(f"The token's {name} is neither a text nor a list of texts.")
            return frozenset(rules.scopes).intersection(words)
    return frozenset(rules.scopes)


def _texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
