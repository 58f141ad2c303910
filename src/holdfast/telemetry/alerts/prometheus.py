"""The rules as a file for Prometheus, which evaluates them by itself, beside us.

Strategy: text from the same rows, with the same thresholds. A rule's expression has two parts: what
makes it fire, and the lower limit which keeps it so, asked only while it fires, as Prometheus shows
in `ALERTS`. `keep_firing_for` is the time for which it has to be well. What differs: Prometheus
gives up at once what it does not see. Strings are JSON, which YAML reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from holdfast.telemetry.alerts import rules

HEAD = """\
# The alerts of Holdfast for Prometheus 2.42 or newer, made by `holdfast alerts rules` from the same
# rows that each node evaluates by itself. With thresholds of your own, make it anew:
#   holdfast alerts rules --config holdfast.toml > rules.yml
groups:
  - name: holdfast
    rules:
"""

_VALUES = {
    "share": "{{ $value | humanizePercentage }}",
    "seconds": "{{ $value | humanizeDuration }}",
    "count": '{{ printf "%.0f" $value }}',
}


def document(some: Sequence[rules.Rule]) -> str:
    """The file, for these rules."""
    return HEAD + "".join(f"{line}\n" for rule in some for line in _lines(rule))


def named(rule: rules.Rule) -> str:
    """The alert's name there."""
    return "Holdfast" + "".join(word.capitalize() for word in rule.name.split("_"))


def _lines(rule: rules.Rule) -> Iterator[str]:
    yield f"      - alert: {named(rule)}"
    yield "        expr: |"
    yield from (f"          {line}" for line in _expression(rule))
    yield f"        for: {rule.for_seconds:g}s"
    yield f"        keep_firing_for: {rule.clear_seconds:g}s"
    yield "        labels:"
    yield f"          severity: {rule.severity}"
    yield "        annotations:"
    yield f"          summary: {json.dumps(_summary(rule))}"


def _expression(rule: rules.Rule) -> Iterator[str]:
    fires = f"{rule.measure} > {_number(rule.threshold)}"
    if rule.observed is not None:
        fires = f"{fires} and {rule.observed} >= {rule.least}"
    if rule.clears_at == rule.threshold:
        yield fires
        return
    yield f"({fires})"
    yield "or"
    yield f"({rule.measure} > {_number(rule.clears_at)}"
    yield f' and on () ALERTS{{alertname="{named(rule)}", alertstate="firing"}})'


def _summary(rule: rules.Rule) -> str:
    return rule.summary.format(
        value=_VALUES[rule.unit],
        threshold=rules.shown(rule.threshold, rule.unit),
        node="",
        detail=f"{{{{ $labels.{rule.label} }}}}",
    )


def _number(value: float) -> str:
    return f"{value:.12g}"
