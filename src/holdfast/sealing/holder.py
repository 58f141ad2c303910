"""The ring of a running node: read at the start, looked at again and again, rotated in time.

Strategy: the sealer always has a ring that could be read. One that cannot be any more, or not
changed, is told once and counted, and the node goes on with the one it has: old keys still open
what they sealed. So is one that has no key of it, which is of another installation: what is sealed
by that could not be read by the others here. A new key is known for a while before it is used, so
that every node that shares the ring has it by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from holdfast import errors, events
from holdfast.sealing import ring, sealer, sources

LOOK_SECONDS = 5.0
"""Between two looks at where the ring is."""

DELAY_MS = 60_000
"""From when a key is made to when it is used: many looks."""

LOAD_SECONDS = 30.0
"""How long an embedder's source may take."""

AGAIN_MS = 60_000
"""After a rotation that failed, until the next is tried."""

FOREIGN = (
    "This key ring has no key of the one before, so it is of another installation. This node goes "
    "on with the one before; where the change is meant, start it anew."
)

_log = structlog.get_logger("holdfast")


class Holder:
    """`sealer` is the node's one, for its log and its archive. Without a `source` nothing is
    sealed; with `rotate_every` 0 (seconds) keys are never rotated from here."""

    def __init__(
        self,
        source: sources.KeySource | None = None,
        *,
        on: bool = True,
        rotate_every: float = 0.0,
        clock: Callable[[], int] = events.now_ms,
    ) -> None:
        self.source = source
        place = str(source.path) if isinstance(source, sources.File) else ""
        self.sealer = sealer.Sealer(on=on, clock=clock, place=place)
        self._clock, self._every = clock, int(rotate_every * 1000)
        self._failing: tuple[str, str] | None = None  # what, and as what it was told
        self._again = 0
        self.failures = 0
        """How often the ring could not be read or rotated."""

    async def start(self) -> None:
        """Reads the ring, before any store is opened. Raises `errors.SettingsError`."""
        if self.source is None:
            return
        try:
            self.sealer.replace(await self._loaded(self.source.load()))
        except errors.HoldfastError:
            raise
        except Exception as error:
            # What a source of others says may hold what it was given.
            raise errors.SettingsError(
                f"The key ring cannot be read: its source failed with {type(error).__name__}."
            ) from None

    async def run(self) -> None:
        """Follows the ring. Never returns."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Takes over what has changed, and rotates where that is due."""
        if self.source is None:
            return
        if await self._try("key_ring_unreadable", self.source.load()):
            await self._rotate(self.source)

    async def _rotate(self, source: sources.KeySource) -> None:
        found, now = self.sealer.ring, self._clock()
        if found is None or not self._every or not self.sealer.on or now < self._again:
            return
        unless = now - self._every
        newest: dict[str, int] = {}
        for key in found.keys:
            newest[key.tenant] = max(key.since, newest.get(key.tenant, 0))
        for tenant, since in newest.items():
            if since >= unless:
                continue
            made = source.rotate(tenant, now + DELAY_MS, unless)
            if not await self._try("key_ring_not_rotated", made):
                self._again = now + AGAIN_MS
                return
            _log.info("key_ring_rotated", tenant=tenant or None)

    async def _try(self, event: str, work: Awaitable[ring.Ring]) -> bool:
        """Takes over the ring that this gives; False, and told once, where it fails."""
        known = self.sealer.ring
        try:
            found = await self._loaded(work)
        except Exception as error:
            why = error.message if isinstance(error, errors.HoldfastError) else type(error).__name__
            self._fail(event, event, why)
            return False
        if found is not known and found != known:
            if known is not None and set(known.keys).isdisjoint(found.keys):
                self._fail(event, "key_ring_foreign", FOREIGN)
                return False
            self.sealer.replace(found)
        if self._failing is not None and self._failing[0] == event:
            self._failing = None
            _log.info("key_ring_recovered")
        return True

    def _fail(self, what: str, told: str, why: str) -> None:
        self.failures += 1
        if self._failing == (what, told):
            return
        self._failing = what, told
        if told == "key_ring_foreign":
            _log.error("key_ring_foreign", error=why)
        elif told == "key_ring_unreadable":
            _log.error("key_ring_unreadable", error=why)
        else:
            _log.warning("key_ring_not_rotated", error=why)

    async def _loaded(self, work: Awaitable[ring.Ring]) -> ring.Ring:
        async with asyncio.timeout(LOAD_SECONDS):
            found = await work
        if not isinstance(found, ring.Ring):
            raise errors.SettingsError("The source of the key ring gave something else.")
        return found

    @property
    def unreadable(self) -> bool:
        """Whether the last look found no ring, or one of another installation."""
        return self._failing is not None and self._failing[0] == "key_ring_unreadable"

    @property
    def key_age_ms(self) -> int | None:
        """For how long the newest key has been used: of tenants that have keys of their own, and of
        all others, the longest. None where nothing is sealed, or keys are not to be rotated."""
        found = self.sealer.ring
        if found is None or not self.sealer.on or not self._every:
            return None
        now = self._clock()
        used: dict[str, int] = {}
        for key in found.keys:
            if key.since <= now:
                used[key.tenant] = max(key.since, used.get(key.tenant, 0))
        return now - min(used.values(), default=now)
