"""A node whose event loop is late: who is refused, who is not, and that it passes. PROTOCOL 6.2.

Strategy: the server runs in the loop of the test. Where it matters how late it is, the measure is
given looks, as many as it goes by, just before somebody asks; where it only matters that it is, the
loop is held up for good by a call that sleeps in it, again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import pytest
from tests.integration import asking, harness
from tests.integration.conftest import Logged

from holdfast.metering import lateness

PRIORITIES = lateness.LOWEST_FIRST
HELD_UP = 0.15
"""Seconds that the loop is held up by each call. Looks are a tenth of a second apart, so that each
comes half of a tenth late."""


def looks(server: harness.Running, lag: float) -> None:
    """What the node has seen lately."""
    for _ in range(lateness.LOOKS):
        server.service._admission.lateness.look(lag)


async def ask(server: harness.Running, priority: str, lag: float | None = None) -> harness.Response:
    """Asks for a stream, while the node is so late."""
    body = asking.demo("tokens=1", metadata={"priority": priority})
    if lag is not None:
        looks(server, lag)
    return await harness.ask(server.port, "POST", "/v1/streams", None, body)


@contextlib.contextmanager
def held_up() -> Iterator[None]:
    """The loop is late in this block."""
    loop = asyncio.get_running_loop()
    going = True

    def hold() -> None:
        time.sleep(HELD_UP)
        if going:
            loop.call_later(0.001, hold)

    loop.call_soon(hold)
    try:
        yield
    finally:
        going = False


async def until_refused(server: harness.Running, priority: str) -> harness.Response:
    async with asyncio.timeout(harness.PATIENCE):
        while (answer := await ask(server, priority)).status == 201:
            pass
    return answer


@pytest.mark.case("1.13")
async def test_6_2_a_late_node_refuses_the_lowest_priority_first() -> None:
    async with harness.running(harness.configured(server={"max_lag": 10})) as server:
        for lag, taken in ((7.0, 3), (8.0, 2), (9.5, 1), (10.0, 0)):
            answers = [await ask(server, priority, lag) for priority in PRIORITIES]
            refused = len(PRIORITIES) - taken
            assert [one.status for one in answers] == [*[503] * refused, *[201] * taken]
            assert {one.json()["code"] for one in answers[:refused]} <= {"overloaded"}
        said = await harness.ask(server.port, "GET", "/metrics")
        assert b'holdfast_streams_refused_total{reason="late"} 6.0\n' in said.body
        await asking.idle(server)


@pytest.mark.case("1.13")
async def test_6_2_who_was_refused_together_does_not_come_back_together() -> None:
    async with harness.running(harness.configured(server={"max_lag": 10})) as server:
        told = set()
        for _ in range(40):
            answer = await ask(server, "high", 10.0)
            told.add(int(answer.headers["retry-after"]))
        assert min(told) >= 2
        assert len(told) > 2


async def test_6_2_clients_of_other_apis_are_told_in_their_words() -> None:
    async with harness.running(harness.configured(server={"max_lag": 10})) as server:
        looks(server, 10.0)
        answer = await harness.ask(
            server.port, "POST", "/v1/chat/completions", {}, harness.wanted("demo")
        )
        assert (answer.status, answer.json()["error"]["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 2
        assert answer.headers["x-should-retry"] == "true"


@pytest.mark.case("1.13")
async def test_6_2_those_inside_lose_nothing_and_it_passes_by_itself(logged: Logged) -> None:
    async with harness.running(harness.configured(server={"max_lag": "20ms"})) as server:
        whole = await asking.finished(server.port, "tokens=60")
        inside = await harness.begin(server.port, asking.demo("tokens=60 stall_at=50"))
        await inside.until(lambda reader: b"event: chunk" in reader.body)
        speaking = await harness.begin(server.port, asking.demo("tokens=60 rate=40"))
        with held_up():
            await until_refused(server, "high")
            for priority in PRIORITIES:
                assert (await ask(server, priority)).json()["code"] == "overloaded"
            # Readers are no new streams: who comes back, and who comes for the first time.
            back = await harness.resume(server.port, asking.last_id(bytes(inside.body)), "post")
            assert back.status == 200
            path = f"/v1/streams/{harness.stream_of(whole)}/events"
            again = await (await harness.Reader.open(server.port, "GET", path)).rest()
            assert harness.durable(again.body) == harness.durable(whole.body)
            spoken = await speaking.rest()
        assert spoken.clean
        assert asking.content(spoken.body) == asking.content(whole.body)
        ids = [int(one.id.rpartition("-")[2]) for one in harness.said(spoken.body) if one.id]
        assert ids == list(range(1, len(ids) + 1))
        async with asyncio.timeout(harness.PATIENCE):
            while (await ask(server, "low")).status != 201:
                pass
        lines = [one["event"] for one in logged if one["event"].startswith("loop_")]
        assert lines == ["loop_late", "loop_in_time"]
        await asking.end(server, inside, back)
