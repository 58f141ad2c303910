"""Counters of a log with faults: those of the store, refused as the log's other calls are."""

from __future__ import annotations

import random

import pytest

from holdfast import errors
from holdfast.eventlog import counters, memory
from holdfast.testing import simulated
from holdfast.testing.simulation import faulty, record

ONE = [counters.Change("a", 1, 1, 100)]


def shared(**faults: float) -> faulty.Shared:
    def never(*_: object) -> None:
        raise AssertionError("nothing is started")

    made = faulty.Shared(memory.MemoryLog(), random.Random(1), record.Record(), never)
    made.faults = faulty.Faults(**faults)
    return made


async def add(log: faulty.FaultyLog) -> int:
    assert log.counters is not None
    (found,) = await log.counters.add(ONE, 10)
    return found[1]


@simulated.timed
async def test_all_nodes_of_a_store_count_together() -> None:
    store = shared()
    logs = [faulty.FaultyLog(store) for _ in range(3)]
    assert [await add(log) for log in logs] == [1, 2, 3]


@simulated.timed
async def test_what_is_refused_is_not_counted() -> None:
    store = shared(refused=1.0)
    log = faulty.FaultyLog(store)
    with pytest.raises(errors.LogUnavailable):
        await add(log)
    store.faults = faulty.QUIET
    store.out = True
    with pytest.raises(errors.LogUnavailable):
        await add(log)
    store.out = False
    assert await add(log) == 1


@simulated.timed
async def test_a_dead_node_counts_nothing() -> None:
    store = shared()
    log, kept = faulty.FaultyLog(store), faulty.FaultyLog(store)
    held = log.counters
    log.dead = True
    assert held is not None
    with pytest.raises(errors.LogUnavailable):
        await held.add(ONE, 10)
    assert await add(kept) == 1


def test_a_store_without_counters_has_none_with_faults_either() -> None:
    store = shared()
    store.log.counters = None  # type: ignore[misc]
    assert faulty.FaultyLog(store).counters is None
