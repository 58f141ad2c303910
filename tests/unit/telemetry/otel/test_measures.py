"""What calls and streams are measured by: names, units and buckets of the conventions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests import otel_sdk

from holdfast import events, request, storage
from holdfast.telemetry import histogram, record, tracing

STREAM = events.new_stream_id()
CALL = record.Call(
    stream=STREAM,
    provider="main",
    model="gpt-5-of-today",
    began=100.0,
    seconds=2.5,
    first_chunk=0.3,
    error="",
    usage=events.Tokens(10, 5, 15),
    host="api.example",
    port=443,
    label="gpt-*",
)
UNDER = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-*",
    "server.address": "api.example",
    "server.port": 443,
}
D = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
POWERS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)


def span(told: otel_sdk.Told) -> tracing.Span:
    header = storage.Header("", 0, "main", "gpt-5-of-today")
    wanted = request.Request("gpt-5-of-today", [])
    return told.made.begins(STREAM, header, wanted, None, tracing.NOBODY)


def told_of(*calls: record.Call) -> otel_sdk.Told:
    told = otel_sdk.Told({"main": "openai"})
    for call in calls:
        span(told).called(call)
    return told


def under(point: Any) -> dict[str, Any]:
    return dict(point.attributes)


@pytest.mark.parametrize(
    ("name", "unit", "buckets"),
    [
        ("gen_ai.client.operation.duration", "s", D),
        ("gen_ai.client.operation.time_to_first_chunk", "s", D),
        ("gen_ai.client.token.usage", "{token}", POWERS),
    ],
)
def test_a_call_is_measured_as_the_conventions_have_it(
    name: str, unit: str, buckets: tuple[float, ...]
) -> None:
    metric = told_of(CALL).metrics()[name]
    assert metric.unit == unit
    assert metric.data.data_points[0].explicit_bounds == buckets


def test_a_whole_answer_is_a_sample_of_each() -> None:
    told = told_of(CALL)
    [lasted] = told.points("gen_ai.client.operation.duration")
    [began] = told.points("gen_ai.client.operation.time_to_first_chunk")
    assert (under(lasted), lasted.count, lasted.sum) == (UNDER, 1, 2.5)
    assert (under(began), began.count, began.sum) == (UNDER, 1, 0.3)
    tokens = {
        point.attributes["gen_ai.token.type"]: (under(point), point.count, point.sum)
        for point in told.points("gen_ai.client.token.usage")
    }
    assert tokens == {
        "input": ({**UNDER, "gen_ai.token.type": "input"}, 1, 10),
        "output": ({**UNDER, "gen_ai.token.type": "output"}, 1, 5),
    }


def test_a_call_that_failed_says_why_where_its_duration_is_told_and_nowhere_else() -> None:
    failed = msgspec.structs.replace(CALL, error="provider_interrupted")
    told = told_of(failed)
    [lasted] = told.points("gen_ai.client.operation.duration")
    assert under(lasted) == {**UNDER, "error.type": "provider_interrupted"}
    [began] = told.points("gen_ai.client.operation.time_to_first_chunk")
    assert under(began) == UNDER


def test_what_a_call_did_not_bring_is_no_sample() -> None:
    silent = msgspec.structs.replace(CALL, first_chunk=None, usage=None, error="provider_timeout")
    told = told_of(silent)
    assert not told.points("gen_ai.client.operation.time_to_first_chunk")
    assert not told.points("gen_ai.client.token.usage")


def test_thousands_of_names_are_one_series() -> None:
    told = otel_sdk.Told()
    stream = span(told)
    for number in range(1000):
        stream.called(msgspec.structs.replace(CALL, model=f"gpt-{number}"))
    [lasted] = told.points("gen_ai.client.operation.duration")
    assert lasted.count == 1000


def test_a_stream_is_measured_when_it_has_ended() -> None:
    told = otel_sdk.Told()
    span(told).ended({"status": "completed", "duration_ms": 1500, "first_chunk_ms": 200}, None)
    span(told).ended({"status": "error", "code": "x", "duration_ms": 9000}, None)
    [lasted] = told.points("holdfast.stream_duration")
    [began] = told.points("holdfast.first_chunk")
    assert (lasted.count, lasted.sum, lasted.explicit_bounds) == (1, 1.5, histogram.FIRST)
    assert (began.count, began.sum) == (1, 0.2)
