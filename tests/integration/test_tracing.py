"""What a node tells OpenTelemetry, as a collector gets it: spans, their trace, and measurements.

Strategy: a real server, scripted providers of which the first fails, and OpenTelemetry's own SDK
and OTLP exporters, which send to a collector of the test's that keeps the bytes. All that is
checked is decoded from these, and in them is nothing that anybody wrote.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from tests import otel_sdk
from tests.integration import asking, harness

from holdfast.http import neighbours
from holdfast.telemetry import catalogue
from holdfast.telemetry.otel import observed
from holdfast.testing import provider as replay

PROMPT, ANSWER, KEY = "the keeper of the lighthouse", "barnacles", "sk-of-nobody-else"
BAGGAGE = "of-somebody-else"
CALLER = "0af7651916cd43dd8448eb211c80319c"
ASKED = {"traceparent": f"00-{CALLER}-b7ad6b7169203331-01", "tracestate": "theirs=1"}
BACK = "11111111111111111111111111111111"
NEVER_MS = 3_600_000
"""The SDK's own clock is not waited for: the test says when it exports."""

USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}\n\n'
)
FAILED = replay.Answer(status=500, body=(b'{"error":{"message":"%b"}}' % PROMPT.encode(),))
STOP, DONE = asking.STOP.split(b"data: [DONE]")


def whole() -> replay.Answer:
    said = tuple(asking.chunk(f"{ANSWER} ") for _ in range(4))
    return replay.Answer(body=(*said, STOP, USAGE, b"data: [DONE]" + DONE))


class Collector:
    """What came over OTLP/HTTP; `server` takes it."""

    def __init__(self, server: replay.ReplayServer) -> None:
        self._server = server

    @property
    def raw(self) -> bytes:
        return b"".join(asked.body for asked in self._server.requests)

    def spans(self) -> dict[str, list[Any]]:
        """By their names, in the order in which they came."""
        found: dict[str, list[Any]] = {}
        for body in self._bodies("/v1/traces"):
            told = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
            for resource in told.resource_spans:
                for scope in resource.scope_spans:
                    assert scope.scope.name == "holdfast"
                    for span in scope.spans:
                        found.setdefault(span.name, []).append(span)
        return found

    def metrics(self) -> dict[str, Any]:
        """The last of each name."""
        found: dict[str, Any] = {}
        for body in self._bodies("/v1/metrics"):
            told = metrics_service_pb2.ExportMetricsServiceRequest.FromString(body)
            for resource in told.resource_metrics:
                for scope in resource.scope_metrics:
                    found |= {metric.name: metric for metric in scope.metrics}
        return found

    def _bodies(self, path: str) -> Iterator[bytes]:
        return (asked.body for asked in self._server.requests if asked.target == path)


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as plain values."""
    return {one.key: _value(one.value) for one in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(one) for one in value.array_value.values)
    return getattr(value, kind)


@contextlib.asynccontextmanager
async def exporting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A process with an SDK; at the end of the block all has come."""
    taken = replay.Answer(headers=(("Content-Type", "application/x-protobuf"),), framing="length")
    async with replay.ReplayServer([taken]) as server:
        spans = OTLPSpanExporter(f"{server.url}/v1/traces")
        measured = OTLPMetricExporter(f"{server.url}/v1/metrics")
        reader = PeriodicExportingMetricReader(measured, export_interval_millis=NEVER_MS)
        tracers = otel_sdk.tracers(BatchSpanProcessor(spans))
        meters = otel_sdk.meters(reader)
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracers)
        monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", meters)
        try:
            yield Collector(server)
        finally:
            await asyncio.to_thread(tracers.shutdown)
            await asyncio.to_thread(meters.shutdown)


class Scene(msgspec.Struct):
    """What was done. `first`, `second`: the providers of the route."""

    collector: Collector
    first: replay.ReplayServer
    second: replay.ReplayServer
    stream: str = ""
    told: Any = None


async def play(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """An answer that the second provider brings, read, and read on by who comes back; one more of
    another API; and all of it exported."""
    async with (
        exporting(monkeypatch) as collector,
        replay.ReplayServer([FAILED]) as first,
        replay.ReplayServer([whole()]) as second,
    ):
        rows = {
            name: {"kind": "openai", "base_url": f"{server.url}/v1", "api_key": KEY}
            for name, server in (("a", first), ("b", second))
        }
        config = harness.configured(
            providers=rows,
            routes={"r": {"targets": ["a/m", "b/m"]}, "chat": {"targets": ["b/m"]}},
            monitoring={"opentelemetry": True},
        )
        scene = Scene(collector, first, second)
        async with harness.running(config) as server:
            asked = [{"role": "user", "content": PROMPT}]
            body = harness.wanted("r", messages=asked, temperature=0.5, flush_interval_ms=0)
            read = await (await harness.begin(server.port, body, ASKED.items())).rest()
            assert read.clean
            scene.stream = str(harness.stream_of(read))
            await _come_back(server.port, scene.stream, read.body)
            await _chat(server.port)
            await asking.idle(server)
            scene.told = neighbours.node(server.service)
    return scene


async def _come_back(port: int, stream: str, body: bytes) -> None:
    ids = [harness.position(block) for block in harness.blocks(body)]
    id = next(id for id in ids if id)
    back = {"Last-Event-ID": id, "traceparent": f"00-{BACK}-2222222222222222-01"}
    read = await harness.ask(port, "GET", f"/v1/streams/{stream}/events", back)
    assert read.clean


async def _chat(port: int) -> None:
    messages = [{"role": "user", "content": PROMPT}]
    body = msgspec.json.encode({"model": "chat", "messages": messages, "stream": True})
    fields = {"Content-Type": "application/json", "baggage": f"tenant={BAGGAGE}"}
    read = await harness.ask(port, "POST", "/v1/chat/completions", fields, body)
    assert ANSWER.encode() in read.body


async def test_a_collector_gets_what_was_done_and_nothing_that_was_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await play(monkeypatch)
    spans = scene.collector.spans()
    answered, chat = sorted(spans["chat m"], key=lambda span: span.start_time_unix_nano)
    _check_stream(answered, scene)
    assert chat.parent_span_id == b""
    assert values(chat.attributes)["holdfast.dialect"] == "openai_chat"
    _check_resumed(spans["holdfast.resume"], answered, scene)
    assert spans.keys() == {"chat m", "holdfast.resume"}
    _check_headers(scene, answered, chat)
    _check_calls(scene)
    _check_sums(scene)
    for written in (PROMPT, ANSWER, KEY, BAGGAGE):
        assert written.encode() not in scene.collector.raw


def _check_stream(span: Any, scene: Scene) -> None:
    assert span.kind == span.SPAN_KIND_CLIENT
    assert span.trace_id.hex() == CALLER
    assert span.parent_span_id.hex() == "b7ad6b7169203331"
    facts = values(span.attributes)
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
    assert values(span.events[1].attributes)["error.type"] == "provider_failed"
    assert values(span.events[2].attributes)["server.port"] == scene.second.port
    assert values(span.events[3].attributes) == {"holdfast.target": "b/m"}


def _check_resumed(spans: list[Any], read: Any, scene: Scene) -> None:
    [came] = spans
    assert came.kind == came.SPAN_KIND_SERVER
    assert came.trace_id.hex() == BACK
    [link] = came.links
    assert (link.trace_id, link.span_id) == (read.trace_id, read.span_id)
    assert values(came.attributes)["holdfast.stream.id"] == scene.stream


def _check_headers(scene: Scene, answered: Any, chat: Any) -> None:
    """What the providers were told of the trace."""
    sent = [asked.headers for asked in (*scene.first.requests, *scene.second.requests)]
    told = [headers["traceparent"].split("-") for headers in sent]
    assert [(trace_, span) for _, trace_, span, _ in told] == [
        (span.trace_id.hex(), span.span_id.hex()) for span in (answered, answered, chat)
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
        (values(point.attributes), point.count, point.sum)
        for point in found["gen_ai.client.token.usage"].histogram.data_points
    ] == [
        ({**brought, "gen_ai.token.type": "input"}, 2, 22),
        ({**brought, "gen_ai.token.type": "output"}, 2, 14),
    ]
    assert _counted(found["holdfast.stream_duration"]) == [({}, 2)]


def _counted(metric: Any) -> list[tuple[dict[str, Any], int]]:
    return [(values(point.attributes), point.count) for point in metric.histogram.data_points]


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
    } == {"streams_started": 2, "fallbacks": 1, "connections": 3}
