"""The key ring: the keys that data keys are wrapped with.

Strategy: a value that cannot be wrong, read from JSON and written back. A new key is used from its
time on, and known before, so that every node that reads the ring has it when the first one uses it.
Old keys stay until nothing is wrapped by them. A tenant may have keys of its own: then destroying
those destroys all that it has, in every copy, and nothing of anybody else.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec

from holdfast import errors
from holdfast.sealing import codec

VERSION = 1
MAX_KEYS = 100_000
"""Of a ring: more than a key a day for hundreds of tenants over a year."""

MAX_BYTES = 32 * 1024 * 1024
"""Of a ring as JSON."""


class RingKey(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """`id` is 16 hexadecimal digits, `since` when it is used from, in ms since 1970; `tenant` is
    whose alone it is, "" where it is for all that have none of their own."""

    id: str
    secret: bytes
    since: int
    tenant: str = ""

    def __post_init__(self) -> None:
        well = len(self.id) == 2 * codec.ID_BYTES and not set(self.id) - set("0123456789abcdef")
        if not well or len(self.secret) != codec.KEY_BYTES or self.since < 0:
            raise ValueError("a key has an id of 16 hexadecimal digits, 32 bytes, and a time")

    def __repr__(self) -> str:
        return f"RingKey({self.id})"


def new_key(since: int, tenant: str = "") -> RingKey:
    return RingKey(
        secrets.token_hex(codec.ID_BYTES), secrets.token_bytes(codec.KEY_BYTES), since, tenant
    )


class Ring(msgspec.Struct, frozen=True):
    """At least one key for all; no two with one id."""

    keys: tuple[RingKey, ...]

    def __post_init__(self) -> None:
        if len({key.id for key in self.keys}) != len(self.keys):
            raise ValueError("two keys have one id")
        if all(key.tenant for key in self.keys):
            raise ValueError("there is no key for tenants that have none of their own")
        if len(self.keys) > MAX_KEYS:
            raise ValueError(f"there are more than {MAX_KEYS} keys")

    def newest(self, tenant: str = "") -> RingKey | None:
        """Of a tenant's own, or of those for all; also one that is not used yet."""
        keys = by_tenant(self.keys).get(tenant)
        return keys[-1] if keys else None

    def with_key(self, key: RingKey) -> Ring:
        """Raises ValueError."""
        return Ring((*self.keys, key))

    def without(self, *ids: str) -> Ring:
        """Raises ValueError where no key for all is left."""
        return Ring(tuple(key for key in self.keys if key.id not in ids))


class Known(Protocol):
    """What anybody may know of a key of the ring."""

    @property
    def id(self) -> str: ...
    @property
    def since(self) -> int: ...
    @property
    def tenant(self) -> str: ...


Key = TypeVar("Key", bound=Known)


def by_tenant(keys: Iterable[Key]) -> dict[str, list[Key]]:
    """Each tenant's own, and under "" those for all, the oldest first."""
    found: dict[str, list[Key]] = {}
    for key in sorted(keys, key=lambda key: (key.since, key.id)):
        found.setdefault(key.tenant, []).append(key)
    return found


def in_use(keys: Sequence[Key], now: int) -> Key:
    """Of some, the oldest first, the newest that has begun; the first where a clock was set back
    behind all."""
    return keys[_begun(keys, now)]


def needed(keys: Iterable[Known], now: int, overlap_ms: int) -> set[str]:
    """The ids of those that something may be wrapped by from now on, also by a node whose clock is
    so far behind."""
    return {
        key.id for own in by_tenant(keys).values() for key in own[_begun(own, now - overlap_ms) :]
    }


def _begun(keys: Sequence[Known], now: int) -> int:
    return max(0, bisect_right(keys, now, key=lambda key: key.since) - 1)


class _Key(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    id: str
    secret: str
    since: int
    tenant: str = ""


class _Ring(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    keys: list[_Key]


_decode = msgspec.json.Decoder(_Ring).decode


def parse(data: bytes) -> Ring:
    """A ring from JSON. Raises `errors.SettingsError`, which shows nothing of it."""
    if len(data) > MAX_BYTES:
        raise errors.SettingsError(f"A key ring has at most {MAX_BYTES} bytes.")
    try:
        said = _decode(data)
        if said.version != VERSION:
            raise errors.SettingsError(
                f"This key ring is of version {said.version}, and this Holdfast knows {VERSION}."
            )
        keys = [
            RingKey(one.id, base64.b64decode(one.secret, validate=True), one.since, one.tenant)
            for one in said.keys
        ]
        return Ring(tuple(keys))
    except (msgspec.DecodeError, binascii.Error, ValueError):
        # What the parsers say may repeat what they were given.
        raise errors.SettingsError(
            "This is no key ring: it is made by `holdfast seal rotate`, or has a key for all of "
            "32 bytes in base64, an id of 16 hexadecimal digits, and a time in ms."
        ) from None


def dump(ring: Ring) -> bytes:
    """A ring as JSON, a key a line, for people."""
    keys = [
        _Key(key.id, base64.b64encode(key.secret).decode(), key.since, key.tenant)
        for key in ring.keys
    ]
    return msgspec.json.format(msgspec.json.encode(_Ring(VERSION, keys)), indent=1) + b"\n"
