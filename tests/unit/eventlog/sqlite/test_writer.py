"""The writer's thread, on a real file: what it hands back, and when."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from holdfast import errors, events
from holdfast.eventlog import base, streams
from holdfast.eventlog.sqlite import file, redo, replay, schema, writer
from holdfast.testing.eventlog.parts import COMPLETE, chunk, header


class Listener:
    """An owner that notes what it is told; `told` waits for the next call."""

    def __init__(self) -> None:
        self._calls: asyncio.Queue[tuple[str, tuple[Any, ...]]] = asyncio.Queue()

    def loaded(self, loaded: replay.Loaded) -> None:
        self._note("loaded", loaded)

    def committed(self, entries: Sequence[writer.Entry], row: int, size: int) -> None:
        self._note("committed", entries, row, size)

    def refused(self, entries: Sequence[writer.Entry], error: errors.LogError) -> None:
        self._note("refused", entries, error)

    def kept(self, done: Sequence[tuple[writer.Job, Any]]) -> None:
        self._note("kept", [result for _, result in done])

    def not_kept(self, given_up: Sequence[writer.Failed], error: errors.LogError) -> None:
        self._note("not_kept", list(given_up), error)

    def ended(self, failure: BaseException | None) -> None:
        self._note("ended", failure)

    def _note(self, name: str, *said: object) -> None:
        self._calls.put_nowait((name, said))

    async def told(self, name: str) -> tuple[Any, ...]:
        async with asyncio.timeout(10):
            got, said = await self._calls.get()
        assert got == name
        return said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def thread(
    path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[writer.Writer]:
    """Not started yet."""
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0)
    made = writer.Writer(path, "process", listener, asyncio.get_running_loop())
    yield made
    if made.is_alive():
        made.stop()
        made.join()


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Another program holds the file."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


def entry(operation: redo.Operation) -> writer.Entry:
    return writer.Entry(operation, asyncio.get_running_loop().create_future())


def creation(stream: events.StreamId | None = None) -> writer.Entry:
    name = stream or events.new_stream_id()
    return entry(redo.Create(name, header(), 65536, (chunk("a"),), 1))


def job(
    result: object,
    cost: int = 0,
    failed: writer.Failed | None = None,
    work: Callable[[], object] = lambda: None,
) -> writer.Job:
    def run(opened: file.File) -> object:
        work()
        return result

    return writer.Job(run, lambda _: None, cost, failed)


async def test_all_that_waits_becomes_one_row(thread: writer.Writer, listener: Listener) -> None:
    waiting = [creation() for _ in range(5)]
    for one in waiting:
        thread.put(one)
    thread.start()
    (loaded,) = await listener.told("loaded")
    assert loaded.row == 0
    entries, row, size = await listener.told("committed")
    assert (list(entries), row) == (waiting, 1)
    thread.put(creation())
    _, row, _ = await listener.told("committed")
    assert row == 2
    thread.stop()
    assert await listener.told("ended") == (None,)
    found = file.File(thread._path, "process")
    assert len(found.load().streams) == 6
    assert schema.number(found._db, "SELECT length(operations) FROM redo WHERE id = 1") == size
    found.close()


async def test_a_stream_that_the_file_knows_takes_no_row(
    thread: writer.Writer, listener: Listener, path: Path
) -> None:
    ended, expired, fresh = [events.new_stream_id() for _ in range(3)]
    made = streams.Streams()
    opened = file.File(path, "process")
    for ts, stream in ((9, ended), (1, expired)):
        made.create(stream, header(), 65536, (COMPLETE,), ts)
        with opened.transaction():
            opened.keep_record(made.drop(stream))
    with opened.transaction():
        opened.expire(5, 5, 100)
    opened.close()
    thread.start()
    await listener.told("loaded")
    for stream in (ended, expired):
        thread.put(creation(stream))
        (entries, row, size) = await listener.told("committed")
        assert (row, size) == (0, 0)
        known = entries[0].known
        assert known == (header(request=b"") if stream == ended else base.Tombstone("me", 100))
    thread.put(creation(fresh))
    entries, row, size = await listener.told("committed")
    assert (entries[0].known, row) == (None, 1)
    assert size > 0


async def test_what_fails_is_refused_and_the_next_may_succeed(
    thread: writer.Writer, listener: Listener, path: Path
) -> None:
    thread.start()
    await listener.told("loaded")
    with held(path):
        first = creation()
        thread.put(first)
        entries, error = await listener.told("refused")
        assert list(entries) == [first]
        assert isinstance(error, errors.LogUnavailable)
    thread.put(creation())
    _, row, _ = await listener.told("committed")
    assert row == 1


async def test_jobs_are_done_in_their_order_a_slice_at_a_time(
    thread: writer.Writer, listener: Listener
) -> None:
    half = writer.SLICE_BYTES // 2
    waits: list[errors.LogError] = []
    for number, cost in enumerate((1, half, half, 1, half * 9, 1, half * 9, 1)):
        thread.put(job(number, cost))
    thread.put(job("asked", failed=waits.append))
    thread.put(job("last"))
    thread.start()
    await listener.told("loaded")
    done = [(await listener.told("kept"))[0] for _ in range(6)]
    assert done == [[0, 1, 2], [3, 4], [5, 6], [7], ["asked"], ["last"]]
    assert waits == []


async def test_a_row_goes_before_the_next_slice(thread: writer.Writer, listener: Listener) -> None:
    thread.put(job(1, writer.SLICE_BYTES, work=lambda: thread.put(late)))
    thread.put(job(2))
    late = creation()
    thread.start()
    await listener.told("loaded")
    assert await listener.told("kept") == ([1],)
    entries, _, _ = await listener.told("committed")
    assert list(entries) == [late]
    assert await listener.told("kept") == ([2],)


async def test_a_job_that_must_be_done_is_tried_again_and_one_that_is_asked_for_is_not(
    thread: writer.Writer, listener: Listener, path: Path
) -> None:
    given_up: list[errors.LogError] = []
    thread.start()
    await listener.told("loaded")
    with held(path):
        thread.put(job("must"))
        assert (await listener.told("not_kept"))[0] == []
        thread.put(job("asked", failed=given_up.append))
        assert (await listener.told("not_kept"))[0] == [given_up.append]
        thread.put(job("must too"))
        assert (await listener.told("not_kept"))[0] == []
    one = creation()
    thread.put(one)
    entries, _, _ = await listener.told("committed")
    assert list(entries) == [one]
    assert await listener.told("kept") == (["must", "must too"],)


async def test_a_job_outside_of_transactions_fails_alone(
    thread: writer.Writer, listener: Listener, path: Path
) -> None:
    given_up: list[errors.LogError] = []

    def fail(opened: file.File) -> None:
        assert not opened._db.in_transaction
        raise errors.LogUnavailable("held")

    thread.put(job("first"))
    thread.put(writer.Job(fail, lambda _: None, failed=given_up.append, bare=True))
    thread.put(job("asked", failed=given_up.append))
    thread.put(job("must"))
    thread.start()
    await listener.told("loaded")
    assert await listener.told("kept") == (["first"],)
    assert (await listener.told("not_kept"))[0] == [given_up.append]
    assert await listener.told("kept") == (["asked"],)
    assert await listener.told("kept") == (["must"],)


async def test_what_waits_at_the_stop_is_written_and_jobs_are_not_done(
    thread: writer.Writer, listener: Listener
) -> None:
    for item in (creation(), job("never"), creation()):
        thread.put(item)
    thread.stop()
    thread.start()
    await listener.told("loaded")
    entries, row, _ = await listener.told("committed")
    assert (len(entries), row) == (2, 1)
    assert await listener.told("ended") == (None,)


async def test_a_file_that_cannot_be_opened_ends_it(
    thread: writer.Writer, listener: Listener, path: Path
) -> None:
    other = file.File(path, "process")
    thread.start()
    (failure,) = await listener.told("ended")
    assert isinstance(failure, errors.LogLocked)
    other.close()


async def test_a_fault_of_its_own_ends_it_and_lets_the_file_go(
    thread: writer.Writer, listener: Listener, path: Path
) -> None:
    fault = ZeroDivisionError("a bug")

    def fail() -> None:
        raise fault

    thread.start()
    await listener.told("loaded")
    thread.put(job(1, work=fail))
    assert await listener.told("ended") == (fault,)
    thread.join()
    file.File(path, "process").close()


def test_it_ends_when_nobody_listens_any_more(path: Path) -> None:
    async def begin() -> writer.Writer:
        listener = Listener()
        made = writer.Writer(path, "process", listener, asyncio.get_running_loop())
        made.start()
        await listener.told("loaded")
        made.put(creation())
        await listener.told("committed")
        late = creation()
        made.late = late  # type: ignore[attr-defined]
        return made

    left = asyncio.run(begin())
    left.put(left.late)  # type: ignore[attr-defined]
    left.join(10)
    assert not left.is_alive()
    assert left.daemon
    assert left not in threading.enumerate()
    file.File(path, "process").close()
