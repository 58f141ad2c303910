"""What the native routes answer in JSON: one struct for each thing that is shown.

Strategy: a view is made from the values below it by one function and says every field by
name, so that nothing internal slips into an answer. Times are RFC 3339 in UTC. Field tables:
PROTOCOL, section 4.
"""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from holdfast import answer, connections, errors, events
from holdfast.archive import rows
from holdfast.eventlog import base
from holdfast.telemetry import counts, histogram, tcp
from holdfast.telemetry.alerts import rounds


class CreatedView(msgspec.Struct, frozen=True):
    """201 to `POST /v1/streams`."""

    id: str
    url: str
    events_url: str


class LinkView(msgspec.Struct, frozen=True):
    """201 to `POST /v1/streams/{id}/links`."""

    url: str
    expires_at: str


class ToolCallView(msgspec.Struct, frozen=True):
    id: str
    name: str
    arguments: str


class ChoiceView(msgspec.Struct, frozen=True):
    """One choice; the answer's own fields are those of choice 0."""

    choice: int
    content: str
    reasoning: str
    refusal: str
    tool_calls: list[ToolCallView]
    finish_reason: str | None


class EventView(msgspec.Struct, frozen=True):
    """One event as `?include=events` shows it."""

    event: str
    id: str
    ts: str
    data: msgspec.Raw


class AttemptView(msgspec.Struct, frozen=True):
    """One provider call. `error` is a code; without one it has not failed."""

    number: int
    provider: str
    model: str
    status: answer.CallStatus
    error: str | None
    message: str
    usage: events.Tokens | None
    duration_ms: int | None


class StreamView(msgspec.Struct, frozen=True, omit_defaults=True):
    """`GET /v1/streams/{id}`. `tokens` is what the provider counted as output; `latency_ms`
    from the request to the first chunk."""

    id: str
    request_id: str
    status: events.Status
    provider: str
    model: str
    content: str
    reasoning: str
    tool_calls: list[ToolCallView]
    refusal: str
    finish_reason: str | None
    provider_finish_reason: str | None
    usage: events.Tokens | None
    chunks: int
    tokens: int | None
    latency_ms: int | None
    position: str
    length: int
    sha256: str
    created_at: str
    completed_at: str | None
    attempts: list[AttemptView]
    error: events.Error | None
    choices: list[ChoiceView] | None = None
    events: list[EventView] | None = None
    next_after: str | None = None


class StreamRow(msgspec.Struct, frozen=True):
    """One entry of `GET /v1/streams`."""

    id: str
    request_id: str
    status: events.Status
    provider: str
    model: str
    client_id: str | None
    session_id: str | None
    user_id: str | None
    position: str
    created_at: str
    completed_at: str | None


class StreamPage(msgspec.Struct, frozen=True):
    """`next` is the `before` of the page after this one; None on the last."""

    streams: list[StreamRow]
    next: str | None


class LineView(msgspec.Struct, frozen=True):
    """What the kernel tells of a connection's socket: the round trip as it was last, and segments
    since the response began. Null where the socket is hidden."""

    rtt_ms: float | None = None
    retransmissions: int | None = None
    packets_lost: int | None = None


class ConnectionView(msgspec.Struct, frozen=True):
    """`closed_at` and `reason` are null while it is open, `duration_ms` is up to now then.
    `missed`: it went on behind an event that is not there any more. `bytes_saved`: how many more
    `bytes_sent` were before they were in this `encoding`. `latencies` has how many writes
    took up to so many microseconds. What has a default is not in what older versions kept or
    tell."""

    id: str
    stream_id: str
    client_id: str | None
    user_id: str | None
    session_id: str | None
    request_id: str | None
    status: connections.Status
    provider: str
    model: str
    user_agent: str | None
    ip: str | None
    connected_at: str
    last_activity: str
    bytes_sent: int
    chunks_sent: int
    average_latency_ms: float | None
    options: connections.Options
    created_at: str
    updated_at: str
    closed_at: str | None = None
    duration_ms: int | None = None
    reason: str | None = None
    resumed: bool | None = None
    missed: bool = False
    latencies: histogram.Histogram = histogram.EMPTY
    network: LineView = LineView()
    encoding: str = counts.IDENTITY
    bytes_saved: int = 0


class AlertView(msgspec.Struct, frozen=True):
    """An alert that fires, or is about to. `since` is RFC 3339."""

    name: str
    severity: str
    state: str
    since: str
    value: float | None
    threshold: float
    summary: str
    detail: tuple[str, ...]


def alert(one: rounds.Alert) -> AlertView:
    """The view of an alert."""
    return AlertView(
        one.name,
        one.severity,
        one.state,
        events.rfc3339(one.since),
        one.value,
        one.threshold,
        one.summary,
        one.detail,
    )


class NodeView(msgspec.Struct, frozen=True):
    """A node, and whether what is shown has its part."""

    id: str
    answered: bool


class ConnectionPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """`archive_answered`: whether those are here that only the archive knows; None where it is not
    asked."""

    connections: list[ConnectionView]
    nodes: list[NodeView]
    archive_answered: bool | None = None


def stream(info: base.Info, so_far: answer.Answer, page: base.Page | None = None) -> StreamView:
    """The answer as it stands; `page` adds events."""
    first, header = so_far.choice(), info.header
    proof = answer.Proof()
    proof.add(first.content)
    begun = so_far.first_chunk_at
    return StreamView(
        id=info.stream,
        request_id=header.request_id,
        status=so_far.status,
        provider=header.provider,
        model=header.model,
        content=first.content,
        reasoning=first.reasoning,
        tool_calls=_calls(first),
        refusal=first.refusal,
        finish_reason=first.finish_reason,
        provider_finish_reason=first.provider_finish_reason,
        usage=so_far.usage,
        chunks=so_far.chunks,
        tokens=so_far.usage.output_tokens if so_far.usage else None,
        latency_ms=None if begun is None else max(0, begun - header.created_at),
        position=str(so_far.position),
        length=proof.length,
        sha256=proof.sha256,
        created_at=events.rfc3339(header.created_at),
        completed_at=_time(so_far.ended_at),
        attempts=[_attempt(call) for call in so_far.calls],
        error=so_far.error,
        choices=_choices(so_far) if len(so_far.choices) > 1 else None,
        events=[_event(info.stream, event) for event in page.events] if page else None,
        next_after=str(page.position) if page and page.more else None,
    )


def _attempt(call: answer.Call) -> AttemptView:
    return AttemptView(
        call.number,
        call.provider,
        call.model,
        call.status,
        call.error,
        call.message,
        call.usage,
        None if call.status == "running" else call.duration_ms,
    )


def _calls(choice: answer.Choice) -> list[ToolCallView]:
    return [
        ToolCallView(call.id, call.name, call.arguments)
        for _, call in sorted(choice.tool_calls.items())
    ]


def _choices(so_far: answer.Answer) -> list[ChoiceView]:
    return [
        ChoiceView(
            number,
            choice.content,
            choice.reasoning,
            choice.refusal,
            _calls(choice),
            choice.finish_reason,
        )
        for number, choice in sorted(so_far.choices.items())
    ]


def _event(stream_id: events.StreamId, event: events.Event) -> EventView:
    return EventView(
        event.kind,
        events.event_id(stream_id, event.position),
        events.rfc3339(event.ts),
        msgspec.Raw(event.data),
    )


def row(info: base.Info) -> StreamRow:
    header = info.header
    return StreamRow(
        info.stream,
        header.request_id,
        info.status,
        header.provider,
        header.model,
        header.client_id,
        header.session_id,
        header.user_id,
        f"{info.head.epoch}-{info.head.seq}",
        events.rfc3339(header.created_at),
        _time(info.ended_at),
    )


def connection(seen: connections.Connection) -> ConnectionView:
    peer = seen.peer
    closed_at = None if connections.TRANSITIONS[seen.status] else seen.updated_at
    until = events.now_ms() if closed_at is None else closed_at
    return ConnectionView(
        id=seen.id,
        stream_id=seen.stream,
        client_id=peer.client_id,
        user_id=peer.user_id,
        session_id=peer.session_id,
        request_id=peer.request_id,
        status=seen.status,
        provider=seen.provider,
        model=seen.model,
        user_agent=peer.user_agent,
        ip=peer.ip,
        connected_at=events.rfc3339(seen.created_at),
        last_activity=events.rfc3339(seen.last_write_at),
        bytes_sent=seen.bytes_sent,
        chunks_sent=seen.chunks_sent,
        average_latency_ms=seen.average_latency_ms,
        options=seen.options,
        created_at=events.rfc3339(seen.created_at),
        updated_at=events.rfc3339(seen.updated_at),
        closed_at=_time(closed_at),
        duration_ms=max(0, until - seen.created_at),
        reason=seen.reason,
        resumed=seen.resumed,
        missed=seen.missed,
        latencies=seen.latency,
        network=_line(seen.line),
        encoding=seen.encoding,
        bytes_saved=seen.bytes_saved,
    )


def _line(seen: tcp.Line | None) -> LineView:
    if seen is None:
        return LineView()
    rtt_ms = None if seen.rtt_us is None else seen.rtt_us / 1000
    return LineView(rtt_ms, seen.retransmissions, seen.packets_lost)


def kept_row(closed: connections.Connection) -> rows.Connection:
    """A closed connection as the archive keeps it, with what is shown of it."""
    return rows.Connection(
        id=closed.id,
        stream=closed.stream,
        owner=closed.owner,
        opened_at=closed.created_at,
        updated_at=closed.updated_at,
        closed_at=closed.updated_at,
        data=_encode(connection(closed)),
    )


def kept_connection(row: rows.Connection) -> ConnectionView:
    """The opposite. Raises `errors.LogCorrupt`."""
    try:
        kept = _decode(row.data)
    except (msgspec.DecodeError, ValueError) as error:
        raise errors.LogCorrupt(f"Connection {row.id} in the archive: {error}.") from error
    if kept.closed_at is not None or row.closed_at is None:
        return kept
    # An older version kept these beside what it showed.
    return msgspec.structs.replace(
        kept, closed_at=_time(row.closed_at), duration_ms=max(0, row.closed_at - row.opened_at)
    )


def _time(ms: int | None) -> str | None:
    return None if ms is None else events.rfc3339(ms)


def response(
    view: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A view as a JSON answer."""
    return Response(_encode(view), status, headers, "application/json")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ConnectionView).decode
