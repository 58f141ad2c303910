"""The contract's suite can fail: each engine here breaks one rule, and a named test sees it.

Strategy: the tests of the suite are plain methods, so they are called by hand, with a sound
engine, which must pass, and with a broken one, which must not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from tests.contract import broken, broken_counters

from holdfast import errors
from holdfast.eventlog import base, counters, memory
from holdfast.testing import eventlog
from holdfast.testing.eventlog import hints


async def run(
    test: str,
    make: Callable[[], base.EventLog],
    contract: type[eventlog.UncountedContract | eventlog.Contract] = eventlog.DurableContract,
    **fixtures: Any,
) -> None:
    """One test of the suite, by hand, on engines that `make` makes."""

    async def new_log() -> base.EventLog:
        return make()

    method = getattr(contract(), test)
    if "closed" in inspect.signature(method).parameters:
        fixtures["closed"] = False
    await method(new_log, **fixtures)


@pytest.fixture(autouse=True)
def _short_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "HINT_SECONDS", 0.2)


@pytest.mark.parametrize("engine", broken.SEES, ids=lambda engine: engine.__name__)
async def test_a_broken_engine_fails(engine: type[memory.MemoryLog]) -> None:
    test = broken.SEES[engine]
    await run(test, memory.MemoryLog)
    with pytest.raises(
        (AssertionError, errors.HoldfastError, RuntimeError, TimeoutError, pytest.fail.Exception)
    ):
        await run(test, engine)


def counting(made: type[counters.MemoryCounters]) -> base.EventLog:
    """An engine that is sound but for its counters."""
    log = memory.MemoryLog()
    log.counters = made()
    return log


@pytest.mark.parametrize("made", broken_counters.SEES, ids=lambda made: made.__name__)
async def test_broken_counters_fail(made: type[counters.MemoryCounters]) -> None:
    test = broken_counters.SEES[made]
    await run(test, memory.MemoryLog)
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
        await run(test, lambda: counting(made))


async def test_counters_that_expire_with_streams_fail() -> None:
    test = "test_counters_8_counters_and_streams_do_not_disturb_each_other"
    await run(test, memory.MemoryLog)
    with pytest.raises(AssertionError):
        await run(test, broken_counters.ForgetsWithTheStreams)


def uncounted() -> base.EventLog:
    log = memory.MemoryLog()
    log.counters = None  # type: ignore[assignment]
    return log


COUNTING = [name for name in vars(eventlog.counting.Counting) if name.startswith("test_")]


@pytest.mark.parametrize("test", COUNTING)
async def test_an_engine_without_counters_is_told_apart(test: str) -> None:
    with pytest.raises(AssertionError, match="has no counters"):
        await run(test, uncounted)
    said = "test_it_says_that_it_keeps_no_counters"
    await run(said, uncounted, eventlog.UncountedContract)
    with pytest.raises(AssertionError):
        await run(said, memory.MemoryLog, eventlog.UncountedContract)


DURABLE = [
    name
    for kept in (eventlog.durable.Durable, eventlog.counting.DurableCounting)
    for name in vars(kept)
    if name.startswith("test_")
]


@pytest.mark.parametrize("test", DURABLE)
async def test_an_engine_that_forgets_all_is_not_durable(test: str) -> None:
    async def reopen(log: base.EventLog) -> base.EventLog:
        return memory.MemoryLog()

    with pytest.raises((AssertionError, errors.HoldfastError, pytest.fail.Exception)):
        await run(test, memory.MemoryLog, reopen=reopen)


@pytest.mark.parametrize(
    ("lost", "test"),
    [
        ("secret", "test_all_that_was_acknowledged_survives"),
        ("event", "test_all_that_was_acknowledged_survives"),
        ("cancelled", "test_the_flag_to_cancel_survives"),
        ("tombstone", "test_what_has_expired_stays_expired"),
        ("orphans", "test_what_is_open_at_a_start_is_an_orphan_until_it_is_claimed"),
        ("sum", "test_counters_8_sums_survive"),
        ("time", "test_counters_8_what_is_removed_stays_so_and_what_is_put_off_stays"),
    ],
)
async def test_an_engine_that_forgets_a_little_is_not_durable(lost: str, test: str) -> None:
    async def reopen(log: base.EventLog) -> base.EventLog:
        assert isinstance(log, memory.MemoryLog)
        if lost == "secret":
            log.secret = bytes(32)
        for stream in log._streams:
            if lost == "cancelled":
                stream.cancelled = False
            if lost == "event" and stream.last > 2:
                stream.last -= 1
        if lost == "tombstone":
            log._tombstones.clear()
        assert isinstance(log.counters, counters.MemoryCounters)
        for slots in log.counters._names.values():
            for slot, (total, until) in slots.items():
                slots[slot] = (total - (lost == "sum"), until * (lost != "time"))
        return log

    with pytest.raises(AssertionError):
        await run(test, memory.MemoryLog, reopen=reopen)
