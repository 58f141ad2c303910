"""The rows: what each needs is there."""

from __future__ import annotations

import pytest
from tests.unit.telemetry.alerts import scenes

from holdfast import settings
from holdfast.telemetry.alerts import rounds, rules, sight

ALL = pytest.mark.parametrize("rule", scenes.RULES.values(), ids=scenes.RULES)


@ALL
def test_each_looks_at_a_figure_of_its_own(rule: rules.Rule) -> None:
    assert rule.looks_at in sight.Sight.__struct_fields__
    assert len({one.looks_at for one in rules.ROWS}) == len(rules.ROWS)
    assert {one.looks_at for one in rules.ROWS} == set(sight.Sight.__struct_fields__)


@ALL
def test_each_waits_until_all_nodes_agree_who_tells(rule: rules.Rule) -> None:
    if rule.own:
        return
    assert rule.for_seconds >= 3 * rounds.EVERY_SECONDS
    assert rule.clear_seconds >= 3 * rounds.EVERY_SECONDS


@ALL
def test_shares_and_percentiles_need_some_observations(rule: rules.Rule) -> None:
    measured = rule.unit == "share" or "quantile" in rule.measure
    assert (rule.least == rules.FEW) == measured == (rule.observed is not None)


def test_thresholds_are_those_of_the_settings() -> None:
    said = settings.Settings.model_validate(
        {"monitoring": {"error_rate": "10%", "archive_lag": "1h", "connection_drops": 7}}
    )
    found = {rule.name: rule.threshold for rule in rules.rules(said)}
    assert found == {
        "error_rate": 0.1,
        "latency": 5.0,
        "connection_drops": 7,
        "breaker_open": 0,
        "log_failing": 0,
        "log_append": 0.25,
        "archive_lag": 3600.0,
        "loop_lag": 0.25,
        "resume_misses": 0.05,
        "key_ring": 0,
        "key_age": 1.5 * 86400,
    }


def test_where_no_key_is_to_be_rotated_none_is_too_old() -> None:
    """Over a threshold of 0 it would fire for ever."""
    said = settings.Settings.model_validate({"sealing": {"rotate_every": 0}})
    assert {rule.name for rule in rules.rules(said)} == scenes.RULES.keys() - {"key_age"}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.05, "share", "5 %"),
        (0.12345, "share", "12.3 %"),
        (104.0, "count", "104"),
        (1_234_567.0, "count", "1,234,567"),
        (6.25, "seconds", "6.25 s"),
        (0.25, "seconds", "250 ms"),
        (0.0, "seconds", "0 s"),
        (129600.0, "seconds", "36 h"),
    ],
)
def test_a_value_in_a_sentence(value: float, unit: rules.Unit, text: str) -> None:
    assert rules.shown(value, unit) == text


def test_a_sentence_says_what_was_seen() -> None:
    said = rules.summary(scenes.RULES["error_rate"], 0.2)
    assert said.startswith("20 % of the streams")
    assert said.endswith("the threshold is 5 %.")
    assert "unknown" in rules.summary(scenes.RULES["latency"], None)
    assert rules.summary(scenes.RULES["breaker_open"], 2, ("a", "b")).endswith(": a, b.")
    assert "(6f1f)" in rules.summary(scenes.RULES["loop_lag"], 2, ("6f1f",))
    assert "node is late" in rules.summary(scenes.RULES["loop_lag"], 2)


def test_a_lower_limit_is_a_round_number() -> None:
    assert scenes.RULES["error_rate"].clears_at == 0.04
