"""Stream ids that tell whose they are to who knows the secret, and to nobody else.

Strategy: a stream that is somebody else's and one that never was must look the same, in time as
well. So whether an id can be the caller's is told from the id alone, before anything is looked
up: it holds 128 random bits, and a keyed tag of 30 bits each for the tenant and for the owner.
Both kinds of foreign ids fail that, on the same way. The tags open nothing: what passes is looked
up, and its header names its owner. Ids of streams without an owner have 26 letters and no tags.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from holdfast import events
from holdfast.access import principal

LETTERS = 32
"""Of an id with tags, of which an alphabet of 62 makes 190 bits."""

_RANDOM, _TAG = 128, 30  # bits
_TAG_MASK = (1 << _TAG) - 1


def new(secret: bytes, owner: str) -> events.StreamId:
    """A new id for a stream of this owner."""
    if not owner:
        return events.new_stream_id()
    return _tagged(secret, owner, secrets.randbits(_RANDOM))


def derived(secret: bytes, owner: str, key: str) -> events.StreamId:
    """The id that this owner's Idempotency-Key has, always the same."""
    said = hmac.digest(secret, f"{owner}\0{key}".encode(), hashlib.sha256)
    if not owner:
        return events.derived_stream_id(said)
    return _tagged(secret, owner, int.from_bytes(said[: _RANDOM // 8], "big"))


def _tagged(secret: bytes, owner: str, number: int) -> events.StreamId:
    tenant, _ = principal.parted(owner)
    tags = _tag(secret, number, f"t{tenant}") << _TAG | _tag(secret, number, f"o{owner}")
    return events.spelled(number << 2 * _TAG | tags, LETTERS)


def _tag(secret: bytes, number: int, said: str) -> int:
    told = number.to_bytes(_RANDOM // 8, "big") + said.encode()
    keyed = hashlib.blake2b(told, digest_size=4, key=secret, person=b"holdfast id")
    return int.from_bytes(keyed.digest(), "big") & _TAG_MASK


def may_be(secret: bytes, stream: events.StreamId, asker: principal.Principal) -> bool:
    """Whether this id may be of a stream that they see. False: it is not, or is of none."""
    if asker.sees_all or asker.stream is not None or not asker.tenant:
        return True
    number = events.number_of(stream)
    random = number >> 2 * _TAG & (1 << _RANDOM) - 1
    theirs = f"o{asker.owner}" if asker.user else f"t{asker.tenant}"
    tag = number if asker.user else number >> _TAG
    return _tag(secret, random, theirs) == tag & _TAG_MASK and len(stream) == LETTERS
