"""The routes of metrics: what all nodes have counted, at present, over a period, or live.

Strategy: without a period each node is asked for what it has counted since it began. Over a period
it is the minutes of the archive, and those that nodes have not written yet. The nodes are asked
first: a minute that is written meanwhile is then found twice, under one name, and counted once.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette.types import ASGIApp

from holdfast import errors, events
from holdfast.archiving import keeper
from holdfast.http import (
    calls,
    figures,
    limits,
    live_response,
    neighbours,
    periods,
    sse_body,
    views,
)
from holdfast.telemetry import counts

LONGEST_DAYS = 31
"""A period takes as many at most; each day may be 1,440 rows for each node."""

STEPS = (60, 300, 900, 3600, 6 * 3600, 24 * 3600)
"""The steps that there are, in seconds."""

POINTS = 1500
"""In an answer. A period of more is refused."""

_DAY_MS = 24 * 3600 * 1000


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


class PointView(msgspec.Struct, frozen=True):
    """One step of a period: the minutes that begin from `start` on and before the next one."""

    start: str
    streams: figures.StreamsView
    connections: figures.ReadersView
    performance: figures.PerformanceView
    quality: figures.QualityView
    first_chunk_ms: figures.LatencyView
    errors: dict[str, int]


class MetricsView(msgspec.Struct, frozen=True, omit_defaults=True):
    """`GET /v1/metrics`. `start` and `end` are the span of the minutes that are in it; `points` are
    there where a `step` was asked for. `errors` by code are why streams ended."""

    start: str | None
    end: str | None
    streams: figures.StreamsView
    connections: figures.ReadersView
    performance: figures.PerformanceView
    quality: figures.QualityView
    network: figures.NetworkView
    first_chunk_ms: figures.LatencyView
    errors: dict[str, int]
    calls: dict[str, figures.CallsView]
    archive: ArchiveView
    nodes: list[views.NodeView]
    points: list[PointView] | None = None


async def show(call: calls.Call) -> ASGIApp:
    """`GET /v1/metrics`: what all nodes have counted since each began; with `start` or `end` in the
    minutes of a period, and with `step` (seconds) in each step of it."""
    service, now = call.node.service, events.now_ms()
    period, span, points = _period(call, now), None, None
    step = _step(call, period)
    if period is None:
        told, nodes = await neighbours.totals_of_all(service, neighbours.Totals())
        counted = counts.added(one.total for one in told.values())
    else:
        asked, span = neighbours.Totals(period.start, period.end), period.covered(now)
        told, nodes = await neighbours.totals_of_all(service, asked)
        unwritten = {node: one.minutes for node, one in told.items()}
        steps = await periods.counted(service.keeper.archive, period, unwritten, step)
        counted = periods.whole(steps)
        if step is not None:
            points = [_point(*one) for one in periods.each(steps, span, step)]
    archive = archived([one.archive for one in told.values()])
    shown = view(counted, span, archive, nodes)
    return views.response(msgspec.structs.replace(shown, points=points))


async def watch(call: calls.Call) -> ASGIApp:
    """`GET /v1/metrics/live`: an event a second that tells how all nodes are."""
    encoding = calls.encoding(call)
    if call.request.method == "HEAD":
        return sse_body.head(encoding)
    service, asker = call.node.service, call.principal
    access = service.access

    def may() -> bool:
        return access is None or access.holds(asker)

    live, native = call.node.live, call.node.native
    if live.full:
        return sse_body.SentAway(native, errors.Overloaded.code)
    return live_response.LiveResponse(service, live.watched, native, may, encoding)


def _period(call: calls.Call, now: int) -> periods.Period | None:
    """What is asked for, as far as it may be. Raises `errors.InvalidField`."""
    start, end = (limits.whole(call.request, name) for name in ("start", "end"))
    if start is None and end is None:
        return None
    last = now if end is None else min(end, now)
    return periods.Period(min(last, max(start or 0, last - LONGEST_DAYS * _DAY_MS, 0)), last)


def _step(call: calls.Call, period: periods.Period | None) -> int | None:
    """In ms. Raises `errors.InvalidField`."""
    said = call.request.query_params.get("step")
    if said is None:
        return None
    step = {str(one): one for one in STEPS}.get(said)
    if step is None:
        raise errors.InvalidField(f"`step` is one of {', '.join(map(str, STEPS))} seconds.")
    if period is None:
        raise errors.InvalidField("`step` is of a period; give `start` or `end`, in ms since 1970.")
    if (period.end - period.start) > POINTS * step * 1000:
        raise errors.InvalidField(f"This period has over {POINTS} steps; take longer ones.")
    return step * 1000


def _point(start: int, seconds: float, counted: counts.Counts) -> PointView:
    return PointView(
        events.rfc3339(start),
        figures.streams(counted),
        figures.readers(counted),
        figures.performance(counted, seconds),
        figures.quality(counted),
        figures.latency(counted.first_chunk),
        counted.errors,
    )


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
        figures.streams(counted),
        figures.readers(counted),
        figures.performance(counted, seconds),
        figures.quality(counted),
        figures.network(counted),
        figures.latency(counted.first_chunk),
        counted.errors,
        figures.calls(counted.calls),
        archive,
        nodes,
    )


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
