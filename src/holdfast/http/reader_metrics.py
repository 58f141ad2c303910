"""The routes of what one stream's readers, or one reader alone, have been sent.

Strategy: connections are what lists show of them, from all nodes and the archive; they are counted
as a node counts its own, so each figure means here what it means for all. Of a stream with more
connections than a list has, the newest are counted.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from starlette.types import ASGIApp

from holdfast import endings, events
from holdfast.http import calls, connections, figures, neighbours, views
from holdfast.telemetry import counts, histogram

_BROKEN_OFF = (endings.CLIENT_GONE, endings.STALLED, endings.SERVER_CLOSED)
"""All but the ends of answers, and farewells."""


class OwnView(msgspec.Struct, frozen=True, omit_defaults=True):
    """`GET /v1/streams/{id}/metrics` and `GET /v1/connections/{id}/metrics`: from its begin to its
    end, or to now. `truncated`: a stream may have had more readers than are counted here."""

    start: str
    end: str
    truncated: bool
    connections: figures.ReadersView
    performance: figures.PerformanceView
    quality: figures.QualityView
    network: figures.NetworkView
    nodes: list[views.NodeView] | None = None
    archive_answered: bool | None = None


async def of_stream(call: calls.Call) -> ASGIApp:
    """`GET /v1/streams/{id}/metrics`: what its readers were sent, and how it went."""
    info, found = call.info, await connections.of_stream(call)
    begun, ended = info.header.created_at, info.ended_at
    readers = counts.added(map(_read, found.connections))
    own = _ended(info.status, None if ended is None else ended - begun)
    shown = _own(counts.added((readers, own)), begun, ended)
    return views.response(
        msgspec.structs.replace(
            shown,
            truncated=len(found.connections) >= neighbours.LIST_LIMIT,
            nodes=found.nodes,
            archive_answered=found.archive_answered,
        )
    )


async def of_connection(call: calls.Call) -> ASGIApp:
    """`GET /v1/connections/{id}/metrics`: what it was sent, and how it went."""
    found = await connections.found(call)
    begun, closed = _ms(found.connected_at), None
    own = counts.NOTHING
    if found.closed_at is not None:
        closed = _ms(found.closed_at)
        # Of an answer that its reader did not wait for nothing is known here.
        if found.status in ("completed", "error") and found.reason in (
            endings.COMPLETED,
            endings.ERROR,
        ):
            own = _ended(found.status, closed - begun)
    return views.response(_own(counts.added((_read(found), own)), begun, closed))


def _ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def _read(one: views.ConnectionView) -> counts.Counts:
    """One connection, counted."""
    rtt, line = one.network.rtt_ms, one.network
    return counts.Counts(
        connections_active=one.closed_at is None,
        connections_opened=1,
        connections_resumed=bool(one.resumed),
        connections_missed=one.missed,
        connections_dropped=one.reason in _BROKEN_OFF,
        sent_chunks=one.chunks_sent,
        sent_bytes=one.bytes_sent,
        coded=_coded(one),
        chunk_latency=one.latencies,
        rtt_us=0 if rtt is None else round(rtt * 1000),
        rtt_count=rtt is not None,
        sockets_seen=line.retransmissions is not None,
        retransmissions=line.retransmissions or 0,
        packets_lost=line.packets_lost or 0,
    )


def _coded(one: views.ConnectionView) -> dict[str, counts.Coded]:
    if one.encoding == counts.IDENTITY:
        return {}
    return {one.encoding: counts.Coded(one.bytes_sent, one.bytes_saved)}


def _ended(status: events.Status, duration_ms: int | None) -> counts.Counts:
    """What ended so, counted; nothing where it has not."""
    if duration_ms is None:
        return counts.NOTHING
    took = histogram.Recorder()
    if status == "completed":
        took.add_ms(duration_ms)
    return counts.Counts(
        streams_completed=status == "completed",
        streams_error=status == "error",
        streams_cancelled=status == "cancelled",
        duration=took.histogram(),
    )


def _own(counted: counts.Counts, begun: int, ended: int | None) -> OwnView:
    # A clock may have been set back meanwhile.
    end = max(begun, events.now_ms() if ended is None else ended)
    return OwnView(
        events.rfc3339(begun),
        events.rfc3339(end),
        False,
        figures.readers(counted),
        figures.performance(counted, (end - begun) / 1000),
        figures.quality(counted),
        figures.network(counted),
    )
