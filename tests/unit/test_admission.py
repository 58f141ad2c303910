"""Who is taken in: a node that is late or full, asked for streams and places.

Strategy: a whole node in simulated time, whose loop is held up as a call that computes would. What
the measure makes of lags is in `metering/test_lateness`, how tenants share a node in
`metering/test_fair`, and who waits for whom before a late one in `metering/test_line`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
import structlog

from holdfast import connections, errors, events, request, service, settings
from holdfast.eventlog import base, memory
from holdfast.metering import lateness, ledger, line
from holdfast.producing import ticker
from holdfast.producing.opening import Origin
from holdfast.providers import registry
from holdfast.testing import simulated

PRIORITIES: Sequence[request.Priority] = ("low", "normal", "high")
LIMIT = 0.2


def node(max_lag: float = LIMIT, max_connections: int = 100) -> service.Service:
    server = settings.tables.Server(max_lag=max_lag, max_connections=max_connections)
    config = settings.Settings(server=server)
    return service.Service(memory.MemoryLog(), registry.Registry(), config)


async def late(lag: float) -> None:
    """The loop comes so much later than it is asked to, for as long as matters."""
    for _ in range(lateness.LOOKS):
        simulated.hold_up(0.1 + lag)
        await asyncio.sleep(0)
        await simulated.idle()


def refused(running: service.Service) -> Mapping[request.Priority, str]:
    """The codes of the refusals of new streams, by priority."""
    found: dict[request.Priority, str] = {}
    for priority in PRIORITIES:
        try:
            running._admission.check_room(priority, ())
        except errors.HoldfastError as error:
            found[priority] = error.code
    return found


@pytest.mark.parametrize(
    ("lag", "named"),
    [(0.1, []), (0.16, ["low"]), (0.19, ["low", "normal"]), (0.3, ["low", "normal", "high"])],
)
@simulated.timed
async def test_a_late_node_refuses_new_streams_by_their_priority(
    lag: float, named: list[request.Priority]
) -> None:
    async with node() as running:
        assert refused(running) == {}
        await late(lag)
        assert refused(running) == dict.fromkeys(named, "overloaded")
        assert running.insight.counted().refused == ({"late": len(named)} if named else {})
        running.check_ready()
        running.check_place(())  # a reader
        if len(named) == len(PRIORITIES):
            with pytest.raises(errors.Overloaded) as caught:
                await running.surveyed(())  # before its body is read
            assert caught.value.retry_after is not None
        else:
            await running.surveyed(())
        await asyncio.sleep(1)
        assert refused(running) == {}


@simulated.timed
async def test_without_a_limit_a_late_node_takes_everything() -> None:
    async with node(max_lag=0) as running:
        await late(50)
        assert refused(running) == {}


@simulated.timed
async def test_by_itself_a_node_that_is_late_by_a_flush_interval_takes_everything() -> None:
    config = settings.Settings()
    async with node(max_lag=config.server.max_lag) as running:
        await late(config.streaming.flush_interval)
        assert refused(running) == {}


@simulated.timed
async def test_a_node_that_ends_or_has_lost_its_log_says_that_first() -> None:
    async with node() as running:
        await late(1)
        tick = running._ticker
        tick.failing_since, tick.failure = simulated.now() - 1, "gone"
        assert set(refused(running).values()) == {"log_unavailable"}
        tick.failing_since = None
        await running.drain(0)
        assert set(refused(running).values()) == {"draining"}
        assert running.insight.counted().refused == {"log": 3, "draining": 3}


def entered(book: connections.Book, count: int) -> None:
    options = connections.Options(8192, 100, False, False, 15.0)
    for _ in range(count):
        stream, peer = events.new_stream_id(), connections.Peer()
        book.enter(
            connections.Connection(
                stream, "demo", "m", peer, options, lambda: None, simulated.now()
            )
        )


@simulated.timed
async def test_the_last_places_are_for_readers_who_come_back() -> None:
    async with node() as running:

        def places() -> list[request.Priority]:
            found: list[request.Priority] = []
            for priority in PRIORITIES:
                try:
                    running.check_place((), priority)
                    found.append(priority)
                except errors.TooManyConnections:
                    pass
            return found

        for more, expected in ((74, 3), (1, 2), (14, 2), (1, 1), (4, 1), (1, 0), (4, 0)):
            entered(running.connections, more)
            assert places() == list(PRIORITIES[len(PRIORITIES) - expected :])
            running.check_place(())
        entered(running.connections, 1)
        with pytest.raises(errors.TooManyConnections):
            running.check_place(())
        counted = running.insight.counted()
        assert counted.refused == {"connections": 1 + 1 + 2 + 2 + 3 + 3}


@pytest.mark.parametrize("limit", [1, 2, 3, 9, 10, 20])
@simulated.timed
async def test_a_small_node_has_a_place_for_a_new_stream(limit: int) -> None:
    async with node(max_connections=limit) as running:
        for priority in PRIORITIES:
            running.check_place((), priority)


@simulated.timed
async def test_a_blink_of_the_log_refuses_nobody() -> None:
    with structlog.testing.capture_logs():
        async with node() as running:
            running._ticker.failing_since = simulated.now()
            assert refused(running) == {}
            simulated.hold_up(1.0)
            assert set(refused(running).values()) == {"log_unavailable"}
            assert isinstance(running._ticker, ticker.Ticker)
            running._ticker.failing_since = None


class Far(memory.MemoryLog):
    """Takes its time to make a stream."""

    seconds = 10.0

    async def create(self, *said: Any) -> base.Life | base.Exists:
        await asyncio.sleep(self.seconds)
        return await super().create(*said)


class Crowd:
    """Who asks a late node for streams."""

    def __init__(self, running: service.Service) -> None:
        self.running, self._asked = running, set[asyncio.Task[object]]()

    def ask(
        self,
        tenant: str = "a",
        count: int = 1,
        priority: request.Priority = "normal",
        said: str = "Hi\n/demo tokens=1",
    ) -> None:
        metadata = request.Metadata(priority=priority)
        messages = [request.Message("user", said)]
        wanted = request.Request("demo", messages, metadata=metadata)
        for _ in range(count):
            making = self.running.create(wanted, Origin(owner=f"{tenant}/x", key="k"))
            self._asked.add(asyncio.create_task(making))

    async def refused(self, tenant: str) -> list[str]:
        """Priorities; "any" where it is before the body is read."""
        admitting, found = self.running._admission, list[str]()
        accounts = await self.running.accounts.of(f"{tenant}/x", "k")
        for priority in PRIORITIES:
            try:
                admitting.check_room(priority, accounts)
            except errors.Overloaded:
                found.append(priority)
        try:
            await self.running.surveyed(())
        except errors.Overloaded:
            found.append("any")
        return found

    async def ended(self) -> list[str]:
        """How they ended, by code."""
        ended = await asyncio.gather(*self._asked, return_exceptions=True)
        return sorted(getattr(one, "code", "created") for one in ended)


@contextlib.asynccontextmanager
async def crowded(
    max_lag: float = 0.5,
    max_connections: int = 1000,
    late: float = line.LATE,
    log_patience: float = 30.0,
) -> AsyncIterator[Crowd]:
    """Its loop comes so late."""
    config = settings.Settings(
        server=settings.tables.Server(max_lag=max_lag, max_connections=max_connections),
        streaming=settings.tables.Streaming(log_patience=log_patience),
    )
    async with service.Service(Far(), registry.Registry(), config) as running:
        waiting = running._writers.line
        for _ in range(lateness.LOOKS):
            waiting.look(late)
        waiting.look = lambda late: None  # type: ignore[method-assign]
        yield Crowd(running)


@simulated.timed
async def test_a_long_line_refuses_by_priority_and_then_before_a_body_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(line, "LENGTH", 20)
    async with crowded() as crowd:
        crowd.ask("a", line.AT_ONCE + 14, "high")
        named = list[str]()
        for more in ("", "low", "", "", "normal", "", "high"):
            await asyncio.sleep(0.1)
            named += [more] if more else []
            assert await crowd.refused("a") == named + (["any"] if more == "high" else [])
            crowd.ask("a", 1, "high")
        assert crowd.running.insight.vitals.waiting == 20
        refused = crowd.running.insight.counted().refused
        assert refused == {"line": 3 * 1 + 2 * 2 + 4}
        assert await crowd.ended() == [*["created"] * line.AT_ONCE, *["overloaded"] * 21]
        assert crowd.running.insight.counted().refused == {"line": 11 + 21}
        (_, whole) = await crowd.running.accounts.of("a/x", "k")
        assert whole.streams == len(crowd.running._writers) <= line.AT_ONCE
        assert await crowd.refused("a") == []


@simulated.timed
async def test_one_tenant_leaves_others_a_part_of_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "LENGTH", 20)
    monkeypatch.setattr(ledger.Ledger, "_wanting", lambda known: 2)
    async with crowded() as crowd:
        crowd.ask("b")
        for _ in range(30):
            crowd.ask("a")
            await simulated.idle()
        assert crowd.running.insight.vitals.waiting == 17
        assert await crowd.refused("b") == ["low"]
        assert await crowd.refused("a") == ["low", "normal"]


@pytest.mark.parametrize(("max_lag", "late"), [(0.5, 0.0), (0.0, 5.0)])
@simulated.timed
async def test_where_the_loop_is_in_time_or_may_be_late_nobody_waits(
    max_lag: float, late: float
) -> None:
    async with crowded(max_lag, late=late) as crowd:
        crowd.ask(count=50)
        await asyncio.sleep(9)
        assert crowd.running.insight.vitals.waiting == 0
        assert await crowd.refused("a") == []
        assert await crowd.ended() == ["created"] * 50


@simulated.timed
async def test_who_waits_counts_among_streams_and_for_a_place_and_is_as_old_as_it_is() -> None:
    async with crowded(max_connections=10) as crowd:
        crowd.ask("a", line.AT_ONCE)
        crowd.ask("b", 8 - line.AT_ONCE)
        await simulated.idle()
        assert await crowd.refused("c") == ["low"]
        crowd.ask("b")
        await simulated.idle()
        assert await crowd.refused("c") == ["low", "normal"]
        entered(crowd.running.connections, 9 - crowd.running.insight.vitals.waiting)
        crowd.running.check_place(())
        crowd.running.check_place((), "high")
        entered(crowd.running.connections, 1)
        crowd.running.check_place(())
        with pytest.raises(errors.TooManyConnections):
            crowd.running.check_place((), "high")


@simulated.timed
async def test_a_stream_that_had_to_wait_is_as_old_as_its_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Far, "seconds", 2.0)
    async with crowded() as crowd:
        crowd.ask(count=2 * line.AT_ONCE, said="Hi\n/demo tokens=900 rate=1")
        await asyncio.sleep(4.5)
        ages = sorted(one.age_ms for one in crowd.running._writers.under_way)
        assert ages == [4500] * 2 * line.AT_ONCE


@simulated.timed
async def test_who_waits_for_its_turn_has_the_logs_patience_besides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Far, "seconds", 2.0)
    async with crowded(log_patience=2.5) as crowd:
        for _ in range(2 * line.AT_ONCE):
            crowd.ask()
            await simulated.idle()
        assert await crowd.ended() == ["created"] * 2 * line.AT_ONCE


@simulated.timed
async def test_a_node_that_drains_makes_no_stream_for_who_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Far, "seconds", 2.0)
    async with crowded() as crowd:
        crowd.ask(count=line.AT_ONCE + 3)
        await asyncio.sleep(1)
        await crowd.running.drain(20)
        assert await crowd.ended() == [*["created"] * line.AT_ONCE, *["draining"] * 3]
        assert crowd.running.insight.counted().refused == {"draining": 3}


class Held(memory.MemoryLog):
    """Takes a tick after half a minute."""

    async def append(self, tick: base.Tick) -> list[base.Result]:
        await asyncio.sleep(30)
        return await super().append(tick)


@simulated.timed
async def test_the_loop_is_looked_at_and_not_the_log() -> None:
    config = node(max_lag=9).config
    async with service.Service(Held(), registry.Registry(), config) as running:
        Crowd(running).ask()
        await asyncio.sleep(5)
        assert running.insight._late.lag > 1
        looks = running._writers.line._looks
        assert max(looks) < 0.01
        await late(0.2)
        assert list(looks)[1:] == pytest.approx([0.2] * (len(looks) - 1), abs=0.01)
