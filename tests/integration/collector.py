"""A collector of OpenTelemetry's: what a process with its SDK exports over OTLP, decoded.

Strategy: the SDK and its exporters are the stock ones; the collector is a scripted server that
keeps the bytes, so that a test looks at nothing but what was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from tests import otel_sdk

from holdfast.testing import provider as replay

NEVER_MS = 3_600_000
"""The SDK's own clock is not waited for: the test says when it exports."""


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
