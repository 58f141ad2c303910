"""Figures: what counts come to, as it is shown.

Strategy: pure, from one sum of counts, be it of all nodes, of a minute, of a stream's readers or of
one: so a figure has one meaning wherever it stands. What is not measured is null, and so is a share
of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast.telemetry import counts, histogram


class StreamsView(msgspec.Struct, frozen=True):
    """Answers, as they are written. One that a node takes over is `adopted` there; `fallbacks` are
    the times that an answer was left to another provider."""

    active: int
    started: int
    adopted: int
    completed: int
    error: int
    cancelled: int
    fallbacks: int
    chunks: int
    bytes: int


class ReadersView(msgspec.Struct, frozen=True):
    """`resumed`: opened behind an event, `missed`: that event is not there any more; `dropped`:
    broken off before the reader had all."""

    active: int
    opened: int
    resumed: int
    missed: int
    dropped: int


class LatencyView(msgspec.Struct, frozen=True):
    """How long something took, in ms: within a tenth of the value, the average exactly."""

    min: float | None
    max: float | None
    average: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    count: int


class PerformanceView(msgspec.Struct, frozen=True):
    """What was sent to readers; by the second over a period only. `latency_ms` is from an event's
    append to its write to a reader who was there when it came. `bytes_saved`: how many more
    `bytes` were before some of them were compressed; `compression` is the share that was saved of
    those."""

    chunks: int
    bytes: int
    average_chunk_size: float | None
    chunks_per_second: float | None
    bytes_per_second: float | None
    latency_ms: LatencyView
    bytes_saved: int
    compression: float | None


class CallsView(msgspec.Struct, frozen=True):
    """Calls to one model of a provider, or to several that the settings know under one name.
    `errors` are by code; `first_chunk_ms` is until the answer began."""

    active: int
    begun: int
    errors: dict[str, int]
    duration_ms: LatencyView
    first_chunk_ms: LatencyView
    input_tokens: int
    output_tokens: int


class QualityView(msgspec.Struct, frozen=True):
    """Shares from 0 to 1: of the streams that ended, and of the connections that were opened."""

    error_rate: float | None
    reconnection_rate: float | None
    completion_rate: float | None
    average_duration_ms: float | None


class NetworkView(msgspec.Struct, frozen=True):
    """`connection_drops` are the `dropped` ones of `connections`. The rest is what the kernel tells
    of readers' sockets, null where none was seen; `average_rtt_ms` is over the looks at them."""

    connection_drops: int
    average_rtt_ms: float | None
    retransmissions: int | None
    packets_lost: int | None


def streams(counted: counts.Counts) -> StreamsView:
    """Of these counts."""
    return StreamsView(
        counted.streams_active,
        counted.streams_started,
        counted.streams_adopted,
        counted.streams_completed,
        counted.streams_error,
        counted.streams_cancelled,
        counted.fallbacks,
        counted.written_chunks,
        counted.written_bytes,
    )


def readers(counted: counts.Counts) -> ReadersView:
    """Of these counts."""
    return ReadersView(
        counted.connections_active,
        counted.connections_opened,
        counted.connections_resumed,
        counted.connections_missed,
        counted.connections_dropped,
    )


def performance(counted: counts.Counts, seconds: float | None) -> PerformanceView:
    """What was sent, and how much a second where that is asked of a span."""
    coded = sum(one.sent_bytes for one in counted.coded.values())
    return PerformanceView(
        counted.sent_chunks,
        counted.sent_bytes,
        share(counted.sent_bytes, counted.sent_chunks),
        share(counted.sent_chunks, seconds),
        share(counted.sent_bytes, seconds),
        latency(counted.chunk_latency),
        counted.saved_bytes,
        share(counted.saved_bytes, counted.saved_bytes + coded),
    )


def calls(some: Mapping[str, counts.Calls]) -> dict[str, CallsView]:
    """By `provider/model`."""
    return {
        name: CallsView(
            one.calls_active,
            one.begun,
            one.errors,
            latency(one.duration),
            latency(one.first_chunk),
            one.input_tokens,
            one.output_tokens,
        )
        for name, one in sorted(some.items())
    }


def latency(found: histogram.Histogram) -> LatencyView:
    """Of these samples."""

    def share(one: float) -> float | None:
        us = found.quantile(one)
        return None if us is None else us / 1000

    return LatencyView(
        share(0), share(1), found.average_ms, share(0.5), share(0.95), share(0.99), found.count
    )


def quality(counted: counts.Counts) -> QualityView:
    """Of these counts."""
    ended = counted.streams_completed + counted.streams_error + counted.streams_cancelled
    return QualityView(
        share(counted.streams_error, ended),
        share(counted.connections_resumed, counted.connections_opened),
        share(counted.streams_completed, ended),
        counted.duration.average_ms,
    )


def share(part: float, whole: float | None) -> float | None:
    """A part of a whole; None of nothing."""
    return round(part / whole, 3) if whole else None


def network(counted: counts.Counts) -> NetworkView:
    """Of these counts."""
    seen = counted.sockets_seen > 0
    return NetworkView(
        counted.connections_dropped,
        share(counted.rtt_us / 1000, counted.rtt_count),
        counted.retransmissions if seen else None,
        counted.packets_lost if seen else None,
    )
