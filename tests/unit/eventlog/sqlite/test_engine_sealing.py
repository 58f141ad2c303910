"""What a sealed file holds while it is used, and after a shred."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import msgspec
import pytest
from tests.unit.eventlog.sqlite import opened

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import schema, session
from holdfast.sealing import sealer
from holdfast.testing.eventlog.parts import COMPLETE, begin, chunk, header, read_all
from holdfast.testing.eventlog.sealing import OLD, by, ended


@pytest.mark.case("4.25")
async def test_what_is_written_is_never_in_clear(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path, sealer=by(OLD), checkpoint_bytes=2_000)
    pens = [
        await begin(log, request=opened.CANARIES[0], terms=opened.CANARIES[0]) for _ in range(4)
    ]
    for pen in pens:
        await pen.write(*[chunk(opened.ANSWER)] * 9)
    assert opened.planted(path) == []
    await pens[0].write(COMPLETE)
    await opened.quiet(log)
    assert await log.claim(pens[1].stream, 9_000) is not None
    assert opened.ask(path, "SELECT count(*) FROM segment") != [0]
    assert opened.ask(path, "SELECT count(*) FROM redo") != [0]
    assert opened.ask(path, "SELECT count(*) FROM record") == [1]
    assert opened.planted(path) == []
    assert log.secret not in opened.raw(path)
    assert opened.ask(path, "SELECT name FROM meta") == ["clean", "row", "sealed_secret"]


@pytest.mark.case("4.25")
async def test_a_tick_for_what_has_left_memory_is_not_written(
    path: Path, logs: opened.Logs
) -> None:
    log = await logs.open(path, sealer=by(OLD))
    pen, still = await begin(log), await begin(log)
    last = pen.batch(chunk(opened.ANSWER), COMPLETE)
    asking = asyncio.ensure_future(log.append((last,)))
    await asyncio.sleep(0)
    asking.cancel()  # it is written all the same
    for _ in range(2):  # its record behind it
        await opened.quiet(log)
    assert log._session.held.get(pen.stream) is None
    pen.last = last.last
    unknown = msgspec.structs.replace(last, stream=events.new_stream_id())
    late = pen.batch(chunk(opened.ANSWER))
    others = await log.append((unknown, last, still.batch(chunk(opened.ANSWER)), late))
    assert others == [base.Fenced(), base.Ok(), base.Ok(), base.Fenced()]
    rows = opened.ask(path, "SELECT count(*) FROM redo")
    assert await log.append((last, late)) == [base.Ok(), base.Fenced()]
    assert opened.ask(path, "SELECT count(*) FROM redo") == rows
    assert opened.planted(path) == []
    await log.close()
    assert opened.planted(path) == []


async def test_records_are_smaller_sealed_or_not(path: Path, logs: opened.Logs) -> None:
    for by_ in (sealer.OFF, by(OLD)):
        log = await logs.open(path, sealer=by_)
        pen = await begin(log)
        await pen.write(*[chunk(opened.ANSWER)] * 500, COMPLETE)
        await opened.quiet(log)
        await log.close()
    sizes = opened.ask(path, "SELECT length(events) FROM record")
    assert len(sizes) == 2
    assert max(sizes) < 0.2 * 500 * len(chunk(opened.ANSWER).data)


@pytest.mark.case("4.25")
@pytest.mark.parametrize("key", ["sealed", "plain"])
async def test_after_a_shred_nothing_of_it_is_there(
    path: Path, logs: opened.Logs, key: str
) -> None:
    log = await logs.open(path, sealer=by(OLD) if key == "sealed" else sealer.OFF)
    gone = await begin(log, request=opened.CANARIES[0], terms=opened.CANARIES[0])
    stays = await begin(log)
    await gone.write(chunk(opened.ANSWER), COMPLETE)
    wrapped = opened.ask(path, "SELECT key FROM seal")
    assert bool(opened.planted(path)) is (key == "plain")
    woken: list[bool] = []
    log.watch(gone.stream, lambda: woken.append(True))
    assert await log.shred(gone.stream)
    assert woken
    assert opened.planted(path) == []
    assert gone.stream not in opened.ask(path, "SELECT stream FROM seal")
    stays_key = opened.ask(path, "SELECT key FROM seal")
    assert all(one not in opened.raw(path) for one in wrapped if one not in stays_key)
    assert len(await read_all(log, stays.stream)) == 1
    await log.close()
    log = await logs.open(path, sealer=by(OLD))
    assert opened.planted(path) == []
    assert isinstance(await log.stat(gone.stream), base.Tombstone)


async def test_a_plain_shred_waits_for_a_checkpoint_that_begins_after_it(
    path: Path, logs: opened.Logs
) -> None:
    log = await logs.open(path)
    still, gone = await begin(log), await begin(log)
    checkpoints = log._session._checkpoints
    checkpoints.begin()  # runs already, up to a row before the one that is to go
    await gone.write(chunk(opened.ANSWER), COMPLETE)
    assert await log.shred(gone.stream)
    assert opened.planted(path) == []
    assert not checkpoints._running
    assert len(await read_all(log, still.stream)) == 1


async def test_a_shred_says_so_while_a_reader_keeps_old_bytes(
    path: Path, logs: opened.Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PAUSE", 0)
    log = await logs.open(path, sealer=by(OLD))
    pen, still = await ended(log), await begin(log)
    await opened.quiet(log)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM record").fetchone()
        shredding = asyncio.ensure_future(log.shred(pen.stream))
        expiring = asyncio.ensure_future(log.expire(0, 1))
        with pytest.raises(errors.LogUnavailable, match="another program holds the file"):
            await shredding
        assert await expiring == 0  # refused is that alone
        await still.write(chunk("a"))
    assert opened.wal_bytes(path) > 0
    assert isinstance(await log.stat(pen.stream), base.Tombstone)
    await opened.quiet(log)
    assert await log.shred(pen.stream) is False  # it was gone, and now is from there too
    assert opened.wal_bytes(path) == 0


async def test_a_shred_waits_for_a_reader_and_appends_do_not(
    path: Path, logs: opened.Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 600)
    monkeypatch.setattr(session, "TRIES", 10_000)
    log = await logs.open(path, sealer=by(OLD))
    pen, still = await ended(log), await begin(log)
    await opened.quiet(log)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM record").fetchone()
        gone = asyncio.Event()
        log.watch(pen.stream, gone.set)
        shredding = asyncio.ensure_future(log.shred(pen.stream))
        await gone.wait()
        async with asyncio.timeout(20):  # else it hangs
            for _ in range(3):
                await still.write(chunk("a"))
        assert not shredding.done()
    assert await shredding is True
    assert opened.wal_bytes(path) == 0


async def test_a_stream_that_two_make_at_once_has_one_key(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path, sealer=by(OLD))
    stream = events.new_stream_id()
    made = await asyncio.gather(
        *(log.create(stream, header(owner=f"o{n}"), (chunk(f"{n}"),), 1) for n in range(9))
    )
    assert [type(one) for one in made].count(base.Life) == 1
    assert opened.ask(path, "SELECT owner FROM seal") == ["o0"]
    await log.close()
    log = await logs.open(path, sealer=by(OLD))
    assert [event.data for event in await read_all(log, stream)] == [chunk("0").data]
    assert len(log._session._codecs) == 1
    assert log._session._making == {}


async def test_keys_leave_memory_with_their_streams(path: Path, logs: opened.Logs) -> None:
    log = await logs.open(path, sealer=by(OLD))
    pens = [await ended(log) for _ in range(3)]
    still = await begin(log)
    await opened.quiet(log)
    assert set(log._session._codecs) == {still.stream}
    assert isinstance(await log.create(pens[0].stream, header(), (), 1), base.Exists)
    assert set(log._session._codecs) == {still.stream}
    await log.expire(10**15, 2)
    assert opened.ask(path, "SELECT count(*) FROM seal") == [2]
