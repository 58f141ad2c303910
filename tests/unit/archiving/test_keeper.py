"""The keeper: what runs for which log, what is let go, and how far the archive is behind."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.unit.archiving.reports import Archive, closed

from holdfast import errors, events, settings
from holdfast.archive import memory as archive_memory
from holdfast.archive import rows
from holdfast.archiving import keeper
from holdfast.eventlog import base, memory
from holdfast.telemetry import counts
from holdfast.testing import simulated

WEEK = 7 * 24 * 3600 * 1000


class Ending(memory.MemoryLog):
    """A log whose streams are archived elsewhere: `left` are those that wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.endings = self
        self.left: list[base.Ended] = []

    async def ended(self, limit: int) -> list[base.Ended]:
        return self.left[:limit]

    async def acknowledge(self, streams: Sequence[events.StreamId]) -> None:
        self.left = [one for one in self.left if one.stream not in streams]


def kept(log: base.EventLog, archive: Archive | None) -> keeper.Keeper:
    return keeper.Keeper(log, archive, lambda: counts.NOTHING, lambda: "a")


@contextlib.asynccontextmanager
async def running(one: keeper.Keeper) -> AsyncIterator[list[str]]:
    """All that it is to run; by name."""
    found = one.tasks(settings.Settings().log)
    tasks = [asyncio.create_task(work) for work, _ in found]
    try:
        yield sorted(name for _, name in found)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Letting(Ending):
    """Notes how long ago what may go has ended, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.ago: list[int] = []

    async def expire(self, before: int, limit: int) -> int:
        self.ago.append(round(time.time() - before / 1000))
        return 0


@pytest.mark.parametrize(("live", "retention", "ago"), [(60, 3600, 60), (7200, 3600, 3600)])
@simulated.timed
async def test_a_stream_is_live_no_longer_than_it_is_kept(
    live: int, retention: int, ago: int
) -> None:
    log = Letting()
    said = settings.Log(live=live, retention=retention)
    work = {name: work for work, name in kept(log, Archive()).tasks(said)}
    tasks = [asyncio.create_task(one) for one in work.values()]
    await simulated.idle()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert log.ago == [ago]


@simulated.timed
async def test_only_a_log_that_lets_streams_go_is_archived() -> None:
    log = memory.MemoryLog()
    for archive in (None, Archive()):
        one = kept(log, archive)
        assert (one.log, one.archiver) == (log, None)
        async with running(one) as names:
            assert names == ["reporter", "retention", "retention of reports"]
    assert isinstance(kept(log, None).archive, archive_memory.MemoryArchive)
    one = kept(Ending(), Archive())
    assert one.log is not log
    async with running(one) as names:
        assert names == [
            "archiver",
            "reporter",
            "retention of reports",
            "retention of the archive",
            "retention of the log",
        ]


@simulated.timed
async def test_reports_are_forgotten_when_streams_are() -> None:
    """However many there are."""
    archive, now = Archive(), events.now_ms()
    old = [closed(number, now - WEEK - 60_000) for number in range(rows.MAX_ROWS)]
    await archive.keep_connections(old)
    await archive.keep_connections([closed(7777, now - WEEK - 60_000), closed(8888, now)])
    await archive.keep_minutes([rows.Minute(at, "a", b"{}") for at in (0, now)])
    async with running(kept(memory.MemoryLog(), archive)):
        await simulated.idle()
        assert [one.id for one in await archive.connections(rows.Sought())] == [closed(8888).id]
        assert [one.at for one in await archive.minutes(0, 2**52, 10)] == [now]


@simulated.timed
async def test_what_waits_for_the_longest_is_the_lag() -> None:
    log, archive = Ending(), Archive()
    one, now = kept(log, archive), events.now_ms()
    assert one.state == keeper.State(None, 0, 0, False, 0, 0)
    archive.down = True
    one.reporter.connection(closed(1, now - 5_000))
    state = one.state
    assert state.waiting_since == now - 5_000
    assert 5_000 <= state.lag_ms < 60_000
    assert (state.reports_waiting, state.failing) == (1, False)
    log.left = [base.Ended(events.new_stream_id(), now - 90_000)]
    log.stat = _away  # type: ignore[method-assign]
    async with running(one):
        await asyncio.sleep(2.0)
        state = one.state
        assert state.waiting_since == now - 90_000
        assert state.reports_waiting >= 1  # a minute may just have passed
        assert state.failing
        archive.down = False
        await asyncio.sleep(60.0)
        assert one.state.reports_waiting == 0
        assert one.state.failing  # its streams are not there yet


async def _away(stream: events.StreamId) -> None:
    raise errors.LogUnavailable("away")


def test_what_a_log_keeps_itself_is_not_counted_as_archived() -> None:
    assert kept(memory.MemoryLog(), Archive()).state.kept is None


def test_a_clock_that_is_behind_has_no_lag() -> None:
    one = kept(memory.MemoryLog(), Archive())
    one.reporter.connection(closed(1, events.now_ms() + 60_000))
    assert one.state.lag_ms == 0
