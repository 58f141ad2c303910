"""The public keys of a tokens' issuer, as values, from its JWKS document (RFC 7517).

Strategy: what a key may verify is said here, by its own type and its own `alg`, and a token can
only ask for that: so no token makes a key of one kind serve as another. A key that is not
understood, too weak or not for signatures is passed over, as the RFC has it, and costs the others
nothing; a document that is no key set is refused whole. No I/O.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from cryptography import exceptions
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

MAX_DOCUMENT = 64 * 1024  # bytes
MAX_KEYS = 100
MAX_KEY_ID = 200  # characters

RSA_BITS = (2048, 8192)
"""Least and most: a longer one would make each verification a burden."""

MAX_EXPONENT = 32
"""Bits of an RSA key's public exponent, for the same reason; 65537 has 17."""

ALGORITHMS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
        "ES256": "P-256",
        "ES384": "P-384",
        "ES512": "P-521",
        "EdDSA": "Ed25519",
    }
)
"""By what a token may be signed, and the kind of key that each takes. All are asymmetric: with a
shared secret, whoever verifies could sign."""

Public = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_CURVES: Mapping[str, tuple[int, Callable[[], ec.EllipticCurve]]] = MappingProxyType(
    {"P-256": (32, ec.SECP256R1), "P-384": (48, ec.SECP384R1), "P-521": (66, ec.SECP521R1)}
)  # with the bytes of a coordinate
_BASE64URL = re.compile(r"[\w-]+", re.ASCII)


class Key(msgspec.Struct, frozen=True):
    """`kind` is one of the values of `ALGORITHMS`. `algorithm` is the only one that the key is
    for, where its issuer says so."""

    id: str
    kind: str
    algorithm: str | None
    public: Public

    def fits(self, algorithm: str) -> bool:
        """Whether it may verify what was signed by this algorithm."""
        return ALGORITHMS.get(algorithm) == self.kind and self.algorithm in (None, algorithm)


class Keys(msgspec.Struct, frozen=True):
    """A key set, by key id: at most `MAX_KEYS`, each for signatures alone."""

    by_id: Mapping[str, Key]

    @classmethod
    def parse(cls, document: bytes) -> Keys:
        """The keys of a JWKS document that can be used, which may be none. Of two with one id the
        first counts. Raises ValueError where it is no such document, or over a limit."""
        if len(document) > MAX_DOCUMENT:
            raise ValueError(f"a key set has at most {MAX_DOCUMENT} bytes")
        listed = json_object(document).get("keys")
        if not isinstance(listed, list):
            raise ValueError("a key set is an object with a list of keys")
        if len(listed) > MAX_KEYS:
            raise ValueError(f"a key set has at most {MAX_KEYS} keys")
        found: dict[str, Key] = {}
        for each in listed:
            key = _key(each)
            if key is not None:
                found.setdefault(key.id, key)
        return cls(MappingProxyType(found))


def json_object(data: bytes) -> dict[str, Any]:
    """An object of JSON in UTF-8. Raises ValueError for anything else, and where it can be read in
    two ways: a name that is there twice, at any depth, or a number that JSON does not have."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=_distinct, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("the JSON is no object")
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


class _Jwk(msgspec.Struct):
    """What is read of one key; `d` is there in private keys alone."""

    kty: str
    kid: str
    use: str = "sig"
    key_ops: tuple[str, ...] = ("verify",)
    alg: str | None = None
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""
    d: object = None


def _key(listed: object) -> Key | None:
    """None for what is passed over."""
    try:
        said = msgspec.convert(listed, _Jwk)
        usable = said.use == "sig" and "verify" in said.key_ops and said.d is None
        if not usable or not 0 < len(said.kid) <= MAX_KEY_ID or not said.kid.isprintable():
            return None
        kind, public = _MAKERS[said.kty](said)
    except (ValueError, KeyError, exceptions.UnsupportedAlgorithm):
        return None
    key = Key(said.kid, kind, said.alg, public)
    return key if said.alg is None or key.fits(said.alg) else None


def _rsa(said: _Jwk) -> tuple[str, Public]:
    modulus, exponent = (int.from_bytes(decoded(text), "big") for text in (said.n, said.e))
    least, most = RSA_BITS
    if not least <= modulus.bit_length() <= most or exponent.bit_length() > MAX_EXPONENT:
        raise ValueError("the RSA key has an unusual size")
    return "RSA", rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _elliptic(said: _Jwk) -> tuple[str, Public]:
    size, curve = _CURVES[said.crv]
    x, y = decoded(said.x), decoded(said.y)
    if not len(x) == len(y) == size:
        raise ValueError("a coordinate has another length than the curve's")
    numbers = (int.from_bytes(x, "big"), int.from_bytes(y, "big"))
    return said.crv, ec.EllipticCurvePublicNumbers(*numbers, curve()).public_key()


def _edwards(said: _Jwk) -> tuple[str, Public]:
    if said.crv != "Ed25519":
        raise ValueError("the key has another curve")
    return said.crv, ed25519.Ed25519PublicKey.from_public_bytes(decoded(said.x))


def decoded(text: str) -> bytes:
    """The bytes of base64url without padding (RFC 7515, 2). Raises ValueError for anything else."""
    if _BASE64URL.fullmatch(text) is None:
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


_MAKERS: Mapping[str, Callable[[_Jwk], tuple[str, Public]]] = MappingProxyType(
    {"RSA": _rsa, "EC": _elliptic, "OKP": _edwards}
)
"""By `kty`. Symmetric keys (`oct`) are not among them."""
