"""The log with faults keeps the contract, with and without them; each fault is what it says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from holdfast import errors, events
from holdfast.eventlog import base, memory
from holdfast.testing import eventlog, history, simulated
from holdfast.testing.eventlog import parts
from holdfast.testing.simulation import faulty, record


class TestContract(eventlog.DurableContract):
    """Without a fault it is the engine inside, and one whose streams outlive a node's life."""

    @pytest.fixture
    def new_log(self) -> eventlog.NewLog:
        async def make() -> base.EventLog:
            return faulty.FaultyLog(shared())

        return make

    @pytest.fixture
    def reopen(self) -> eventlog.Reopen:
        async def again(log: base.EventLog) -> base.EventLog:
            assert isinstance(log, faulty.FaultyLog)
            log.dead = True
            return faulty.FaultyLog(log.shared)

        return again


def shared(**faults: float) -> faulty.Shared:
    """A store with these faults from now on, and tasks that are started at once."""
    tasks: list[object] = []

    def spawn(work: Coroutine[Any, Any, Any], name: str) -> object:
        tasks.append(asyncio.ensure_future(work))
        return tasks[-1]

    made = faulty.Shared(memory.MemoryLog(), random.Random(1), record.Record(), spawn)
    made.faults = faulty.Faults(**faults)
    return made


async def begun(store: faulty.Shared) -> tuple[faulty.FaultyLog, parts.Pen]:
    """A node's log, and a stream of it that was begun in health."""
    faults, store.faults = store.faults, faulty.QUIET
    log = faulty.FaultyLog(store)
    pen = await parts.begin(log)
    store.faults = faults
    return log, pen


def acknowledged(store: faulty.Shared) -> list[int]:
    """The seqs that the record says were acknowledged."""
    entries = store.record.entries
    return [entry.seq for entry in entries if isinstance(entry, history.Appended)]


@simulated.timed
async def test_what_is_refused_is_not_done() -> None:
    store = shared(refused=1.0)
    log, pen = await begun(store)
    with pytest.raises(errors.LogUnavailable):
        await pen.write(parts.chunk("a"))
    with pytest.raises(errors.LogUnavailable):
        await log.read(pen.stream, events.BEGIN)
    assert await store.log.heads([pen.stream]) == [base.Head(pen.epoch, 1, False)]
    assert acknowledged(store) == [1]


@simulated.timed
async def test_what_nobody_was_told_is_done_and_may_be_sent_again() -> None:
    store = shared(untold=1.0)
    log, pen = await begun(store)
    tick = (pen.batch(parts.chunk("a")),)
    with pytest.raises(errors.LogUnavailable):
        await log.append(tick)
    assert acknowledged(store) == [1]
    store.faults = faulty.QUIET
    assert await log.append(tick) == [base.Ok()]
    assert len(await parts.read_all(log, pen.stream)) == 2
    assert acknowledged(store) == [1, 2]


@simulated.timed
async def test_a_late_append_arrives_after_it_was_sent_again() -> None:
    store = shared(late=1.0)
    log, pen = await begun(store)
    tick = (pen.batch(parts.chunk("a")),)
    with pytest.raises(errors.LogUnavailable):
        await log.append(tick)
    store.faults = faulty.QUIET
    assert await log.append(tick) == [base.Ok()]
    pen.last += 1
    await pen.write(parts.chunk("b"))
    await asyncio.sleep(faulty.QUIET.latest)
    assert len(await parts.read_all(log, pen.stream)) == 3


@simulated.timed
async def test_a_dead_node_writes_nothing_and_hears_nothing() -> None:
    store = shared()
    log, pen = await begun(store)
    woken: list[str] = []
    log.watch(pen.stream, lambda: woken.append("old"))
    log.dead = True
    with pytest.raises(errors.LogUnavailable):
        await pen.write(parts.chunk("a"))
    assert await store.log.heads([pen.stream]) == [base.Head(pen.epoch, 1, False)]
    following = faulty.FaultyLog(store)
    assert await following.orphans(10) == [pen.stream]
    assert await following.claim(pen.stream, 5) is not None
    assert await following.orphans(10) == []
    assert woken == []


@simulated.timed
async def test_what_was_fenced_was_not_acknowledged() -> None:
    store = shared()
    log, pen = await begun(store)
    assert await log.claim(pen.stream, 5) is not None
    assert await log.append((pen.batch(parts.chunk("a")),)) == [base.Fenced()]
    assert acknowledged(store) == [1, 2]


@simulated.timed
async def test_a_page_may_be_small() -> None:
    store = shared()
    log, pen = await begun(store)
    await pen.write(parts.chunk("a"), parts.chunk("b"))
    store.page = 2
    page = await log.read(pen.stream, events.BEGIN)
    assert len(page.events) == 2
    assert page.more
    assert len(await parts.read_all(log, pen.stream)) == 3


HINTS: dict[str, tuple[int, int]] = {"hint_lost": (0, 0), "hint_late": (0, 1), "hint_twice": (1, 2)}
"""Calls at once, and in the end."""


@pytest.mark.parametrize("fault", HINTS)
@simulated.timed
async def test_hints_are_lost_late_or_doubled(fault: str) -> None:
    store = shared(**{fault: 1.0})
    log, pen = await begun(store)
    woken: list[float] = []
    undo = log.watch(pen.stream, lambda: woken.append(simulated.now()))
    await pen.write(parts.chunk("a"))
    at_once, in_the_end = HINTS[fault]
    assert len(woken) == at_once
    await asyncio.sleep(store.faults.latest)
    assert len(woken) == in_the_end
    await pen.write(parts.chunk("b"))
    seen = len(woken)
    undo()
    await asyncio.sleep(store.faults.latest)
    assert len(woken) == seen


@pytest.mark.parametrize(
    "verb", [faulty.FaultyLog.stat, faulty.FaultyLog.request_cancel, faulty.FaultyLog.claim]
)
@simulated.timed
async def test_an_outage_is_of_every_verb(verb: Callable[..., Any]) -> None:
    store = shared()
    log, pen = await begun(store)
    store.out = True
    with pytest.raises(errors.LogUnavailable):
        await verb(log, pen.stream, *([5] if verb is faulty.FaultyLog.claim else []))
