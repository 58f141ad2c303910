"""Finished streams are let go once they have been kept for long enough.

Strategy: now and then, in small steps, because appends wait for each of them. A step that fails
is a step of the next round.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from holdfast import errors

EVERY = 60.0
"""Seconds between two rounds."""

STEP = 16
"""Streams in one step of a round: few, because it may remove as many times
`max_stream_bytes`."""

_log = structlog.get_logger("holdfast")


Expire = Callable[[int, int], Awaitable[int]]
"""Lets go what ended before a time in ms, so many at most; how many these were."""


async def run(expire: Expire, retention: float, step: int = STEP) -> None:
    """Lets go what ended over `retention` seconds ago, `step` at a time; never returns."""
    while True:
        before = int((time.time() - retention) * 1000)
        try:
            expired = step
            while expired >= step:
                expired = await expire(before, step)
        except (errors.LogError, errors.ArchiveUnavailable) as error:  # the next round tries again
            _log.error("retention_failed", error=error.message)
        await asyncio.sleep(EVERY)
