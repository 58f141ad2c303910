"""Signed URLs: a browser's EventSource can set no header, so its right to read is in the address.

Strategy: the signature covers everything that it grants: one stream's events, until a time, by a
key. It may be used again, since EventSource comes back with it; it ends with its time, and with the
key that it was made by.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from holdfast import errors

PARAMETERS = ("expires", "key", "signature")
"""Of the query, all or none."""

_EXPIRES = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)


class Grant(msgspec.Struct, frozen=True):
    """What a signed URL grants: to read this stream until then (seconds since 1970), as long as
    the key (of `Principal.key`) is valid."""

    stream: str
    key: str
    expires: int


def query(secret: bytes, grant: Grant) -> str:
    """The query of a URL that grants this."""
    values = (str(grant.expires), grant.key, _signature(secret, grant))
    return urlencode(dict(zip(PARAMETERS, values, strict=True)))


def _signature(secret: bytes, grant: Grant) -> str:
    # Each with its length, so that no two grants are the same text.
    fields = (grant.stream, grant.key, str(grant.expires))
    said = b"holdfast read\0" + b"".join(
        len(field.encode()).to_bytes(4, "big") + field.encode() for field in fields
    )
    return base64.urlsafe_b64encode(hmac.digest(secret, said, hashlib.sha256)).rstrip(b"=").decode()


def is_signed(query: Mapping[str, str]) -> bool:
    """Whether a request brings a signature, be it right or wrong."""
    return "signature" in query


def verified(secret: bytes, stream: str, query: Mapping[str, str], now: float) -> Grant:
    """What a signed URL of this stream grants. Raises `errors.Unauthorized`."""
    expires, key, said = (query.get(name, "") for name in PARAMETERS)
    grant = Grant(stream, key, int(expires) if _EXPIRES.fullmatch(expires) else 0)
    try:
        right = _signature(secret, grant)
    except UnicodeEncodeError:
        right = ""
    same = hmac.compare_digest(right.encode(), said.encode(errors="surrogatepass"))
    if not same or not right or now >= grant.expires:
        raise errors.Unauthorized("The signed URL is not valid, or not any more.")
    return grant
