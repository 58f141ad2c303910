"""Metrics: how counts are shown, which minutes a period has, and all nodes' archive as one."""

from __future__ import annotations

import math
import random
import types
from typing import Any

import msgspec
import pytest

from holdfast.archive import memory, rows
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
        chunk_latency=histogram.Histogram({500: 20, 1000: 18, 2000: 1, 3000: 1}, 30_000),
    )
    found = shown(counted, (0, 50_000))
    assert found.quality == figures.QualityView(0.125, 0.4, 0.75, 1500.0)
    performance = found.performance
    assert performance.average_chunk_size == 25.0
    assert (performance.chunks_per_second, performance.bytes_per_second) == (4.0, 100.0)
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


@pytest.mark.parametrize(
    ("start", "end", "covered"),
    [
        (0, M, (0, M)),
        (1, M, (M, M)),
        (1, M + 1, (M, 2 * M)),
        (M - 1, 3 * M - 1, (M, 3 * M)),
        (3 * M, 9 * M + 5, (3 * M, 9 * M + 7)),  # as far as they have been
        (9 * M + 1, 9 * M + 7, (9 * M + 7, 9 * M + 7)),
        (5, 5, (M, M)),
    ],
)
def test_a_period_has_the_minutes_that_begin_in_it(
    start: int, end: int, covered: tuple[int, int]
) -> None:
    assert metrics.Period(start, end).covered(9 * M + 7) == covered


def test_the_archive_is_told_as_where_it_is_worst() -> None:
    told = [
        keeper.State(7_000, 3_000, None, False, 1, 10),
        keeper.State(5_000, 1_500, 4, True, 2, 20),
        keeper.State(None, 0, 6, False, 3, 30),
    ]
    found = metrics.archived(told)
    assert found == metrics.ArchiveView("1970-01-01T00:00:05.000Z", 3.0, 10, True, 6, 60)
    assert metrics.archived([QUIET]) == metrics.ArchiveView(None, 0.0, None, False, 0, 0)


async def test_a_period_of_many_pages_is_counted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROWS", 3)
    archive = memory.MemoryArchive()
    encode = msgspec.json.Encoder().encode
    one = encode(counts.Counts(sent_chunks=1))
    for at in range(10):
        await archive.keep_minutes([rows.Minute(at, node, one) for node in ("a", "b")])
    service = types.SimpleNamespace(keeper=types.SimpleNamespace(archive=archive))
    period = metrics.Period(0, 100)
    found = await metrics._minutes(service, period, {})  # type: ignore[arg-type]
    assert [minute.sent_chunks for minute in found.values()] == 10 * [2]


def minutes_of(*chunks: int) -> dict[int, counts.Counts]:
    return {at * M: counts.Counts(sent_chunks=one) for at, one in enumerate(chunks) if one}


def test_each_step_has_the_minutes_that_begin_in_it() -> None:
    """The first and the last are as long as the period says."""
    found = list(metrics._points(minutes_of(1, 2, 4, 8, 16, 0, 0), (M, 7 * M - 20_000), 2 * M))
    assert [point.start[14:19] for point in found] == ["00:00", "02:00", "04:00", "06:00"]
    assert [point.performance.chunks for point in found] == [3, 12, 16, 0]
    rates = [point.performance.chunks_per_second for point in found]
    assert rates == [0.05, 0.1, round(16 / 120, 3), 0.0]


def test_a_step_that_ends_in_the_future_is_as_long_as_it_has_been() -> None:
    (found,) = metrics._points(minutes_of(30), (0, 10_000), 60 * M)
    assert found.performance.chunks_per_second == 3.0


async def test_the_p99_of_60_unlike_minutes_in_the_archive_is_that_of_all_samples() -> None:
    dice, samples = random.Random(9), list[int]()
    archive = memory.MemoryArchive()
    for minute in range(60):
        kept, slow = histogram.Recorder(), minute % 10 == 0
        for _ in range(dice.choice((3, 40, 900))):
            sample = int(dice.expovariate(1 / (2_000_000 if slow else 4_000)))
            samples.append(sample)
            kept.add(sample)
        data = msgspec.json.encode(counts.Counts(chunk_latency=kept.histogram()))
        await archive.keep_minutes([rows.Minute(minute * M, f"node {minute % 3}", data)])
    service = types.SimpleNamespace(keeper=types.SimpleNamespace(archive=archive))
    period = metrics.Period(0, 60 * M)
    found = counts.over(await metrics._minutes(service, period, {}))  # type: ignore[arg-type]
    shown = figures.latency(found.chunk_latency)
    assert shown.count == len(samples)
    for share, told in ((0.5, shown.p50), (0.95, shown.p95), (0.99, shown.p99)):
        exact = sorted(samples)[math.ceil(share * len(samples)) - 1] / 1000
        assert told is not None
        assert exact <= told <= 1.1 * exact
