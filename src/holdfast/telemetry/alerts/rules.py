"""The rules of alerts, as data: a row for each, with its limits, its words and its PromQL.

Strategy: a row names the figure of `sight.Sight` that it looks at and the setting that is its
threshold, so that evaluation, `/v1/alerts`, the webhook and the file for Prometheus say the same.
A figure has to stay over the threshold for `for_seconds` before the alert fires, and at or under a
lower one, `clears_at`, for `clear_seconds` before it is over: what goes up and down around the
threshold is one alert and not twenty. `for_seconds` is several rounds of evaluation: by then all
nodes agree which of them tells. Only what each node tells by itself (`own`) need not wait for that.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast import settings

Severity = Literal["warning", "critical"]
Unit = Literal["share", "seconds", "count"]

WINDOW_SECONDS = 300
"""Shares and percentiles are those of the last five minutes: long enough for some streams to end,
short enough to see that it is over."""

HOUR_SECONDS = 3600
"""Connections that broke off are counted over an hour, as their setting is."""

CLEARS_SHARE = 0.8
"""Of the threshold: a figure at or under it is well again."""

FEW = 20
"""Observations that a share or a percentile needs before it starts an alert: one failure of one
stream is all of them, and no news."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule. `looks_at` is a field of `sight.Sight`; `setting` (table and key) times `times` is
    the threshold, none is 0, and a setting of 0 leaves an `optional` rule out; fewer than `least`
    observations start no alert. In `summary` stand `{value}`, `{threshold}`, `{detail}` and
    `{node}`, which is a detail that need not be there. `measure` is the figure in PromQL,
    `observed` how many observations it has, and `label` the label that has the detail there: each
    is an alert of its own. Each node evaluates an `own` rule for itself alone."""

    name: str
    severity: Severity
    unit: Unit
    looks_at: str
    setting: tuple[str, str] | None
    optional: bool = False
    times: float = 1.0
    threshold: float = 0.0
    for_seconds: float = 60.0
    clear_seconds: float = 60.0
    least: int = 0
    summary: str
    measure: str
    observed: str | None = None
    label: str | None = None
    own: bool = False

    @property
    def clears_at(self) -> float:
        """The highest value that is well again."""
        return round(CLEARS_SHARE * self.threshold, 9)


ROWS: tuple[Rule, ...] = (
    Rule(
        name="error_rate",
        severity="critical",
        unit="share",
        looks_at="error_rate",
        setting=("monitoring", "error_rate"),
        least=FEW,
        summary="{value} of the streams that ended in the last 5 minutes ended with an error; "
        "the threshold is {threshold}.",
        measure='sum(increase(holdfast_streams_ended_total{status="error"}[5m]))'
        " / sum(increase(holdfast_streams_ended_total[5m]))",
        observed="sum(increase(holdfast_streams_ended_total[5m]))",
    ),
    Rule(
        name="latency",
        severity="critical",
        unit="seconds",
        looks_at="latency",
        setting=("monitoring", "latency"),
        least=FEW,
        summary="One chunk in 20 took {value} or more to its reader in the last 5 minutes; "
        "the threshold is {threshold}.",
        measure="histogram_quantile(0.95, sum by (le) "
        "(rate(holdfast_chunk_latency_seconds_bucket[5m])))",
        observed="sum(increase(holdfast_chunk_latency_seconds_count[5m]))",
    ),
    Rule(
        name="connection_drops",
        severity="warning",
        unit="count",
        looks_at="connection_drops",
        setting=("monitoring", "connection_drops"),
        summary="{value} connections broke off in the last hour; the threshold is {threshold}.",
        measure="sum(increase(holdfast_connections_dropped_total[1h]))",
    ),
    Rule(
        name="breaker_open",
        severity="warning",
        unit="count",
        looks_at="breakers_open",
        setting=None,
        # A provider that comes and goes is one alert.
        clear_seconds=300.0,
        summary="A provider fails for everybody and is passed over: {detail}.",
        measure="max by (provider) (holdfast_breaker_open)",
        label="provider",
    ),
    Rule(
        # While the log is away nodes cannot ask each other who tells: each tells of itself.
        name="log_failing",
        severity="critical",
        unit="count",
        looks_at="log_failing",
        setting=None,
        for_seconds=10.0,
        clear_seconds=30.0,
        summary="The event log takes nothing{node}: answers stand still, and new ones are refused.",
        measure="max(holdfast_log_failing)",
        own=True,
    ),
    Rule(
        name="log_append",
        severity="warning",
        unit="seconds",
        looks_at="log_append",
        setting=("monitoring", "log_append"),
        least=FEW,
        summary="One append to the event log in 100 took {value} or more in the last 5 minutes; "
        "the threshold is {threshold}.",
        measure="histogram_quantile(0.99, sum by (le) "
        "(rate(holdfast_log_append_seconds_bucket[5m])))",
        observed="sum(increase(holdfast_log_append_seconds_count[5m]))",
    ),
    Rule(
        name="archive_lag",
        severity="warning",
        unit="seconds",
        looks_at="archive_lag",
        setting=("monitoring", "archive_lag"),
        summary="Something has waited for the archive for {value}{node}; "
        "the threshold is {threshold}.",
        measure="max(holdfast_archive_lag_seconds)",
    ),
    Rule(
        name="loop_lag",
        severity="warning",
        unit="seconds",
        looks_at="loop_lag",
        setting=("monitoring", "loop_lag"),
        least=FEW,
        summary="The event loop of the busiest node{node} is late by {value} or more once in "
        "100 times; the threshold is {threshold}.",
        measure="max(histogram_quantile(0.99, sum by (le, instance, worker) "
        "(rate(holdfast_event_loop_lag_seconds_bucket[5m]))))",
        observed="max(sum by (instance, worker) "
        "(increase(holdfast_event_loop_lag_seconds_count[5m])))",
    ),
    Rule(
        name="resume_misses",
        severity="warning",
        unit="share",
        looks_at="resume_misses",
        setting=("monitoring", "resume_misses"),
        least=FEW,
        summary="{value} of the readers that came back in the last 5 minutes were behind an event "
        "that the log does not hold, and began anew; the threshold is {threshold}.",
        measure='sum(increase(holdfast_resumes_total{result="miss"}[5m]))'
        " / sum(increase(holdfast_resumes_total[5m]))",
        observed="sum(increase(holdfast_resumes_total[5m]))",
    ),
    Rule(
        name="key_ring",
        severity="critical",
        unit="count",
        looks_at="key_ring",
        setting=None,
        summary="The key ring cannot be read any more, or is another one{node}: the node goes on "
        "with the one that it has in memory, and would not start anew.",
        measure="max(holdfast_key_ring_unreadable)",
    ),
    Rule(
        # Where nothing is sealed there is no such figure.
        name="key_age",
        severity="warning",
        unit="seconds",
        looks_at="key_age",
        setting=("sealing", "rotate_every"),
        optional=True,
        times=1.5,
        summary="What is new is sealed by a key that has been used for {value} and should have "
        "been followed by another one; the threshold is {threshold}.",
        measure="max(holdfast_key_age_seconds)",
    ),
)
"""All rules, with no threshold yet."""


_STEPS = ((7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (1.0, 1.0, "s"), (0.0, 0.001, "ms"))
"""From how many seconds on a time is said in which unit, and the seconds of that."""


def rules(config: settings.Settings) -> tuple[Rule, ...]:
    """The rules, with the thresholds of these settings."""
    placed = (_placed(row, config) for row in ROWS)
    return tuple(row for row in placed if row.threshold or not row.optional)


def _placed(row: Rule, config: settings.Settings) -> Rule:
    if row.setting is None:
        return row
    table, key = row.setting
    threshold = row.times * getattr(getattr(config, table), key)
    return msgspec.structs.replace(row, threshold=threshold)


def shown(value: float, unit: Unit) -> str:
    """A value as a sentence has it."""
    if unit == "share":
        return f"{100 * value:.3g} %"
    if unit == "count":
        return f"{value:,.0f}"
    if value == 0:
        return "0 s"
    _, step, suffix = next(one for one in _STEPS if value >= one[0])
    return f"{value / step:.3g} {suffix}"


def explained(rule: Rule) -> str:
    """The rule's sentence without a value: `x` stands for it."""
    threshold = shown(rule.threshold, rule.unit)
    return rule.summary.format(value="x", threshold=threshold, detail="x", node="")


def summary(rule: Rule, value: float | None, detail: tuple[str, ...] = ()) -> str:
    """The rule's sentence for this value."""
    return rule.summary.format(
        value="unknown" if value is None else shown(value, rule.unit),
        threshold=shown(rule.threshold, rule.unit),
        detail=", ".join(detail),
        node=f" ({', '.join(detail)})" if detail else "",
    )
