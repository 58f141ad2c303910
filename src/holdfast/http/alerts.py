"""The route of alerts, and what alerts see of their node and of the others.

Strategy: `telemetry.alerts` decides; here is who it asks. The node that leads decides for all, so
every node shows the same, some seconds old where another one leads.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.types import ASGIApp

from holdfast import errors
from holdfast.http import calls, neighbours, views
from holdfast.service import Service
from holdfast.telemetry import counts
from holdfast.telemetry.alerts import replica, rules


class RuleView(msgspec.Struct, frozen=True):
    """What fires above `threshold`, and is over at `clears_at` or less; both in `unit`."""

    name: str
    severity: rules.Severity
    unit: rules.Unit
    threshold: float
    clears_at: float
    for_seconds: float
    clear_seconds: float
    summary: str


class WebhookView(msgspec.Struct, frozen=True):
    """What became of the posts of the node that leads, since it began."""

    delivered: int
    failed: int
    waiting: int


class AlertsView(msgspec.Struct, frozen=True):
    """`GET /v1/alerts`."""

    alerts: list[views.AlertView]
    rules: list[RuleView]
    webhook: WebhookView
    nodes: list[views.NodeView]


class Eyes:
    """A node as its alerts see it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def name(self) -> str:
        return self._service.name

    def counted(self) -> counts.Counts:
        return self._service.insight.counted()

    def archive_lag(self) -> float:
        return self._service.keeper.state.lag_ms / 1000

    def breakers(self) -> tuple[str, ...]:
        return self._service.insight.passed_over

    def log_failing(self) -> bool:
        return self._service.insight.log_failing

    def key_age(self) -> float | None:
        age = self._service.keys.key_age_ms
        return None if age is None else age / 1000

    def key_ring(self) -> bool:
        return self._service.keys.unreadable

    async def ask(self) -> Mapping[str, replica.Told | None] | None:
        try:
            return await neighbours.watched_of_others(self._service)
        except errors.LogUnavailable:
            return None


async def show(call: calls.Call) -> ASGIApp:
    """`GET /v1/alerts`: what fires, by which rules, and whether it was told."""
    made, service = call.node.alerts, call.node.service
    others = [views.NodeView(name, answered) for name, answered in made.answered.items()]
    own = views.NodeView(neighbours.own_name(service), True)
    sent = made.sent
    return views.response(
        AlertsView(
            [views.alert(one) for one in made.shown()],
            [_rule(one) for one in made.rules],
            WebhookView(sent.delivered, sent.failed, sent.waiting),
            [own, *others],
        )
    )


def _rule(one: rules.Rule) -> RuleView:
    return RuleView(
        one.name,
        one.severity,
        one.unit,
        one.threshold,
        one.clears_at,
        one.for_seconds,
        one.clear_seconds,
        rules.explained(one),
    )
