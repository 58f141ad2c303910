"""The writers of a node: what they take over, and what they hear meanwhile.

Strategy: two nodes one after the other on one memory log, in simulated time; the first is gone in
mid-answer, and the log then names its stream as an orphan.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from holdfast import errors, events, request, service, settings
from holdfast.eventlog import base, memory
from holdfast.producing import course, discarding, opening, producer, writers
from holdfast.providers import playback, registry
from holdfast.testing import simulated

ASKED = request.Request("demo", [request.Message("user", "Hi\n/demo tokens=50 rate=2 stall_at=5")])


class Log(memory.MemoryLog):
    """`left` are the orphans; a read waits for `gate`, where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[events.StreamId] = []
        self.unclaimable: set[events.StreamId] = set()
        self.gate: asyncio.Event | None = None
        self.reading = asyncio.Event()

    async def orphans(self, limit: int) -> list[events.StreamId]:
        return self.left[:limit]

    async def claim(self, stream: events.StreamId, ts: int) -> base.Life | None:
        if stream in self.unclaimable:
            raise KeyError("a bug")
        life = await super().claim(stream, ts)
        self.left = [other for other in self.left if other != stream]
        return life

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        self.reading.set()
        if self.gate is not None:
            await self.gate.wait()
        return await super().read(stream, after, limit)


def node(log: Log) -> service.Service:
    return service.Service(log, registry.Registry(), settings.Settings())


async def left(log: Log) -> events.StreamId:
    """A stream whose node is gone."""
    async with node(log) as first:
        made = await first.create(ASKED)
        await asyncio.sleep(2.0)
    log.left = [made.stream]
    log.reading.clear()
    return made.stream


async def ended(running: service.Service, stream: events.StreamId) -> events.Event:
    """The last event; fails where it does not come."""
    async with asyncio.timeout(20.0):
        return [event async for event in running.events(stream)][-1]


@simulated.timed
async def test_a_cancel_that_comes_while_a_stream_is_taken_over_is_heard() -> None:
    log = Log()
    stream = await left(log)
    log.gate = asyncio.Event()
    async with node(log) as second:
        await log.reading.wait()  # it is claimed, and nobody writes it yet
        assert await second.cancel(stream) is False
        log.gate.set()
        last = await ended(second, stream)
    assert last.body == events.failure(errors.Cancelled())


@simulated.timed
async def test_a_stream_that_cannot_be_taken_over_has_an_end_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Log()
    stream = await left(log)

    def broken(*args: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(playback.Demo, "replay", broken)
    with capture_logs() as logs:
        async with node(log) as second:
            last = await ended(second, stream)
            await asyncio.sleep(5 * writers.ADOPT_EVERY)
    assert isinstance(last.body, events.Error)
    assert last.body.code == "internal"
    assert "adoption_failed" in {line["event"] for line in logs}
    assert "job_failed" not in {line["event"] for line in logs}


@simulated.timed
async def test_one_that_cannot_be_taken_over_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writers, "ADOPT_AT_ONCE", 2)
    log = Log()
    async with node(log) as first:
        asked = request.Request("demo", [request.Message("user", "Hi\n/demo tokens=9 rate=2")])
        streams = [(await first.create(asked)).stream for _ in range(7)]
        await asyncio.sleep(2.0)
    log.left, log.unclaimable = list(streams), {streams[0]}
    with capture_logs() as logs:
        async with node(log) as second:
            for stream in streams[1:]:
                assert (await ended(second, stream)).kind == "complete"
            await asyncio.sleep(5 * writers.ADOPT_EVERY)
    [told] = [line for line in logs if line["event"] == "orphans_adopted"]
    assert (told["continued"], told["failed"]) == (6, 1)
    assert "job_failed" in {line["event"] for line in logs}


@simulated.timed
async def test_a_node_that_drains_takes_over_no_more() -> None:
    log = Log()
    stream = await left(log)
    second = node(log)
    second.draining = True
    async with second:
        await asyncio.sleep(5 * writers.ADOPT_EVERY)
        assert log.left == [stream]


@simulated.timed
async def test_a_drain_waits_for_a_stream_that_is_being_created() -> None:
    gate = asyncio.Event()

    class Slow(Log):
        async def create(self, *made: Any, **of: Any) -> base.Life | base.Exists:
            await gate.wait()
            return await super().create(*made, **of)

    async with node(Slow()) as running:
        asked = request.Request("demo", [request.Message("user", "Hi\n/demo tokens=3 rate=10")])
        creating = asyncio.create_task(running.create(asked))
        await simulated.idle()
        draining = asyncio.create_task(running.drain(20.0))
        await asyncio.sleep(1.0)
        assert not draining.done()
        gate.set()
        made = await creating
        await draining
        assert (await running.stat(made.stream)).status == "completed"


@simulated.timed
async def test_a_prompt_service_that_answers_a_draining_node_creates_nothing() -> None:
    gate = asyncio.Event()

    async def prepare(wanted: request.Request) -> request.Request:
        await gate.wait()
        return wanted

    log = Log()
    async with service.Service(
        log, registry.Registry(), settings.Settings(), prepare=prepare
    ) as running:
        creating = asyncio.create_task(running.create(ASKED))
        await simulated.idle()
        await running.drain(20.0)
        gate.set()
        with pytest.raises(errors.Draining):
            await creating
        assert await log.find(base.Query()) == []


@simulated.timed
async def test_what_a_prompt_service_held_up_finds_no_more_room_than_there_is() -> None:
    gate = asyncio.Event()

    async def prepare(wanted: request.Request) -> request.Request:
        await gate.wait()
        return wanted

    async with service.Service(
        Log(), registry.Registry(), settings.Settings(), prepare=prepare, connection_limit=2
    ) as running:
        creating = [asyncio.create_task(running.create(ASKED)) for _ in range(5)]
        await simulated.idle()
        gate.set()
        made = await asyncio.gather(*creating, return_exceptions=True)
        assert [type(one) for one in made].count(errors.Overloaded) == 3


@simulated.timed
async def test_a_drain_waits_until_a_provider_was_told_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    async def discard(provider: object, kept: str, stream: events.StreamId) -> None:
        await asyncio.sleep(3.0)
        told.append(kept)

    monkeypatch.setattr(discarding, "discard", discard)
    monkeypatch.setattr(producer.Producer, "keeping", (playback.Demo(), "resp_1"))
    async with node(Log()) as running:
        made = await running.create(ASKED)
        await asyncio.sleep(1.0)
        await running.cancel(made.stream)
        await running.drain(20.0)
        assert told == ["resp_1"]


@simulated.timed
async def test_a_writer_that_meets_a_bug_fails_once_and_has_its_provider_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed: list[events.Error | None] = []
    discarded: list[str] = []
    take = producer.Producer.take

    class Observer:
        def stream_failed(self, stream: events.StreamId, error: events.Error | None) -> None:
            failed.append(error)

    class Broken(producer.Producer):
        """Breaks for good once the stream has begun; what ends the stream is whole."""

        def take(self, now_ms: int) -> base.Batch | None:
            if isinstance(self._work.first, course.Call):
                raise KeyError("a bug")
            return take(self, now_ms)

    async def discard(provider: object, kept: str, stream: events.StreamId) -> None:
        discarded.append(kept)

    monkeypatch.setattr(discarding, "discard", discard)
    monkeypatch.setattr(producer.Producer, "keeping", (playback.Demo(), "resp_1"))
    monkeypatch.setattr(producer, "Producer", Broken)
    with capture_logs() as logs:
        async with service.Service(
            Log(), registry.Registry(), settings.Settings(), observers=[Observer()]
        ) as running:
            made = await running.create(ASKED)
            last = await ended(running, made.stream)
            await running.drain(20.0)
    assert isinstance(last.body, events.Error)
    assert failed == [last.body]
    assert set(discarded) == {"resp_1"}
    assert "producer_failed" in {line["event"] for line in logs}


@simulated.timed
async def test_a_stream_s_end_is_one_line() -> None:
    log = Log()
    asked = [
        request.Request(
            "demo", [request.Message("user", f"The keeper\n/demo tokens=9 rate=2 {more}")]
        )
        for more in ("", "error_at=1", "stall_at=3")
    ]
    origin = opening.Origin("acme/alice", request_id="r")
    with capture_logs() as logs:
        async with node(log) as running:
            streams = [(await running.create(one, origin)).stream for one in asked]
            await asyncio.sleep(5.0)
            await running.cancel(streams[2])
            await running.drain(60.0)
    lines = {line["stream"]: line for line in logs if line["event"] == "stream_ended"}
    assert [line["event"] for line in logs].count("stream_ended") == len(lines) == 3
    told = [(lines[each]["log_level"], lines[each]["status"]) for each in streams]
    assert told == [("info", "completed"), ("warning", "error"), ("info", "cancelled")]
    assert {(line["request_id"], line["tenant"]) for line in lines.values()} == {("r", "acme")}
    whole = lines[streams[0]]
    assert 0 < whole["first_chunk_ms"] < whole["duration_ms"]
    assert lines[streams[1]]["attempts"] == 3
    assert "The keeper" not in repr(lines)


@simulated.timed
async def test_a_stream_that_was_taken_over_tells_so_and_its_end_tells_of_both_lives() -> None:
    log = Log()
    with capture_logs() as logs:
        async with node(log) as first:
            asked = request.Request("demo", [request.Message("user", "Hi\n/demo tokens=20 rate=2")])
            stream = (await first.create(asked)).stream
            await asyncio.sleep(4.0)
            assert await log.claim(stream, 9_000) is not None
            await asyncio.sleep(4.0)
        log.left = [stream]
        async with node(log) as second:
            await ended(second, stream)
            await second.drain(1.0)
    taken, end = [line for line in logs if line["event"] == "stream_ended"]
    assert (taken["log_level"], taken["status"]) == ("warning", "taken_over")
    assert (end["status"], end["adoptions"]) == ("completed", 2)
    assert end["duration_ms"] > taken["duration_ms"]
    assert "first_chunk_ms" not in end  # which no process knows any more
