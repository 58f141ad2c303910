"""The route of metrics: what all nodes have counted, at present or over a period.

Strategy: without a period each node is asked for what it has counted since it began. Over a period
it is the minutes of the archive, and those that nodes have not written yet. The nodes are asked
first: a minute that is written meanwhile is then found twice, under one name, and counted once.
What is not measured is null, and so is a share of nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette.types import ASGIApp

from holdfast import errors, events
from holdfast.archive import rows
from holdfast.archiving import keeper
from holdfast.http import calls, limits, neighbours, views
from holdfast.service import Service
from holdfast.telemetry import counts, histogram

LONGEST_DAYS = 31
"""A period takes as many at most; each day may be 1,440 rows for each node."""

_DAY_MS = 24 * 3600 * 1000

_minute = msgspec.json.Decoder(counts.Counts).decode


class StreamsView(msgspec.Struct, frozen=True):
    """Answers, as they are written. One that a node takes over is `adopted` there."""

    active: int
    started: int
    adopted: int
    completed: int
    error: int
    cancelled: int
    chunks: int
    bytes: int


class ReadersView(msgspec.Struct, frozen=True):
    """`resumed`: opened behind an event; `dropped`: broken off before the reader had all."""

    active: int
    opened: int
    resumed: int
    dropped: int


class LatencyView(msgspec.Struct, frozen=True):
    """From an event's append to its write to a reader who was there when it came, in ms: within a
    tenth of the value, the average exactly."""

    min: float | None
    max: float | None
    average: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    count: int


class PerformanceView(msgspec.Struct, frozen=True):
    """What was sent to readers; by the second over a period only."""

    chunks: int
    bytes: int
    average_chunk_size: float | None
    chunks_per_second: float | None
    bytes_per_second: float | None
    latency_ms: LatencyView


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


class ArchiveView(msgspec.Struct, frozen=True):
    """How far the archive is behind, now and on the node where it is worst. `kept` streams were
    archived, by nodes whose log lets them go. Of reports, those of closed connections and of
    minutes, some wait, and some were dropped because too many did."""

    waiting_since: str | None
    lag_seconds: float
    kept: int | None
    failing: bool
    reports_waiting: int
    reports_dropped: int


class MetricsView(msgspec.Struct, frozen=True):
    """`GET /v1/metrics`. `start` and `end` are the span of the minutes that are in it."""

    start: str | None
    end: str | None
    streams: StreamsView
    connections: ReadersView
    performance: PerformanceView
    quality: QualityView
    network: NetworkView
    archive: ArchiveView
    nodes: list[views.NodeView]


class Period(msgspec.Struct, frozen=True):
    """The minutes that begin from `start` up to, and without, `end`; in ms."""

    start: int
    end: int

    def covered(self, now: int) -> tuple[int, int]:
        """From when to when these minutes are, as far as they have been."""
        end = min(_next_minute(self.end), now)
        return min(_next_minute(self.start), end), end


def _next_minute(ms: int) -> int:
    """When the first minute begins that does not begin before."""
    return counts.minute_of(ms + counts.MINUTE_MS - 1)


async def show(call: calls.Call) -> ASGIApp:
    """`GET /v1/metrics`: what all nodes have counted since each began; with `start` or `end` in the
    minutes of a period."""
    service, now = call.node.service, events.now_ms()
    period, span = _period(call, now), None
    if period is None:
        told, nodes = await neighbours.totals_of_all(service, neighbours.Totals())
        counted = counts.added(one.total for one in told.values())
    else:
        asked, span = neighbours.Totals(period.start, period.end), period.covered(now)
        told, nodes = await neighbours.totals_of_all(service, asked)
        counted = counts.over(await _minutes(service, period, told))
    archive = archived([one.archive for one in told.values()])
    return views.response(view(counted, span, archive, nodes))


def _period(call: calls.Call, now: int) -> Period | None:
    """What is asked for, as far as it may be. Raises `errors.InvalidField`."""
    start, end = (limits.whole(call.request, name) for name in ("start", "end"))
    if start is None and end is None:
        return None
    last = now if end is None else min(end, now)
    return Period(min(last, max(start or 0, last - LONGEST_DAYS * _DAY_MS, 0)), last)


async def _minutes(
    service: Service, period: Period, told: dict[str, neighbours.Counted]
) -> dict[int, counts.Counts]:
    """Each minute, of all nodes together. Raises `errors.ArchiveUnavailable`, `LogCorrupt`."""
    known = {(at, node): one for node, said in told.items() for at, one in said.minutes.items()}
    found = dict[int, counts.Counts]()

    def add(at: int, one: counts.Counts) -> None:
        found[at] = counts.added((found[at], one)) if at in found else one

    for (at, _), one in known.items():
        add(at, one)
    after = (-1, "")
    while True:
        page = await service.keeper.archive.minutes(period.start, period.end, rows.MAX_ROWS, after)
        for row in page:
            if (row.at, row.node) not in known:
                add(row.at, _counts(row))
        if len(page) < rows.MAX_ROWS:
            return found
        after = (page[-1].at, page[-1].node)


def _counts(row: rows.Minute) -> counts.Counts:
    try:
        return _minute(row.data)
    except (msgspec.DecodeError, ValueError) as error:
        raise errors.LogCorrupt(f"A minute in the archive: {error}.") from error


def view(
    counted: counts.Counts,
    span: tuple[int, int] | None,
    archive: ArchiveView,
    nodes: list[views.NodeView],
) -> MetricsView:
    """Of one sum of counts; `span` in ms, where it is one of minutes."""
    seconds = None if span is None else max(0, span[1] - span[0]) / 1000
    start, end = (None, None) if span is None else map(events.rfc3339, span)
    return MetricsView(
        start,
        end,
        StreamsView(
            counted.streams_active,
            counted.streams_started,
            counted.streams_adopted,
            counted.streams_completed,
            counted.streams_error,
            counted.streams_cancelled,
            counted.written_chunks,
            counted.written_bytes,
        ),
        ReadersView(
            counted.connections_active,
            counted.connections_opened,
            counted.connections_resumed,
            counted.connections_dropped,
        ),
        PerformanceView(
            counted.sent_chunks,
            counted.sent_bytes,
            _share(counted.sent_bytes, counted.sent_chunks),
            _share(counted.sent_chunks, seconds),
            _share(counted.sent_bytes, seconds),
            latency(counted.chunk_latency),
        ),
        _quality(counted),
        network(counted),
        archive,
        nodes,
    )


def latency(found: histogram.Histogram) -> LatencyView:
    """Of these samples."""

    def share(one: float) -> float | None:
        us = found.quantile(one)
        return None if us is None else us / 1000

    return LatencyView(
        share(0), share(1), found.average_ms, share(0.5), share(0.95), share(0.99), found.count
    )


def _quality(counted: counts.Counts) -> QualityView:
    ended = counted.streams_completed + counted.streams_error + counted.streams_cancelled
    return QualityView(
        _share(counted.streams_error, ended),
        _share(counted.connections_resumed, counted.connections_opened),
        _share(counted.streams_completed, ended),
        counted.duration.average_ms,
    )


def network(counted: counts.Counts) -> NetworkView:
    """Of one sum of counts."""
    seen = counted.sockets_seen > 0
    return NetworkView(
        counted.connections_dropped,
        _share(counted.rtt_us / 1000, counted.rtt_count),
        counted.retransmissions if seen else None,
        counted.packets_lost if seen else None,
    )


def _share(part: float, whole: float | None) -> float | None:
    return round(part / whole, 3) if whole else None


def archived(told: Sequence[keeper.State]) -> ArchiveView:
    """The worst of all nodes, and the sums."""
    since = [one.waiting_since for one in told if one.waiting_since is not None]
    kept = [one.kept for one in told if one.kept is not None]
    return ArchiveView(
        events.rfc3339(min(since)) if since else None,
        max(one.lag_ms for one in told) / 1000,
        sum(kept) if kept else None,
        any(one.failing for one in told),
        sum(one.reports_waiting for one in told),
        sum(one.reports_dropped for one in told),
    )
