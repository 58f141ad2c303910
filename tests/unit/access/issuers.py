"""Issuers of tokens: keys that are made here, and tokens that are written byte by byte.

Strategy: header and claims are texts of JSON that the test may spell itself, and the signature is
made with `cryptography` alone: so a token can be wrong in any way, and what the library under test
does when it writes tokens plays no part. Each key is made once a run.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from hypothesis import strategies as st

from holdfast.access import public_keys, tokens

NOW = 1_800_000_000.5
SOON = 1_800_000_600

RULES = tokens.Rules(
    issuer="https://issuer.example/",
    audience="holdfast",
    algorithms=tuple(public_keys.ALGORITHMS),
    tenant_claim="tenant",
    scopes=("generate", "read"),
)

SAID: Mapping[str, Any] = {
    "iss": RULES.issuer,
    "aud": RULES.audience,
    "exp": SOON,
    "iat": 1_800_000_000,
    "sub": "alice",
    "tenant": "acme",
    "scope": "read",
}

KID = {"RSA": "rsa-1", "P-256": "ec-256", "P-384": "ec-384", "P-521": "ec-521", "Ed25519": "ed-1"}
"""The id of this issuer's key of each kind."""

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_CURVES: Mapping[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}


def b64(data: bytes | str) -> str:
    """base64url without padding."""
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@functools.cache
def private(kind: str, whose: str = "issuer") -> Private:
    """The private key of this kind; another one for each name in `whose`."""
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(_CURVES[kind])


def signature(key: Private, algorithm: str, message: bytes) -> bytes:
    """As RFC 7518 and 8037 have it; `algorithm` must fit the key."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    digest = _HASHES[algorithm[2:]]()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.key_size + 7) // 8
        numbers = utils.decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
        return b"".join(number.to_bytes(size, "big") for number in numbers)
    if algorithm.startswith("PS"):
        salted = padding.PSS(padding.MGF1(digest), digest.digest_size)
        return key.sign(message, salted, digest)
    return key.sign(message, padding.PKCS1v15(), digest)


def jwk(key: Private, kid: str, /, **changes: Any) -> dict[str, Any]:
    """The public key as a member of a JWKS document; a change to None takes a member away."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        made = {
            "kty": "RSA",
            "n": b64(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": b64(numbers.e.to_bytes(3, "big")),
        }
    elif isinstance(public, ec.EllipticCurvePublicKey):
        size, point = (public.key_size + 7) // 8, public.public_numbers()
        x, y = (b64(number.to_bytes(size, "big")) for number in (point.x, point.y))
        made = {"kty": "EC", "crv": f"P-{public.key_size}", "x": x, "y": y}
    else:
        made = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
    return _changed({**made, "kid": kid, "use": "sig"}, changes)


def _changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**base, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def document(*listed: Any) -> bytes:
    """A JWKS document."""
    return json.dumps({"keys": listed}).encode()


@functools.cache
def keys() -> public_keys.Keys:
    """This issuer's key set: one key of each kind."""
    return public_keys.Keys.parse(document(*(jwk(private(kind), KID[kind]) for kind in KID)))


def claims(**changes: Any) -> str:
    """`SAID` as JSON, with changes; a change to None takes a claim away."""
    return json.dumps(_changed(SAID, changes))


def header(algorithm: str = "ES256", **changes: Any) -> str:
    """The header of a token of this issuer's, as JSON."""
    kind = public_keys.ALGORITHMS.get(algorithm, "P-256")
    return json.dumps(_changed({"alg": algorithm, "kid": KID[kind], "typ": "JWT"}, changes))


def token(
    said: bytes | str | None = None,
    head: bytes | str | None = None,
    *,
    algorithm: str = "ES256",
    key: Private | None = None,
) -> str:
    """A token with this payload under this header, signed by this algorithm whatever the header
    says. Without an argument it is a good one."""
    signer = key or private(public_keys.ALGORITHMS[algorithm])
    head = header(algorithm) if head is None else head
    begun = f"{b64(head)}.{b64(claims() if said is None else said)}"
    return f"{begun}.{b64(signature(signer, algorithm, begun.encode()))}"


def hs256(head: str, secret: bytes) -> str:
    """A token whose signature is an HMAC, by a secret that an attacker can know."""
    begun = f"{b64(head)}.{b64(claims())}"
    return f"{begun}.{b64(hmac.digest(secret, begun.encode(), hashlib.sha256))}"


def encoded(kind: str, form: serialization.Encoding) -> bytes:
    """The bytes of a public key, as everybody has them."""
    layout = serialization.PublicFormat.SubjectPublicKeyInfo
    return private(kind).public_key().public_bytes(form, layout)


def rules(**changes: Any) -> tokens.Rules:
    """`RULES` with changes."""
    return msgspec.structs.replace(RULES, **changes)


def anything(*, finite: bool = False) -> st.SearchStrategy[Any]:
    """Whatever JSON can say, and where it need not be `finite`, what some write beyond it."""
    numbers = st.integers() | st.floats(allow_nan=not finite, allow_infinity=not finite)
    return st.recursive(
        st.none() | st.booleans() | numbers | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
