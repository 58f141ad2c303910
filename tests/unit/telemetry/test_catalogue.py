"""The catalogue, and all that names its metrics: docs/metrics.md and what is in deploy/.

Strategy: the page has each row of the catalogue, word for word, and no metric besides. Whatever is
named in an expression is in the catalogue, with labels that it has, and Debian's `promtool` reads
the expressions and the configuration.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.telemetry import catalogue, histogram, prometheus

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
BOARD = ROOT / "deploy" / "grafana" / "dashboards" / "holdfast.json"
DEPLOYED = ROOT / "deploy" / "prometheus"

NAMES = {row.name: row for row in catalogue.METRICS}
SUFFIXES = {
    "counter": ("",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
}
SERIES = {name + end: row for name, row in NAMES.items() for end in SUFFIXES[row.kind]}
OF_PROMETHEUS = {"job", "instance", "le", prometheus.WORKER}
"""Labels that any of them may have."""


def named(text: str) -> set[str]:
    """The metrics that a text names."""
    return set(re.findall(r"\b(?:holdfast|gen_ai_client|process)_[a-z_]+\b", text))


def line(row: catalogue.Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in row.labels)
    return f"| `{row.name}` | {row.kind} | {row.unit} | {labels} | {row.meaning} |"


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    return found


def expressions() -> Iterator[str]:
    """Those of the dashboard, and those of the page."""
    for panel in panels():
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from re.findall(r"`([^`]*\b(?:sum|increase|rate)\([^`]*)`", PAGE)


EXPRESSIONS = tuple(expressions())


def labels(expression: str) -> Iterator[tuple[set[str], set[str]]]:
    """Metrics with the labels that are asked of them: matched, or grouped by."""
    for name, matched in re.findall(r"\b([a-z_]+){([^}]*)}", expression):
        yield {name}, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matched))
    for grouped, rest in re.findall(r"by \(([^)]*)\) (.*)", expression):
        yield named(rest), set(re.findall(r"\w+", grouped))


def test_names_are_prometheus_own() -> None:
    for name, row in NAMES.items():
        assert re.fullmatch(r"(holdfast|gen_ai_client|process)_[a-z_]+", name)
        assert name.endswith("_total") == (row.kind == "counter")
        assert name.endswith("_seconds") or row.kind != "histogram"
        stem = name.removesuffix("_total")
        assert (row.unit in ("seconds", "bytes")) == stem.endswith(("_seconds", "_bytes"))
        assert prometheus.WORKER not in row.labels
        assert row.meaning.endswith(".")
    assert len(NAMES) == len(catalogue.METRICS)


def test_buckets_are_some_that_are_counted_by() -> None:
    """So each is exact."""
    for row in catalogue.METRICS:
        assert (row.kind == "histogram") == bool(row.buckets)
        assert {round(one * histogram.SECOND) for one in row.buckets} <= set(histogram.BOUNDS)
        assert row.buckets == tuple(sorted(set(row.buckets)))


def test_the_page_has_every_metric_and_no_other() -> None:
    lines = PAGE.splitlines()
    for row in catalogue.METRICS:
        assert lines.count(line(row)) == 1, row.name
    assert named(PAGE) <= SERIES.keys() | NAMES.keys()


def test_the_page_tells_the_usual_six_in_promql() -> None:
    told = dict(re.findall(r"^\| `(stream\.[a-z.]+)`[^|]*\| `([^`]+)` \|$", PAGE, re.MULTILINE))
    assert set(told) == {
        "stream.connections.total",
        "stream.connections.active",
        "stream.chunks.total",
        "stream.bytes.total",
        "stream.latency.average",
        "stream.errors.rate",
    }
    assert set(told.values()) <= set(EXPRESSIONS)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_there(expression: str) -> None:
    assert named(expression) <= SERIES.keys()
    for metrics, asked in labels(expression):
        known = [OF_PROMETHEUS | set(SERIES[name].labels) for name in metrics]
        assert all(asked <= each for each in known), (metrics, asked)


def test_the_dashboard_shows_every_metric_of_ours() -> None:
    shown = {SERIES[name].name for expression in EXPRESSIONS for name in named(expression)}
    assert NAMES.keys() - shown == set()


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        own = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not own & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= own
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)


@pytest.fixture(scope="module")
def promtool(require: Callable[[str], Path]) -> Path:
    return require("prometheus").with_name("promtool")


def check(promtool: Path, what: str, file: Path) -> str:
    done = subprocess.run(
        [promtool, "check", what, file], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_its_configuration(promtool: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(DEPLOYED, tmp_path / "prometheus")
    (folder / "holdfast.key").write_text("hfk_x\n")
    said = check(promtool, "config", folder / "prometheus.yml")
    assert "1 rule files found" in said


def test_prometheus_takes_every_expression(promtool: Path, tmp_path: Path) -> None:
    """As rules that record what they come to, which JSON spells as YAML does."""
    fixed = [one.replace("$__rate_interval", "5m").replace("$", "") for one in EXPRESSIONS]
    rows = [{"record": f"r{n}", "expr": one} for n, one in enumerate(fixed)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": rows}]}))
    assert f"{len(rows)} rules found" in check(promtool, "rules", file)
