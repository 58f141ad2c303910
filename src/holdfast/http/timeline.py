"""The route of one stream's whole story: its events' and its readers', in one order.

Strategy: what happened to the stream is folded from its events (`holdfast.timeline`), and who read
it is gathered as the list of its connections is. The order of events is the log's; a connection
stands among them by its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from starlette.types import ASGIApp

from holdfast import connections as states
from holdfast import events, timeline
from holdfast.eventlog import base
from holdfast.http import calls, connections, neighbours, views

What = Literal[timeline.What, "connection_opened", "connection_resumed", "connection_closed"]


class EntryView(msgspec.Struct, frozen=True):
    """`after_ms` counts from the stream's creation."""

    at: str
    after_ms: int
    what: What
    detail: Mapping[str, timeline.Fact]


class TimelineView(msgspec.Struct, frozen=True):
    """`GET /v1/streams/{id}/timeline`. `truncated`: more has happened than is told; of the events
    those in the middle are left out, of the connections all but the newest."""

    stream_id: str
    status: events.Status
    entries: list[EntryView]
    truncated: bool
    nodes: list[views.NodeView]
    archive_answered: bool


async def show(call: calls.Call) -> ASGIApp:
    """`GET /v1/streams/{id}/timeline`: what happened to a stream and who read it, and when."""
    told = timeline.Timeline()
    await call.node.service.tell(call.info.stream, told.add, call.principal.tenant)
    return views.response(view(call.info, told, await connections.of_stream(call)))


def view(info: base.Info, told: timeline.Timeline, readers: views.ConnectionPage) -> TimelineView:
    """Both in one order; at the same time events come first."""
    created_at = info.header.created_at
    found: list[tuple[int, What, Mapping[str, timeline.Fact]]] = [
        *((one.at, one.what, one.detail) for one in told.entries),
        *_of_readers(readers.connections),
    ]
    found.sort(key=lambda one: one[0])
    entries = [
        EntryView(events.rfc3339(at), max(0, at - created_at), what, detail)
        for at, what, detail in found
    ]
    many = len(readers.connections) >= neighbours.LIST_LIMIT
    truncated = told.left_out > 0 or many
    answered = readers.archive_answered is True
    return TimelineView(info.stream, told.status, entries, truncated, readers.nodes, answered)


def _of_readers(
    found: Sequence[views.ConnectionView],
) -> Iterator[tuple[int, What, Mapping[str, timeline.Fact]]]:
    for one in sorted(found, key=lambda one: one.created_at):
        who = {
            "client_id": one.client_id,
            "user_agent": one.user_agent,
            "connection_id": one.id,
        }
        begin: What = "connection_resumed" if one.resumed else "connection_opened"
        yield _ms(one.created_at), begin, who
        if not states.TRANSITIONS[one.status]:
            had = {
                "status": one.status,
                "reason": one.reason,
                "duration_ms": one.duration_ms,
                "chunks_sent": one.chunks_sent,
                "bytes_sent": one.bytes_sent,
                "connection_id": one.id,
            }
            # An older version's node does not say when it closed, but when it changed last.
            yield _ms(one.closed_at or one.updated_at), "connection_closed", had


def _ms(rfc3339: str) -> int:
    """The opposite of `events.rfc3339`."""
    return round(datetime.fromisoformat(rfc3339).timestamp() * 1000)
