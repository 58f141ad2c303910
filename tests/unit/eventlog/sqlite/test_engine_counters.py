"""Counters of the SQLite engine: what waits, what is refused, and what a killed process leaves."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path

import pytest
from tests.unit.eventlog.sqlite import opened
from tests.unit.eventlog.sqlite.conftest import Held

import holdfast
from holdfast import errors
from holdfast.eventlog import base, counters
from holdfast.eventlog.sqlite import engine, schema, session
from holdfast.testing.eventlog.parts import COMPLETE, begin, chunk, read_all

COUNTER = """
import asyncio, sys
from holdfast.eventlog import counters
from holdfast.eventlog.sqlite import engine

async def count(path, durability):
    log = engine.SqliteLog(path, durability=durability)
    await log.start()
    while True:
        await log.counters.add([counters.Change(name, 1, 1, 99) for name in "ab"], 10)
        print("counted", flush=True)

asyncio.run(count(*sys.argv[1:]))
"""


def one(name: str = "a", amount: int = 1) -> list[counters.Change]:
    return [counters.Change(name, 1, amount, 99)]


async def kept(log: base.EventLog, *names: str) -> list[dict[int, int]]:
    assert log.counters is not None
    asked = [counters.Change(name, 1, 0, 99) for name in names]
    return [dict(slots) for slots in await log.counters.add(asked, 10)]


async def test_counters_of_a_log_that_is_not_open_say_so(path: Path) -> None:
    log = engine.SqliteLog(path)
    for total in (1, 2):
        with pytest.raises(errors.LogUnavailable, match=r"a\.db is not open"):
            await log.counters.add(one(), 10)
        await log.start()
        assert await log.counters.add(one(), 10) == [{1: total}]
        await log.close()


async def test_what_cannot_be_written_is_not_counted(
    path: Path, logs: opened.Logs, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0)
    log = await logs.open(path)
    pen = await begin(log)
    await log.counters.add(one(), 10)
    with held():
        assert await log.counters.add([], 10) == []  # for nothing nobody waits
        adding = [log.counters.add(one(name), 10) for name in "abc"]
        told = await asyncio.gather(*adding, return_exceptions=True)
        assert [type(error) for error in told] == [errors.LogUnavailable] * 3
        assert len({id(error) for error in told}) == 3
    assert await kept(log, "a", "b") == [{1: 1}, {}]
    assert log._session._counting == 0
    assert not log._session._waiters
    await pen.write(chunk("a"))
    assert await log.counters.add(one(), 10) == [{1: 2}]


async def test_counters_that_cannot_be_written_hurt_no_stream(
    log: engine.SqliteLog, path: Path
) -> None:
    opened.ask(
        path, "CREATE TRIGGER no BEFORE INSERT ON counter BEGIN SELECT RAISE(FAIL, 'no'); END"
    )
    for number in range(5):
        pen = await begin(log)
        adding = asyncio.ensure_future(log.counters.add(one(), 10))
        await pen.write(chunk(f"{number}"), COMPLETE)
        with pytest.raises(errors.LogUnavailable, match="no"):
            await adding
        assert len(await read_all(log, pen.stream)) == 3
    opened.ask(path, "DROP TRIGGER no")
    await opened.quiet(log)
    assert len(log._session.held) == 0
    assert await log.counters.add(one(), 10) == [{1: 1}]


async def test_so_many_changes_may_wait(
    log: engine.SqliteLog, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WAITING_CHANGES", 5)
    pen = await begin(log)
    with held():
        waiting = [asyncio.ensure_future(log.counters.add(one() * n, 10)) for n in (3, 2)]
        await asyncio.sleep(0)
        with pytest.raises(errors.LogUnavailable, match="5 changes of counters wait"):
            await log.counters.add(one(), 10)
        # Streams have a limit of their own.
        appending = asyncio.ensure_future(pen.write(chunk("a")))
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.sleep(0)
        with pytest.raises(errors.LogUnavailable):  # whoever went away took nothing back
            await log.counters.add(one(), 10)
    assert await waiting[0] == [{1: 3}] * 3
    await appending
    assert await kept(log, "a") == [{1: 5}]
    assert await log.counters.add(one() * 5, 10) == [{1: 10}] * 5


async def test_a_call_is_what_it_was_when_it_was_made(log: engine.SqliteLog, held: Held) -> None:
    changes = one()
    with held():
        adding = asyncio.ensure_future(log.counters.add(changes, 10))
        await asyncio.sleep(0)
        changes[:] = one("b")
    assert await adding == [{1: 1}]
    assert await kept(log, "a", "b") == [{1: 1}, {}]


async def test_calls_that_wait_at_a_close_are_refused_or_done(
    path: Path, logs: opened.Logs, log: engine.SqliteLog
) -> None:
    adding = [asyncio.ensure_future(log.counters.add(one(), 10)) for _ in range(50)]
    await asyncio.sleep(0)
    await log.close()
    done = await asyncio.gather(*adding, return_exceptions=True)
    refused = [error for error in done if isinstance(error, errors.LogUnavailable)]
    assert all("is closed" in error.message for error in refused)
    again = await logs.open(path)
    expected = {1: 50 - len(refused)} if len(refused) < 50 else {}
    assert await kept(again, "a") == [expected]


async def test_each_call_is_a_transaction_between_two_ticks(
    log: engine.SqliteLog, held: Held
) -> None:
    """A tick waits for one call at most, however many of them wait before it."""
    order: list[str] = []

    async def note(name: str, doing: Awaitable[object]) -> None:
        await doing
        order.append(name)

    pen = await begin(log)
    with held():
        calls = [asyncio.ensure_future(log.counters.add(one(), 10)) for _ in range(4)]
        await asyncio.sleep(0)
        notes = [note("call", call) for call in calls]
        notes.append(note("tick", asyncio.ensure_future(pen.write(chunk("a")))))
        noting = asyncio.gather(*notes)
        await asyncio.sleep(0)
    await noting
    assert order.index("tick") <= 1


def killed(path: Path, durability: str) -> int:
    """How many calls a process was told of that counted until it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", COUNTER, str(path), durability],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(holdfast.__file__).parent.parent)},
    ) as counting:
        assert counting.stdout is not None
        for _ in range(20):
            assert counting.stdout.readline() == b"counted\n"
        counting.send_signal(signal.SIGKILL)
        return 20 + counting.stdout.read().count(b"counted\n")


@pytest.mark.parametrize("durability", ["process", "power"])
async def test_what_was_counted_survives_a_process_that_is_killed(
    path: Path, logs: opened.Logs, durability: schema.Durability
) -> None:
    told = killed(path, durability)
    log = await logs.open(path, durability=durability)
    (a, b) = await kept(log, "a", "b")
    assert a == b
    assert told <= a[1] <= told + 1
