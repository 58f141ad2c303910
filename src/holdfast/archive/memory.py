"""The archive in memory: nothing of it survives the process."""

from __future__ import annotations

import secrets

import msgspec

from holdfast.archive import base


class MemoryArchive:
    """The contract in a dict, by id."""

    lasting = False
    file = None

    def __init__(self) -> None:
        self.secret = secrets.token_bytes(32)
        self._keys: dict[str, base.Key] = {}
        self._revision = 0

    async def start(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def keys(self, known: int) -> base.Keys | None:
        if known == self._revision:
            return None
        return base.Keys(
            self._revision,
            tuple(sorted(self._keys.values(), key=lambda key: (key.created_at, key.id))),
        )

    async def add(self, key: base.Key) -> None:
        if key.id in self._keys or any(key.digest == other.digest for other in self._keys.values()):
            raise ValueError("there is such a key already")
        self._keys[key.id] = key
        self._revision += 1

    async def revoke(self, key_id: str, now: int) -> base.Key | None:
        found = self._keys.get(key_id)
        if found is not None and found.revoked_at is None:
            found = self._keys[key_id] = msgspec.structs.replace(found, revoked_at=now)
            self._revision += 1
        return found
