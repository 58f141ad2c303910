"""The writers of a node: what they take over, and what they hear meanwhile.

Strategy: two nodes one after the other on one memory log, in simulated time; the first is gone in
mid-answer, and the log then names its stream as an orphan.
"""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from holdfast import errors, events, request, service, settings
from holdfast.eventlog import base, memory
from holdfast.providers import playback, registry
from holdfast.testing import simulated

ASKED = request.Request("demo", [request.Message("user", "Hi\n/demo tokens=50 rate=2 stall_at=5")])


class Log(memory.MemoryLog):
    """`left` are the orphans; a read waits for `gate`, where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[events.StreamId] = []
        self.gate: asyncio.Event | None = None
        self.reading = asyncio.Event()

    async def orphans(self, limit: int) -> list[events.StreamId]:
        left, self.left = self.left, []
        return left

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
            await simulated.idle()
            assert "adopt orphans" not in second.supervisor.names
    assert isinstance(last.body, events.Error)
    assert last.body.code == "internal"
    assert "adoption_failed" in {line["event"] for line in logs}
    assert "job_failed" not in {line["event"] for line in logs}
