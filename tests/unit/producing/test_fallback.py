"""The decisions after a failed call and about an orphan.

Strategy: every combination of what the decision goes by, against the rules as sentences: each test
states one rule and looks at all cases to which it applies. The rows below them show the steps of
a whole course for one reader of this file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import pytest

from holdfast import errors
from holdfast.producing import fallback

PASSING = errors.ProviderOverloaded()
LASTING = errors.ProviderAuth()
REJECTED = errors.ProviderRejected()
DIVERGED = errors.ContinuationDiverged()
UNASKED = errors.InvalidField("this provider gives one answer at a time")
OURS = (errors.Cancelled(), errors.LogLost(), errors.StreamTooLarge(), errors.Interrupted())
THEIRS = (PASSING, LASTING, REJECTED, DIVERGED, UNASKED, errors.ProviderRateLimited(retry_after=5))

YES_NO = (False, True)
WRITTEN = [
    fallback.Written(
        content=a,
        other=b,
        finished=c,
        whole_only=d,
        replayable=e,
        void=f,
        thought=g,
        binding=h,
    )
    for a, b, c, d, e, f, g, h in itertools.product(YES_NO, repeat=8)
    if (a or b or g or not (f or h)) and not (c and f)
]
POLICIES = [
    fallback.Policy(mode=mode, otherwise=otherwise)
    for mode in ("continue", "restart", "none")
    for otherwise in ("restart", "error")
]
TRIED = [
    fallback.Tried(
        target=target,
        left=left,
        attempts=attempts,
        calls=attempts + target,
        prefilled=prefilled,
        spoke=spoke,
        retold=replaying,
        replaying=replaying,
        open=frozenset(open_),
    )
    for (target, left), attempts, prefilled, spoke, replaying, open_ in itertools.product(
        ((1, (0, 2)), (2, ())), (1, 3), YES_NO, YES_NO, YES_NO, ((), (0, 1))
    )
]

Case = tuple[errors.HoldfastError, fallback.Tried, fallback.Written, fallback.Policy]


def cases(*of: errors.HoldfastError) -> Iterator[tuple[Case, fallback.Step]]:
    for error, tried, written, policy in itertools.product(of or THEIRS, TRIED, WRITTEN, POLICIES):
        if not tried.spoke or written.content or written.other or written.thought:
            case = (error, tried, written, policy)
            yield case, fallback.next_step(*case)


def tells_anew(policy: fallback.Policy, written: fallback.Written) -> bool:
    """What cannot be continued."""
    anew = (policy.mode, policy.otherwise) == ("continue", "restart") or policy.mode == "restart"
    return anew and not written.binding


def test_an_error_of_ours_ends_the_stream() -> None:
    for (error, *_), step in cases(*OURS):
        assert step == fallback.GiveUp(error)


def test_a_finished_answer_is_never_gone_on_with() -> None:
    for (error, _, written, _), step in cases():
        if written.finished:
            assert step == fallback.GiveUp(error)


def test_a_step_is_never_to_a_target_that_was_asked_before() -> None:
    for (_, tried, _, _), step in cases():
        if isinstance(step, fallback.Ask) and step.target != tried.target:
            assert step.target in tried.left
            better = set(tried.left) - tried.open
            assert step.target in better or not better


def test_what_readers_have_decides_how_it_is_asked_for() -> None:
    for (error, tried, written, policy), step in cases():
        if not isinstance(step, fallback.Ask) or step.how == "replay":
            continue
        if not (written.content or written.other):
            assert step.how == ("restart" if written.thought else "fresh")
        elif policy.mode == "restart":
            assert step.how == "restart"
        else:
            assert policy.mode == "continue"
            anew = written.whole_only or written.void or not written.content
            assert step.how == ("restart" if anew else "continue")
            assert not anew or policy.otherwise == "restart"
        # One that is not kept any more is asked for in another way.
        gone = error in (REJECTED, UNASKED) and not tried.spoke
        if tried.replaying and step.target == tried.target and written.replayable:
            assert gone


def test_who_cannot_be_told_to_forget_is_told_nothing_anew() -> None:
    for (*_, written, _policy), step in cases():
        if isinstance(step, fallback.Ask) and written.binding:
            assert step.how not in ("restart", "fresh")


@pytest.mark.parametrize("mode", ["continue", "restart", "none"])
def test_a_thought_that_broke_off(mode: fallback.Mode) -> None:
    """It is taken back, unless its readers can do nothing with that; the very same one can always
    be told again."""
    policy = fallback.Policy(mode=mode)
    for binding in YES_NO:
        thought = fallback.Written(thought=True, binding=binding)
        broken = fallback.next_step(PASSING, tried(spoke=True), thought, policy)
        left = fallback.adopt(fallback.Orphan(written=thought, askable=True), policy)
        if binding:
            assert broken == fallback.GiveUp(PASSING)
            assert isinstance(left, fallback.GiveUp)
            assert isinstance(left.error, errors.Interrupted)
        else:
            assert broken == fallback.Ask(0, "restart", policy.delay)
            assert left == fallback.Ask(0, "restart")
        again = fallback.Written(thought=True, binding=binding, replayable=True)
        kept = fallback.next_step(PASSING, tried(spoke=True), again, policy)
        assert kept == fallback.Ask(0, "replay", policy.delay)


def test_what_can_be_told_again_is_told_again_by_who_told_it() -> None:
    for (error, tried, written, policy), step in cases():
        if isinstance(step, fallback.Ask) and step.how == "replay":
            assert written.replayable
            assert step.target == tried.target
            assert error is not DIVERGED
            assert (
                tried.replaying or policy.mode != "none" or not (written.content or written.other)
            )


def test_without_fallback_nothing_follows_what_was_written() -> None:
    for (error, tried, written, policy), step in cases():
        if policy.mode == "none" and (written.content or written.other) and not tried.replaying:
            assert step == fallback.GiveUp(error)


def test_what_was_refused_is_not_shown_to_others() -> None:
    for (error, tried, written, policy), step in cases(REJECTED):
        asked_first = not (tried.prefilled or tried.spoke or tried.replaying)
        goes_on = policy.mode == "continue" and written.content
        goes_on = goes_on and not (written.whole_only or written.void)
        if asked_first and not goes_on:
            assert step == fallback.GiveUp(error)


def test_a_refused_prefill_is_tried_once_without() -> None:
    for (_, tried, written, policy), step in cases(REJECTED):
        goes_on = written.content and not written.whole_only and not written.finished
        goes_on = goes_on and not (tried.spoke or written.void)
        if goes_on and policy.mode == "continue" and tried.prefilled and not tried.replaying:
            assert step == fallback.Ask(tried.target, "continue")


def test_what_is_void_nobody_goes_on_from() -> None:
    for (error, tried, written, policy), step in cases(REJECTED, PASSING, LASTING):
        told = written.content or written.other
        if written.finished or tried.replaying or not (tried.spoke and told and written.void):
            continue
        if isinstance(step, fallback.Ask) and step.how != "replay":
            assert step.how == "restart"
        anew = tells_anew(policy, written)
        if error is REJECTED:
            assert isinstance(step, fallback.Ask) is (anew and bool(tried.left))


def test_only_a_passing_failure_has_the_same_target_asked_again() -> None:
    for (error, tried, _, _), step in cases():
        if isinstance(step, fallback.Ask) and step.target == tried.target:
            gone = tried.retold and error in (REJECTED, UNASKED)
            assert error.retryable or gone or (error is REJECTED and tried.prefilled)


def test_one_that_told_something_else_tells_it_from_its_begin_or_nobody_does() -> None:
    for (_, tried, written, policy), step in cases(DIVERGED):
        if written.finished or tried.replaying or not (written.content or written.other):
            continue
        if written.content and not (written.void or written.whole_only):
            continue  # what diverged is void
        anew = tells_anew(policy, written)
        expected = fallback.Ask(tried.target, "restart") if anew else fallback.GiveUp(DIVERGED)
        assert step == expected


def test_a_replay_that_fails_ends_as_what_it_was_for() -> None:
    for (_, tried, written, _), step in cases():
        if tried.replaying and isinstance(step, fallback.GiveUp) and not written.finished:
            assert isinstance(step.error, errors.Interrupted | errors.ContinuationDiverged)


FRESH = fallback.Written()
POLICY = fallback.Policy(delay=1.0, longest_delay=30.0)


def tried(**more: object) -> fallback.Tried:
    return msgspec.structs.replace(fallback.Tried(target=0, left=(1,), attempts=1, calls=1), **more)


@pytest.mark.case("1.6")
@pytest.mark.parametrize(
    ("attempts", "asked", "dice", "step"),
    [
        (1, None, 0.0, fallback.Ask(0, "fresh", 1.0)),
        (2, None, 0.0, fallback.Ask(0, "fresh", 2.0)),
        (2, None, 1.0, fallback.Ask(0, "fresh", 3.0)),
        (3, None, 0.0, fallback.Ask(1, "fresh")),
        (1, 0.0, 0.0, fallback.Ask(0, "fresh", 1.0)),
        (1, 1.0, 0.0, fallback.Ask(0, "fresh", 1.0)),
        (1, 5.0, 0.0, fallback.Ask(0, "fresh", 5.0)),
        (1, 5.0, 1.0, fallback.Ask(0, "fresh", 7.5)),
        (1, 30.0, 0.0, fallback.Ask(0, "fresh", 30.0)),
        (1, 31.0, 0.0, fallback.Ask(1, "fresh")),
        (1, 3600.0, 0.0, fallback.Ask(1, "fresh")),
    ],
)
def test_how_long_a_target_is_left_alone(
    attempts: int, asked: float | None, dice: float, step: fallback.Ask
) -> None:
    error = errors.ProviderRateLimited(retry_after=asked)
    found = fallback.next_step(error, tried(attempts=attempts), FRESH, POLICY, dice)
    assert found == step


@pytest.mark.parametrize(
    ("attempts", "asked", "delay"),
    [(1, None, 1.0), (2, None, 2.0), (4, None, 8.0), (1, 5.0, 5.0), (4, 5.0, 8.0), (1, 1e9, 30.0)],
)
def test_a_replay_is_asked_for_again_later_and_later(
    attempts: int, asked: float | None, delay: float
) -> None:
    error = errors.ProviderRateLimited("no", retry_after=asked)
    written = fallback.Written(content=True, replayable=True)
    again = tried(attempts=attempts, calls=50, replaying=True)
    assert fallback.next_step(error, again, written, POLICY) == fallback.Ask(0, "replay", delay)
    enough = tried(attempts=fallback.REPLAYS, left=(), replaying=True)
    assert isinstance(fallback.next_step(error, enough, written, POLICY), fallback.GiveUp)


@pytest.mark.parametrize(
    ("changed", "step"),
    [
        ({}, fallback.Ask(0, "fresh", 1.0)),
        ({"calls": 10}, fallback.GiveUp(PASSING)),
        ({"seconds": 3599.5}, fallback.Ask(1, "fresh")),
        ({"seconds": 3601.0}, fallback.GiveUp(PASSING)),
        ({"left": ()}, fallback.Ask(0, "fresh", 1.0)),
        ({"left": (), "attempts": 3}, fallback.GiveUp(PASSING)),
        ({"open": frozenset({0})}, fallback.Ask(1, "fresh")),
        ({"open": frozenset({0}), "left": ()}, fallback.Ask(0, "fresh", 1.0)),
        ({"open": frozenset({0, 1})}, fallback.Ask(0, "fresh", 1.0)),
        ({"open": frozenset({1}), "attempts": 3}, fallback.Ask(1, "fresh")),
        ({"open": frozenset({1}), "attempts": 3, "left": (1, 2)}, fallback.Ask(2, "fresh")),
    ],
)
def test_a_budget_and_breakers_bound_the_course(
    changed: dict[str, object], step: fallback.Step
) -> None:
    assert fallback.next_step(PASSING, tried(**changed), FRESH, POLICY) == step


def test_a_replay_that_failed_is_not_followed_past_the_budget() -> None:
    followed = tried(calls=10, attempts=fallback.REPLAYS, replaying=True)
    written = fallback.Written(content=True, replayable=True)
    step = fallback.next_step(PASSING, followed, written, POLICY)
    assert isinstance(step, fallback.GiveUp)
    assert isinstance(step.error, errors.Interrupted)


@pytest.mark.parametrize(
    ("shut", "order"),
    [((), []), ((True, False), [1, 0]), ((True, True), [0, 1]), ((True, False, False), [1, 2, 0])],
)
def test_who_is_let_through_is_asked_first(shut: tuple[bool, ...], order: list[int]) -> None:
    assert fallback.order(shut) == order


BARREN = (1, fallback.MAX_BARREN, fallback.MAX_BARREN + 1)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: f"{policy.mode}-{policy.otherwise}")
@pytest.mark.parametrize(
    ("barren", "cancelled", "askable"), [*itertools.product(BARREN, YES_NO, YES_NO)]
)
def test_what_becomes_of_an_orphan(
    barren: int, cancelled: bool, askable: bool, policy: fallback.Policy
) -> None:
    for written, calls in itertools.product(WRITTEN, (0, policy.calls)):
        step = fallback.adopt(
            fallback.Orphan(
                written=written,
                barren=barren,
                calls=calls,
                cancelled=cancelled,
                askable=askable,
                target=1,
            ),
            policy,
        )
        if written.finished:
            assert step == fallback.Finish()
        elif cancelled:
            assert isinstance(step, fallback.GiveUp)
            assert isinstance(step.error, errors.Cancelled)
        elif askable and barren <= fallback.MAX_BARREN and written.replayable:
            assert step == fallback.Ask(1, "replay")
        elif isinstance(step, fallback.Ask):
            assert (askable, calls, step.target, step.delay) == (True, 0, 1, 0.0)
            assert barren <= fallback.MAX_BARREN
            assert policy.mode != "none" or not (written.content or written.other)
            assert step.how != "continue" or not (written.void or written.whole_only)
            assert step.how != "restart" or not written.binding
        else:
            assert isinstance(step, fallback.GiveUp)
            assert isinstance(step.error, errors.Interrupted)
