"""The one task of alerts: looks every few seconds, and tells what has changed.

Strategy: a round asks the other nodes, lets `replica` decide which of all leads, and where that is
this one, takes the rules a step on. What is owed is logged, and posted by a job of its own, so that
a webhook which does not answer holds up neither the rules nor other alerts. There is one job an
alert at most: so their number is bounded, and a firing is told before its end is. Where the others
cannot be asked, as while the log is away, who leads goes on by what it sees itself: that may raise
an alert, and ends none.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from holdfast import events
from holdfast.telemetry import counts
from holdfast.telemetry.alerts import replica, rules, sight, state, webhook

EVERY_SECONDS = 10.0
"""From one round to the next: what fires is known a few seconds later than it could be, and the
cost is nothing."""

_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger("holdfast")


class Node(Protocol):
    """What alerts need of their node."""

    @property
    def name(self) -> str:
        """Among all nodes, for as long as it lives."""

    def counted(self) -> counts.Counts:
        """Since it began."""

    def archive_lag(self) -> float:
        """Seconds."""

    def breakers(self) -> tuple[str, ...]:
        """The providers that are passed over now."""

    def log_failing(self) -> bool:
        """Whether the event log takes nothing now."""

    def key_age(self) -> float | None:
        """For how long (seconds) what is new has been sealed by one key; None where it is not."""

    def key_ring(self) -> bool:
        """Whether the key ring cannot be read any more."""

    async def ask(self) -> Mapping[str, replica.Told | None] | None:
        """What the other nodes tell, None of one that does not; None where none can be asked."""


class Announcement(msgspec.Struct, frozen=True):
    """What the webhook is told, by the node `told_by`. `since` is RFC 3339; `value` is null where
    there is none any more. `detail` names what it is about: a provider, or the worst node."""

    alert: str
    status: replica.Status
    severity: rules.Severity
    since: str
    value: float | None
    threshold: float
    summary: str
    detail: tuple[str, ...]
    told_by: str


class Alert(msgspec.Struct, frozen=True):
    """One that is pending or fires, as it is shown; `since` in ms since 1970."""

    name: str
    severity: rules.Severity
    state: str
    since: int
    value: float | None
    threshold: float
    summary: str
    detail: tuple[str, ...]


Start = Callable[[Coroutine[Any, Any, None], str], object]
"""Runs work that ends by itself, under a name: `Supervisor.job`."""


class Alerts:
    """Of one node. `start` runs what is posted; without a `hook` alerts are logged and shown.
    `clock` gives ms since 1970."""

    def __init__(
        self,
        some: Sequence[rules.Rule],
        node: Node,
        start: Start,
        hook: webhook.Webhook | None = None,
        clock: Callable[[], int] = events.now_ms,
    ) -> None:
        self.rules = tuple(some)
        self._node, self._start, self._hook, self._clock = node, start, hook, clock
        self._replica = replica.Replica(some)
        self._samples: sight.Samples | None = None
        self._sending: set[str] = set()
        self.answered: Mapping[str, bool] = {}
        """The other nodes, and whether each answered in the last round."""

    async def run(self) -> None:
        """Never returns."""
        try:
            while True:
                await self.round()
                await asyncio.sleep(EVERY_SECONDS)
        finally:
            if self._hook is not None:
                await self._hook.close()

    async def round(self) -> None:
        """One look."""
        others = await self._node.ask()
        now = asyncio.get_running_loop().time()
        if self._samples is None:
            self._samples = sight.Samples(now)
        self._samples.add(now, self._node.counted())
        me, own, all_seen = self._node.name, self._seen(), None
        if others is None:
            self.answered = dict.fromkeys(self.answered, False)
        else:
            self.answered = {name: told is not None for name, told in others.items()}
            self._replica.take(me, others)
            all_seen = sight.sight({me: own, **self._replica.heard})
        self._replica.step(all_seen, sight.sight({me: own}), self._clock())
        for key, rule, status in self._replica.owed():
            if key not in self._sending:
                self._announce(key, rule, status)

    def told(self) -> replica.Told:
        """To another node that asks."""
        sent = self.sent
        return replica.Told(self._replica.leads, self._replica.states, sent, self._seen())

    @property
    def sent(self) -> replica.Sent:
        """What became of announcements, as the node that leads has it."""
        if not self._replica.leads:
            return self._replica.sent
        if self._hook is None:
            return replica.Sent()
        return replica.Sent(self._hook.delivered, self._hook.failed, len(self._sending))

    def shown(self) -> list[Alert]:
        """Those that are pending or fire, as the node that leads had them at its last round."""
        return [
            _alert(rule, one)
            for rule in self.rules
            for one in self._replica.of(rule).values()
            if one.phase != "inactive"
        ]

    def _seen(self) -> sight.Seen:
        if self._samples is None:
            return sight.Seen()
        node = self._node
        return self._samples.seen(
            node.counted(),
            node.archive_lag(),
            node.breakers(),
            node.log_failing(),
            node.key_age(),
            node.key_ring(),
        )

    def _announce(self, key: str, rule: rules.Rule, status: replica.Status) -> None:
        one = self._replica.states[key]
        summary = rules.summary(rule, one.value, one.detail)
        said = Announcement(
            rule.name,
            status,
            rule.severity,
            events.rfc3339(one.since),
            one.value,
            rule.threshold,
            summary if status == "firing" else f"Over: {summary}",
            one.detail,
            self._node.name,
        )
        facts = msgspec.structs.asdict(said)
        if status == "resolved":
            _log.info("alert_resolved", **facts)
        elif rule.severity == "critical":
            _log.error("alert_firing", **facts)
        else:
            _log.warning("alert_firing", **facts)
        if self._hook is None:
            self._replica.settle(key, status)
            return
        # The same for all nodes that tell of this, so that who gets it twice can tell.
        of = f"{key} {self._node.name}" if rule.own else key
        named = f"{of} {status} {one.since}".encode()
        id = f"msg_{hashlib.sha256(named).hexdigest()[:32]}"
        self._sending.add(key)
        self._start(self._post(self._hook, key, said, id), f"alert {key}")

    async def _post(self, hook: webhook.Webhook, key: str, said: Announcement, id: str) -> None:
        try:
            await hook.send(id, _encode(said))
            self._replica.settle(key, said.status)
        finally:
            self._sending.discard(key)


def _alert(rule: rules.Rule, one: state.State) -> Alert:
    return Alert(
        rule.name,
        rule.severity,
        "firing" if one.fires else "pending",
        one.since,
        one.value,
        rule.threshold,
        rules.summary(rule, one.value, one.detail),
        one.detail,
    )
