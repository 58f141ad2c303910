"""The SQLite engine beside its contract: opening, closing, and what is left behind."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.unit.eventlog.sqlite import opened
from tests.unit.eventlog.sqlite.conftest import Held

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import engine, file
from holdfast.testing.eventlog.parts import COMPLETE, Pen, begin, chunk, header, read_all

VERBS: dict[str, Callable[[engine.SqliteLog], Coroutine[Any, Any, object]]] = {
    "create": lambda log: log.create(events.new_stream_id(), header(), (chunk("a"),), 1),
    "append": lambda log: log.append((base.Batch(events.new_stream_id(), 1, 1, 1, ()),)),
    "read": lambda log: log.read(events.new_stream_id(), events.BEGIN),
    "heads": lambda log: log.heads([events.new_stream_id()]),
    "stat": lambda log: log.stat(events.new_stream_id()),
    "find": lambda log: log.find(base.Query()),
    "claim": lambda log: log.claim(events.new_stream_id(), 1),
    "orphans": lambda log: log.orphans(1),
    "request_cancel": lambda log: log.request_cancel(events.new_stream_id()),
    "expire": lambda log: log.expire(1, 1),
}


def left_behind() -> tuple[int, int, int]:
    """Open descriptors, threads, tasks."""
    descriptors = len(os.listdir("/proc/self/fd"))
    return descriptors, threading.active_count(), len(asyncio.all_tasks())


@pytest.mark.parametrize("verb", VERBS)
async def test_a_log_that_is_not_open_says_so(path: Path, verb: str) -> None:
    log = engine.SqliteLog(path)
    for _ in range(2):
        with pytest.raises(errors.LogUnavailable, match=r"a\.db is not open"):
            await VERBS[verb](log)
        await log.start()
        await VERBS[verb](log) if verb != "read" else None
        await log.close()


async def test_start_and_close_may_be_said_at_any_time_and_leave_nothing(path: Path) -> None:
    before = left_behind()
    log = engine.SqliteLog(path)
    await log.close()
    for _ in range(3):
        await asyncio.gather(log.start(), log.start())
        pen = await begin(log)
        await pen.write(chunk("a"), COMPLETE)
        await opened.quiet(log)
        await read_all(log, pen.stream)
        await log.stat(events.new_stream_id())
        await asyncio.gather(log.close(), log.close())
        assert left_behind() == before


async def test_a_close_while_it_starts_and_a_start_while_it_closes_wait_for_each_other(
    path: Path,
) -> None:
    before = left_behind()
    log = engine.SqliteLog(path)
    await asyncio.gather(log.start(), log.close(), log.start(), log.close(), log.start())
    await begin(log)
    await log.close()
    assert left_behind() == before


async def test_a_start_that_fails_leaves_nothing_and_may_be_tried_again(path: Path) -> None:
    other = file.File(path, "process")
    before = left_behind()
    log = engine.SqliteLog(path)
    for _ in range(2):
        with pytest.raises(errors.LogLocked):
            await log.start()
        assert left_behind() == before
    other.close()
    await log.start()
    await begin(log)
    await log.close()


async def test_a_start_that_is_cancelled_leaves_nothing(path: Path) -> None:
    before = left_behind()
    log = engine.SqliteLog(path)
    starting = asyncio.ensure_future(log.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await asyncio.sleep(0)
    assert left_behind() == before
    await log.start()
    await log.close()


async def test_a_close_that_is_cancelled_closes_all_the_same(path: Path) -> None:
    before = left_behind()
    log = engine.SqliteLog(path)
    await log.start()
    closing = asyncio.ensure_future(log.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.sleep(0)
    assert left_behind() == before
    file.File(path, "process").close()


async def test_a_corrupt_file_is_not_opened(path: Path) -> None:
    with open(path, "wb") as other:  # noqa: ASYNC230
        other.write(b"not a database at all" * 100)
    before = left_behind()
    with pytest.raises(errors.LogCorrupt, match=r"a\.db: file is not a database"):
        await engine.SqliteLog(path).start()
    assert left_behind() == before


async def test_what_a_caller_must_not_send_is_not_written(
    log: engine.SqliteLog, path: Path
) -> None:
    pen = await begin(log)
    beat = events.Draft("heartbeat", b"{}")
    for asked in (
        log.append((pen.batch(beat),)),
        log.append((pen.batch(COMPLETE, chunk("a")),)),
        log.create(events.new_stream_id(), header(), (beat,), 1),
        log.claim(pen.stream, -1),
    ):
        with pytest.raises(ValueError, match=r"kind|since 1970"):
            await asked
    assert len(opened.ask(path, "SELECT id FROM redo")) == 1


async def test_what_changes_nothing_is_not_written(log: engine.SqliteLog, path: Path) -> None:
    pen = await begin(log)
    assert await log.create(pen.stream, header(), (), 1) == base.Exists(header())
    assert await log.append(()) == []
    assert await log.request_cancel(pen.stream)
    assert await log.request_cancel(pen.stream)
    assert await log.claim(events.new_stream_id(), 1) is None
    assert not await log.request_cancel(events.new_stream_id())
    assert len(opened.ask(path, "SELECT id FROM redo")) == 2


async def test_a_tick_whose_stream_has_left_memory_is_ok_once_more(
    path: Path, logs: opened.Logs
) -> None:
    log = await logs.open(path, cache_bytes=0)
    pen = await begin(log)
    await log.request_cancel(pen.stream)
    tick = (pen.batch(chunk("a"), COMPLETE),)
    assert await log.append(tick) == [base.Ok(cancelled=True)]
    await opened.quiet(log)
    assert await log.append(tick) == [base.Ok(cancelled=True)]
    other = base.Batch(pen.stream, pen.epoch + 1, pen.last + 2, 5, (COMPLETE,))
    beyond = base.Batch(pen.stream, pen.epoch, pen.last + 3, 5, (COMPLETE,))
    assert await log.append((other, beyond)) == [base.Fenced(), base.Fenced()]


async def test_a_stream_that_has_left_memory_is_not_created_anew(
    path: Path, logs: opened.Logs
) -> None:
    log = await logs.open(path, cache_bytes=0)
    pen = await begin(log, owner="first")
    await pen.write(COMPLETE)
    await opened.quiet(log)
    again = await log.create(pen.stream, header(owner="second"), (chunk("a"),), 9_000)
    assert again == base.Exists(header(owner="first", request=b""))
    assert len(log._session.held) == 0


async def test_a_stream_that_ends_first_is_not_cancelled(log: engine.SqliteLog, held: Held) -> None:
    pen = await begin(log)
    told: list[str] = []
    log.watch_cancels(told.append)
    with held():
        ending = asyncio.ensure_future(pen.write(COMPLETE))
        await asyncio.sleep(0)
        cancelling = asyncio.ensure_future(log.request_cancel(pen.stream))
        await asyncio.sleep(0)
    assert await ending == base.Ok(cancelled=False)
    assert await cancelling is False
    assert told == []


async def test_streams_in_memory_and_in_records_are_found_together(
    log: engine.SqliteLog, path: Path
) -> None:
    pens = [await begin(log, time) for time in (1, 2, 3, 4, 5, 6)]
    for pen in pens[::2]:
        await pen.write(COMPLETE)
    await opened.quiet(log)
    assert len(log._session.held) == 3
    order = [pen.stream for pen in reversed(pens)]
    for limit in (1, 2, 3, 6):
        found = await log.find(base.Query(limit=limit))
        assert [info.stream for info in found] == order[:limit]
    heads = await log.heads(order)
    assert [head.closed for head in heads if head] == [False, True] * 3


async def test_the_unfinished_work_of_a_killed_process_is_done_by_the_next(
    path: Path, logs: opened.Logs
) -> None:
    """Streams that ended, but whose records were not written any more."""
    log = await logs.open(path)
    pens = [await begin(log) for _ in range(5)]
    ends = [asyncio.ensure_future(pen.write(COMPLETE)) for pen in pens[:4]]
    await asyncio.sleep(0)
    log._session._writer.stop()  # before the jobs that those ends will make
    await asyncio.gather(*ends)
    await log.close()
    assert opened.ask(path, "SELECT count(*) FROM record") == [0]
    again = await logs.open(path)
    assert await again.orphans(9) == [pens[4].stream]
    await opened.quiet(again)
    assert opened.ask(path, "SELECT count(*) FROM record") == [4]
    for pen in pens[:4]:
        assert [event.kind for event in await read_all(again, pen.stream)] == ["start", "complete"]


async def test_a_stream_that_its_old_life_ends_is_no_orphan_any_more(
    log: engine.SqliteLog,
) -> None:
    pen, other = await begin(log), await begin(log)
    await log.close()
    await log.start()
    await pen.write(COMPLETE)
    assert await log.orphans(9) == [other.stream]


async def test_at_most_so_many_orphans_are_named(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path)
    for _ in range(5):
        await begin(log)
    await log.close()
    again = await logs.open(path)
    assert [len(await again.orphans(limit)) for limit in (-1, 0, 2, 9)] == [0, 0, 2, 5]


async def test_a_wake_finds_in_memory_what_it_was_called_for(log: engine.SqliteLog) -> None:
    pens = [await begin(log) for _ in range(3)]
    found: list[base.Page | None] = []

    def look(pen: Pen) -> None:
        found.append(log.glance(pen.stream, events.Position(pen.epoch, 1)))

    for pen in pens:
        log.watch(pen.stream, functools.partial(look, pen))
    await log.append(tuple(pen.batch(chunk("a")) for pen in pens))
    assert [page and page.position.seq for page in found] == [2, 2, 2]
