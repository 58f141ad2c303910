"""What waits, what is refused, and what is seen when: the SQLite engine at work."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
import structlog.testing
from tests.unit.eventlog.sqlite import opened
from tests.unit.eventlog.sqlite.conftest import Held

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import engine, file, schema, session, writer
from holdfast.testing.eventlog.parts import COMPLETE, begin, chunk, read_all


async def turns(count: int = 20) -> None:
    """Lets everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_nothing_is_visible_before_it_is_durable(log: engine.SqliteLog, held: Held) -> None:
    pen = await begin(log)
    wakes: list[int] = []
    log.watch(pen.stream, lambda: wakes.append(1))
    with held():
        appending = asyncio.ensure_future(pen.write(chunk("a"), COMPLETE))
        claiming = asyncio.ensure_future(log.claim(pen.stream, 6_000))
        await turns()
        assert await log.heads([pen.stream]) == [base.Head(pen.epoch, 1, False)]
        assert len(await read_all(log, pen.stream)) == 1
        assert wakes == []
        assert not appending.done()
    await appending
    assert await claiming is None
    assert await log.heads([pen.stream]) == [base.Head(pen.epoch, 3, True)]
    assert wakes


async def test_a_tick_that_failed_changed_nothing_and_may_be_sent_again(
    path: Path, logs: opened.Logs, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0)
    log = await logs.open(path)
    pen, wakes = await begin(log), list[int]()
    log.watch(pen.stream, lambda: wakes.append(1))
    tick = (pen.batch(chunk("a")),)
    with held():
        for _ in range(3):
            with pytest.raises(errors.LogUnavailable, match="another program holds the file"):
                await log.append(tick)
        with pytest.raises(errors.LogUnavailable):
            await begin(log)
        with pytest.raises(errors.LogUnavailable):
            await log.claim(pen.stream, 6_000)
        with pytest.raises(errors.LogUnavailable):
            await log.request_cancel(pen.stream)
        with pytest.raises(errors.LogUnavailable):
            await log.expire(10_000, 5)
        gone = asyncio.ensure_future(log.append(tick))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(errors.LogUnavailable):  # refused behind the one that is gone
            await log.append(tick)
        assert wakes == []
    assert await log.append(tick) == [base.Ok()]
    assert len(wakes) == 1
    assert [info.stream for info in await log.find(base.Query())] == [pen.stream]
    assert len(await read_all(log, pen.stream)) == 2
    assert log._session._waiting == 0
    assert not log._session._waiters


async def test_a_caller_that_goes_away_takes_its_operation_not_back(
    log: engine.SqliteLog, held: Held
) -> None:
    pen = await begin(log)
    with held():
        appending = asyncio.ensure_future(pen.write(chunk("a")))
        await turns()
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
    pen.last = 2
    await pen.write(chunk("b"))
    assert len(await read_all(log, pen.stream)) == 3


async def test_so_many_bytes_may_wait(
    log: engine.SqliteLog, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WAITING_BYTES", 3 * (writer.ENTRY_BYTES + 1000))
    pens = [await begin(log) for _ in range(5)]
    with held():
        waiting = [
            asyncio.ensure_future(log.append((pen.batch(chunk("x" * 700)),))) for pen in pens[:3]
        ]
        await turns()
        with pytest.raises(errors.LogUnavailable, match="bytes wait to be written"):
            await log.append((pens[3].batch(chunk("x" * 700)),))
    assert await asyncio.gather(*waiting) == [[base.Ok()]] * 3
    # One alone may be larger than what may wait.
    assert await log.append((pens[4].batch(chunk("x" * 10_000)),)) == [base.Ok()]


async def test_what_waits_at_a_close_is_written(log: engine.SqliteLog, path: Path) -> None:
    pens = [await begin(log) for _ in range(20)]
    waiting = [asyncio.ensure_future(pen.write(chunk("a"), COMPLETE)) for pen in pens]
    await asyncio.sleep(0)
    await log.close()
    await asyncio.gather(*waiting)
    again = file.File(path, "process")
    assert {stream.last for stream in again.load().streams} == {3}
    again.close()


async def test_what_cannot_be_written_at_a_close_is_refused(
    path: Path, logs: opened.Logs, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0)
    log = await logs.open(path)
    pen = await begin(log)
    with held():
        waiting = [
            asyncio.ensure_future(asked)
            for asked in (pen.write(chunk("a")), log.claim(pen.stream, 5), log.expire(1, 1))
        ]
        await asyncio.sleep(0)
        await log.close()
        for failed in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(failed, errors.LogUnavailable)


async def test_an_expiry_that_waits_at_a_close_is_refused(log: engine.SqliteLog) -> None:
    expiring = asyncio.ensure_future(log.expire(1, 1))
    await asyncio.sleep(0)
    log._session._writer._stopping = True
    await log.close()
    with pytest.raises(errors.LogUnavailable, match="is closed"):
        await expiring


async def test_a_stream_that_ended_leaves_memory_and_its_readers_go_on(
    path: Path, logs: opened.Logs
) -> None:
    log = await logs.open(path, cache_bytes=0)
    pens = [await begin(log) for _ in range(30)]
    for pen in pens:
        await pen.write(chunk("a"), chunk("b"))
    first = [await log.read(pen.stream, events.BEGIN, 2) for pen in pens]
    for pen in pens:
        await pen.write(chunk("c"), COMPLETE)
    await opened.quiet(log)
    assert len(log._session.held) == 0
    assert opened.ask(path, "SELECT count(*) FROM record") == [30]
    for page, pen in zip(first, pens, strict=True):
        rest = await read_all(log, pen.stream, page.position)
        assert [event.seq for event in rest] == [3, 4, 5]
        with pytest.raises(errors.UnknownPosition):
            await log.read(pen.stream, events.Position(pen.epoch, 6))
    assert log._session._checkpoints._saved == {}


async def test_a_record_that_cannot_be_written_stays_in_memory_until_it_can(
    log: engine.SqliteLog, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TRIGGER no BEFORE INSERT ON record BEGIN SELECT RAISE(FAIL, 'no'); END")
    pen, busy = await begin(log), await begin(log)
    with structlog.testing.capture_logs() as told:
        await pen.write(COMPLETE)
        for _ in range(3):
            await busy.write(chunk("a"))
            with pytest.raises(errors.LogUnavailable, match="no"):
                await log.expire(10**15, 1)
    assert [entry["event"] for entry in told] == ["log_housekeeping_failed"]
    assert len(await read_all(log, pen.stream)) == 2
    assert (await log.heads([pen.stream]))[0] == base.Head(pen.epoch, 2, True)
    other.execute("DROP TRIGGER no")
    other.close()
    await busy.write(chunk("b"))
    await opened.quiet(log)
    assert opened.ask(path, "SELECT stream FROM record") == [pen.stream]
    assert len(log._session.held) == 1


async def test_a_fault_in_the_writer_refuses_what_waits_and_what_comes(
    log: engine.SqliteLog,
) -> None:
    def fault(opened: file.File) -> None:
        raise ZeroDivisionError("a bug")

    pen = await begin(log)
    with structlog.testing.capture_logs() as told:
        waiting = asyncio.ensure_future(log.expire(1, 1))
        log._session._writer.put(writer.Job(fault, print))
        log._session._writer.join(10)
        late = asyncio.ensure_future(log.expire(1, 1))
        done = await asyncio.gather(waiting, late, return_exceptions=True)
    assert [type(failed) for failed in done] == [errors.LogUnavailable] * 2
    assert [entry["event"] for entry in told] == ["log_writer_ended"]
    for asked in (pen.write(chunk("a")), log.claim(pen.stream, 5), log.expire(1, 1)):
        with pytest.raises(errors.LogUnavailable, match="is not open"):
            await asked
    # What was written can be read still, and the log can be closed and started again.
    assert len(await read_all(log, pen.stream)) == 1
    await log.close()
    await log.start()
    assert await log.orphans(5) == [pen.stream]


async def test_hints_are_called_in_the_order_in_which_the_file_has_it(
    log: engine.SqliteLog, held: Held
) -> None:
    pens = [await begin(log) for _ in range(5)]
    woken: list[int] = []
    for number, pen in enumerate(pens):
        log.watch(pen.stream, lambda number=number: woken.append(number))  # type: ignore[misc]
    with held():
        waiting = [asyncio.ensure_future(pens[n].write(chunk("a"))) for n in (3, 1, 4, 0, 2)]
        await turns()
    await asyncio.gather(*waiting)
    assert woken == [3, 1, 4, 0, 2]
