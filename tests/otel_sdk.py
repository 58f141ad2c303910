"""OpenTelemetry's own SDK, so that a test sees what was told as any process would that has it.

Strategy: spans and metrics are kept in memory, by providers of the test's own: nothing is set for
the process, and nothing ends with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider, export
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast.telemetry.otel import instrumentation

NOTHING = Resource.get_empty()


def tracers(*processors: SpanProcessor) -> TracerProvider:
    """What makes spans for these."""
    made = TracerProvider(resource=NOTHING, shutdown_on_exit=False)
    for one in processors:
        made.add_span_processor(one)
    return made


def meters(*readers: MetricReader) -> MeterProvider:
    """What measures for these."""
    return MeterProvider(readers, NOTHING, shutdown_on_exit=False)


class Told:
    """An `instrumentation` and what it has told; `kinds` has the kind of each provider."""

    def __init__(self, kinds: Mapping[str, str] | None = None) -> None:
        self._spans, self._metrics = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = tracers(export.SimpleSpanProcessor(self._spans))
        self.made = instrumentation.Instrumentation(
            kinds or {}, self.tracers, meters(self._metrics)
        )

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """Those that have ended, in that order."""
        return self._spans.get_finished_spans()

    def metrics(self) -> dict[str, Any]:
        """Each metric by its name."""
        data = self._metrics.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> list[Any]:
        """The points of a metric; none where it was not told."""
        found = self.metrics().get(name)
        return [] if found is None else list(found.data.data_points)


def facts(span: ReadableSpan) -> dict[str, Any]:
    """The attributes of a span."""
    return dict(span.attributes or {})


def story(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    """Its events, in their order."""
    return [(event.name, dict(event.attributes or {})) for event in span.events]
