"""The archiver in simulated time: how often an archive that is away is tried, and how soon it gets
what has waited for it.

Strategy: a log in memory whose ends are to be archived, and an archive in memory that is away for
as long as the test wants.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from holdfast import errors, events
from holdfast.archive import memory as archive_memory
from holdfast.archive import records
from holdfast.archiving import archiver
from holdfast.eventlog import base, memory
from holdfast.testing import simulated
from holdfast.testing.eventlog import parts

HOUR = 3600


class Ending(memory.MemoryLog):
    """`left` are the streams that wait for an archive."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[base.Ended] = []

    async def ended(self, limit: int) -> list[base.Ended]:
        return self.left[:limit]

    async def acknowledge(self, streams: Sequence[events.StreamId]) -> None:
        self.left = [one for one in self.left if one.stream not in streams]


class Away(archive_memory.MemoryArchive):
    """It counts how often it is `tried` while it is `away`."""

    def __init__(self) -> None:
        super().__init__()
        self.away, self.tried = True, 0

    async def keep_all(self, some: Sequence[records.Finished]) -> None:
        if self.away:
            self.tried += 1
            raise errors.ArchiveUnavailable
        await super().keep_all(some)


@simulated.timed
async def test_an_archive_that_is_away_is_tried_now_and_then_and_has_all_soon_after() -> None:
    log, archive = Ending(), Away()
    for _ in range(3 * archiver.AT_ONCE):
        pen = await parts.begin(log)
        await pen.write(parts.COMPLETE)
        log.left.append(base.Ended(pen.stream, 1_000))
    one = archiver.Archiver(log, log, archive)
    running = asyncio.ensure_future(one.run())
    await asyncio.sleep(HOUR)
    assert HOUR / archiver.AGAIN_LAST < archive.tried < HOUR / archiver.AGAIN_LAST + 5
    assert (one.kept, one.failure is None, one.oldest) == (0, False, 1_000)
    archive.away = False
    await asyncio.sleep(archiver.AGAIN_LAST)
    assert (one.kept, one.failure, log.left) == (3 * archiver.AT_ONCE, None, [])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
