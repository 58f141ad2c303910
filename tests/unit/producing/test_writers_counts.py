"""What the writers of a node count: streams by their end, and what was written here.

Strategy: the truth is in the log, and in the terminal events that it holds; two nodes one after the
other write one stream, and each counts its own part.
"""

from __future__ import annotations

import asyncio
import itertools

import pytest
from structlog.testing import capture_logs

from holdfast import events, request, service, settings
from holdfast.eventlog import base, memory
from holdfast.producing import course, producer
from holdfast.providers import registry
from holdfast.telemetry import counts
from holdfast.testing import simulated


class Log(memory.MemoryLog):
    """`left` are the orphans."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[events.StreamId] = []

    async def orphans(self, limit: int) -> list[events.StreamId]:
        found, self.left = self.left, []
        return found


def node(log: Log) -> service.Service:
    return service.Service(log, registry.Registry(), settings.Settings())


def wanted(options: str) -> request.Request:
    return request.Request("demo", [request.Message("user", f"Hi\n/demo {options}")])


async def written(log: base.EventLog, stream: events.StreamId) -> tuple[int, int]:
    """Chunks and bytes of a stream, by what the log holds."""
    chunks = size = 0
    position, more = events.BEGIN, True
    while more:
        page = await log.read(stream, position)
        deltas = [one.body.delta for one in page.events if isinstance(one.body, events.Chunk)]
        chunks += len(deltas)
        size += sum(len(delta.encode()) for delta in deltas)
        position, more = page.position, page.more
    return chunks, size


def parts(counted: counts.Counts) -> tuple[int, int]:
    return counted.written_chunks, counted.written_bytes


@simulated.timed
async def test_streams_are_counted_by_how_they_end() -> None:
    log = Log()
    async with node(log) as running:
        assert parts(running.insight.counted()) == (0, 0)
        whole = (await running.create(wanted("tokens=9 rate=2"))).stream
        failing = (await running.create(wanted("tokens=9 rate=2 error_at=1"))).stream
        stopped = (await running.create(wanted("tokens=9 rate=2 stall_at=3"))).stream
        begun = running.insight.counted()
        assert begun.streams_active == begun.streams_started == 3
        await asyncio.sleep(5.0)
        await running.cancel(stopped)
        await running.drain(60.0)
        counted = running.insight.counted()
        found = [await written(log, stream) for stream in (whole, failing, stopped)]
        last = (await log.read(whole, events.BEGIN)).events[-1].body
    assert isinstance(last, events.Complete)
    assert (counted.streams_started, counted.streams_active) == (3, 0)
    ended = (counted.streams_completed, counted.streams_error, counted.streams_cancelled)
    assert ended == (1, 1, 1)
    assert counted.errors == {"provider_failed": 1}
    assert (counted.duration.total, counted.duration.count) == (last.duration_ms * 1000, 1)
    assert parts(counted) == tuple(map(sum, zip(*found, strict=True)))
    assert counted.written_bytes > counted.written_chunks > 9


@simulated.timed
async def test_what_is_written_is_counted_while_it_is() -> None:
    log = Log()
    async with node(log) as running:
        stream = (await running.create(wanted("tokens=20 rate=2"))).stream
        seen = []
        for _ in range(8):
            await asyncio.sleep(1.0)
            seen.append(parts(running.insight.counted()))
            assert seen[-1] == await written(log, stream)
        assert all(one < other for one, other in itertools.pairwise(seen))


@simulated.timed
async def test_each_node_counts_its_own_part_of_a_stream() -> None:
    log = Log()
    async with node(log) as first:
        stream = (await first.create(wanted("tokens=20 rate=2"))).stream
        await asyncio.sleep(4.0)
        before = first.insight.counted()
    log.left = [stream]
    async with node(log) as second:
        await asyncio.sleep(60.0)
        after = second.insight.counted()
    assert parts(before)[0] > 3
    assert (before.streams_started, before.streams_adopted, before.streams_completed) == (1, 0, 0)
    assert (after.streams_started, after.streams_adopted, after.streams_completed) == (0, 1, 1)
    whole = await written(log, stream)
    assert tuple(map(sum, zip(parts(before), parts(after), strict=True))) == whole


@simulated.timed
async def test_a_stream_that_another_node_takes_ends_there_and_not_here() -> None:
    log = Log()
    async with node(log) as first:
        stream = (await first.create(wanted("tokens=20 rate=2"))).stream
        await asyncio.sleep(4.0)
        assert await log.claim(stream, 9_000) is not None
        await asyncio.sleep(4.0)
        counted = first.insight.counted()
    assert counted.streams_active == 0
    assert counted.streams_completed == counted.streams_error == counted.streams_cancelled == 0


@simulated.timed
async def test_what_a_producer_wrote_that_is_replaced_is_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take = producer.Producer.take

    class Breaking(producer.Producer):
        """Fails for good after some chunks; what ends the stream is whole."""

        def take(self, now_ms: int) -> base.Batch | None:
            if isinstance(self._work.first, course.Call) and self.tally.chunks > 3:
                raise KeyError("a bug")
            return take(self, now_ms)

    monkeypatch.setattr(producer, "Producer", Breaking)
    log = Log()
    with capture_logs() as logs:
        async with node(log) as running:
            stream = (await running.create(wanted("tokens=20 rate=2"))).stream
            await asyncio.sleep(20.0)
            counted = running.insight.counted()
    assert "producer_failed" in {line["event"] for line in logs}
    assert parts(counted) == await written(log, stream)
    assert counted.written_chunks > 3
    assert (counted.streams_active, counted.streams_error) == (0, 1)
