"""The archive's contract: API keys, and the secret that goes with them.

Strategy: a node asks for all keys at once and only where something has changed, so that a request
is let in by a look-up in memory; commands that make and revoke keys write to the same database
while nodes run. A key itself is never stored, only its keyed digest. A revoked key stays, so that
a node that once had keys never opens itself to everybody again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec


class Quota(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How much somebody may use. 0 is without limit; None says nothing, which is without limit too
    where nothing is usual. `streams` are answers under way and `connections` open event streams,
    both at once; `cost_per_day` is in millionths of the currency of the price table."""

    streams: int | None = None
    connections: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    cost_per_day: int | None = None

    def over(self, usual: Quota) -> Quota:
        """What is said here, and the rest as usual."""
        said = {
            name: value for name, value in msgspec.structs.asdict(self).items() if value is not None
        }
        return msgspec.structs.replace(usual, **said)


class Key(msgspec.Struct, frozen=True, gc=False):
    """An API key as it is kept. `digest` is that of `access.keys`; `user` "" is the tenant itself.
    Of `quota` a field that is None is left to the settings. Times in ms since 1970."""

    id: str
    digest: bytes
    name: str
    tenant: str
    user: str
    scopes: tuple[str, ...]
    created_at: int
    quota: Quota
    expires_at: int | None = None
    revoked_at: int | None = None


class Keys(msgspec.Struct, frozen=True):
    """All keys, the oldest first, and the revision that they are of."""

    revision: int
    keys: tuple[Key, ...]


class Archive(Protocol):
    """What a node and the commands may ask of a store. Every call may raise
    `errors.KeysUnavailable`."""

    secret: bytes
    """32 random bytes made with the store, the same on every node that shares it; there after
    `start`."""

    lasting: bool
    """Whether it outlives the process."""

    @property
    def file(self) -> Path | None:
        """Where it lies, if that is a file."""

    async def start(self) -> None:
        """Opens the store, makes it where it is not there. Raises `errors.SettingsError` for one
        that is not ours."""

    async def close(self) -> None:
        """Idempotent, and safe before `start`."""

    async def keys(self, known: int) -> Keys | None:
        """All keys; None where they are still those of the revision `known`. No store has the
        revision -1."""

    async def add(self, key: Key) -> None:
        """Keeps a new key. Raises ValueError for an id or a digest that is there already."""

    async def revoke(self, key_id: str, now: int) -> Key | None:
        """Ends a key for ever, and gives it back; None where there is no such key. One that was
        revoked before keeps its time."""
