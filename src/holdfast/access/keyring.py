"""The archive's keys: followed, and all of them in memory.

Strategy: the archive is asked every few seconds whether anything has changed, so a key is found by
a look-up, and a revoked one is known soon. A key that is not known may be a new one: the archive
is asked once more, for all that wait together. While the archive cannot be reached the keys of
before hold, for `STALE_SECONDS`, as nobody can revoke any either.
"""

from __future__ import annotations

import asyncio

import structlog

from holdfast import errors
from holdfast.access import keys
from holdfast.archive import base

AGAIN_SECONDS = 0.5
"""Least time between two questions to the archive for keys that are not known; who shows one waits
as long."""

STALE_SECONDS = 300.0
"""How long keys hold that the archive could not be asked for."""

MAX_WAITING = 64
"""Callers that wait at a time for news of keys that are not known, and as many for those of tokens,
so that made-up ones do not take all places, nor those of the other kind. Who comes beyond is told
to come again."""

RING_SLICE = 250
"""Keys that are taken in at once, about 1 ms; then others have their turn."""

_log = structlog.get_logger("holdfast")


def place(places: asyncio.Semaphore) -> asyncio.Semaphore:
    """These, for an `async with` that takes one and does not wait. Raises `errors.KeysUnavailable`
    where all are taken, which is no verdict."""
    if places.locked():
        raise errors.KeysUnavailable(retry_after=1.0)
    return places


class Keyring:
    """The keys of one archive, for one event loop. `ring` has those that are known; `keyed` says
    that there was one once."""

    def __init__(self, archive: base.Archive, refresh: float) -> None:
        """`refresh`: seconds between two questions to the archive."""
        self.archive, self._refresh = archive, refresh
        self.ring = keys.Ring()
        self.keyed = False
        self._asked_at = self._known_at = float("-inf")  # on the loop's clock
        self._asking = asyncio.Lock()
        self._asked = self._answered = self._failed = 0  # questions: the last one that was so
        self._places = asyncio.Semaphore(MAX_WAITING)

    async def start(self) -> None:
        """Raises `errors.KeysUnavailable`, `errors.SettingsError`."""
        await self.archive.start()
        await self.ask()

    async def run(self) -> None:
        """Looks for changes for as long as it is let."""
        failing = False
        while True:
            await asyncio.sleep(self._refresh)
            try:
                await self.ask()
            except errors.KeysUnavailable as error:
                if not failing:
                    _log.warning("keys_unavailable", error=error.message)
                failing = True
                continue
            if failing:
                _log.info("keys_recovered")
            failing = False

    @property
    def ready(self) -> bool:
        """Whether what is known still holds."""
        return asyncio.get_running_loop().time() - self._known_at <= STALE_SECONDS

    async def find(self, token: str) -> keys.Held | None:
        """The key that this text is, whether it is valid still or not. Waits for news of one that
        is not known. Raises `errors.KeysUnavailable`."""
        held = self.ring.find(self.archive.secret, token)
        if held is None and await self._news():
            held = self.ring.find(self.archive.secret, token)
        return held

    async def _news(self) -> bool:
        """Whether the archive has other keys by now. Raises `errors.KeysUnavailable`."""
        before = self.ring.revision
        async with place(self._places):
            try:
                await self.ask(AGAIN_SECONDS)
            except errors.KeysUnavailable as error:
                # Where the archive is, and what ails it, is for the operator: `run` says it.
                raise errors.KeysUnavailable from error
        return self.ring.revision != before

    async def ask(self, pause: float = 0.0) -> None:
        """Has the archive asked once more from now on, at least `pause` seconds after the last
        time: all who come before that share one answer, or its failure, which is
        `errors.KeysUnavailable`."""
        loop, before = asyncio.get_running_loop(), self._asked
        async with self._asking:
            if self._answered > before:
                return
            if self._failed > before:
                raise errors.KeysUnavailable
            await asyncio.sleep(self._asked_at + pause - loop.time())
            self._asked += 1
            self._asked_at = loop.time()
            try:
                found = await self.archive.keys(self.ring.revision)
                if found is not None:
                    self.keyed = self.keyed or bool(found.keys)
                    self.ring = await _taken_in(found)
            except errors.KeysUnavailable:
                self._failed = self._asked
                raise
            self._answered, self._known_at = self._asked, self._asked_at


async def _taken_in(found: base.Keys) -> keys.Ring:
    """A ring of these; others have their turns meanwhile. Not in a thread: one that computes keeps
    the loop waiting for longer at a time."""
    ring = keys.Ring(found.revision)
    for taken, key in enumerate(found.keys, start=1):
        ring.add(key)
        if taken % RING_SLICE == 0:
            await asyncio.sleep(0)
    return ring
