"""Finished streams: a cache with a limit, and a thread that is asked once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast import errors, events
from holdfast.eventlog import base, streams
from holdfast.eventlog.sqlite import file, records
from holdfast.testing.eventlog.parts import COMPLETE, chunk, header

IDS = [events.new_stream_id() for _ in range(4)]


def finished(stream: events.StreamId, text: str = "a") -> streams.Stream:
    made = streams.Streams()
    made.create(stream, header(request=b""), 65536, (chunk(text), COMPLETE), 5)
    return made.drop(stream)


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[records.Records]:
    """A file with a record each of IDS, and the statements that were sent to it."""
    opened = file.File(tmp_path / "a.db", "process")
    with opened.transaction():
        for stream in IDS:
            opened.keep_record(finished(stream))
    made = records.Records(tmp_path / "a.db", 10_000)
    yield made
    made.close()
    opened.close()


def asked(kept: records.Records) -> list[str]:
    statements: list[str] = []
    kept._lookups._db.set_trace_callback(statements.append)
    return statements


def test_the_cache_forgets_what_was_not_read_for_longest() -> None:
    each = finished(IDS[0]).size
    cache = records.Cache(3 * each)
    held = [finished(stream) for stream in IDS]
    for stream in held[:3]:
        cache.put(stream)
    assert cache.size == 3 * each
    assert cache.get(IDS[0]) is held[0]
    cache.put(held[3])
    assert [cache.get(stream) for stream in IDS] == [held[0], None, held[2], held[3]]
    assert cache.size == 3 * each


def test_the_cache_counts_a_stream_once_and_none_that_is_gone() -> None:
    cache = records.Cache(10_000)
    for _ in range(5):
        cache.put(finished(IDS[0]))
    assert cache.size == finished(IDS[0]).size
    cache.drop(IDS[0])
    cache.drop(IDS[0])
    assert (cache.size, cache.get(IDS[0])) == (0, None)


def test_the_cache_keeps_nothing_that_is_larger_than_itself() -> None:
    cache = records.Cache(5_000)
    cache.put(finished(IDS[0]))
    cache.put(finished(IDS[1], "x" * 5_000))
    assert (cache.size, cache.get(IDS[0]), cache.get(IDS[1])) == (0, None, None)


async def test_many_readers_of_a_record_ask_once(kept: records.Records) -> None:
    statements = asked(kept)
    found = await asyncio.gather(*(kept.get(IDS[0]) for _ in range(50)))
    assert len(statements) == 1
    assert {id(stream) for stream in found} == {id(found[0])}
    await kept.get(IDS[0])
    assert len(statements) == 1
    assert found[0] is not None
    assert found[0].page(events.BEGIN, 9) == finished(IDS[0]).page(events.BEGIN, 9)


async def test_what_is_not_there_is_asked_for_again(kept: records.Records) -> None:
    statements = asked(kept)
    for _ in range(2):
        assert await kept.get(events.new_stream_id()) is None
    assert len(statements) == 2


async def test_a_reader_that_goes_away_takes_nothing_from_the_others(
    kept: records.Records,
) -> None:
    readers = [asyncio.ensure_future(kept.get(IDS[0])) for _ in range(3)]
    await asyncio.sleep(0)
    readers[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await readers[0]
    assert await readers[1] is await readers[2] is not None


async def test_a_read_that_an_expiry_overtakes_is_not_kept(kept: records.Records) -> None:
    reading = asyncio.ensure_future(kept.get(IDS[0]))
    await asyncio.sleep(0)
    kept.expired(IDS[:1])
    assert await reading is not None
    assert kept.cache.get(IDS[0]) is None
    await kept.get(IDS[0])
    assert kept.cache.get(IDS[0]) is not None
    kept.expired(IDS[:1])
    assert kept.cache.get(IDS[0]) is None


async def test_damage_is_told_to_every_reader_and_to_nobody_who_left(
    kept: records.Records,
) -> None:
    db = kept._lookups._db
    db.execute("PRAGMA query_only = FALSE")
    db.execute("UPDATE record SET events = zeroblob(50)")
    readers = [asyncio.ensure_future(kept.get(IDS[0])) for _ in range(3)]
    await asyncio.sleep(0)
    readers[0].cancel()
    done = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    for failed in done[1:]:
        assert isinstance(failed, errors.LogCorrupt)
        assert f"table record, row {IDS[0]}" in failed.message
    with pytest.raises(errors.LogCorrupt):
        await kept.get(IDS[0])


async def test_so_many_questions_may_wait(
    kept: records.Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "LOOKUPS", 3)
    gate = threading.Event()
    blocking = kept._ask(lambda _: gate.wait())
    waiting = [asyncio.ensure_future(kept.stat(stream)) for stream in IDS[:2]]
    await asyncio.sleep(0)
    with pytest.raises(errors.LogUnavailable, match="3 look-ups wait"):
        await kept.stat(IDS[0])
    gate.set()
    await blocking
    assert all(isinstance(info, base.Info) for info in await asyncio.gather(*waiting))
    assert isinstance(await kept.stat(IDS[0]), base.Info)


async def test_what_waits_at_a_close_is_refused(kept: records.Records) -> None:
    never = threading.Event()

    def until_it_closes() -> str:
        while not kept._closed:
            never.wait(0.001)
        return "answered"

    under_way = kept._ask(lambda _: until_it_closes())
    waiting = [asyncio.ensure_future(kept.get(stream)) for stream in IDS]
    await asyncio.sleep(0)
    kept.close()
    kept.close()
    assert await under_way == "answered"
    for failed in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(failed, errors.LogUnavailable)
    assert not [t for t in threading.enumerate() if t.name.startswith("holdfast-log-reader")]


async def test_no_question_is_sent_for_no_streams(kept: records.Records) -> None:
    statements = asked(kept)
    assert await kept.heads([]) == {}
    assert statements == []
