"""The rules as Prometheus has them: the file is ours, and it fires, holds and clears as we do.

Strategy: Debian's `promtool` plays series through the file: each rule over its threshold, then
between its limits, then well.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.telemetry.alerts import scenes

from holdfast import settings
from holdfast.telemetry import catalogue
from holdfast.telemetry.alerts import prometheus, rules

FILE = Path(__file__).resolve().parents[4] / "deploy" / "prometheus" / "rules.yml"
MINUTE = 60


@pytest.fixture
def promtool(require: Callable[[str], Path]) -> Path:
    return require("prometheus").with_name("promtool")


def run(*command: str | Path) -> str:
    """Without the colours and the network that it might want."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_file_is_what_the_command_prints_for_the_defaults() -> None:
    said = FILE.read_text(encoding="utf-8")
    assert said == prometheus.document(tuple(scenes.RULES.values()))


def test_prometheus_takes_the_file(promtool: Path) -> None:
    assert f"{len(rules.ROWS)} rules found" in run(promtool, "check", "rules", FILE)


# How each figure is played: what each minute of a phase adds to the series, or what they are.
HIGH, BETWEEN, LOW = range(3)
Series = dict[str, tuple[float, float, float]]

COUNTERS: dict[str, Series] = {
    "error_rate": {
        'holdfast_streams_ended_total{status="error"}': (20, 4.5, 0),
        'holdfast_streams_ended_total{status="completed"}': (80, 95.5, 100),
    },
    "latency": {
        'holdfast_chunk_latency_seconds_bucket{le="2.5"}': (50, 90, 100),
        'holdfast_chunk_latency_seconds_bucket{le="5.0"}': (50, 96, 100),
        'holdfast_chunk_latency_seconds_bucket{le="10.0"}': (100, 100, 100),
        'holdfast_chunk_latency_seconds_bucket{le="+Inf"}': (100, 100, 100),
        "holdfast_chunk_latency_seconds_count": (100, 100, 100),
    },
    "log_append": {
        'holdfast_log_append_seconds_bucket{le="0.1"}': (900, 980, 1000),
        'holdfast_log_append_seconds_bucket{le="0.25"}': (950, 991, 1000),
        'holdfast_log_append_seconds_bucket{le="0.5"}': (1000, 1000, 1000),
        'holdfast_log_append_seconds_bucket{le="+Inf"}': (1000, 1000, 1000),
        "holdfast_log_append_seconds_count": (1000, 1000, 1000),
    },
    "loop_lag": {
        'holdfast_event_loop_lag_seconds_bucket{instance="a",worker="0",le="0.1"}': (500, 580, 600),
        'holdfast_event_loop_lag_seconds_bucket{instance="a",worker="0",le="0.25"}': (
            550,
            596,
            600,
        ),
        'holdfast_event_loop_lag_seconds_bucket{instance="a",worker="0",le="0.5"}': (600, 600, 600),
        'holdfast_event_loop_lag_seconds_bucket{instance="a",worker="0",le="+Inf"}': (
            600,
            600,
            600,
        ),
        'holdfast_event_loop_lag_seconds_count{instance="a",worker="0"}': (600, 600, 600),
        'holdfast_event_loop_lag_seconds_bucket{instance="a",worker="1",le="0.1"}': (
            6000,
            6000,
            6000,
        ),
        'holdfast_event_loop_lag_seconds_bucket{instance="a",worker="1",le="+Inf"}': (
            6000,
            6000,
            6000,
        ),
    },
    "resume_misses": {
        'holdfast_resumes_total{result="miss"}': (10, 4.5, 0),
        'holdfast_resumes_total{result="hit"}': (90, 95.5, 100),
    },
}
GAUGES: dict[str, Series] = {
    "breaker_open": {'holdfast_breaker_open{provider="vendor"}': (1, 1, 0)},
    "log_failing": {'holdfast_log_failing{instance="a"}': (1, 1, 0)},
    "archive_lag": {'holdfast_archive_lag_seconds{instance="a"}': (400, 250, 0)},
    "key_ring": {'holdfast_key_ring_unreadable{instance="a"}': (1, 1, 0)},
    "key_age": {"holdfast_key_age_seconds": (200_000, 110_000, 0)},
}
PHASE = 20
"""Minutes of each of the three, after as many in which all is well."""


def series() -> Iterator[dict[str, str]]:
    for some in COUNTERS.values():
        for name, (high, between, low) in some.items():
            steps = [low] * PHASE + [high] * PHASE + [between] * PHASE + [low] * PHASE
            yield _played(name, [sum(steps[:number]) for number in range(len(steps) + 1)])
    for some in GAUGES.values():
        for name, (high, between, low) in some.items():
            yield _played(name, [low] * PHASE + [high] * PHASE + [between] * PHASE + [low] * PHASE)


def _played(name: str, values: list[float]) -> dict[str, str]:
    return {"series": name, "values": " ".join(f"{value:g}" for value in values)}


def firing(name: str) -> dict[str, Any]:
    """The sample that promtool has to find."""
    rule = scenes.RULES[name]
    found = {"__name__": "ALERTS", "alertname": prometheus.named(rule), "alertstate": "firing"}
    labels = {**found, "severity": rule.severity}
    if rule.label is not None:
        labels[rule.label] = "vendor"
    said = ", ".join(f'{key}="{value}"' for key, value in labels.items() if key != "__name__")
    return {"labels": f"ALERTS{{{said}}}", "value": 1}


def expected(name: str, minute: int, *, fires: bool) -> dict[str, Any]:
    alert = prometheus.named(scenes.RULES[name])
    return {
        "expr": f'ALERTS{{alertname="{alert}", alertstate="firing"}}',
        "eval_time": f"{minute}m",
        "exp_samples": [firing(name)] if fires else [],
    }


def checks() -> Iterator[dict[str, Any]]:
    """Of all that are played together."""
    high, between, well = PHASE, 2 * PHASE, 3 * PHASE
    for name in (*COUNTERS, *GAUGES):
        late = int(scenes.RULES[name].clear_seconds) // MINUTE
        window = rules.WINDOW_SECONDS // MINUTE if name in COUNTERS else 0
        yield expected(name, high - 1, fires=False)
        yield expected(name, high + window + 3, fires=True)
        yield expected(name, between - 1, fires=True)
        yield expected(name, between + window + 5, fires=True)  # between the limits it holds
        yield expected(name, well - 1, fires=True)
        yield expected(name, well + window + late + 3, fires=False)


def test_each_rule_fires_holds_and_clears_there_too(promtool: Path, tmp_path: Path) -> None:
    # Two a minute are 120 an hour; after that it is one in two minutes.
    many = [float(2 * minute) for minute in range(90)]
    drops = many + [many[-1] + minute // 2 for minute in range(1, 90)]
    played = [
        (list(series()), list(checks())),
        (
            [_played("holdfast_connections_dropped_total", drops)],
            [
                expected("connection_drops", 30, fires=False),
                expected("connection_drops", 70, fires=True),
                expected("connection_drops", 150, fires=False),
            ],
        ),
        # All streams fail, of which there are few.
        (
            [_played('holdfast_streams_ended_total{status="error"}', [*map(float, range(30))])],
            [expected("error_rate", 25, fires=False)],
        ),
    ]
    document = {
        "rule_files": [str(FILE)],
        "evaluation_interval": "1m",
        "tests": [
            {"interval": "1m", "input_series": some, "promql_expr_test": wanted}
            for some, wanted in played
        ],
    }
    file = tmp_path / "played.yml"
    file.write_text(json.dumps(document), encoding="utf-8")
    assert "SUCCESS" in run(promtool, "test", "rules", file)


def test_the_file_asks_for_metrics_that_there_are() -> None:
    known = {metric.name: set(metric.labels) for metric in catalogue.METRICS}
    asked = {
        re.sub("_(bucket|count)$", "", name): set(re.findall(r"(\w+)=", labels))
        for row in rules.ROWS
        for name, labels in re.findall(r"(holdfast_\w+)(\{[^}]*\})?", row.measure)
    }
    assert set(asked) <= set(known)
    assert all(labels <= known[name] for name, labels in asked.items())
    assert len(asked) == len(rules.ROWS)


def test_thresholds_of_ones_own_are_in_the_file() -> None:
    said = settings.Settings.model_validate({"monitoring": {"error_rate": "12.5%"}})
    made = prometheus.document(rules.rules(said))
    assert "> 0.125 and" in made
    assert "> 0.1\n" in made
    assert "the threshold is 12.5 %." in made
