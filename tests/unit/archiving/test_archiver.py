"""The archiver in simulated time: how often an archive that is away, or is slow, is tried, and how
soon it gets what has waited for it.

Strategy: a log in memory whose ends are to be archived, and an archive in memory that is away for
as long as the test wants, or takes no more than it wants.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from structlog.testing import capture_logs

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
    """It takes `most` streams together, none of them one of `bad`, and counts how often it is
    `tried` in vain."""

    def __init__(self, most: int = 0) -> None:
        super().__init__()
        self.most, self.tried = most, 0
        self.bad = set[events.StreamId]()

    async def keep_all(self, some: Sequence[records.Finished]) -> set[events.StreamId]:
        if len(some) > self.most or self.bad & {one.info.stream for one in some}:
            self.tried += 1
            raise errors.ArchiveUnavailable
        return await super().keep_all(some)


async def ended(log: Ending, count: int) -> list[events.StreamId]:
    """So many streams that are to be archived."""
    found = []
    for _ in range(count):
        pen = await parts.begin(log)
        await pen.write(parts.COMPLETE)
        log.left.append(base.Ended(pen.stream, 1_000))
        found.append(pen.stream)
    return found


@contextlib.asynccontextmanager
async def running(one: archiver.Archiver) -> AsyncIterator[None]:
    task = asyncio.ensure_future(one.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@simulated.timed
async def test_an_archive_that_is_away_is_tried_now_and_then_and_has_all_soon_after() -> None:
    log, archive = Ending(), Away()
    await ended(log, 3 * archiver.AT_ONCE)
    one = archiver.Archiver(log, log, archive)
    async with running(one):
        await asyncio.sleep(HOUR)
        assert HOUR / archiver.AGAIN_LAST < archive.tried < HOUR / archiver.AGAIN_LAST + 5
        assert (one.kept, one.failure is None, one.oldest) == (0, False, 1_000)
        archive.most = archiver.AT_ONCE
        await asyncio.sleep(archiver.AGAIN_LAST)
        assert (one.kept, one.failure, log.left) == (3 * archiver.AT_ONCE, None, [])


@simulated.timed
@pytest.mark.parametrize("most", [1, 5, archiver.AT_ONCE - 1])
async def test_an_archive_that_is_slow_is_given_less_at_once(most: int) -> None:
    log, archive = Ending(), Away(most)
    await ended(log, 10 * archiver.AT_ONCE)
    one = archiver.Archiver(log, log, archive)
    async with running(one):
        await asyncio.sleep(HOUR)
        assert (one.kept, one.failure, log.left) == (10 * archiver.AT_ONCE, None, [])


@simulated.timed
async def test_a_stream_that_the_archive_never_takes_holds_up_no_other() -> None:
    """Neither what waits with it, nor what ends later."""
    log, archive = Ending(), Away(archiver.AT_ONCE)
    streams = await ended(log, 3 * archiver.AT_ONCE)
    archive.bad = {streams[0], streams[40]}
    one = archiver.Archiver(log, log, archive)
    async with running(one):
        await asyncio.sleep(HOUR)
        left = {one.stream for one in log.left}
        assert (left, one.failure is None) == (archive.bad, False)
        await ended(log, 3)
        await asyncio.sleep(2 * archiver.AGAIN_LAST)
        assert {one.stream for one in log.left} == archive.bad
        archive.bad = set()
        await asyncio.sleep(2 * archiver.AGAIN_LAST)
        assert (one.failure, log.left) == (None, [])


class Slow(archive_memory.MemoryArchive):
    """Somebody destroys `doomed` while it keeps."""

    def __init__(self, log: Ending) -> None:
        super().__init__()
        self._log = log
        self.doomed: events.StreamId | None = None

    async def keep_all(self, some: Sequence[records.Finished]) -> set[events.StreamId]:
        if self.doomed is not None:
            assert await self._log.shred(self.doomed)
            assert not await self.shred(self.doomed)  # it is not here yet
        return await super().keep_all(some)


@pytest.mark.parametrize("count", [1, 3])
async def test_what_is_destroyed_while_it_is_archived_does_not_come_back(count: int) -> None:
    log = Ending()
    streams, archive = await ended(log, count), Slow(log)
    archive.doomed = streams[0]
    await archiver.Archiver(log, log, archive).round()
    assert isinstance(await archive.stat(streams[0]), base.Tombstone)
    assert {info.stream for info in await archive.find(base.Query())} == set(streams[1:])
    assert log.left == []


async def test_beside_what_another_node_has_archived_it_does_not_come_back_either() -> None:
    log = Ending()
    doomed, known = await ended(log, 2)
    archive = Slow(log)
    one = archiver.Archiver(log, log, archive)
    read = await one._read(known)
    assert read is not None
    await archive.keep_all([read])
    archive.doomed = doomed
    await one.round()
    assert [info.stream for info in await archive.find(base.Query())] == [known]
    assert isinstance(await archive.stat(doomed), base.Tombstone)
    assert (one.kept, log.left) == (1, [])


class Flaky(Ending):
    """Once it is `failing`, the next question for heads fails. What is destroyed waits for no
    archive any more."""

    failing = False

    async def heads(self, streams: Sequence[events.StreamId]) -> list[base.Head | None]:
        if streams and self.failing:
            self.failing = False
            raise errors.LogUnavailable
        return await super().heads(streams)

    async def shred(self, stream: events.StreamId) -> bool:
        done = await super().shred(stream)
        await self.acknowledge([stream])
        return done


class Failing(Slow):
    """The log fails once something was kept."""

    async def keep_all(self, some: Sequence[records.Finished]) -> set[events.StreamId]:
        new = await super().keep_all(some)
        assert isinstance(self._log, Flaky)
        self._log.failing, self.doomed = True, None
        return new


async def test_what_was_not_looked_at_for_a_failure_is_looked_at_again_before_all_else() -> None:
    log = Flaky()
    (stream,) = await ended(log, 1)
    archive = Failing(log)
    archive.doomed = stream
    one = archiver.Archiver(log, log, archive)
    with pytest.raises(errors.LogUnavailable):
        await one.round()
    assert isinstance(await archive.stat(stream), base.Info)
    assert await one.round() is False
    assert isinstance(await archive.stat(stream), base.Tombstone)


async def test_what_the_log_has_let_go_before_it_is_looked_at_again_stays() -> None:
    """As another node has acknowledged it."""
    log = Flaky()
    (stream,) = await ended(log, 1)
    archive = Failing(log)
    one = archiver.Archiver(log, log, archive)
    with pytest.raises(errors.LogUnavailable):
        await one.round()
    assert [left.stream for left in log.left] == [stream]  # not before it was looked at
    log._clock = lambda: events.now_ms() + 1000
    await log.expire(2**52, 1)
    await log.acknowledge([stream])
    assert await one.round() is False
    assert isinstance(await archive.stat(stream), base.Info)


async def test_what_the_log_has_let_go_that_another_node_archived_stays() -> None:
    log = Ending()
    streams = await ended(log, 2)

    class Other(archive_memory.MemoryArchive):
        async def keep_all(self, some: Sequence[records.Finished]) -> set[events.StreamId]:
            await super().keep_all(some)  # another node
            await log.expire(2**52, 100)
            return await super().keep_all(some)

    archive = Other()
    await archiver.Archiver(log, log, archive).round()
    assert {info.stream for info in await archive.find(base.Query())} == set(streams)


async def test_what_the_log_has_lost_and_the_archive_cannot_read_holds_up_nothing() -> None:
    log = Ending()
    (stream,) = await ended(log, 1)
    log._streams.drop(stream)

    class Torn(archive_memory.MemoryArchive):
        async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
            raise errors.KeyMissing

    await archiver.Archiver(log, log, Torn()).round()
    assert log.left == []


@pytest.mark.parametrize("at", ["stat", "read"])
@pytest.mark.parametrize("failure", [errors.KeyMissing, errors.LogCorrupt])
async def test_what_cannot_be_opened_stays_and_is_told_once(
    at: str, failure: type[errors.LogCorrupt], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, archive = Ending(), archive_memory.MemoryArchive()
    bad, good = await ended(log, 2)
    usual = getattr(log, at)

    async def torn(stream: events.StreamId, *more: object) -> object:
        if stream == bad:
            raise failure
        return await usual(stream, *more)

    monkeypatch.setattr(log, at, torn)
    one = archiver.Archiver(log, log, archive)
    with capture_logs() as logged:
        for _ in range(3):
            await one.round()
    assert [(entry["event"], entry["stream"]) for entry in logged] == [("stream_not_archived", bad)]
    assert [info.stream for info in await archive.find(base.Query())] == [good]
    assert [left.stream for left in log.left] == [bad]
