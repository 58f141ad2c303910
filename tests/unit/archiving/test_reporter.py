"""The reporter: what waits, what is written when, and what gives way.

Strategy: in simulated time on the archive in memory, which can be made to fail; so each second of
a day's outage is exact. Every archive is held to the same in `tests/contract/test_reporting.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs
from tests.unit.archiving.reports import BEGIN_MS, Archive, Node, closed, started

from holdfast.archive import rows
from holdfast.archiving import reporter
from holdfast.telemetry import counts
from holdfast.testing import simulated

MINUTE = 60.0


@contextlib.asynccontextmanager
async def running(node: Node) -> AsyncIterator[reporter.Reporter]:
    task = asyncio.create_task(node.reporter.run())
    try:
        yield node.reporter
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def kept(archive: Archive) -> int:
    return len(await archive.connections(rows.Sought(limit=rows.MAX_ROWS)))


@simulated.timed
async def test_what_closes_is_in_the_archive_within_a_second() -> None:
    archive = Archive()
    async with running(Node(archive)) as reports:
        for number in range(3):
            reports.connection(closed(number))
        assert (reports.waiting, reports.oldest) == (3, BEGIN_MS)
        await asyncio.sleep(reporter.EVERY + 0.01)
        assert (reports.waiting, reports.oldest) == (0, None)
        assert archive.calls == [3]  # together
        assert await archive.connection(closed(1).id) == closed(1)
        await asyncio.sleep(10.0)
        assert archive.calls == [3]  # and nothing where nothing closes


@simulated.timed
async def test_each_minute_is_told_once_it_is_over_as_what_came_in_it() -> None:
    archive = Archive()
    node = Node(archive)
    async with running(node):
        node.counts(2)
        await asyncio.sleep(MINUTE - 2.0)
        assert await started(archive) == []
        await asyncio.sleep(4.0)
        assert await started(archive) == [(0, "a", 2)]
        node.counts(5)
        await asyncio.sleep(3 * MINUTE)
        assert await started(archive) == [(0, "a", 2), (1, "a", 5), (2, "a", 0), (3, "a", 0)]


@simulated.timed
async def test_what_is_active_is_told_as_it_is_at_the_end_of_the_minute() -> None:
    archive = Archive()
    node = Node(archive)
    async with running(node):
        node.total = counts.Counts(streams_active=9, connections_active=4)
        await asyncio.sleep(MINUTE / 2)
        node.total = counts.Counts(streams_active=7, connections_active=3)
        await asyncio.sleep(MINUTE)
        (minute,) = await archive.minutes(0, 2**52, 10)
        assert minute.data == b'{"streams_active":7,"connections_active":3}'


@simulated.timed
async def test_while_the_archive_is_away_all_waits_and_is_tried_ever_less_often() -> None:
    archive = Archive()
    node = Node(archive)
    archive.down = True
    with capture_logs() as logs:
        async with running(node) as reports:
            for number in range(20):
                reports.connection(closed(number, BEGIN_MS + number))
            await asyncio.sleep(3602.0)
            assert reports.failure == "away"
            assert reports.waiting == 20 + 60
            assert reports.oldest == BEGIN_MS
            assert 3600 / 32 < len(archive.calls) < 3600 / reporter.AGAIN_LAST + 5
            archive.down = False
            await asyncio.sleep(reporter.AGAIN_LAST + 2.0)
            assert (reports.waiting, reports.dropped) == (0, 0)
            assert await kept(archive) == 20
            assert len(await started(archive)) == 60
            archive.down = True
            reports.connection(closed(20))
            await asyncio.sleep(reporter.EVERY + 0.01)
            archive.down = False
            await asyncio.sleep(4 * reporter.EVERY)
            assert reports.waiting == 0  # after a short outage soon again
    said = [(line["event"], line["log_level"]) for line in logs]
    assert said == 2 * [("reports_behind", "warning"), ("reports_recovered", "info")]


@simulated.timed
async def test_what_was_written_and_not_heard_of_is_written_again_and_there_once() -> None:
    archive = Archive()
    node = Node(archive)
    node.counts(3)
    async with running(node) as reports:
        archive.unheard = True
        reports.connection(closed(1))
        await asyncio.sleep(2 * MINUTE + 2.0)
        assert reports.waiting == 3
        archive.unheard = False
        await asyncio.sleep(reporter.AGAIN_LAST + 2.0)
        assert reports.waiting == 0
        assert await kept(archive) == 1
        assert await started(archive) == [(0, "a", 3), (1, "a", 0)]


@simulated.timed
async def test_so_many_wait_at_most_and_the_oldest_give_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporter, "MAX_CONNECTIONS", 5)
    monkeypatch.setattr(reporter, "MAX_MINUTES", 3)
    archive = Archive()
    node = Node(archive)
    archive.down = True
    async with running(node) as reports:
        for number in range(5):
            reports.connection(closed(number))
        assert reports.dropped == 0
        for number in range(5, 7):
            reports.connection(closed(number))
        assert (reports.dropped, reports.waiting) == (2, 5)
        await asyncio.sleep(2.0)
        for minute in range(5):
            node.counts(1 << minute)
            await asyncio.sleep(MINUTE)
        assert reports.waiting == 5 + 3
        archive.down = False
        await asyncio.sleep(reporter.AGAIN_LAST + 2.0)
        assert reports.dropped == 2 + 2
        found = await archive.connections(rows.Sought())
        assert sorted(one.id for one in found) == [closed(number).id for number in range(2, 7)]
        assert await started(archive) == [(2, "a", 4), (3, "a", 8), (4, "a", 16)]


@simulated.timed
async def test_much_is_written_in_parts_of_what_a_call_takes() -> None:
    archive = Archive()
    async with running(Node(archive)) as reports:
        for number in range(2 * rows.MAX_ROWS + 7):
            reports.connection(closed(number))
        await asyncio.sleep(reporter.EVERY + 0.01)
        assert archive.calls == [rows.MAX_ROWS, rows.MAX_ROWS, 7]
        assert reports.waiting == 0


@simulated.timed
async def test_what_closes_while_others_are_written_is_not_taken_for_written() -> None:
    archive = Archive()
    node = Node(archive)
    writing = asyncio.Event()

    async def slow(connections: object) -> None:
        writing.set()
        await asyncio.sleep(5.0)

    archive.keep_connections = slow  # type: ignore[method-assign]
    node.reporter.connection(closed(1))
    task = asyncio.create_task(node.reporter.round())
    await writing.wait()
    node.reporter.connection(closed(2))
    await task
    assert node.reporter.waiting == 1
    assert node.reporter.oldest == closed(2).updated_at


@simulated.timed
async def test_a_clock_that_is_set_back_tells_no_minute_twice() -> None:
    archive = Archive()
    node = Node(archive)
    async with running(node):
        node.counts(1)
        await asyncio.sleep(MINUTE + 10.0)
        node.counts(2)
        node.skew = -int(2 * MINUTE * 1000)
        await asyncio.sleep(MINUTE)
        assert await started(archive) == [(0, "a", 1)]
        node.counts(4)
        await asyncio.sleep(MINUTE)
        assert await started(archive) == [(0, "a", 1)]
        await asyncio.sleep(MINUTE)
        assert await started(archive) == [(0, "a", 1), (1, "a", 6)]


@simulated.timed
async def test_two_lives_of_a_node_in_one_minute_are_two_rows() -> None:
    archive = Archive()
    for life, streams in (("a", 3), ("b", 4)):
        node = Node(archive, life)
        async with running(node):
            await asyncio.sleep(5.0)
            node.counts(streams)
        await node.reporter.close()
    assert await started(archive) == [(0, "a", 3), (0, "b", 4)]


@simulated.timed
async def test_at_the_end_all_is_written_that_waits_and_the_minute_that_runs() -> None:
    archive = Archive()
    node = Node(archive)
    async with running(node) as reports:
        await asyncio.sleep(MINUTE + 5.0)
        node.counts(2)
        reports.connection(closed(1))
    await reports.close()
    assert reports.waiting == 0
    assert await kept(archive) == 1
    assert await started(archive) == [(0, "a", 0), (1, "a", 2)]


@pytest.mark.parametrize("how", ["down", "hang"])
def test_an_end_waits_for_the_archive_for_so_long_at_most(how: str) -> None:
    async def story() -> None:
        archive = Archive()
        node = Node(archive)
        node.counts(1)
        node.reporter.connection(closed(1))
        setattr(archive, how, True)
        begun = simulated.now()
        with capture_logs() as logs:
            await node.reporter.close()
        assert simulated.now() - begun <= reporter.CLOSE_SECONDS
        (said,) = logs
        assert (said["event"], said["connections"], said["minutes"]) == ("reports_lost", 1, 1)

    simulated.run(story())


@simulated.timed
async def test_a_node_that_counted_nothing_says_nothing_at_its_end() -> None:
    archive = Archive()
    archive.down = True
    with capture_logs() as logs:
        await Node(archive).reporter.close()
    assert (archive.calls, logs) == ([], [])


@simulated.timed
async def test_who_asks_has_the_minutes_that_the_archive_may_lack() -> None:
    archive = Archive()
    node = Node(archive)
    first, second = BEGIN_MS, BEGIN_MS + counts.MINUTE_MS
    async with running(node) as reports:
        node.counts(1)
        assert _streams(reports.unwritten(0, 2**52)) == {first: 1}
        archive.down = True
        await asyncio.sleep(MINUTE + 2.0)
        node.counts(2)
        assert _streams(reports.unwritten(0, 2**52)) == {first: 1, second: 2}
        assert _streams(reports.unwritten(first, second)) == {first: 1}
        assert _streams(reports.unwritten(second, 2**52)) == {second: 2}
        archive.down = False
        await asyncio.sleep(10.0)
        assert _streams(reports.unwritten(0, 2**52)) == {second: 2}


@simulated.timed
async def test_others_are_told_of_minutes_that_only_this_node_can_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So many at most, the last ones."""
    monkeypatch.setattr(reporter, "MAX_MINUTES", 3)
    archive = Archive()
    archive.lasting = False
    node = Node(archive)
    async with running(node) as reports:
        for minute in range(5):
            await asyncio.sleep(2.0)
            node.counts(1 << minute)
            await asyncio.sleep(MINUTE - 2.0)
        await asyncio.sleep(2.0)
        assert len(await started(archive)) == 5
        assert list(_streams(reports.unwritten(0, 2**52)).values()) == [4, 8, 16, 0]
        assert (reports.waiting, reports.oldest, reports.dropped) == (0, None, 0)


@simulated.timed
async def test_a_minute_that_is_over_is_told_as_such_before_it_is_looked_at() -> None:
    """Who asks in the first second of the next one has both."""
    node = Node(Archive())
    node.counts(1)
    await asyncio.sleep(MINUTE)
    node.counts(2)
    assert _streams(node.reporter.unwritten(0, 2**52)) == {
        BEGIN_MS: 3,
        BEGIN_MS + counts.MINUTE_MS: 0,
    }


def _streams(minutes: dict[int, counts.Counts]) -> dict[int, int]:
    return {at: one.streams_started for at, one in minutes.items()}
