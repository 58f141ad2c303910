"""When an alert fires and when it is over: one step from what was to what is seen now.

Strategy: four phases and a table of what leads from one to the next. The time is an argument, so
every case is a row in a test. What is not seen changes nothing: a figure that nobody measured, or
of too few observations, is no better and no worse than before, and its time counts for nothing. It
holds the phase, for `UNSEEN_SECONDS`; then the alert is given up, or it would stand for ever where
nobody calls any more. Few observations start no alert and do end one.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.telemetry.alerts.rules import Rule
from holdfast.telemetry.alerts.sight import Reading

Phase = Literal["inactive", "pending", "firing", "clearing"]
Cause = Literal["over", "between", "under", "due"]

NEXT: dict[tuple[Phase, Cause], Phase] = {
    ("inactive", "over"): "pending",
    ("pending", "due"): "firing",
    ("pending", "between"): "inactive",
    ("pending", "under"): "inactive",
    ("firing", "under"): "clearing",
    ("clearing", "over"): "firing",
    ("clearing", "between"): "firing",
    ("clearing", "due"): "inactive",
}
"""What is not in the table changes nothing. `between` is what is over `clears_at` and not over the
threshold; `due`: it was `over` for long enough, or `under` for long enough."""

UNSEEN_SECONDS = 900.0
"""How long a phase is held while nothing is seen."""

LOOK_SECONDS = 30.0
"""The most that one look adds to what it says: three rounds. Who looks after an hour has not seen
the hour, and a clock may have been set."""

FIRES: frozenset[Phase] = frozenset(("firing", "clearing"))


class State(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Of one rule. In ms since 1970: `since` the figure is over the threshold, or was last, and
    when it was `looked` at. In ms: how long the phase has `lasted` as far as it was seen, and how
    long nothing was. `value` is what was seen last, `detail` the last that there was. `told`: those
    who are called know that it fires."""

    phase: Phase = "inactive"
    since: int = 0
    looked: int = 0
    lasted: int = 0
    unseen: int = 0
    value: float | None = None
    detail: tuple[str, ...] = ()
    told: bool = False

    @property
    def fires(self) -> bool:
        """Whether it is an alert for people; `clearing` still is."""
        return self.phase in FIRES


WELL = State()


def step(state: State, rule: Rule, reading: Reading, now: int) -> State:
    """The state after this look, at `now` (ms since 1970)."""
    passed = int(min(max(now - state.looked, 0), 1000 * LOOK_SECONDS))
    cause = _cause(state, rule, reading)
    unseen = 0 if cause else state.unseen + passed
    if cause is None:
        if state.phase == "inactive" or unseen < 1000 * UNSEEN_SECONDS:
            return msgspec.structs.replace(state, looked=now, unseen=unseen)
        cause = "under"
    phase = NEXT.get((state.phase, cause), state.phase)
    lasted = state.lasted + passed if phase == state.phase else 0
    if _due(rule, phase, lasted):
        phase, lasted = NEXT[phase, "due"], 0
    return State(
        phase,
        now if state.phase == "inactive" and phase != "inactive" else state.since,
        now,
        lasted,
        unseen,
        reading.value,
        reading.detail or state.detail,
        state.told,
    )


def _cause(state: State, rule: Rule, reading: Reading) -> Cause | None:
    """What this look says; None where it says nothing."""
    value = reading.value
    if value is None or (reading.count < rule.least and not state.fires):
        return None
    if value > rule.threshold:
        return "over"
    return "between" if value > rule.clears_at else "under"


def _due(rule: Rule, phase: Phase, ms: int) -> bool:
    """Whether this phase, which has lasted so long, is over."""
    if phase == "pending":
        return ms >= 1000 * rule.for_seconds
    return phase == "clearing" and ms >= 1000 * rule.clear_seconds
