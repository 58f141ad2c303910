"""Finished streams are let go once they have been kept for long enough.

Strategy: now and then, in small steps, because appends wait for each of them. A step that fails
is a step of the next round.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import structlog

from holdfast import errors

EVERY = 60.0
"""Seconds between two rounds."""

STEP = 16
"""Streams in one step of a round: few, because it may remove as many times
`max_stream_bytes`."""

_log = structlog.get_logger("holdfast")


class Store(Protocol):
    """A log or an archive."""

    async def expire(self, before: int, limit: int) -> int: ...


async def run(store: Store, retention: float) -> None:
    """Expires what ended over `retention` seconds ago; never returns."""
    while True:
        before = int((time.time() - retention) * 1000)
        try:
            expired = STEP
            while expired == STEP:
                expired = await store.expire(before, STEP)
        except (errors.LogError, errors.ArchiveUnavailable) as error:  # the next round tries again
            _log.error("retention_failed", error=error.message)
        await asyncio.sleep(EVERY)
