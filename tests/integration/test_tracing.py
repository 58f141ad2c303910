"""What a node tells OpenTelemetry, as a collector gets it: spans, their trace, and measurements.

Strategy: a real server, scripted providers of which the first fails, and OpenTelemetry's own SDK
and OTLP exporters, which send to a collector of the test's that keeps the bytes. All that is
checked is decoded from these, and in them is nothing that anybody wrote.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from opentelemetry import trace
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware
from tests import otel_sdk
from tests.faults import canaries
from tests.integration import asking, collector, harness, mounting

import holdfast
from holdfast.http import neighbours
from holdfast.telemetry import catalogue
from holdfast.telemetry.otel import observed
from holdfast.testing import provider as replay

PROMPT, ANSWER, KEY = "the keeper of the lighthouse", "barnacles on it", "sk-of-nobody-else"
BAGGAGE = "of-somebody-else"
CALLER = "0af7651916cd43dd8448eb211c80319c"
ASKED = {"traceparent": f"00-{CALLER}-b7ad6b7169203331-01", "tracestate": "theirs=1"}
BACK = "11111111111111111111111111111111"
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}\n\n'
)
FAILED = replay.Answer(status=500, body=(b'{"error":{"message":"%b"}}' % PROMPT.encode(),))
STOP, DONE = asking.STOP.split(b"data: [DONE]")


def whole() -> replay.Answer:
    said = tuple(asking.chunk(f"{ANSWER} ") for _ in range(4))
    return replay.Answer(body=(*said, STOP, USAGE, b"data: [DONE]" + DONE))


class Scene(msgspec.Struct):
    """What was done. `first`, `second`: the providers of the route."""

    collector: collector.Collector
    first: replay.ReplayServer
    second: replay.ReplayServer
    stream: str = ""
    told: Any = None


async def play(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """An answer that the second provider brings, read, and read on by who comes back; one more of
    another API; and all of it exported."""
    async with (
        collector.exporting(monkeypatch) as told,
        replay.ReplayServer([FAILED]) as first,
        replay.ReplayServer([whole()]) as second,
    ):
        rows = {
            name: {"kind": "openai", "base_url": f"{server.url}/v1", "api_key": KEY}
            for name, server in (("a", first), ("b", second))
        }
        config = harness.configured(
            providers=rows,
            routes={"r": {"targets": ["a/m", "b/m"]}, "one": {"targets": ["b/m"]}},
            monitoring={"opentelemetry": True},
        )
        scene = Scene(told, first, second)
        async with harness.running(config) as server:
            asked = [{"role": "user", "content": PROMPT}]
            body = harness.wanted("r", messages=asked, temperature=0.5, flush_interval_ms=0)
            read = await (await harness.begin(server.port, body, ASKED.items())).rest()
            assert read.clean
            scene.stream = str(harness.stream_of(read))
            await _come_back(server.port, scene.stream, read.body)
            await _response(server.port)
            await asking.idle(server)
            scene.told = neighbours.node(server.service)
    return scene


async def _come_back(port: int, stream: str, body: bytes) -> None:
    ids = [harness.position(block) for block in harness.blocks(body)]
    id = next(id for id in ids if id)
    back = {"Last-Event-ID": id, "traceparent": f"00-{BACK}-2222222222222222-01"}
    read = await harness.ask(port, "GET", f"/v1/streams/{stream}/events", back)
    assert read.clean


async def _response(port: int) -> None:
    """In another API's words, in the trace `BACK`; who comes back is in none."""
    body = msgspec.json.encode({"model": "one", "input": PROMPT, "stream": True})
    traced = {"traceparent": f"00-{BACK}-2222222222222222-01", "baggage": f"tenant={BAGGAGE}"}
    fields = {"Content-Type": "application/json", **traced}
    read = await harness.ask(port, "POST", "/v1/responses", fields, body)
    assert ANSWER.encode() in read.body
    id = f"resp_{harness.stream_of(read)}"
    path = f"/v1/responses/{id}?stream=true&starting_after=1"
    assert (await harness.ask(port, "GET", path)).clean


@pytest.mark.case("4.9")
async def test_a_collector_gets_what_was_done_and_nothing_that_was_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await play(monkeypatch)
    spans = scene.collector.spans()
    answered, response = sorted(spans["chat m"], key=lambda span: span.start_time_unix_nano)
    _check_stream(answered, scene)
    assert response.trace_id.hex() == BACK
    assert collector.values(response.attributes)["holdfast.dialect"] == "openai_responses"
    back, again = sorted(spans["holdfast.resume"], key=lambda span: span.start_time_unix_nano)
    assert back.trace_id.hex() == BACK
    assert again.parent_span_id == b""
    _check_resumed(back, answered)
    _check_resumed(again, response)
    assert spans.keys() == {"chat m", "holdfast.resume"}
    _check_headers(scene, answered, response)
    _check_calls(scene)
    _check_sums(scene)
    said = {"prompt": PROMPT, "answer": ANSWER, "key": KEY, "baggage": BAGGAGE}
    search = canaries.Search(canaries.Canary(name, text) for name, text in said.items())
    assert search(scene.collector.raw) == []


def _check_stream(span: Any, scene: Scene) -> None:
    assert span.kind == span.SPAN_KIND_CLIENT
    assert span.trace_id.hex() == CALLER
    assert span.parent_span_id.hex() == "b7ad6b7169203331"
    facts = collector.values(span.attributes)
    assert 0 <= facts.pop("gen_ai.response.time_to_first_chunk") < harness.PATIENCE
    assert facts.pop("holdfast.request.id")
    assert facts.pop("holdfast.bytes") == 4 * len(f"{ANSWER} ")
    assert facts == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 7,
        "server.address": "127.0.0.1",
        "server.port": scene.first.port,
        "holdfast.stream.id": scene.stream,
        "holdfast.dialect": "native",
        "holdfast.status": "completed",
        "holdfast.provider": "b",
        "holdfast.model": "m",
        "holdfast.chunks": 4,
        "holdfast.attempts": 2,
        "holdfast.fallbacks": 1,
        "holdfast.adoptions": 0,
    }
    names = [event.name.removeprefix("holdfast.") for event in span.events]
    assert names == ["attempt", "attempt_failed", "attempt", "fallback"]
    assert collector.values(span.events[1].attributes)["error.type"] == "provider_failed"
    assert collector.values(span.events[2].attributes)["server.port"] == scene.second.port
    assert collector.values(span.events[3].attributes) == {"holdfast.target": "b/m"}


def _check_resumed(came: Any, read: Any) -> None:
    assert came.kind == came.SPAN_KIND_SERVER
    [link] = came.links
    assert (link.trace_id, link.span_id) == (read.trace_id, read.span_id)
    stream = collector.values(read.attributes)["holdfast.stream.id"]
    assert collector.values(came.attributes)["holdfast.stream.id"] == stream


def _check_headers(scene: Scene, answered: Any, response: Any) -> None:
    """What the providers were told of the trace."""
    sent = [asked.headers for asked in (*scene.first.requests, *scene.second.requests)]
    told = [headers["traceparent"].split("-") for headers in sent]
    assert [(trace_, span) for _, trace_, span, _ in told] == [
        (span.trace_id.hex(), span.span_id.hex()) for span in (answered, answered, response)
    ]
    assert all(int(flags, 16) & 1 for *_, flags in told)
    assert not any({"tracestate", "baggage"} & headers.keys() for headers in sent)


def _check_calls(scene: Scene) -> None:
    found = scene.collector.metrics()
    lasted = found["gen_ai.client.operation.duration"]
    assert (lasted.unit, found["gen_ai.client.token.usage"].unit) == ("s", "{token}")
    assert list(lasted.histogram.data_points[0].explicit_bounds[:3]) == [0.01, 0.02, 0.04]
    under = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "server.address": "127.0.0.1",
    }
    failed = {**under, "server.port": scene.first.port, "error.type": "provider_failed"}
    brought = {**under, "server.port": scene.second.port}
    assert _counted(lasted) == [(failed, 1), (brought, 2)]
    assert _counted(found["gen_ai.client.operation.time_to_first_chunk"]) == [(brought, 2)]
    assert [
        (collector.values(point.attributes), point.count, point.sum)
        for point in found["gen_ai.client.token.usage"].histogram.data_points
    ] == [
        ({**brought, "gen_ai.token.type": "input"}, 2, 22),
        ({**brought, "gen_ai.token.type": "output"}, 2, 14),
    ]
    assert _counted(found["holdfast.stream_duration"]) == [({}, 2)]


def _counted(metric: Any) -> list[tuple[dict[str, Any], int]]:
    return [
        (collector.values(point.attributes), point.count) for point in metric.histogram.data_points
    ]


VARIES = ("busy", "draining", "archive_")
"""What is another thing by the time that the node ends."""


def _check_sums(scene: Scene) -> None:
    """What was counted is told as the node itself had it, and as it was done."""
    found = scene.collector.metrics()
    for row in catalogue.METRICS:
        if not (name := observed.name(row)) or any(part in name for part in VARIES):
            continue
        told = (
            [*found[name].sum.data_points, *found[name].gauge.data_points] if name in found else []
        )
        numbers = [point.as_int or point.as_double for point in told]
        assert numbers == [value for _, value in row.read(scene.told)], name
    assert {
        name: found[f"holdfast.{name}"].sum.data_points[0].as_int
        for name in ("streams_started", "fallbacks", "connections")
    } == {"streams_started": 2, "fallbacks": 1, "connections": 4}


@pytest.mark.parametrize("way", [mounting.plain, mounting.included])
async def test_in_an_application_that_is_traced_a_stream_is_of_its_trace(
    monkeypatch: pytest.MonkeyPatch, way: mounting.Way
) -> None:
    told = otel_sdk.Told()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", told.tracers)
    config = harness.configured(monitoring={"opentelemetry": True})
    host = way(holdfast.asgi(config))
    if way is mounting.plain:  # FastAPI has its own
        host.application.add_middleware(OpenTelemetryMiddleware, tracer_provider=told.tracers)
    async with mounting.serving(host) as served:
        headers = {**asking.SSE, **ASKED}
        body = asking.demo("tokens=2")
        target = f"{served.at}/v1/streams"
        assert (await harness.ask(served.port, "POST", target, headers, body)).clean
    [stream] = [span for span in told.spans if span.name == "chat demo"]
    [around] = [span for span in told.spans if span.name.startswith("POST")]
    assert stream.parent is not None
    assert around.context is not None
    assert around.parent is not None
    assert stream.parent.span_id == around.context.span_id
    assert trace.format_trace_id(around.parent.trace_id) == CALLER
