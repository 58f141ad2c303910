"""What calls and streams are measured by, under OpenTelemetry's names.

Strategy: histograms that are filled once, when a call or a stream has ended, with the buckets of
the conventions. `time_per_output_chunk` is not among them: it wants a sample a chunk, and what is
done a chunk is done a token. It is counted as plain numbers, which Prometheus can take over and
this API cannot.
"""

from __future__ import annotations

from opentelemetry import metrics
from opentelemetry.context import Context

from holdfast.telemetry import catalogue, histogram, record, tracing
from holdfast.telemetry.otel import attributes

TOKENS = tuple(4**power for power in range(14))
"""Tokens: the buckets of `gen_ai.client.token.usage`."""


class Measures:
    """The instruments of one meter."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "A call to a provider, from its begin to its end, however it ended.",
            explicit_bucket_boundaries_advisory=histogram.OPERATION,
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "From a call's begin to the first chunk of its answer.",
            explicit_bucket_boundaries_advisory=histogram.OPERATION,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens of a call, as its provider told.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self._streams, self._began = (
            meter.create_histogram(
                row.name.removesuffix("_seconds").replace("_", ".", 1),
                "s",
                row.meaning,
                explicit_bucket_boundaries_advisory=row.buckets,
            )
            for name in ("holdfast_stream_duration_seconds", "holdfast_first_chunk_seconds")
            for row in catalogue.METRICS
            if row.name == name
        )

    def called(self, call: record.Call, kind: str, context: Context) -> None:
        """A call has ended. `kind` is its provider's, `context` that of the stream's span."""
        under = attributes.of_call(call, kind)
        failed = {attributes.ERROR: call.error} if call.error else {}
        self._duration.record(call.seconds, {**under, **failed}, context)
        if call.first_chunk is not None:
            self._first_chunk.record(call.first_chunk, under, context)
        if call.usage is not None:
            for type, many in (
                ("input", call.usage.input_tokens),
                ("output", call.usage.output_tokens),
            ):
                self._tokens.record(many, {**under, attributes.TOKEN: type}, context)

    def ended(self, facts: tracing.Facts, context: Context) -> None:
        """A stream has ended; `context` is that of its span."""
        duration_ms, first_ms = facts.get("duration_ms"), facts.get("first_chunk_ms")
        if facts.get("status") == "completed" and duration_ms is not None:
            self._streams.record(int(duration_ms) / 1000, None, context)
        if first_ms is not None:
            self._began.record(int(first_ms) / 1000, None, context)
