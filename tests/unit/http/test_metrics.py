"""Metrics: how counts are shown, which minutes a period has, and all nodes' archive as one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast.archiving import keeper
from holdfast.http import figures, metrics, views
from holdfast.telemetry import counts, histogram

QUIET = keeper.State(None, 0, None, False, 0, 0)
NODES = [views.NodeView("a", True)]
M = counts.MINUTE_MS


def shown(counted: counts.Counts, span: tuple[int, int] | None = None) -> metrics.MetricsView:
    return metrics.view(counted, span, metrics.archived([QUIET]), NODES)


def test_every_count_is_shown_where_it_belongs() -> None:
    fields = msgspec.structs.fields(counts.Counts)
    names = [field.name for field in fields if field.default == 0]
    numbers: dict[str, Any] = {name: 1009 + 97 * number for number, name in enumerate(names)}
    found = msgspec.to_builtins(shown(counts.Counts(**numbers)))
    of = numbers.__getitem__
    streams = ("active", "started", "adopted", "completed", "error", "cancelled")
    assert found["streams"] == {
        **{name: of(f"streams_{name}") for name in streams},
        "fallbacks": of("fallbacks"),
        "chunks": of("written_chunks"),
        "bytes": of("written_bytes"),
    }
    readers = ("active", "opened", "resumed", "missed", "dropped")
    assert found["connections"] == {name: of(f"connections_{name}") for name in readers}
    performance = found["performance"]
    assert (performance["chunks"], performance["bytes"]) == (of("sent_chunks"), of("sent_bytes"))
    network = found["network"]
    assert network["connection_drops"] == of("connections_dropped")
    assert network["average_rtt_ms"] == round(of("rtt_us") / 1000 / of("rtt_count"), 3)
    for name in ("retransmissions", "packets_lost"):
        assert network[name] == of(name)
    assert found["nodes"] == [{"id": "a", "answered": True}]


def test_shares_are_of_what_there_was() -> None:
    counted = counts.Counts(
        streams_completed=6,
        streams_error=1,
        streams_cancelled=1,
        duration=histogram.Histogram({1_500_000: 6}, 9_000_000),
        connections_opened=10,
        connections_resumed=4,
        sent_chunks=200,
        sent_bytes=5000,
        coded={"gzip": counts.Coded(1000, 3000), "br": counts.Coded(500, 1500)},
        chunk_latency=histogram.Histogram({500: 20, 1000: 18, 2000: 1, 3000: 1}, 30_000),
    )
    found = shown(counted, (0, 50_000))
    assert found.quality == figures.QualityView(0.125, 0.4, 0.75, 1500.0)
    performance = found.performance
    assert performance.average_chunk_size == 25.0
    assert (performance.chunks_per_second, performance.bytes_per_second) == (4.0, 100.0)
    assert (performance.bytes_saved, performance.compression) == (4500, 0.75)
    assert performance.latency_ms == figures.LatencyView(0.5, 3.0, 0.75, 0.5, 1.0, 3.0, 40)
    assert (found.start, found.end) == ("1970-01-01T00:00:00.000Z", "1970-01-01T00:00:50.000Z")


@pytest.mark.parametrize("span", [None, (M, M)])
def test_what_is_not_measured_and_a_share_of_nothing_are_null(
    span: tuple[int, int] | None,
) -> None:
    found = shown(counts.NOTHING, span)
    assert set(msgspec.structs.astuple(found.quality)) == {None}
    assert msgspec.structs.astuple(found.performance.latency_ms) == (*[None] * 6, 0)
    assert msgspec.structs.astuple(found.performance)[:5] == (0, 0, None, None, None)
    assert msgspec.structs.astuple(found.network) == (0, None, None, None)


@pytest.mark.parametrize(("looks", "told"), [(0, (None, None, None)), (1, (None, 0, 0))])
def test_figures_of_sockets_are_null_where_none_was_seen(
    looks: int, told: tuple[int | None, ...]
) -> None:
    found = figures.network(counts.Counts(sockets_seen=looks))
    assert msgspec.structs.astuple(found) == (0, *told)


def test_the_archive_is_told_as_where_it_is_worst() -> None:
    told = [
        keeper.State(7_000, 3_000, None, False, 1, 10),
        keeper.State(5_000, 1_500, 4, True, 2, 20),
        keeper.State(None, 0, 6, False, 3, 30),
    ]
    found = metrics.archived(told)
    assert found == metrics.ArchiveView("1970-01-01T00:00:05.000Z", 3.0, 10, True, 6, 60)
    assert metrics.archived([QUIET]) == metrics.ArchiveView(None, 0.0, None, False, 0, 0)
