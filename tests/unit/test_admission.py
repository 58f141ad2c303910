"""Who is taken in: a node that is late or full, asked for streams and places.

Strategy: a whole node in simulated time, whose loop is held up as a call that computes would. What
the measure makes of lags is in `metering/test_lateness`, how tenants share a node in
`metering/test_fair`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
import structlog

from holdfast import connections, errors, events, request, service, settings
from holdfast.eventlog import memory
from holdfast.metering import lateness
from holdfast.producing import ticker
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
