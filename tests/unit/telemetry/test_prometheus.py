"""The page for Prometheus: read back by the official parsers, and held to what was counted."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from random import Random

import msgspec
import pytest
from prometheus_client import Metric, parser
from prometheus_client.openmetrics import parser as openmetrics
from tests.unit.telemetry import told

from holdfast import errors, events
from holdfast.providers import registry
from holdfast.telemetry import catalogue, histogram, prometheus, record, samples

OPENMETRICS = "application/openmetrics-text"
BY_PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def families(accept: str, nodes: Mapping[str, samples.Node]) -> list[Metric]:
    text, media_type = prometheus.page(nodes, accept)
    known = media_type.startswith(OPENMETRICS)
    read = openmetrics if known else parser
    return list(read.text_string_to_metric_families(text.decode()))


def series(found: Iterable[Metric]) -> Series:
    """Each sample once."""
    every = [
        (one.name, frozenset(one.labels.items()), one.value) for f in found for one in f.samples
    ]
    assert len({one[:2] for one in every}) == len(every)
    return {(name, labels): value for name, labels, value in every}


def one(found: Series, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_every_metric_is_there_with_its_kind_and_meaning(accept: str) -> None:
    found = {family.name: family for family in families(accept, {"": told.NODE})}
    assert len(found) == len(catalogue.METRICS)
    for row in catalogue.METRICS:
        family = found[row.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (row.kind, row.meaning)
        names = {*row.labels, *(("le",) if row.kind == "histogram" else ())}
        assert {name for each in family.samples for name in each.labels} == names
        if accept and row.unit in ("seconds", "bytes"):
            assert family.unit == row.unit


def test_both_formats_tell_the_same() -> None:
    nodes = {"0": told.NODE, "1": told.SILENT}
    assert series(families("", nodes)) == series(families(OPENMETRICS, nodes))


CALLED = {
    "provider": "main",
    "gen_ai_provider_name": "openai",
    "gen_ai_operation_name": "chat",
    "gen_ai_request_model": "gpt-*",
}
TIMEOUT = {"error_type": "provider_timeout"}


def test_values_are_those_that_were_counted() -> None:
    found = series(families("", {"": told.NODE}))
    for name, labels, value in (
        ("holdfast_streams_active", {}, 2),
        ("holdfast_streams_ended_total", {"status": "cancelled"}, 1),
        ("holdfast_errors_total", {"kind": "token_limit"}, 1),
        ("holdfast_errors_total", {"kind": "provider_auth"}, 0),
        ("holdfast_resumes_total", {"result": "hit"}, 3),
        ("holdfast_resumes_total", {"result": "miss"}, 1),
        ("holdfast_bytes_total", {"encoding": "identity"}, 600),
        ("holdfast_bytes_total", {"encoding": "gzip"}, 200),
        ("holdfast_bytes_total", {"encoding": "zstd"}, 0),
        ("holdfast_uncompressed_bytes_total", {"encoding": "gzip"}, 1200),
        ("holdfast_uncompressed_bytes_total", {"encoding": "br"}, 400),
        ("holdfast_network_rtt_seconds_sum", {}, 0.09),
        ("holdfast_network_rtt_seconds_count", {}, 3),
        ("holdfast_network_packets_lost_total", {}, 2),
        ("holdfast_log_append_seconds_count", {"engine": "redis"}, 2),
        ("holdfast_log_failing", {}, 1),
        ("holdfast_archive_lag_seconds", {}, 1.5),
        ("holdfast_key_age_seconds", {}, 3600.5),
        ("holdfast_key_ring_unreadable", {}, 1),
        ("holdfast_key_ring_failures_total", {}, 12),
        ("holdfast_breaker_open", {"provider": "main"}, 1),
        ("holdfast_breaker_open", {"provider": "spare"}, 0),
        ("holdfast_build_info", {"version": "1.2.3"}, 1),
        ("process_cpu_seconds_total", {}, 2.5),
        ("process_start_time_seconds", {}, 1_790_000_000.5),
        ("gen_ai_client_inference_usage_cache_read_input_tokens_total", CALLED, 10),
        ("gen_ai_client_operation_duration_seconds_sum", {**CALLED, "error_type": ""}, 0.9),
        ("gen_ai_client_operation_duration_seconds_count", {**CALLED, "error_type": ""}, 1),
        ("gen_ai_client_operation_duration_seconds_sum", {**CALLED, **TIMEOUT}, 1.14),
        ("gen_ai_client_operation_duration_seconds_count", {**CALLED, **TIMEOUT}, 2),
        ("holdfast_provider_errors_total", {**CALLED, **TIMEOUT}, 2),
    ):
        assert one(found, name, **labels) == pytest.approx(value, abs=0), name


def test_a_histogram_has_its_buckets_and_all_samples() -> None:
    """To the sample: each bucket is one of those that are counted by."""
    found = series(families("", {"": told.NODE}))
    name = "holdfast_chunk_latency_seconds"
    under = {
        float(dict(labels)["le"]): value
        for (each, labels), value in found.items()
        if each == f"{name}_bucket"
    }
    assert tuple(sorted(under)) == (*histogram.DELIVERY, float("inf"))
    assert [under[le] for le in (0.001, 0.05, 0.1, 30.0, float("inf"))] == [3, 3, 4, 4, 5]
    assert one(found, f"{name}_count") == 5
    assert one(found, f"{name}_sum") == pytest.approx(40.0725)


def test_what_is_not_measured_is_not_there() -> None:
    found = {family.name for family in families("", {"": told.SILENT})}
    rows = {row.name.removesuffix("_total") for row in catalogue.METRICS}
    unknown = {name for name in rows - found if not name.startswith("gen_ai")}
    assert unknown == {
        "holdfast_network_rtt_seconds",
        "holdfast_network_retransmissions",
        "holdfast_network_packets_lost",
        "holdfast_provider_calls_active",
        "holdfast_provider_calls",
        "holdfast_provider_errors",
        "process_resident_memory_bytes",
        "holdfast_key_age_seconds",
        "process_open_fds",
    }


def test_each_worker_has_series_of_its_own() -> None:
    found = series(families("", {"0": told.NODE, "3": told.NODE}))
    alone = series(families("", {"": told.NODE}))
    assert found == {
        (name, labels | {("worker", number)}): value
        for number, ((name, labels), value) in itertools.product("03", alone.items())
    }


@pytest.mark.case("4.21")
def test_ten_thousand_strangers_make_no_series() -> None:
    """Whatever callers and providers say: models, error texts, ids."""
    vendor = registry.ProviderConfig(
        name="main", kind="openai_chat", base_url="http://x/v1", models=("gpt-*", "m-1")
    )
    known = registry.Registry([vendor])
    kept = record.Record(known.label)
    random = Random(1)

    def text() -> str:
        return f'{random.getrandbits(60)}"\\/{{}}=,\n é\u2028*?'

    def load(many: int) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        for number in range(many):
            stream = events.StreamId(f"{number:026}")
            model = random.choice((f"gpt-{text()}", "m-1", text()))
            provider = random.choice(("main", "demo"))
            failed = errors.ProviderFailed(text())
            with kept.calls(provider, model).one():
                pass
            kept.call_ended(record.Call(stream, provider, model, 0.0, 0.1, 0.1, failed.code, None))
            kept.ended(stream, events.Error(failed.code, text(), False))
        counted = kept.counted()
        models = ("main/gpt-*", "main/m-1", "main/other", "demo/other")
        assert counted.calls.keys() == set(models)
        node = msgspec.structs.replace(told.NODE, counted=counted)
        return set(series(families("", {"": node})))

    few = load(100)
    assert load(10_000) == few


INCREASES = """
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series: {series}
    promql_expr_test:
      - expr: sum(increase(own[5m]))
        eval_time: 4m
        exp_samples: [{{value: 60}}]
      - expr: increase(summed[5m])
        eval_time: 4m
        exp_samples: [{{value: 90}}]
"""
"""Of 60 answers that two workers have begun, one of which was killed."""


def test_a_sum_would_be_counted_again_when_a_worker_dies(
    require: Callable[[str], Path], tmp_path: Path
) -> None:
    """By Prometheus' own rule for counters, on five scrapes of what these pages have."""

    def scrape(**started: int) -> Series:
        counted = {
            number: msgspec.structs.replace(told.COUNTED, streams_started=many)
            for number, many in started.items()
        }
        nodes = {
            number.removeprefix("w"): msgspec.structs.replace(told.NODE, counted=one)
            for number, one in counted.items()
        }
        return series(families("", nodes))

    def values(found: Series) -> dict[str, float]:
        name = "holdfast_streams_started_total"
        every = {number: found.get((name, frozenset({("worker", number)}))) for number in "01"}
        return {number: value for number, value in every.items() if value is not None}

    scrapes = [
        values(scrape(**started))
        for started in (
            {"w0": 0, "w1": 0},
            {"w0": 30, "w1": 30},
            {"w1": 30},
            {"w0": 0, "w1": 30},
            {"w0": 0, "w1": 30},
        )
    ]
    own = {
        f'own{{worker="{number}"}}': " ".join(f"{one.get(number, '_')}" for one in scrapes)
        for number in "01"
    }
    summed = " ".join(str(sum(one.values())) for one in scrapes)
    rows = [{"series": name, "values": each} for name, each in {**own, "summed": summed}.items()]
    file = tmp_path / "increases.yml"
    file.write_text(INCREASES.format(series=json.dumps(rows)))
    promtool = require("prometheus").with_name("promtool")
    done = subprocess.run(
        [promtool, "test", "rules", file], capture_output=True, text=True, timeout=60, check=False
    )
    assert "SUCCESS" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        ("application/json", False),
        (BY_PROMETHEUS_2, True),
        ("Application/OpenMetrics-Text; version=abc.def; escaping=\xe4", True),
    ],
)
def test_who_asks_says_in_which_format(accept: str, openmetrics: bool) -> None:
    text, media_type = prometheus.page({"": told.SILENT}, accept)
    kind = OPENMETRICS if openmetrics else "text/plain"
    assert media_type.startswith(f"{kind}; version=")
    assert text.endswith(b"# EOF\n") == openmetrics


def test_a_label_can_say_anything() -> None:
    calls = {'main/a"b\\c\n{}': told.CALLS}
    counted = msgspec.structs.replace(told.COUNTED, calls=calls)
    node = msgspec.structs.replace(told.NODE, counted=counted)
    for accept in ("", OPENMETRICS):
        found = series(families(accept, {"": node}))
        labels = {**CALLED, "gen_ai_request_model": 'a"b\\c\n{}'}
        assert one(found, "holdfast_provider_calls_total", **labels) == 9
