"""What this node seals by: the codec of each stream, the store's own key, its guards, its secret.

Strategy: a start reads the guards before all else, so a key that is missing or wrong is found
before anything is read. The first node that seals puts the first guard, and whoever comes second
takes that one, so a store has one key. Then the secret is put under it, by comparing: a death in
between leaves a plain secret, which the next start takes as it is and seals. A layout whose secret
is sealed has a version of its own, as an older node would take the sealed bytes for the secret. Any
node may drop a guard, and another one may wrap by that key just then: so who wraps puts the guard
before, whether it has done so already or not, and once more behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import Mapping
from typing import Any

from holdfast import errors, events
from holdfast.eventlog.redis import cleaning, keys, lines, link, scripts
from holdfast.sealing import codec
from holdfast.sealing import sealer as sealing

PLAIN, SEALED = 1, 2
"""Versions of the layout in Redis: with its secret in clear, or sealed."""

SECRET_BYTES = 32

COPY_LOOK, COPY_LOOKS = 0.2, 25
"""Seconds between two looks at how far replicas are, and how many there are: each tells its primary
once a second."""

_REPLICA = re.compile(r"slave\d+").fullmatch


class Seals:
    """`open` comes first; the log is at `place`, for people."""

    def __init__(self, wires: lines.Lines, sealer: sealing.Sealer, place: str) -> None:
        self.sealer = sealer
        self._lines, self._place = wires, place
        self._store: sealing.StoreKey | None = None
        self._used = set[str]()  # keys of the ring, since the last look

    async def open(self) -> bytes:
        """The store's secret. Raises `errors.SettingsError`, `LogUnavailable`."""
        version, secret = await self._known()
        if version > SEALED:
            raise errors.SettingsError(
                f"The log at {self._place} was made by a newer version of Holdfast."
            )
        await self._open_guards(await self.guards())
        if self._store is None and self.sealer.on:
            await self._begin_to_seal()
        if not secret:
            secret = await self._put(b"", secrets.token_bytes(SECRET_BYTES))
        if len(secret) == SECRET_BYTES and self.sealer.on:
            secret = await self._put(secret, secret)
        if len(secret) == SECRET_BYTES:
            return secret
        if self._store is None:  # another node has begun to seal since
            await self._open_guards(await self.guards())
        return self._opened(secret)

    async def _known(self) -> tuple[int, bytes]:
        (found,) = await self._ask(keys.STORE, ("HMGET", keys.STORE, "version", "secret"))
        version, secret = found
        return int(version or 0), secret or b""

    async def _open_guards(self, found: Mapping[str, bytes]) -> None:
        self._store = self.sealer.open_store(found, f"The log at {self._place}")

    async def _begin_to_seal(self) -> None:
        by = self.sealer.current("")
        guard = self.sealer.new_store().guard(by)
        (found,) = await self._ask(keys.GUARDS, scripts.GUARD.call((keys.GUARDS,), by, guard))
        await self._open_guards(_guards(found))

    async def _put(self, known: bytes, secret: bytes) -> bytes:
        """In the place of the one that is known, sealed where this node seals; which one is there
        then, as it lies there."""
        store = self._store if self.sealer.on else None
        wanted = secret if store is None else store.codec.pack(codec.SECRET, secret)
        version = PLAIN if store is None else SEALED
        unclean = cleaning.note() if known and store is not None else ""
        call = scripts.SECRET.call((keys.STORE,), known, wanted, version, unclean)
        (found,) = await self._ask(keys.STORE, call)
        return bytes(found)

    def _opened(self, secret: bytes) -> bytes:
        if self._store is None:
            raise errors.SettingsError(
                f"The log at {self._place} is sealed, and what its key ring is known by "
                f"({keys.GUARDS.decode()}) is gone. Put it back from a copy; or, where the keys "
                f"are lost, remove `secret` from {keys.STORE.decode()}: signed URLs and "
                "Idempotency-Keys of until then are not known any more."
            )
        try:
            return self._store.codec.unpack(codec.SECRET, secret)
        except errors.LogCorrupt as error:
            raise errors.LogCorrupt(
                f"The secret of the log at {self._place}: {error.message}."
            ) from error

    async def new(self, stream: events.StreamId, owner: str) -> codec.Codec:
        """Of a new stream, which is made once `put` has been asked. Raises
        `errors.LogUnavailable`."""
        by = self.sealer.current(owner)
        await self._ready(by)
        return self.sealer.new(stream, owner, by)

    async def guard(self, by: str) -> None:
        """Sees to it that no node starts without this key of the ring, from before something is
        wrapped by it. Raises `errors.LogUnavailable`, `KeyMissing`."""
        await self._ready(by)
        await self._lines.ask(self._guard(by))

    def put(self, how: codec.Codec) -> list[lines.Keyed]:
        """The same for what is packed like this, to be asked before it is there."""
        return self._guard(codec.key_id(how.wrapped)) if how.wrapped else []

    async def _ready(self, by: str) -> None:
        if by and self._store is None:  # sealing has been turned on since the start
            await self._begin_to_seal()

    def _guard(self, by: str) -> list[lines.Keyed]:
        if not by or self._store is None:
            return []
        words = ("HSETNX", keys.GUARDS, by, self._store.guard(by))
        return [lines.Keyed(keys.GUARDS, words)]

    def used(self, wrapped: bytes | None) -> None:
        """A stream has this key now, or may have."""
        if wrapped:
            with contextlib.suppress(errors.LogCorrupt):  # none of the ring is needed for that
                self._used.add(codec.key_id(wrapped))

    async def look(self) -> None:
        """Puts the guards of what was used since the last look: one may have been dropped just
        then, by who had looked before and found nothing. Raises `errors.LogUnavailable`."""
        used, self._used = self._used, set()
        try:
            for by in used:
                with contextlib.suppress(errors.KeyMissing):  # it has left the ring since
                    await self.guard(by)
        except BaseException:
            self._used |= used
            raise

    def of(self, stream: events.StreamId, owner: bytes, wrapped: bytes) -> codec.Codec:
        """Of a stream that is there, by what its hash says of it. Raises `errors.LogCorrupt`,
        `KeyMissing`."""
        if not wrapped:
            return codec.PLAIN
        try:
            return self.sealer.open(stream, owner.decode(), wrapped)
        except errors.LogCorrupt as error:
            said = f"Stream {stream}: {error.message.rstrip('.')}."
            raise type(error)(said) from error
        except UnicodeDecodeError as error:
            raise errors.LogCorrupt(f"Stream {stream}: its owner cannot be read.") from error

    async def guards(self) -> dict[str, bytes]:
        (found,) = await self._ask(keys.GUARDS, ("HGETALL", keys.GUARDS))
        return _guards(found)

    async def drop(self, key_id: str) -> None:
        """See `stores.SealedStore.drop_guard`. Without the last one a secret that is sealed is
        lost, so it is put under another key or in clear; by a log that is not open it is removed,
        and the next start has a new one. Raises `errors.SettingsError` where new streams need this
        key, and `LogUnavailable` where a replica lacks what was wrapped by others until now."""
        found = await self.guards()
        if key_id not in found:
            return
        await self._copied()
        if len(found) == 1:
            await self._keep_secret(key_id)
        await self._ask(keys.GUARDS, ("HDEL", keys.GUARDS, key_id))

    async def _copied(self) -> None:
        """Waits for all replicas: what takes over later is to have everything that was wrapped by
        another key before this one is destroyed. Raises `errors.LogUnavailable`."""
        wanted: list[int] | None = None
        for _ in range(COPY_LOOKS):
            found = await self._lines.each(("INFO", "replication"))
            told = [lines.said(one) for one in found if isinstance(one, bytes)]
            if wanted is None or len(wanted) != len(told):
                wanted = [int(one.get("master_repl_offset", 0)) for one in told]
            pairs = zip(wanted, told, strict=True)
            if all(have >= offset for offset, one in pairs for have in _have(one)):
                return
            await asyncio.sleep(COPY_LOOK)
        raise errors.LogUnavailable(
            f"A replica of {self._place} is behind, and would need this key if it took over: try "
            "again when it is not."
        )

    async def _keep_secret(self, last: str) -> None:
        by = self.sealer.current("")
        if self._store is not None and by == last:
            raise errors.SettingsError(
                f"New streams are sealed by the key {last}: rotate before it is destroyed."
            )
        _, secret = await self._known()
        if self._store is not None and by:
            await self.guard(by)
        elif len(secret) == SECRET_BYTES:
            return
        elif self._store is not None:
            await self._put(secret, self._opened(secret))
        else:
            await self._ask(keys.STORE, ("HDEL", keys.STORE, "secret"))

    async def _ask(self, key: bytes, words: link.Command) -> list[Any]:
        return await self._lines.ask([lines.Keyed(key, words)])


def _have(told: Mapping[str, str]) -> list[int]:
    """How far each replica of a primary is, by what that says of it."""
    found = [value.partition("offset=")[2] for name, value in told.items() if _REPLICA(name)]
    return [int(text.partition(",")[0] or 0) for text in found]


def _guards(found: list[bytes]) -> dict[str, bytes]:
    return {
        by.decode(errors="replace"): guard
        for by, guard in zip(found[::2], found[1::2], strict=True)
    }
