"""Circuit breakers: the table, sequences as rows, and any history of calls.

Strategy: the time is a number. A sequence is a list of steps, each with its time, and a question
says what is answered. Any history is made up by hypothesis: calls that are asked for, admitted and
end late in every way; whatever happens nobody is let through too early, one probe goes at a time,
and the breaker comes back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast import errors
from holdfast.producing import breaker

LIMITS = breaker.Limits(failures=3, pause=10.0, longest=60.0)
FAILED = errors.ProviderFailed()

STATES = get_args(breaker.State)
CAUSES = get_args(breaker.Cause)


def opened(at: float = 0.0) -> breaker.Breaker:
    guard = breaker.Breaker(LIMITS)
    for _ in range(LIMITS.failures):
        assert guard.admits(at)
        guard.ended(FAILED, at)
    return guard


def in_state(state: breaker.State) -> breaker.Breaker:
    """One that is in this state at the time 10."""
    guard = breaker.Breaker(LIMITS) if state == "closed" else opened()
    if state == "half_open":
        assert guard.admits(10.0)
    assert guard.state == state
    return guard


@pytest.mark.parametrize(("state", "cause"), list(itertools.product(STATES, CAUSES)))
def test_the_table(state: breaker.State, cause: breaker.Cause) -> None:
    expected: dict[tuple[str, str], str] = {
        ("closed", "success"): "closed",
        ("closed", "failure"): "open",
        ("closed", "expiry"): "closed",
        ("open", "success"): "open",
        ("open", "failure"): "open",
        ("open", "expiry"): "half_open",
        ("half_open", "success"): "closed",
        ("half_open", "failure"): "open",
        ("half_open", "expiry"): "half_open",
    }
    assert breaker.NEXT.get((state, cause), state) == expected[state, cause]
    guard = in_state(state)
    if cause == "expiry":
        guard.admits(10.0)
    elif cause == "success":
        guard.ended(None, 10.0)
    else:
        for _ in range(LIMITS.failures if state == "closed" else 1):
            guard.ended(FAILED, 10.0)
    assert guard.state == expected[state, cause]


@pytest.mark.parametrize("state", STATES)
def test_who_answers_is_there_before_the_answer_is_whole(state: breaker.State) -> None:
    guard = in_state(state)
    guard.answers(10.0)
    if state == "open":
        assert guard.state == "open"  # it is old news, of a call from before
        return
    assert guard.state == "closed"
    assert not guard.shut(10.0)
    guard.ended(None, 2000.0, began=10.0)
    assert guard.state == "closed"


OK = None
BUSY = errors.ProviderRateLimited()
GONE = errors.Cancelled()
A_FAILURE, TWO, THREE = [(FAILED, 0)], [(FAILED, 0)] * 2, [(FAILED, 0)] * 3

# A question is (its answer, time), an end is (error or None, time).
Step = tuple[Any, float]
SEQUENCES: dict[str, tuple[list[Step], breaker.State]] = {
    "nothing yet": ([(True, 0), (True, 0)], "closed"),
    "two failures": ([*TWO, (True, 0)], "closed"),
    "three failures": ([*THREE, (False, 0)], "open"),
    "an answer ends the row": ([*TWO, (OK, 0), *TWO, (True, 0)], "closed"),
    "a refusal does not": ([*TWO, (BUSY, 0), *A_FAILURE, (False, 0)], "open"),
    "nor does one that was cancelled": ([*TWO, (GONE, 0), *A_FAILURE], "open"),
    "just before the pause is over": ([*THREE, (False, 9.99)], "open"),
    "one probe": ([*THREE, (True, 10), (False, 10), (False, 99)], "half_open"),
    "nobody asks for long": ([*THREE, (True, 1e9)], "half_open"),
    "the probe is answered": ([*THREE, (True, 10), (OK, 11), (True, 11), (True, 11)], "closed"),
    "the row begins anew": ([*THREE, (True, 10), (OK, 11), (FAILED, 12), (FAILED, 12)], "closed"),
    "the probe fails": ([*THREE, (True, 10), (FAILED, 12), (False, 31.9)], "open"),
    "one failure of a probe is enough": (
        [*THREE, (True, 10), (FAILED, 10), (True, 30)],
        "half_open",
    ),
    "the probe is refused": ([*THREE, (True, 10), (BUSY, 11), (True, 11), (True, 11)], "closed"),
    "the probe is cancelled": (
        [*THREE, (True, 10), (GONE, 11), (True, 11), (False, 11)],
        "half_open",
    ),
    "and again": (
        [*THREE, (True, 10), (GONE, 11), (True, 11), (GONE, 12), (True, 12)],
        "half_open",
    ),
    "and the next one fails": ([*THREE, (True, 10), (GONE, 11), (True, 11), (FAILED, 12)], "open"),
    "the pause counts from the first": ([*THREE, (FAILED, 9), (OK, 9), (True, 10)], "half_open"),
}


@pytest.mark.parametrize(("steps", "state"), SEQUENCES.values(), ids=SEQUENCES)
def test_a_sequence(steps: list[Step], state: breaker.State) -> None:
    guard = breaker.Breaker(LIMITS)
    for step, now in steps:
        if isinstance(step, bool):
            assert guard.shut(now) is not step
            assert guard.admits(now) is step
        else:
            guard.ended(step, now)
    assert guard.state == state


def test_to_be_shut_is_only_looked_at() -> None:
    guard = opened()
    assert guard.shut(9.99)
    assert not guard.shut(10.0)
    assert guard.state == "open"
    assert guard.admits(10.0)
    assert guard.shut(10.0)


def pauses(guard: breaker.Breaker, probes: int, now: float) -> Iterator[float]:
    """How long each pause is, with a probe after each that fails a second later."""
    for _ in range(probes):
        pause = next(n for n in itertools.count(0) if not guard.shut(now + n))
        assert guard.admits(now + pause)
        now += pause + 1
        guard.ended(FAILED, now)
        yield pause


def test_the_pause_grows_up_to_the_longest_and_begins_small_again() -> None:
    guard = opened()
    assert list(pauses(guard, 6, 0.0)) == [10, 20, 40, 60, 60, 60]
    assert guard.admits(1e6)
    guard.ended(None, 1e6)
    for _ in range(LIMITS.failures):
        guard.ended(FAILED, 1e6)
    assert list(pauses(guard, 2, 1e6)) == [10, 20]


def every(kind: type[errors.HoldfastError]) -> Iterator[type[errors.HoldfastError]]:
    for each in kind.__subclasses__():
        yield each
        yield from every(each)


@pytest.mark.parametrize("error", list(every(errors.ProviderError)))
def test_every_error_of_a_provider_fails_for_everybody_or_refuses_one(
    error: type[errors.ProviderError],
) -> None:
    refuses = {"rejected", "context_length", "model_not_found", "rate_limited"}
    harmless = error.code.removeprefix("provider_") in refuses
    guard = breaker.Breaker(LIMITS)
    for _ in range(LIMITS.failures):
        guard.ended(error(), 0.0)
    assert guard.state == ("closed" if harmless else "open")
    probed = in_state("half_open")
    probed.ended(error(), 10.0)
    assert probed.state == ("closed" if harmless else "open")


THEIRS = (errors.ProviderError, errors.ClientError)
OURS = [each for each in every(errors.HoldfastError) if not issubclass(each, THEIRS)]


@pytest.mark.parametrize("state", STATES)
def test_an_error_that_is_not_the_provider_s_is_no_verdict(state: breaker.State) -> None:
    for kind in OURS:
        guard = in_state(state)
        for _ in range(LIMITS.failures):
            guard.ended(kind(), 10.0)
        assert guard.state == state
        assert guard.admits(10.0)


LATE = [None, FAILED, BUSY, GONE]


@pytest.mark.parametrize("error", LATE)
def test_a_call_that_was_under_way_when_it_opened_decides_nothing(
    error: errors.HoldfastError | None,
) -> None:
    guard = opened(at=5.0)
    guard.ended(error, 6.0, began=5.0)
    assert guard.shut(14.9)
    assert guard.admits(15.0)
    guard.ended(error, 16.0, began=5.0)
    assert not guard.admits(16.0)  # the probe is still the only one
    assert guard.state == "half_open"
    guard.ended(None, 17.0, began=15.0)
    for _ in range(LIMITS.failures):
        guard.ended(error, 18.0, began=5.0)
    assert guard.admits(18.0)
    for _ in range(LIMITS.failures):
        guard.ended(FAILED, 19.0, began=17.0)
    assert not guard.admits(28.9)


def test_a_late_answer_does_not_end_a_new_row_of_failures() -> None:
    guard = opened(at=5.0)
    assert guard.admits(15.0)
    guard.ended(None, 15.0, began=15.0)
    for began in (16.0, 16.0, 5.0, 16.0):
        guard.ended(None if began == 5.0 else FAILED, 20.0, began=began)
    assert guard.state == "open"


@pytest.mark.parametrize(
    ("failures", "pause", "longest"),
    [(0, 1.0, 2.0), (1, 0.0, 2.0), (1, -1.0, 2.0), (1, 2.0, 1.0), (1, math.nan, 2.0)],
)
def test_limits_that_cannot_be(failures: int, pause: float, longest: float) -> None:
    with pytest.raises(ValueError, match="a breaker takes"):
        breaker.Limits(failures, pause, longest)


def test_each_provider_has_its_own() -> None:
    guards = breaker.Breakers(breaker.Limits(failures=1))
    assert guards.of("one") is guards.of("one")
    guards.of("one").ended(FAILED, 0.0)
    assert guards.of("one").state == "open"
    assert guards.of("other").state == "closed"


class Machine(RuleBasedStateMachine):
    """Calls to one provider. `row` counts the failures since a whole answer or a change of state,
    `since` is when it last opened, `pause` how long that is to last at the least."""

    def __init__(self) -> None:
        super().__init__()
        self.guard = breaker.Breaker(LIMITS)
        self.now = 0.0
        self.calls: list[float] = []
        self.row = 0
        self.since, self.pause = -math.inf, 0.0

    @rule(seconds=st.sampled_from([0.0, 1.0, 9.0, 10.0, 20.0, 59.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        shut, before = self.guard.shut(self.now), self.guard.state
        admitted = self.guard.admits(self.now)
        assert admitted is not shut
        if admitted:
            assert before != "open" or self.now >= self.since + self.pause
            self.calls.append(self.now)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), error=st.sampled_from([*LATE, FAILED, FAILED]))
    def end(self, data: st.DataObject, error: errors.HoldfastError | None) -> None:
        began = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        before = self.guard.state
        self.guard.ended(error, self.now, began=began)
        after = self.guard.state
        if began < self.since + self.pause:
            assert after == before
            return
        self.row = 0 if error is None else self.row + (error is FAILED)
        if before == after:
            assert before != "closed" or self.row < LIMITS.failures
            assert before != "half_open" or error is GONE
            return
        if after == "open":
            assert error is FAILED
            assert before == "half_open" or self.row == LIMITS.failures
            longer = min(2 * self.pause, LIMITS.longest)
            self.pause = longer if before == "half_open" else LIMITS.pause
            self.since = self.now
        else:
            assert (before, after) == ("half_open", "closed")
            assert error in (None, BUSY)
        self.row = 0

    @invariant()
    def one_probe_at_a_time(self) -> None:
        if self.guard.state == "half_open":
            new = [began for began in self.calls if began >= self.since + self.pause]
            assert len(new) == self.guard.shut(self.now)
        if self.guard.state == "open":
            assert self.guard.shut(self.since + self.pause - 0.01)
            assert not self.guard.shut(self.since + self.pause)

    def teardown(self) -> None:
        """Once all calls have ended it comes back, however they did."""
        for began in self.calls:
            self.guard.ended(GONE, self.now, began=began)
        self.now += LIMITS.longest
        assert self.guard.admits(self.now)
        self.guard.ended(None, self.now, began=self.now)
        assert self.guard.state == "closed"
        assert self.guard.admits(self.now)


TestAnyHistory = Machine.TestCase


def test_who_is_passed_over_is_not_any_more_when_the_pause_is_over_and_nobody_calls() -> None:
    guards = breaker.Breakers(LIMITS)
    guard = guards.of("vendor")
    guards.of("well")
    for _ in range(LIMITS.failures):
        guard.admits(0.0)
        guard.ended(FAILED, 0.0)
    assert guards.shut(LIMITS.pause - 0.1) == ("vendor",)
    assert guards.shut(LIMITS.pause) == ()
    assert guard.admits(LIMITS.pause)
    assert guards.shut(LIMITS.pause) == ("vendor",)  # while one call tries it
    guard.ended(None, LIMITS.pause)
    assert guards.shut(LIMITS.pause) == ()


def test_each_change_is_told_with_its_provider() -> None:
    told: list[tuple[str, breaker.State]] = []
    guards = breaker.Breakers(breaker.Limits(2, 1.0), lambda *change: told.append(change))
    one, failed = guards.of("acme"), errors.ProviderFailed()
    for now in (0.0, 0.1):
        assert one.admits(now)
        one.ended(failed, now)
    assert one.admits(5.0)
    one.ended(failed, 5.0)
    assert one.admits(50.0)
    one.ended(None, 50.0)
    assert [state for _, state in told] == ["open", "half_open", "open", "half_open", "closed"]
    assert {name for name, _ in told} == {"acme"}
    assert guards.of("acme") is one
