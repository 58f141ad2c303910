"""What a dashboard is told each second: pure, from what all nodes have said.

Strategy: a frame says everything that is shown at once, so that one that is missed is missed by
nobody for long. Fields: PROTOCOL, section 8. What is not measured is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from holdfast.http import figures, neighbours, views
from holdfast.telemetry import counts, recent, vitals
from holdfast.telemetry.histogram import Histogram

SHARES = 10.0
"""Percentiles and costs are those of so many seconds."""

RATES = 1.0

FEW = 10
"""Of fewer streams nobody can say what one of them takes."""


class Shares(msgspec.Struct, frozen=True):
    """Percentiles in ms, within a tenth of the value."""

    p50: float | None
    p95: float | None
    p99: float | None
    count: int


class Now(msgspec.Struct, frozen=True):
    """What charts show; `at` in ms since 1970."""

    at: int
    streams_active: int
    connections_active: int
    started_per_second: float
    chunks_per_second: float
    bytes_per_second: float
    tokens_per_second: float
    errors_per_second: float
    fallbacks_per_second: float
    resumes_per_second: float
    drops_per_second: float
    first_chunk_ms: Shares
    chunk_latency_ms: Shares


class Totals(msgspec.Struct, frozen=True):
    """Since the nodes began; `sent` is what readers got."""

    streams: figures.StreamsView
    connections: figures.ReadersView
    sent_chunks: int
    sent_bytes: int
    errors: int
    fallbacks: int


class ProviderView(msgspec.Struct, frozen=True):
    """A provider, by all nodes that are there. `breaker` is the worst of any node's."""

    name: str
    kind: str
    breaker: vitals.BreakerState
    active: int
    calls: int
    errors: int
    input_tokens: int
    output_tokens: int
    first_chunk_ms: Shares
    duration_ms: Shares


class NodeView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node; one that has not answered has its name alone. `loop_lag_ms` and `cpu_us_per_chunk`
    are those of the last ten seconds."""

    id: str
    answered: bool
    version: str | None = None
    started_at: int | None = None
    streams_active: int | None = None
    connections_active: int | None = None
    connection_limit: int | None = None
    busy: float | None = None
    loop_lag_ms: Shares | None = None
    memory_bytes: int | None = None
    cpu_us_per_chunk: float | None = None
    log_failing: bool | None = None
    draining: bool | None = None
    archive_lag_seconds: float | None = None


class Capacity(msgspec.Struct, frozen=True):
    """What there is room for. `busy` is that of the busiest node, `kb_per_stream` the memory beyond
    what the nodes began with."""

    streams_active: int
    connections_left: int
    cpu_us_per_chunk: float | None
    kb_per_stream: float | None
    busy: float


class Frame(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything. `history` is in the first one that a watcher gets."""

    at: int
    now: Now
    totals: Totals
    providers: list[ProviderView]
    nodes: list[NodeView]
    alerts: list[views.AlertView]
    capacity: Capacity
    history: list[Now] | None = None


Told = Mapping[str, neighbours.Counted]


def frame(
    at: int,
    told: Told,
    before: Told,
    nodes: Sequence[views.NodeView],
    lately: recent.Recent,
    kinds: Mapping[str, str],
    alerts: Sequence[views.AlertView] = (),
) -> Frame:
    """At this time (ms). `kinds` are those of all providers by name; `told` and `nodes` are as
    `neighbours` gives them, and in `lately` already; `before` is what was told ten seconds ago."""
    total = counts.added(one.total for one in told.values())
    wide, _ = lately.span(SHARES)
    return Frame(
        at,
        _now(at, total, lately),
        Totals(
            figures.streams(total),
            figures.readers(total),
            total.sent_chunks,
            total.sent_bytes,
            sum(total.errors.values()),
            total.fallbacks,
        ),
        [_provider(name, kind, told, wide) for name, kind in kinds.items()],
        [_node(one, told.get(one.id), before.get(one.id)) for one in nodes],
        list(alerts),
        _capacity(total, wide, told),
    )


def _now(at: int, total: counts.Counts, lately: recent.Recent) -> Now:
    came, seconds = lately.span(RATES)
    wide, wide_seconds = lately.span(SHARES)

    def rate(count: int, over: float = seconds) -> float:
        return round(count / over, 3) if over else 0.0

    return Now(
        at,
        total.streams_active,
        total.connections_active,
        started_per_second=rate(came.streams_started),
        chunks_per_second=rate(came.sent_chunks),
        bytes_per_second=rate(came.sent_bytes),
        # Providers tell tokens at the end of an answer, so one second says little.
        tokens_per_second=rate(sum(one.output_tokens for one in wide.calls.values()), wide_seconds),
        # What is rare flickers in a second.
        errors_per_second=rate(wide.streams_error, wide_seconds),
        fallbacks_per_second=rate(wide.fallbacks, wide_seconds),
        resumes_per_second=rate(wide.connections_resumed, wide_seconds),
        drops_per_second=rate(wide.connections_dropped, wide_seconds),
        first_chunk_ms=_shares(wide.first_chunk),
        chunk_latency_ms=_shares(wide.chunk_latency),
    )


def _shares(found: Histogram) -> Shares:
    p50, p95, p99 = (found.quantile(share) for share in (0.5, 0.95, 0.99))
    return Shares(_ms(p50), _ms(p95), _ms(p99), found.count)


def _ms(us: int | None) -> float | None:
    return None if us is None else us / 1000


_WORST: tuple[vitals.BreakerState, ...] = ("open", "half_open", "closed")


def _provider(name: str, kind: str, told: Told, lately: counts.Counts) -> ProviderView:
    def own(counted: counts.Counts) -> counts.Calls:
        some = {model: one for model, one in counted.calls.items() if _of(model) == name}
        return counts.joined(some.values())

    whole, wide = own(counts.added(one.total for one in told.values())), own(lately)
    states = {one.vitals.breakers.get(name, "closed") for one in told.values()}
    return ProviderView(
        name,
        kind,
        next((state for state in _WORST if state in states), "closed"),
        active=whole.calls_active,
        calls=whole.begun,
        errors=sum(whole.errors.values()),
        input_tokens=whole.input_tokens,
        output_tokens=whole.output_tokens,
        first_chunk_ms=_shares(wide.first_chunk),
        duration_ms=_shares(wide.duration),
    )


def _of(model: str) -> str:
    return model.partition("/")[0]


def _node(
    node: views.NodeView, said: neighbours.Counted | None, before: neighbours.Counted | None
) -> NodeView:
    if said is None:
        return NodeView(node.id, False)
    total, at = said.total, said.vitals
    known = before is not None and before.vitals.started_at == at.started_at
    came = counts.since(total, before.total) if before is not None and known else total
    return NodeView(
        node.id,
        True,
        at.version,
        at.started_at,
        total.streams_active,
        total.connections_active,
        at.connection_limit,
        at.busy,
        _shares(came.loop_lag),
        at.memory,
        _share(came.cpu_us, came.sent_chunks),
        at.log_failing,
        at.draining,
        said.archive.lag_ms / 1000,
    )


def _capacity(total: counts.Counts, wide: counts.Counts, told: Told) -> Capacity:
    some = [one.vitals for one in told.values()]
    grown = [
        one.memory - one.memory_at_start
        for one in some
        if one.memory is not None and one.memory_at_start is not None
    ]
    active = total.streams_active
    measured = active >= FEW and len(grown) == len(some)
    return Capacity(
        active,
        max(0, sum(one.connection_limit for one in some) - total.connections_active),
        _share(wide.cpu_us, wide.sent_chunks),
        round(max(0, sum(grown)) / 1024 / active, 1) if measured else None,
        max((one.busy for one in some), default=0.0),
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 1) if whole else None
