"""What a node knows of itself, asked at moments that are known."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import structlog

from holdfast import errors, request, service, settings
from holdfast.eventlog import base, memory
from holdfast.producing import breaker
from holdfast.providers import registry
from holdfast.telemetry import vitals
from holdfast.testing import simulated
from holdfast.version import __version__


def node(url: str = "memory://", worker: vitals.Worker = vitals.ALONE) -> service.Service:
    config = settings.Settings(log={"url": url})  # type: ignore[arg-type]
    return service.Service(memory.MemoryLog(), registry.Registry(), config, worker=worker)


@pytest.mark.parametrize(
    ("url", "engine"),
    [
        ("memory://", "memory"),
        ("sqlite:///a.db", "sqlite"),
        ("redis://h:1/0", "redis"),
        ("rediss://h:1/0", "redis"),
        ("redis+sentinel://h:1/m", "redis"),
    ],
)
async def test_a_node_says_which_engine_it_writes_to(url: str, engine: str) -> None:
    assert node(url).insight.vitals.engine == engine


@simulated.timed
async def test_a_node_says_how_it_is() -> None:
    async with node(worker=vitals.Worker("group", 3)) as running:
        found = running.insight.vitals
        assert (found.version, found.group, found.worker) == (__version__, "group", 3)
        assert (found.draining, found.log_failing, found.breakers) == (False, False, {})
        assert found.connection_limit == running.connections.limit
        assert running.insight.passed_over == found.passed_over == ()
        await running.drain(0)
        assert running.insight.vitals.draining


@simulated.timed
async def test_the_event_loop_is_looked_at_ten_times_a_second() -> None:
    async with node() as running:
        await asyncio.sleep(10.05)
        counted = running.insight.counted()
    assert counted.loop_lag.count == 100
    assert counted.cpu_us > 0
    assert running.insight.failed() == []


@simulated.timed
async def test_who_is_late_again_and_again_says_so_once_and_recovers_by_itself() -> None:
    async with node():
        with structlog.testing.capture_logs() as told:
            for _ in range(10):  # each of them a long pause, and time in between
                simulated.hold_up(5)
                await asyncio.sleep(1)
            assert told == []
            for _ in range(20):
                simulated.hold_up(0.8)  # whoever waits for a tenth of a second
                await asyncio.sleep(0)
                await simulated.idle()
            late = {"event": "loop_late", "log_level": "warning", "lag_ms": 700}
            assert told == [late]
            await asyncio.sleep(1)
            assert told == [late, {"event": "loop_in_time", "log_level": "info", "lag_ms": 0}]


class Slow(memory.MemoryLog):
    """Takes each tick, after so many seconds."""

    seconds = 0.0

    async def append(self, tick: base.Tick) -> list[base.Result]:
        await asyncio.sleep(self.seconds)
        return await super().append(tick)


@pytest.mark.parametrize(("seconds", "refused"), [(0.2, False), (1.5, True)])
@simulated.timed
async def test_a_log_that_comes_late_refuses_new_streams_too(seconds: float, refused: bool) -> None:
    log = Slow()
    asked = request.Request("demo", [request.Message("user", "Hi\n/demo tokens=90 rate=10")])
    async with service.Service(log, registry.Registry(), settings.Settings()) as running:
        await running.create(asked)
        log.seconds = seconds
        await asyncio.sleep(5.0)
        with contextlib.ExitStack() as raised:
            if refused:
                raised.enter_context(pytest.raises(errors.Overloaded))
            await running.create(asked)
        log.seconds = 0.0
        await asyncio.sleep(5.0)
        await running.create(asked)


@simulated.timed
async def test_a_provider_is_passed_over_until_its_pause_is_over() -> None:
    async with node() as running:
        loop, limits = asyncio.get_running_loop(), breaker.Limits()
        guard = running.insight._writing.breakers.of("vendor")
        for _ in range(limits.failures):
            guard.ended(errors.ProviderFailed(), loop.time())
        assert running.insight.vitals.passed_over == ("vendor",)
        await asyncio.sleep(limits.pause + 1)
        assert not running.insight.vitals.passed_over
