"""What a store seals with: the ring of the moment, and whether new streams are sealed.

Strategy: each stream has a random data key, which lies beside it wrapped by a key of the ring. To
rotate is to wrap new ones by another key; to rewrap changes the wrapping and no data; and a stream
whose wrapped key is deleted is gone. A store has a key of its own for what is no stream's, wrapped
by every key of the ring that is in use there, which is also how a start finds that one is missing
or wrong before anything is read. Nothing here waits, and all of it may be called from any thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast import errors, events, storage
from holdfast.sealing import codec
from holdfast.sealing.ring import Ring, RingKey, by_tenant, in_use

NAMED = 10
"""Keys that one message names."""

NO_RING = "there is no key ring"
"""In what is said where the settings name none."""

_LACKS = "The key ring has no key {}, which this is sealed by."


class _Known(NamedTuple):
    """A ring, and what is looked up in it for every new stream: ciphers by the id of their key, and
    by tenant the keys that are its own, the oldest first."""

    ring: Ring | None
    ciphers: dict[str, AESGCM]
    keys: dict[str, list[RingKey]]


class Sealer:
    """`ring` None knows no key: what is plain is read, and nothing else. With `on` false a ring
    reads what is sealed, and seals nothing new."""

    def __init__(
        self,
        ring: Ring | None = None,
        *,
        on: bool = True,
        clock: Callable[[], int] = events.now_ms,
        place: str = "",
    ) -> None:
        """`place` is where the ring is, where that is known."""
        self.place = place
        self._wanted, self._clock = on, clock
        self._known = _Known(None, {}, {})
        self.replace(ring)

    @property
    def ring(self) -> Ring | None:
        return self._known.ring

    @property
    def on(self) -> bool:
        """Whether what is new is sealed."""
        return self._wanted and self._known.ring is not None

    def replace(self, ring: Ring | None) -> None:
        """The ring has changed; what was opened by a key that has gone stays open."""
        keys = ring.keys if ring is not None else ()
        ciphers = {key.id: AESGCM(key.secret) for key in keys}
        self._known = _Known(ring, ciphers, by_tenant(keys))

    def current(self, owner: str) -> str:
        """The id of the key that a new stream of this owner is wrapped by; "" where it is not
        sealed. A store has a guard for it before the first one."""
        if not self.on:
            return ""
        keys = self._known.keys
        return in_use(keys.get(storage.tenant_of(owner)) or keys[""], self._clock()).id

    def new(self, stream: str, owner: str, by: str) -> codec.Codec:
        """For a new stream, by the key that `current` named."""
        if not by:
            return codec.PLAIN
        key, bound = secrets.token_bytes(codec.KEY_BYTES), codec.bound_to(owner, stream)
        wrapped = codec.wrap(self._cipher(by), by, codec.DATA_KEY, key, bound)
        return codec.Sealed(key, wrapped, owner, stream)

    def open(self, stream: str, owner: str, wrapped: bytes | None) -> codec.Codec:
        """For a stream that is there, by its data key. Raises `errors.KeyMissing`,
        `LogCorrupt`."""
        if not wrapped:
            return codec.PLAIN
        bound = codec.bound_to(owner, stream)
        key = codec.unwrap(self._cipher(codec.key_id(wrapped)), codec.DATA_KEY, wrapped, bound)
        return codec.Sealed(key, wrapped, owner, stream)

    def rewrapped(self, stream: str, owner: str, wrapped: bytes, by: str) -> bytes:
        """The same data key, wrapped by the ring's key `by`. Raises `errors.KeyMissing`,
        `LogCorrupt`."""
        bound = codec.bound_to(owner, stream)
        key = codec.unwrap(self._cipher(codec.key_id(wrapped)), codec.DATA_KEY, wrapped, bound)
        return codec.wrap(self._cipher(by), by, codec.DATA_KEY, key, bound)

    def new_store(self) -> StoreKey:
        """The key of a store that has none yet."""
        return StoreKey(self, secrets.token_bytes(codec.KEY_BYTES))

    def open_store(self, guards: Mapping[str, bytes], place: str) -> StoreKey | None:
        """The key of a store, which is at `place`, by all of its guards; None where it has none.
        Raises `errors.SettingsError` where the ring lacks one of their keys, or has another."""
        known, found = self._known, set()
        missing = [by for by in guards if by not in known.ciphers]
        if missing:
            raise errors.SettingsError(_missing(place, missing, known.ring, self.place))
        for by, guard in guards.items():
            try:
                if codec.key_id(guard) != by:
                    raise errors.LogCorrupt("it stands in the place of another")
                found.add(codec.unwrap(known.ciphers[by], codec.STORE_KEY, guard, b""))
            except errors.LogCorrupt:
                raise errors.SettingsError(
                    f"The key {by} of the ring is not the one that {place} is sealed by, which has "
                    "its name. Give it the ring that it was sealed with (sealing.keys)."
                ) from None
        if len(found) > 1:
            raise errors.SettingsError(
                f"{place} has more than one key of its own: it was mixed up."
            )
        return StoreKey(self, found.pop()) if found else None

    def _cipher(self, by: str) -> AESGCM:
        try:
            return self._known.ciphers[by]
        except KeyError:
            raise errors.KeyMissing(_LACKS.format(by)) from None


class StoreKey:
    """A store's own key: `codec` packs what belongs to no stream."""

    def __init__(self, sealer: Sealer, key: bytes) -> None:
        self._sealer, self._key = sealer, key
        self.codec: codec.Codec = codec.Sealed(key, b"", "", "")

    def guard(self, by: str) -> bytes:
        """This key, wrapped by the ring's key `by`."""
        return codec.wrap(self._sealer._cipher(by), by, codec.STORE_KEY, self._key, b"")


def lacks(error: errors.KeyMissing, by: str) -> bool:
    """Whether it is this key that is missing; of an error that says more by now, too."""
    return _LACKS.format(by).rstrip(".") in error.message


def named(ids: Collection[str]) -> str:
    """Keys, as a sentence has them; some of them where they are many."""
    some = sorted(ids)
    more = f" and {len(some) - NAMED} more" if len(some) > NAMED else ""
    return f"key{'s' if len(some) > 1 else ''} {', '.join(some[:NAMED])}{more}"


def _missing(place: str, ids: Collection[str], ring: Ring | None, where: str) -> str:
    gone = " ".join(f"--key {by}" for by in sorted(ids)[:NAMED])
    if ring is None:
        return (
            f"{place} is sealed by the {named(ids)}, and {NO_RING}. Give it the one "
            "that it was sealed with (sealing.keys, or HOLDFAST_SEALING__KEYS)."
        )
    return (
        f"{place} is sealed by the {named(ids)}, which the key ring{where and f' {where}'} lacks; "
        f"it has the {named([key.id for key in ring.keys])}. Put back the ring that has what is "
        "missing. Only where that is gone for good: `holdfast seal shred "
        f"{gone} --forced` destroys all that lies under it."
    )


OFF = Sealer()
"""Without a ring."""
