"""When an alert fires, holds and clears: second by second, in simulated time."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from tests.unit.telemetry.alerts import scenes

from holdfast.telemetry.alerts import rules, sight, state

EVERY_MS = 10_000
ALL = pytest.mark.parametrize("rule", scenes.RULES.values(), ids=scenes.RULES)
ERRORS = scenes.RULES["error_rate"]


def played(rule: rules.Rule, values: Iterable[float | None], count: int = 100) -> list[state.State]:
    """The states after each look, one each `EVERY_MS`."""
    found, now = [state.State()], scenes.BEGIN
    for value in values:
        found.append(state.step(found[-1], rule, sight.Reading(value, count), now))
        now += EVERY_MS
    return found[1:]


def phases(states: Iterable[state.State]) -> list[str]:
    """Each phase once for as long as it lasts, with its number of looks."""
    found: list[list[object]] = []
    for one in states:
        if not found or found[-1][0] != one.phase:
            found.append([one.phase, 0])
        found[-1][1] += 1  # type: ignore[operator]
    return [f"{phase} {looks}" for phase, looks in found]


@ALL
def test_it_fires_holds_and_clears(rule: rules.Rule) -> None:
    high = scenes.over(rule)
    wait, well = (int(s) // 10 for s in (rule.for_seconds, rule.clear_seconds))
    states = played(rule, [0.0] + [high] * (wait + 1 + 500) + [0.0] * (well + 1))
    assert phases(states) == [
        "inactive 1",
        f"pending {wait}",
        "firing 501",
        f"clearing {well}",
        "inactive 1",
    ]
    fired = [one for one in states if one.fires]
    assert {one.since for one in fired} == {scenes.BEGIN + EVERY_MS}
    assert fired[0].value == high


@ALL
def test_what_is_over_for_a_moment_fires_nothing(rule: rules.Rule) -> None:
    high = scenes.over(rule)
    looks = int(rule.for_seconds) // 10
    states = played(rule, ([high] * looks + [0.0]) * 20)
    assert not any(one.fires for one in states)


@ALL
def test_the_threshold_itself_is_well(rule: rules.Rule) -> None:
    assert phases(played(rule, [rule.threshold] * 20)) == ["inactive 20"]


def test_what_goes_up_and_down_around_the_threshold_is_one_alert() -> None:
    around = [0.051, 0.049] * 300
    states = played(ERRORS, [0.2] * 7 + around)
    assert phases(states) == ["pending 6", "firing 601"]
    # Below the lower limit too, but never for long.
    states = played(ERRORS, [0.2] * 7 + [0.01, 0.01, 0.01, 0.06] * 100)
    assert {one.phase for one in states[6:]} == {"firing", "clearing"}
    assert all(one.fires for one in states[6:])
    assert len({one.since for one in states}) == 1


def test_between_the_limits_nothing_begins() -> None:
    assert phases(played(ERRORS, [0.045] * 50)) == ["inactive 50"]
    assert phases(played(ERRORS, [0.06, 0.045])) == ["pending 1", "inactive 1"]


def test_a_few_observations_start_nothing_and_end_what_fires() -> None:
    assert phases(played(ERRORS, [1.0] * 50, count=rules.FEW - 1)) == ["inactive 50"]
    assert phases(played(ERRORS, [1.0] * 7, count=rules.FEW)) == ["pending 6", "firing 1"]
    firing = state.State("firing", looked=scenes.BEGIN)
    few = sight.Reading(0.0, 3)
    assert state.step(firing, ERRORS, few, scenes.BEGIN).phase == "clearing"
    few = sight.Reading(1.0, 3)
    assert state.step(firing, ERRORS, few, scenes.BEGIN) == msgspec.structs.replace(
        firing, value=1.0
    )


@pytest.mark.parametrize("phase", ["pending", "firing", "clearing"])
def test_what_is_not_seen_holds_for_a_while(phase: state.Phase) -> None:
    one = state.State(phase, scenes.BEGIN, scenes.BEGIN, value=0.5, told=True)
    nothing, now, looks = sight.Reading(), scenes.BEGIN, 0
    while one.phase == phase and one.value is not None:
        now, looks = now + EVERY_MS, looks + 1
        one = state.step(one, ERRORS, nothing, now)
    assert looks == 1000 * state.UNSEEN_SECONDS / EVERY_MS
    for _ in range(int(1000 * ERRORS.clear_seconds) // EVERY_MS):
        now += EVERY_MS
        one = state.step(one, ERRORS, nothing, now)
    assert one.phase == "inactive"


def test_what_is_not_seen_and_what_is_weak_bring_no_alert_nearer() -> None:
    weak, nothing = sight.Reading(0.5, rules.FEW - 1), sight.Reading()
    for between in (weak, nothing):
        one, now = state.State(), scenes.BEGIN
        for reading in [sight.Reading(0.5, 100), *[between] * 50, sight.Reading(0.5, 100)]:
            one = state.step(one, ERRORS, reading, now)
            now += EVERY_MS
        assert (one.phase, one.lasted) == ("pending", EVERY_MS)


HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("jump", "looks"), [(-HOUR_MS, 7), (HOUR_MS, 7 - int(state.LOOK_SECONDS) // 10)]
)
def test_a_clock_that_is_set_neither_silences_an_alert_nor_raises_one(
    jump: int, looks: int
) -> None:
    one, now = state.State(), scenes.BEGIN
    for _ in range(2):
        one = state.step(one, ERRORS, sight.Reading(0.5, 100), now)
        now += EVERY_MS
    now += jump - EVERY_MS
    more = 0
    while not one.fires:
        more += 1
        one = state.step(one, ERRORS, sight.Reading(0.5, 100), now)
        now += EVERY_MS
    assert more == looks - 1


def test_what_is_over_still_says_what_it_was() -> None:
    firing = state.State("firing", value=1.0, detail=("vendor",))
    well = state.step(firing, scenes.RULES["breaker_open"], sight.Reading(0.0, 1), scenes.BEGIN)
    assert (well.value, well.detail) == (0.0, ("vendor",))


def test_a_key_that_is_not_there_never_fires() -> None:
    assert phases(played(scenes.RULES["key_age"], [None] * 1000)) == ["inactive 1000"]


def test_the_table_leads_everywhere_and_from_everywhere() -> None:
    every = {"inactive", "pending", "firing", "clearing"}
    assert {phase for phase, _ in state.NEXT} == set(state.NEXT.values()) == every
