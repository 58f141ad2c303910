"""What a node counts, as the instruments that an SDK asks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from tests import otel_sdk
from tests.unit.telemetry import told as nodes

from holdfast.telemetry import catalogue, counts, samples
from holdfast.telemetry.histogram import Histogram
from holdfast.telemetry.otel import observed
from holdfast.testing import simulated

ROWS = {row.name: row for row in catalogue.METRICS}
CALLS = {
    "holdfast.provider": "main",
    "gen_ai.provider.name": "openai",
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-*",
}


class Asked:
    """The instruments, and an SDK that asks them."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        meters = otel_sdk.meters(self._reader)
        self.instruments = observed.Observed(meters.get_meter("t"))

    def found(self) -> dict[str, Any]:
        """Each metric that has points, by its name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        [resource] = data.resource_metrics
        return {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}


def values(metric: Any) -> list[tuple[dict[str, Any], float]]:
    return [(dict(point.attributes), point.value) for point in metric.data.data_points]


async def after(seconds: float, asked: Asked, *told: samples.Node) -> None:
    """Runs the instruments for so long; `told` is what the node says, look by look."""
    looks = iter(told)
    running = asyncio.create_task(asked.instruments.run(lambda: next(looks)))
    await asyncio.sleep(seconds)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@simulated.timed
async def test_each_row_that_can_be_asked_for_is_told_as_it_is_there() -> None:
    asked = Asked()
    await after(1.0, asked, nodes.NODE, nodes.NODE)
    found = asked.found()
    wanted = {}
    for row in catalogue.METRICS:
        told = [float(value) for _, value in row.read(nodes.NODE) if isinstance(value, int | float)]
        if observed.name(row) and told:
            wanted[observed.name(row)] = told
    spread = tuple(begin for row in catalogue.METRICS if (begin := observed.spread(row)))
    plain = {name: one for name, one in found.items() if not name.startswith(spread)}
    assert {name: [value for _, value in values(one)] for name, one in plain.items()} == wanted
    assert len(wanted) > 25
    assert values(found["holdfast.streams_active"]) == [({}, 2)]
    assert values(found["holdfast.streams_ended"])[0] == ({"holdfast.status": "completed"}, 6)
    assert values(found["holdfast.log_failing"]) == [({}, 1)]
    assert (CALLS, 70) in values(found["gen_ai.client.inference.usage.input_tokens"])
    errors = values(found["holdfast.provider_errors"])
    assert errors == [({**CALLS, "error.type": "provider_timeout"}, 2)]


@simulated.timed
async def test_a_histogram_is_told_as_prometheus_has_it() -> None:
    """But for those that are told sample by sample."""
    asked = Asked()
    await after(1.0, asked, nodes.NODE, nodes.NODE)
    found = asked.found()
    told = 0
    for row in catalogue.METRICS:
        if not (begin := observed.spread(row)):
            continue
        for kept, (_, value) in enumerate(row.read(nodes.NODE)):
            if isinstance(value, samples.Sum):
                many, total = value.many, value.total
            else:
                assert isinstance(value, Histogram)
                many, total = value.count, value.total / 1e6
                size = len(row.buckets) + 1
                buckets = values(found[f"{begin}.bucket"])[kept * size : (kept + 1) * size]
                under = [*value.under(row.buckets), value.count]
                assert [number for _, number in buckets] == under
                bounds = [attributes["le"] for attributes, _ in buckets]
                assert bounds == [*map(str, row.buckets), "+Inf"]
            assert values(found[f"{begin}.count"])[kept][1] == many
            assert values(found[f"{begin}.sum"])[kept][1] == total
            told += 1
    assert told >= 4
    names = {row.name for row in catalogue.METRICS if row.kind in ("histogram", "summary")}
    assert {row.name for row in catalogue.METRICS if observed.spread(row)} == names - {
        *observed.MEASURED
    }


@simulated.timed
async def test_sums_grow_and_states_do_not() -> None:
    asked = Asked()
    await after(1.0, asked, nodes.NODE, nodes.NODE)
    found = asked.found()
    assert found["holdfast.streams_started"].data.is_monotonic
    assert found["holdfast.streams_started"].unit == "{stream}"
    assert found["holdfast.bytes"].unit == "By"
    assert found["holdfast.archive_lag"].unit == "s"
    assert not hasattr(found["holdfast.streams_active"].data, "is_monotonic")


def test_before_the_first_look_nothing_is_told() -> None:
    assert Asked().found() == {}


@simulated.timed
async def test_an_sdk_is_told_what_was_there_at_the_last_look_and_at_the_end() -> None:
    asked = Asked()

    def started(many: int) -> samples.Node:
        told = counts.Counts(streams_started=many)
        return samples.Node(told, nodes.VITALS, {}, 0, 0, 0)

    looks = iter(map(started, range(1, 9)))
    running = asyncio.create_task(asked.instruments.run(lambda: next(looks)))
    for many in (1, 2):
        await asyncio.sleep(observed.EVERY - 0.5)
        assert values(asked.found()["holdfast.streams_started"]) == [({}, many)]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert values(asked.found()["holdfast.streams_started"]) == [({}, 3)]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("holdfast_streams_started_total", "holdfast.streams_started"),
        ("holdfast_archive_lag_seconds", "holdfast.archive_lag"),
        (
            "gen_ai_client_inference_usage_cache_read_input_tokens_total",
            "gen_ai.client.inference.usage.cache_read.input_tokens",
        ),
        ("holdfast_chunk_latency_seconds", ""),
        ("gen_ai_client_operation_duration_seconds", ""),
        ("process_open_fds", ""),
    ],
)
def test_names_are_those_of_the_catalogue_with_a_dot_where_the_scope_ends(
    name: str, told: str
) -> None:
    assert observed.name(ROWS[name]) == told


def test_labels_are_called_as_the_conventions_have_them() -> None:
    assert observed.attribute("gen_ai_request_model") == "gen_ai.request.model"
    assert observed.attribute("error_type") == "error.type"
    assert observed.attribute("provider") == "holdfast.provider"
