"""Without hints nothing is lost: the poll behind them brings every event.

Strategy: the engines of the product with their hints cut off, all of them or some by a seeded
die, and a poll that comes often. What is read must be as if there were no such trouble.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration import conftest, harness, replaying
from tests.integration.stepped_answer import SteppedAnswer

from holdfast import events
from holdfast.eventlog import base, memory
from holdfast.eventlog.sqlite import engine
from holdfast.testing import recordings

POLL = 0.01
"""Seconds between two polls: a hundredth of the usual."""

NEVER = 3600.0
"""The same for who must not be helped by the poll."""

LIMIT = 120.0
"""Seconds for all recordings of a folder; it takes some ten."""


def nothing() -> None:
    pass


class Deaf:
    """Registers no hint at all; counts what it was asked for."""

    asked = 0

    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        self.asked += 1
        return nothing

    def watch_cancels(self, hint: base.CancelHint) -> base.Undo:
        return nothing


class DeafMemory(Deaf, memory.MemoryLog):
    pass


class DeafSqlite(Deaf, engine.SqliteLog):
    pass


class Forgetful(memory.MemoryLog):
    """Loses about half of its hints."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice
        self.lost = 0

    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        def perhaps() -> None:
            if self._dice.random() < 0.5:
                wake()
            else:
                self.lost += 1

        return super().watch(stream, perhaps)


async def play_all(log: base.EventLog, folder: Path, label: str) -> list[replaying.Check]:
    """What differs of a folder's recordings on this log."""
    cut = recordings.FRAGMENTATIONS[label]
    found = recordings.load_recordings(folder)
    parts = [
        replaying.Part(each, label, cut(each.wire))
        for each in found
        if replaying.why_not(each) is None
    ]
    async with asyncio.timeout(LIMIT), replaying.playing(parts) as provider:
        config = replaying.configured(parts, provider.url)
        async with harness.running_on(log, config, POLL) as server:
            answers = [replaying.play(server, part) for part in parts]
            played = zip(parts, await asyncio.gather(*answers), strict=True)
            checks = [check for part, answer in played for check in replaying.compare(part, answer)]
    assert {check.file for check in checks} == {part.file for part in parts}
    return [check for check in checks if not check.ok]


def deaf_memory(tmp_path: Path) -> DeafMemory:
    return DeafMemory()


def deaf_sqlite(tmp_path: Path) -> DeafSqlite:
    return DeafSqlite(f"{tmp_path}/log.db")


@pytest.mark.parametrize("label", ["whole", "per event", "at random"])
@pytest.mark.parametrize("make", [deaf_memory, deaf_sqlite])
async def test_our_recordings_pass_without_any_hint(
    make: Callable[[Path], DeafMemory | DeafSqlite], label: str, tmp_path: Path
) -> None:
    log = make(tmp_path)
    assert await play_all(log, conftest.FIXTURES, label) == []
    assert log.asked > 50


@pytest.mark.parametrize("label", ["whole", "per event"])
async def test_the_shared_recordings_pass_without_any_hint(
    label: str, shared: Path, tmp_path: Path
) -> None:
    assert await play_all(deaf_sqlite(tmp_path), shared / "recordings", label) == []


@pytest.mark.parametrize("seed", range(3))
async def test_our_recordings_pass_with_half_of_the_hints(seed: int) -> None:
    log = Forgetful(random.Random(seed))
    assert await play_all(log, conftest.FIXTURES, "per event") == []
    assert log.lost > 50


def long_one() -> SteppedAnswer:
    found = recordings.load_recordings(conftest.FIXTURES / "compatible")
    return SteppedAnswer(next(each for each in found if each.name == "azure-long"))


async def test_each_event_comes_by_the_poll_alone() -> None:
    """The provider waits for the reader: no later hint or end can bring an event."""
    held = long_one()
    async with asyncio.timeout(LIMIT), replaying.playing([held.part]) as provider:
        config = replaying.configured([held.part], provider.url)
        async with harness.running_on(DeafMemory(), config, POLL) as server:
            reader = await harness.begin(server.port, held.part.request(flush_interval_ms=0))
            while held.left:
                await held.step(reader)
            answer = await reader.rest()
    assert all(check.ok for check in replaying.compare(held.part, answer))


async def test_each_event_comes_by_its_hint_alone() -> None:
    """The other half: the poll is no crutch of the hints."""
    held = long_one()
    async with asyncio.timeout(LIMIT), replaying.playing([held.part]) as provider:
        config = replaying.configured([held.part], provider.url)
        async with harness.running_on(memory.MemoryLog(), config, NEVER) as server:
            reader = await harness.begin(server.port, held.part.request(flush_interval_ms=0))
            while held.left:
                await held.step(reader)
            answer = await reader.rest()
    assert all(check.ok for check in replaying.compare(held.part, answer))


async def test_a_cancel_whose_hint_is_lost_is_heard_at_the_next_append() -> None:
    held = long_one()
    async with asyncio.timeout(LIMIT), replaying.playing([held.part]) as provider:
        config = replaying.configured([held.part], provider.url)
        async with harness.running_on(DeafMemory(), config, POLL) as server:
            reader = await harness.begin(server.port, held.part.request(flush_interval_ms=0))
            await held.step(reader)
            path = f"/v1/streams/{harness.stream_of(reader)}/cancel"
            assert (await harness.ask(server.port, "POST", path)).status == 202
            await held.step(reader)
            answer = await reader.rest()
            assert (await harness.ask(server.port, "POST", path)).status == 200
    last = harness.said(answer.body)[-1]
    assert (last.event, last.data["code"]) == ("error", "cancelled")
    assert answer.clean
    assert held.left > 0
