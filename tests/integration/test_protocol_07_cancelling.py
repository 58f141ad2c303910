"""PROTOCOL 7, cancelling: at every moment of a stream's life, once and again.

Strategy: a replayed provider is held where the test wants the stream to be; that its call is
broken off is read from the provider's own account.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.integration import asking, harness

from holdfast import events
from holdfast.eventlog import base, memory
from holdfast.testing import provider as replay


async def cancel(server: harness.Running, stream: str) -> harness.Response:
    return await harness.ask(server.port, "POST", f"/v1/streams/{stream}/cancel")


async def shown(server: harness.Running, stream: str) -> Any:
    return (await harness.ask(server.port, "GET", f"/v1/streams/{stream}")).json()


def check_cancelled(whole: harness.Response) -> None:
    assert whole.clean
    *_, error = harness.said(whole.body)
    assert (error.event, error.data["code"]) == ("error", "cancelled")
    assert error.data["retryable"] is False
    assert asking.kinds(whole.body).count("error") == 1


@pytest.mark.case("1.26")
@pytest.mark.parametrize("said", [0, 1], ids=["before the first chunk", "in the middle"])
async def test_7_a_cancel_ends_the_stream_and_the_provider_s_call(said: int) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    body = (gates[0], asking.chunk("one"), gates[1], asking.chunk(" two"), asking.STOP)
    async with asking.vendor(replay.Answer(body=body)) as on:
        reader = await harness.begin(on.server.port, harness.wanted("vendor/m"))
        stream = harness.stream_of(reader)
        for gate in gates[:said]:
            gate.set()
        await reader.until(asking.has(1 + said))
        await asking.until(lambda: len(on.provider.requests) == 1)
        answer = await cancel(on.server, stream)
        assert answer.status in (200, 202)
        whole = await reader.rest()
        check_cancelled(whole)
        assert asking.content(whole.body) == "one" * said
        again = await cancel(on.server, stream)
        assert (again.status, again.json()["status"]) == (200, "cancelled")
        await asking.idle(on.server)
        for gate in gates:
            gate.set()
        await on.provider.records[0].ended.wait()
        assert on.provider.records[0].gone
        # What the provider says now reaches nobody.
        target = f"/v1/streams/{stream}/events"
        assert (await harness.ask(on.server.port, "GET", target)).body == whole.body


async def test_7_the_answer_is_202_until_the_terminal_event_is_visible() -> None:
    """Cancelled many times in a row: 202 while it is open, then only 200; never back."""
    async with harness.running(harness.configured()) as server:
        reader = await asking.stalled(server.port)
        stream = harness.stream_of(reader)
        answers = [await cancel(server, stream)]
        while answers[-1].status != 200:
            answers.append(await cancel(server, stream))
        statuses = [answer.status for answer in answers]
        assert statuses == [202] * (len(answers) - 1) + [200]
        for answer in answers:
            ended = answer.json()["completed_at"] is not None
            assert (answer.status == 200) == ended
            assert answer.json()["id"] == stream
        check_cancelled(await reader.rest())
        await asking.idle(server)


class Slow(memory.MemoryLog):
    """A log whose answer is old when it comes."""

    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        found = await super().stat(stream)
        for _ in range(50):
            await asyncio.sleep(0)
        return found


async def test_7_status_and_entry_tell_the_same_moment() -> None:
    async with harness.running_on(Slow(), harness.configured(), 1.0) as server:
        reader = await asking.stalled(server.port)
        answer = await cancel(server, harness.stream_of(reader))
        ended = answer.json()["status"] == "cancelled"
        assert (answer.status == 200) == ended
        check_cancelled(await reader.rest())
        await asking.idle(server)


@pytest.mark.case("1.26")
async def test_7_many_at_once_cancel_once() -> None:
    async with harness.running(harness.configured()) as server:
        reader = await asking.stalled(server.port)
        stream = harness.stream_of(reader)
        answers = await asyncio.gather(*(cancel(server, stream) for _ in range(20)))
        assert {answer.status for answer in answers} <= {200, 202}
        check_cancelled(await reader.rest())
        await asking.idle(server)


@pytest.mark.parametrize(
    ("options", "status"), [("tokens=2", "completed"), ("error_at=1", "error")]
)
async def test_7_a_stream_that_had_ended_stays_as_it_is(options: str, status: str) -> None:
    async with harness.running(harness.configured()) as server:
        whole = await asking.finished(server.port, options)
        stream = harness.stream_of(whole)
        before = await shown(server, stream)
        for _ in range(2):
            answer = await cancel(server, stream)
            assert (answer.status, answer.json()["status"]) == (200, status)
        assert await shown(server, stream) == before
        target = f"/v1/streams/{stream}/events"
        assert (await harness.ask(server.port, "GET", target)).body == whole.body


async def test_7_a_cancelled_stream_is_shown_as_such() -> None:
    async with harness.running(harness.configured()) as server:
        reader = await asking.stalled(server.port)
        stream = harness.stream_of(reader)
        await asking.end(server, reader)
        told = await shown(server, stream)
        assert told["status"] == "cancelled"
        assert told["error"]["code"] == "cancelled"
        assert told["content"] == asking.content(bytes(reader.body))
        assert told["completed_at"]


@pytest.mark.case("1.26")
async def test_7_a_cancel_survives_a_restart(tmp_path: Path) -> None:
    config = harness.configured(f"sqlite:///{tmp_path}/log.db")
    async with harness.running(config) as server:
        reader = await asking.stalled(server.port)
        stream = harness.stream_of(reader)
        await asking.end(server, reader)
        before = await shown(server, stream)
    async with harness.running(config) as server:
        assert await shown(server, stream) == before
        assert (await cancel(server, stream)).status == 200


async def test_7_a_stream_with_no_reader_is_cancelled_too() -> None:
    async with harness.running(harness.configured()) as server:
        body = asking.demo("tokens=2 stall_at=1")
        made = (await harness.ask(server.port, "POST", "/v1/streams", None, body)).json()
        await cancel(server, made["id"])
        await asking.idle(server)
        whole = await harness.ask(server.port, "GET", made["events_url"])
        check_cancelled(whole)
