"""What is let go in time: in steps, until there is no more, and again after a failure."""

from __future__ import annotations

import asyncio
import time

from structlog.testing import capture_logs

from holdfast import errors
from holdfast.eventlog import retention
from holdfast.testing import simulated


class Expiring:
    """Has so many that may go; `asked` are the steps, each with how long ago was meant."""

    def __init__(self, left: int) -> None:
        self.left, self.away = left, False
        self.asked: list[tuple[int, int]] = []

    async def __call__(self, before: int, limit: int) -> int:
        self.asked.append((round(time.time() - before / 1000), limit))
        if self.away:
            raise errors.LogUnavailable
        gone = min(self.left, limit)
        self.left -= gone
        return gone


@simulated.timed
async def test_it_goes_on_until_a_step_finds_less() -> None:
    expire = Expiring(5)
    running = asyncio.create_task(retention.run(expire, 100.0, 2))
    await simulated.idle()
    assert expire.asked == 3 * [(100, 2)]
    await asyncio.sleep(retention.EVERY + 1)
    assert len(expire.asked) == 4
    running.cancel()


@simulated.timed
async def test_what_fails_is_tried_in_the_next_round() -> None:
    expire = Expiring(1)
    expire.away = True
    with capture_logs() as logs:
        running = asyncio.create_task(retention.run(expire, 100.0))
        await simulated.idle()
    assert [log["event"] for log in logs] == ["retention_failed"]
    expire.away = False
    await asyncio.sleep(retention.EVERY + 1)
    assert expire.left == 0
    running.cancel()
