"""Rules and figures for the tests of alerts."""

from __future__ import annotations

import msgspec

from holdfast import settings
from holdfast.telemetry.alerts import rules, sight, state

RULES = {rule.name: rule for rule in rules.rules(settings.Settings())}
BEGIN = 1_790_000_000_000
"""When scenes begin, in ms since 1970."""


def reading(rule: rules.Rule, value: float | None, count: int = 100) -> sight.Reading:
    return sight.Reading(value, count)


def shows(rule: rules.Rule, value: float | None, count: int = 100) -> sight.Sight:
    """What is seen where this rule's figure is the value, and all others are well."""
    figure = {rule.looks_at: sight.Reading(value, count)}
    return msgspec.structs.replace(sight.Sight(), **figure)


def over(rule: rules.Rule) -> float:
    return 2 * rule.threshold + 1 if rule.unit != "share" else (rule.threshold + 1) / 2


INACTIVE = state.State()
FIRING = state.State("firing", BEGIN, BEGIN, value=0.5)
