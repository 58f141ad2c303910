"""Every metric that a node tells, as rows of data.

Strategy: a row says what a metric is called, what it means and how it is read. Whatever shows
metrics goes through the rows: the page for Prometheus, the instruments of OpenTelemetry, and the
test that compares them with docs/metrics.md. Names are as Prometheus has them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from holdfast.telemetry import samples
from holdfast.telemetry.histogram import DELIVERY, FINE, FIRST, OPERATION, SECOND
from holdfast.telemetry.samples import CALLS, at, called, seen

Kind = Literal["counter", "gauge", "histogram", "summary"]


class Metric(NamedTuple):
    """`unit` is a unit of measure, or what is counted, or "" for a share or a state. `buckets` are
    a histogram's, in seconds."""

    name: str
    kind: Kind
    unit: str
    read: samples.Read
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, unit: str, read: samples.Read, meaning: str, *labels: str) -> Metric:
    return Metric(f"{name}_total", "counter", unit, read, meaning, labels)


def _gauge(name: str, unit: str, read: samples.Read, meaning: str, *labels: str) -> Metric:
    return Metric(name, "gauge", unit, read, meaning, labels)


def _timed(
    name: str, buckets: tuple[float, ...], read: samples.Read, meaning: str, *labels: str
) -> Metric:
    return Metric(f"{name}_seconds", "histogram", "seconds", read, meaning, labels, buckets)


def _count(name: str, unit: str, field: str, meaning: str) -> Metric:
    return _counter(f"holdfast_{name}", unit, at(f"counted.{field}"), meaning)


STREAMS = (
    _gauge(
        "holdfast_streams_active",
        "streams",
        at("counted.streams_active"),
        "Answers that are being written now.",
    ),
    _gauge(
        "holdfast_streams_waiting",
        "streams",
        at("vitals.waiting"),
        "New streams that wait for their turn, as the node is late.",
    ),
    _count("streams_started", "streams", "streams_started", "Answers that were begun here."),
    _count(
        "streams_adopted",
        "streams",
        "streams_adopted",
        "Answers that were taken over from a node that is gone.",
    ),
    _counter(
        "holdfast_streams_refused",
        "streams",
        samples.refused,
        "New streams that the node did not take, by why.",
        "reason",
    ),
    _counter(
        "holdfast_streams_ended",
        "streams",
        samples.ended,
        "Answers that ended, by how: completed, error or cancelled.",
        "status",
    ),
    _counter(
        "holdfast_errors",
        "streams",
        samples.failed,
        "Answers that ended with an error, by its code.",
        "kind",
    ),
    _count("fallbacks", "fallbacks", "fallbacks", "Times that the next provider was asked."),
    _timed(
        "holdfast_stream_duration",
        FIRST,
        at("counted.duration"),
        "From the request to the end, of answers that were completed.",
    ),
    _timed(
        "holdfast_first_chunk",
        FIRST,
        at("counted.first_chunk"),
        "From the request to the first chunk of the answer.",
    ),
    _count("written_chunks", "chunks", "written_chunks", "Chunks of answers that were written."),
    _count("written_bytes", "bytes", "written_bytes", "Text of answers that was written."),
)
"""Answers, as they are written."""

READERS = (
    _gauge(
        "holdfast_connections_active",
        "connections",
        at("counted.connections_active"),
        "Readers that are connected now.",
    ),
    _gauge(
        "holdfast_connections_limit",
        "connections",
        at("vitals.connection_limit"),
        "Readers that the node takes at most.",
    ),
    _count("connections", "connections", "connections_opened", "Readers that were let in."),
    _count(
        "connections_dropped",
        "connections",
        "connections_dropped",
        "Connections that broke off before the reader had all.",
    ),
    _counter(
        "holdfast_resumes",
        "connections",
        samples.resumed,
        "Readers that came back, as they are sent the first event: the next one to what they had "
        "(hit), or all anew, since what they had is not there any more (miss).",
        "result",
    ),
    _count("chunks", "chunks", "sent_chunks", "Chunks that were sent, to each reader its own."),
    _counter(
        "holdfast_bytes",
        "bytes",
        samples.sent,
        "Bytes that were sent to readers, by the encoding of the body.",
        "encoding",
    ),
    _counter(
        "holdfast_uncompressed_bytes",
        "bytes",
        samples.uncoded,
        "What of these was compressed, in bytes before that.",
        "encoding",
    ),
    _timed(
        "holdfast_chunk_latency",
        DELIVERY,
        at("counted.chunk_latency"),
        "From an event's time, which it gets just before it is appended, to its write to a reader "
        "who was there when it came.",
    ),
    Metric(
        "holdfast_network_rtt_seconds",
        "summary",
        "seconds",
        samples.rtt,
        "Round trip times to readers as the kernel estimates them, at each look at a socket.",
    ),
    _counter(
        "holdfast_network_retransmissions",
        "segments",
        seen("counted.retransmissions"),
        "TCP segments that were sent to readers again.",
    ),
    _counter(
        "holdfast_network_packets_lost",
        "segments",
        seen("counted.packets_lost"),
        "TCP segments to readers that the kernel took for lost.",
    ),
)
"""Those who read. `network` is there where the server shows its sockets."""

PROVIDERS = (
    _timed(
        "gen_ai_client_operation_duration",
        OPERATION,
        samples.lasted,
        "A call to a provider, from begin to end; with a code where it was no whole answer.",
        *CALLS,
        "error_type",
    ),
    _timed(
        "gen_ai_client_operation_time_to_first_chunk",
        OPERATION,
        called("first_chunk"),
        "From a call's begin to the first chunk of its answer.",
        *CALLS,
    ),
    _timed(
        "gen_ai_client_operation_time_per_output_chunk",
        OPERATION,
        called("between"),
        "From one chunk of an answer to the next, as they come from the network.",
        *CALLS,
    ),
    *(
        _counter(f"gen_ai_client_inference_usage_{name}", "tokens", called(field), meaning, *CALLS)
        for name, field, meaning in (
            ("input_tokens", "input_tokens", "Tokens read, as the provider told."),
            ("output_tokens", "output_tokens", "Tokens written, as the provider told."),
            ("cache_read_input_tokens", "cached_tokens", "Of those read, from a cache."),
            ("reasoning_output_tokens", "reasoning_tokens", "Of those written, reasoning."),
        )
    ),
    _gauge(
        "holdfast_provider_calls_active",
        "calls",
        called("calls_active"),
        "Calls to a provider that are under way now.",
        *CALLS,
    ),
    _counter(
        "holdfast_provider_calls",
        "calls",
        called("begun"),
        "Calls to a provider that were begun.",
        *CALLS,
    ),
    _counter(
        "holdfast_provider_errors",
        "calls",
        samples.call_errors,
        "Calls to a provider that did not bring the whole answer, by the code of why.",
        *CALLS,
        "error_type",
    ),
    _gauge(
        "holdfast_breaker_open",
        "",
        samples.broken,
        "1 while a provider that fails for everybody is passed over, or tried by one call.",
        "provider",
    ),
)
"""Those who are asked. What begins with `gen_ai` has its name from OpenTelemetry's conventions."""

NODE = (
    _timed(
        "holdfast_log_append",
        FINE,
        samples.appended,
        "A tick's append to the event log.",
        "engine",
    ),
    _gauge(
        "holdfast_log_failing",
        "",
        at("vitals.log_failing"),
        "1 while the event log takes nothing, or cannot be asked.",
    ),
    _counter(
        "holdfast_unreadable",
        "reads",
        samples.unreadable,
        "Times that what is stored could not be read back, by the code of why.",
        "kind",
    ),
    _gauge(
        "holdfast_archive_lag_seconds",
        "seconds",
        at("archive_lag_ms", 1000),
        "For how long something has waited for the archive; 0 where nothing does.",
    ),
    _gauge(
        "holdfast_archive_reports_waiting",
        "reports",
        at("reports_waiting"),
        "Reports, of closed connections and of minutes, that wait for the archive.",
    ),
    _counter(
        "holdfast_archive_reports_dropped",
        "reports",
        at("reports_dropped"),
        "Reports that the archive never had, because too many waited.",
    ),
    _gauge(
        "holdfast_key_age_seconds",
        "seconds",
        at("key_age_ms", 1000),
        "For how long what is new has been sealed by the same key; none where nothing is sealed, "
        "or keys are not rotated.",
    ),
    _gauge(
        "holdfast_key_ring_unreadable",
        "",
        at("key_ring_unreadable"),
        "1 while the key ring cannot be read any more, or is of another installation.",
    ),
    _counter(
        "holdfast_key_ring_failures",
        "failures",
        at("key_ring_failures"),
        "Times that the key ring could not be read, was of another installation, or could not be "
        "rotated.",
    ),
    _timed(
        "holdfast_event_loop_lag",
        FINE,
        at("counted.loop_lag"),
        "How much later than asked for the event loop came.",
    ),
    _gauge(
        "holdfast_event_loop_busy_ratio",
        "",
        at("vitals.busy"),
        "The share of its time that the event loop works.",
    ),
    _gauge("holdfast_draining", "", at("vitals.draining"), "1 while the node is about to end."),
    _gauge("holdfast_build_info", "", samples.version, "1, for its label.", "version"),
    _counter(
        "process_cpu_seconds",
        "seconds",
        at("counted.cpu_us", SECOND),
        "What the process has computed.",
    ),
    _gauge(
        "process_resident_memory_bytes",
        "bytes",
        at("vitals.memory"),
        "Memory of the process that is in RAM.",
    ),
    _gauge(
        "process_open_fds",
        "files",
        at("vitals.open_files"),
        "Files and sockets that are open, as Linux 6.2 or newer says.",
    ),
    _gauge(
        "process_start_time_seconds",
        "seconds",
        at("vitals.started_at", 1000),
        "When the node began, since 1970.",
    ),
)
"""The process. What begins with `process` is named as by Prometheus' own clients."""

METRICS: tuple[Metric, ...] = (*STREAMS, *READERS, *PROVIDERS, *NODE)
