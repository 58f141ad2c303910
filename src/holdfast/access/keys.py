"""API keys: what one looks like, and what is kept of it.

Strategy: a key is random, so that its keyed hash can be compared without a slow function; whoever
reads the store learns nothing that lets them in. It is found by its digest: an unknown key and a
wrong one take the same way.

    hfk_<id>_<secret>     an id of 12 and a secret of 43 letters and digits (256 bits)
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

import msgspec

from holdfast import errors, events
from holdfast.access import principal
from holdfast.archive import base

PREFIX = "hfk_"
ID_LETTERS, SECRET_LETTERS = 12, 43

MAX_KEY = 128
"""Characters of what is looked up at all; a key has 60."""

_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,100}")


NO_QUOTA = base.Quota()


def new_token() -> tuple[str, str]:
    """The id and the whole of a new key."""
    id = _letters(ID_LETTERS)
    return id, f"{PREFIX}{id}_{_letters(SECRET_LETTERS)}"


def _letters(count: int) -> str:
    return "".join(secrets.choice(events.ALPHABET) for _ in range(count))


def digest(secret: bytes, token: str) -> bytes:
    """The keyed hash (BLAKE2b, RFC 7693) under which a key is kept; `secret` is the archive's."""
    said = token.encode(errors="surrogatepass")
    return hashlib.blake2b(said, digest_size=32, key=secret, person=b"holdfast key").digest()


def new(
    secret: bytes,
    name: str,
    tenant: str,
    *,
    user: str = "",
    scopes: tuple[str, ...] = principal.USUAL,
    quota: base.Quota = NO_QUOTA,
    now: int,
    expires_at: int | None = None,
) -> tuple[str, base.Key]:
    """A new key, and what is kept of it; times in ms. Raises `errors.InvalidField`."""
    unknown = set(scopes) - set(principal.SCOPES)
    if unknown or not scopes:
        raise errors.InvalidField(f"The scopes are {', '.join(principal.SCOPES)}.")
    if _NAME.fullmatch(name) is None:
        raise errors.InvalidField("A key's name has 1 to 100 characters, on one line.")
    if not tenant:
        raise errors.InvalidField("A key belongs to a tenant.")
    try:
        principal.Principal(tenant, user)
    except ValueError as error:
        raise errors.InvalidField(f"{error}.".capitalize()) from None
    id, token = new_token()
    ordered = tuple(scope for scope in principal.SCOPES if scope in scopes)
    kept = digest(secret, token)
    return token, base.Key(id, kept, name, tenant, user, ordered, now, quota, expires_at)


class Held(msgspec.Struct, frozen=True, gc=False):
    """A key, and whom it lets in."""

    key: base.Key
    principal: principal.Principal

    @classmethod
    def of(cls, key: base.Key) -> Held:
        ends = None if key.expires_at is None else key.expires_at / 1000
        scopes = frozenset(key.scopes)
        return cls(key, principal.Principal(key.tenant, key.user, scopes, f"key:{key.id}", ends))


class Ring(msgspec.Struct, frozen=True):
    """All keys of a revision, to be found by digest and by id."""

    revision: int = -1
    by_digest: dict[bytes, Held] = msgspec.field(default_factory=dict)
    by_id: dict[str, Held] = msgspec.field(default_factory=dict)

    def add(self, key: base.Key) -> None:
        self.by_digest[key.digest] = self.by_id[key.id] = Held.of(key)

    def find(self, secret: bytes, token: str) -> Held | None:
        """The key that this text is, whether it is valid still or not."""
        kept = digest(secret, token[:MAX_KEY])
        found = self.by_digest.get(kept)
        same = hmac.compare_digest(kept, found.key.digest if found is not None else bytes(32))
        return found if same and len(token) <= MAX_KEY else None


def valid(key: base.Key, now: float) -> bool:
    """Whether it lets anybody in at this time (seconds since 1970)."""
    return key.revoked_at is None and (key.expires_at is None or now * 1000 < key.expires_at)
