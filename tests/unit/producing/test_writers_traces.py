"""What the writers of a node tell of a trace: one span for each life of a stream's writer.

Strategy: nodes on one memory log in simulated time, with OpenTelemetry's own SDK; where a stream
changes hands the first node is gone in mid-answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests import otel_sdk
from tests.unit.producing import test_writers as scene

from holdfast import errors, events, request, service, settings
from holdfast.eventlog import base
from holdfast.producing import opening, producer
from holdfast.providers import registry
from holdfast.telemetry import tracing
from holdfast.testing import simulated

TRACE = "0af7651916cd43dd8448eb211c80319c"
ORIGIN = opening.Origin(parent=tracing.Parent(f"00-{TRACE}-b7ad6b7169203331-01"))
SHORT = request.Request("demo", [request.Message("user", "Hi\n/demo tokens=3 rate=10")])
LONG = request.Request("demo", [request.Message("user", "Hi\n/demo tokens=9 rate=2")])


def node(log: base.EventLog, told: otel_sdk.Told) -> service.Service:
    return service.Service(log, registry.Registry(), settings.Settings(), tracer=told.made)


async def header(log: base.EventLog, stream: events.StreamId) -> base.Header:
    info = await log.stat(stream)
    assert isinstance(info, base.Info)
    return info.header


def states(told: otel_sdk.Told) -> list[Any]:
    return [otel_sdk.facts(span).get("holdfast.status") for span in told.spans]


@simulated.timed
async def test_a_stream_is_one_span_from_its_making_to_its_end() -> None:
    log, told = scene.Log(), otel_sdk.Told()
    async with node(log, told) as running:
        made = await running.create(SHORT, ORIGIN)
        assert not told.spans
        end = await scene.ended(running, made.stream)
        await asyncio.sleep(0.1)
        [span] = told.spans
    assert isinstance(end.body, events.Complete)
    facts = otel_sdk.facts(span)
    assert facts["holdfast.stream.id"] == made.stream
    assert facts["holdfast.status"] == "completed"
    assert facts["holdfast.chunks"] == end.body.chunks
    assert end.body.usage is not None
    assert facts["gen_ai.usage.output_tokens"] == end.body.usage.output_tokens
    assert made.header.trace.startswith(f"00-{TRACE}-")
    assert (await header(log, made.stream)).trace == made.header.trace


@simulated.timed
async def test_a_call_is_measured_under_the_label_of_its_model() -> None:
    told = otel_sdk.Told()
    async with node(scene.Log(), told) as running:
        asked = request.Request("demo-7", SHORT.messages)
        await scene.ended(running, (await running.create(asked)).stream)
        await asyncio.sleep(0.1)
    [span], [point] = told.spans, told.points("gen_ai.client.operation.duration")
    assert otel_sdk.facts(span)["gen_ai.request.model"] == "demo-7"
    assert point.attributes["gen_ai.request.model"] == "demo-*"


@simulated.timed
async def test_a_stream_that_changes_hands_is_a_span_of_each_in_one_trace() -> None:
    log, told = scene.Log(), otel_sdk.Told()
    async with node(log, told) as first:
        made = await first.create(LONG, ORIGIN)
        await asyncio.sleep(2.0)
    log.left = [made.stream]
    other = otel_sdk.Told()
    async with node(log, other) as second:
        await scene.ended(second, made.stream)
        await asyncio.sleep(0.1)
    assert (states(told), states(other)) == (["interrupted"], ["completed"])
    [before], [after] = told.spans, other.spans
    assert after.parent is not None
    assert before.context is not None
    assert after.parent.span_id == before.context.span_id
    assert after.context is not None
    assert after.context.trace_id == before.context.trace_id == int(TRACE, 16)
    assert [name for name, _ in otel_sdk.story(after)][:2] == [
        "holdfast.adopted",
        "holdfast.attempt",
    ]
    assert otel_sdk.facts(after)["holdfast.adoptions"] == 1
    assert (await header(log, made.stream)).trace == made.header.trace


@simulated.timed
async def test_a_key_that_leads_to_a_stream_that_is_there_ends_its_own_span() -> None:
    told = otel_sdk.Told()
    async with node(scene.Log(), told) as running:
        origin = opening.Origin(idempotency_key="k", parent=ORIGIN.parent)
        first = await running.create(SHORT, origin)
        again = await running.create(SHORT, origin)
        await scene.ended(running, first.stream)
        await asyncio.sleep(0.1)
    assert again.header.trace == first.header.trace
    assert states(told) == ["attached", "completed"]


@simulated.timed
async def test_a_stream_that_could_not_be_made_has_a_span_that_says_so() -> None:
    class Full(scene.Log):
        async def create(self, *made: Any, **of: Any) -> base.Life | base.Exists:
            raise errors.LogUnavailable("no place")

    told = otel_sdk.Told()
    async with node(Full(), told) as running:
        with pytest.raises(errors.LogUnavailable):
            await running.create(SHORT, ORIGIN)
    assert states(told) == ["refused"]


@simulated.timed
async def test_a_writer_that_meets_a_bug_is_a_span_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(*args: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(producer.Producer, "run", broken)
    told = otel_sdk.Told()
    with capture_logs():
        async with node(scene.Log(), told) as running:
            await running.create(SHORT, ORIGIN)
            await asyncio.sleep(1.0)
    [span] = told.spans
    assert otel_sdk.facts(span)["error.type"] == "internal"
