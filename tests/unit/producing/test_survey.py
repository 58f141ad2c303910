"""Whose the streams are that were found without a writer.

Strategy: a memory log names what a test made in it as orphans, and fails where it says so, in
simulated time.
"""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from holdfast import errors, events
from holdfast.eventlog import base, memory
from holdfast.metering import account, ledger
from holdfast.producing import survey
from holdfast.testing import simulated


class Log(memory.MemoryLog):
    """`left` are the orphans; `away` is how often it cannot be reached yet, `torn` a stream that
    cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[events.StreamId] = []
        self.away = 0
        self.torn: events.StreamId | None = None

    def _fail(self) -> None:
        if self.away:
            self.away -= 1
            raise errors.LogUnavailable("away")

    async def orphans(self, limit: int) -> list[events.StreamId]:
        self._fail()
        return self.left[:limit]

    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        self._fail()
        if stream == self.torn:
            raise errors.LogCorrupt("torn")
        return await super().stat(stream)


async def filled(count: int) -> Log:
    """A log with so many streams of the tenant `acme`."""
    log = Log()
    await log.start()
    for _ in range(count):
        stream = events.new_stream_id()
        header = base.Header("acme/", 1, "demo", "demo", key="key:k")
        start = events.draft(events.Start(stream, "r", "demo", "demo", "1970-01-01T00:00:00Z"))
        await log.create(stream, header, (start,), 1)
        log.left.append(stream)
    return log


async def places(book: ledger.Ledger) -> list[int]:
    accounts: tuple[account.Account, ...] = await book.of("acme/", "key:k")
    return [one.streams for one in accounts]


@simulated.timed
async def test_all_have_their_places_and_others_their_turn() -> None:
    log, book = await filled(1000), ledger.Ledger()
    found = survey.Survey(log, book, 1.0)
    turns, running = 0, asyncio.ensure_future(found.run())
    while not running.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 1000 // survey.LOOKS_A_TURN
    await found.wait()
    assert await places(book) == [1000, 1000]
    for stream in log.left:
        found.release(stream)
    assert await places(book) == [0, 0]


@simulated.timed
async def test_a_log_that_is_away_is_asked_again() -> None:
    log, book = await filled(3), ledger.Ledger()
    log.away = 5
    with capture_logs() as logged:
        await survey.Survey(log, book, 1.0).run()
    assert [entry["event"] for entry in logged] == ["orphans_unknown"]  # told once
    assert simulated.now() == simulated.BEGIN + 5 * survey.AGAIN
    assert await places(book) == [3, 3]


@simulated.timed
async def test_a_log_that_goes_in_between_is_asked_again() -> None:
    log, book = await filled(survey.LOOKS_A_TURN + 3), ledger.Ledger()
    running = asyncio.ensure_future(survey.Survey(log, book, 1.0).run())
    await asyncio.sleep(0)
    log.away = 2
    await running
    assert simulated.now() == simulated.BEGIN + 2 * survey.AGAIN
    assert await places(book) == [survey.LOOKS_A_TURN + 3] * 2


@simulated.timed
async def test_who_waits_is_told_when_it_takes_too_long() -> None:
    log = await filled(1)
    log.away = 3
    found = survey.Survey(log, ledger.Ledger(), 2.0)
    running = asyncio.ensure_future(found.run())
    with pytest.raises(errors.LogUnavailable) as raised:
        await found.wait()
    assert raised.value.retryable
    await found.wait()
    assert simulated.now() == simulated.BEGIN + 3.0
    await running


@simulated.timed
async def test_a_node_that_stops_lets_them_go() -> None:
    log = await filled(1)
    log.away = 100
    found = survey.Survey(log, ledger.Ledger(), 60.0)
    running = asyncio.ensure_future(found.run())
    waiting = asyncio.ensure_future(found.wait())
    await asyncio.sleep(1.0)
    assert not waiting.done()
    found.end()
    await waiting
    assert simulated.now() == simulated.BEGIN + 1.0
    running.cancel()


@simulated.timed
async def test_a_stream_that_cannot_be_read_does_not_keep_the_others_from_it() -> None:
    log, book = await filled(3), ledger.Ledger()
    log.torn = log.left[1]
    found = survey.Survey(log, book, 1.0)
    with capture_logs() as logged:
        for _ in range(3):  # as often as somebody looks for orphans
            await found.run()
    assert [entry["event"] for entry in logged] == ["orphan_unknown"]
    assert await places(book) == [2, 2]
