"""The checker finds nothing in correct histories, and reads times, faults and cursors right.

That each rule can fail is shown in test_checker_mutations.py.
"""

from __future__ import annotations

import math

import pytest
from tests.unit.testing import histories

from holdfast.testing import checker, history
from holdfast.testing.invariants import account, outcome

A, B = "0123456789abcdef", "fedcba9876543210"


def rules(entries: list[history.Entry], now: float | None = None) -> list[str]:
    return [violation.rule for violation in checker.check(entries, now=now)]


@pytest.mark.parametrize("seed", range(200))
def test_a_correct_history_breaks_nothing(seed: int) -> None:
    assert checker.check(histories.make(seed), now=histories.END) == []


def test_an_empty_history_breaks_nothing() -> None:
    assert checker.check([]) == []


def test_what_is_told_of_a_rule_is_bounded() -> None:
    lonely: list[history.Entry] = [
        history.Appended(0.0, "s", 1, 1, A, "start"),
        history.Kept(0.0, "log", "s", 1, 1, A, "start"),
    ]
    lonely += [history.Appended(0.0, "s", 1, seq, A, "chunk") for seq in range(2, 500)]
    assert rules(lonely).count("I4") == checker.MAX_VIOLATIONS


def test_a_violation_says_where() -> None:
    found = checker.check(
        [
            history.Connected(0.0, "r", "c", "s"),
            history.Delivered(0.1, "c", 7, 2, A, "chunk"),
        ]
    )
    assert str(found[0]) == f"I1: 0 is followed by 2 (chunk 7-2 {A}, conn c, stream s)"


@pytest.mark.parametrize(
    "entries",
    [
        [history.Delivered(0.0, "c", 1, 1, A, "start")],
        [history.Answered(0.0, "c", 200)],
        [history.Connected(0.0, "r", "c", "s"), history.Connected(0.0, "r", "c", "s")],
        [history.Connected(0.0, "r", "c", "s", "x")],
        [
            history.Connected(0.0, "r", "c", "s"),
            history.Disconnected(0.0, "c", False),
            history.Delivered(0.0, "c", 1, 1, A, "start"),
        ],
    ],
)
def test_a_history_that_cannot_be_is_refused(entries: list[history.Entry]) -> None:
    with pytest.raises(ValueError, match="connection 'c'"):
        checker.check(entries)


def test_faults_are_spans() -> None:
    faults = account.Faults(
        history.Fault(at, name, on)
        for at, name, on in [
            (5.0, "stop", True),
            (1.0, "cut", True),
            (3.0, "cut", False),
            (2.0, "stall", True),
            (4.0, "stall", False),
            (5.0, "stop", False),
            (9.0, "never begun", False),
        ]
    )
    assert not faults.within(0.0, 0.9)
    assert faults.within(0.0, 1.0)
    assert faults.within(3.5, 3.6)
    assert not faults.within(4.1, 4.9)
    assert faults.within(4.5, 5.5)
    assert faults.quiet_since(0.5) == -math.inf
    assert faults.quiet_since(3.5) == 3.5
    assert faults.quiet_since(4.5) == 4.0
    assert (faults.healed, faults.over) == (9.0, True)
    on = account.Faults([history.Fault(1.0, "cut", True)])
    assert (on.healed, on.over) == (math.inf, False)
    assert account.Faults([]).healed == -math.inf


def fault(begin: float, end: float) -> list[history.Entry]:
    return [history.Fault(begin, "cut", True), history.Fault(end, "cut", False)]


def begun(*more: history.Entry) -> list[history.Entry]:
    """A reader that has the first event and no more."""
    return [
        history.Connected(0.0, "r", "c", "s"),
        history.Answered(0.1, "c", 200),
        history.Delivered(0.2, "c", 1, 1, A, "start"),
        *more,
    ]


def test_a_reader_has_time_from_the_last_fault_on() -> None:
    healed = fault(5.0, 20.0)
    assert rules(begun(), now=checker.LIVENESS) == []
    assert rules(begun(), now=checker.LIVENESS + 1) == ["I10"]
    assert rules(begun(*healed), now=checker.LIVENESS + 20) == []
    assert rules(begun(*healed), now=checker.LIVENESS + 21) == ["I10"]
    assert rules(begun(healed[0]), now=1000.0) == []
    assert rules(begun(history.Disconnected(1.0, "c", False, ours=True)), now=1000.0) == []
    # Without a time of its own, the run ends with its latest entry.
    assert rules(begun(history.Called(1000.0, "s"))) == ["I10"]
    late = history.Delivered(60.0, "c", 1, 2, A, "error")
    assert rules(begun(late), now=60.0) == ["I10"]


def bad(*more: history.Entry) -> list[history.Entry]:
    return [history.Connected(0.0, "r", "c", "s", "1-9", bad=True), *more]


@pytest.mark.parametrize("status", [200, 400])
def test_a_bad_cursor_is_answered_in_time(status: int) -> None:
    def answered(at: float) -> list[history.Entry]:
        answer: list[history.Entry] = [history.Answered(at, "c", status)]
        return answer if status == 400 else [*answer, history.Reset(at, "c")]

    assert rules(bad(*answered(1.0))) == []
    assert rules(bad(*answered(1.1))) == ["I7"]
    assert rules(bad(*fault(0.5, 0.9), *answered(1.1))) == []
    assert rules(bad(), now=1.1) == ["I7"]
    # A fault that comes when the answer was due already is no excuse.
    assert rules(bad(*fault(1.05, 1.1)), now=1.2) == ["I7"]
    # Sent away, as a draining node does.
    assert rules(bad(history.Disconnected(0.5, "c", False, ours=True)), now=50.0) == []


def test_a_reader_that_was_reset_may_come_back_with_nothing() -> None:
    def back(cursor: str) -> list[history.Entry]:
        return begun(
            history.Reset(0.3, "c"),
            history.Disconnected(0.4, "c", False),
            history.Connected(0.5, "r", "d", "s", cursor),
        )

    # The Reset itself is one that should not be: the position was good.
    assert rules(back("")) == ["I7"]
    assert rules(back("1-1")) == ["I7"]
    assert rules(back("1-2")) == ["I3", "I7"]


def test_a_reset_is_right_where_the_position_was_lost() -> None:
    kept = [history.Kept(9.0, "log", "s", 2, 1, B, "error")]
    found = rules(begun(history.Reset(0.3, "c"), *kept))
    assert "I7" not in found
    assert {"I2", "I4"} <= set(found)


def test_a_cancel_that_a_fault_held_up_has_time_from_its_end_on() -> None:
    def sent(at: float, *more: history.Entry) -> list[history.Entry]:
        return [history.Cancelled(1.0, "s"), history.Sent(at, "s", 5), *more]

    assert rules(sent(2.0)) == []
    assert rules(sent(2.1)) == ["I9"]
    held_up = fault(1.5, 3.0)
    assert rules(sent(2.5, *held_up)) == []
    assert rules(sent(4.0, *held_up)) == []
    assert rules(sent(4.1, *held_up)) == ["I9"]


def test_a_provider_that_tells_nothing_need_not_have_marked_the_end() -> None:
    whole = begun(
        history.Delivered(0.3, "c", 1, 2, A, "complete"), history.Disconnected(0.4, "c", True)
    )
    assert rules(whole) == ["I5"]
    assert rules([history.Expected(0.0, "s", "", observed=False), *whole]) == []
    assert rules([history.Marked(0.0, "s"), *whole]) == []


def failed(*more: history.Entry, called: float = 10.0) -> list[history.Entry]:
    """A stream whose provider told all, and that failed at 12 s; the store is read at 99 s."""
    return [
        history.Called(called, "s"),
        history.Marked(11.0, "s"),
        history.Appended(12.0, "s", 1, 1, A, "error"),
        *more,
        history.Kept(99.0, "log", "s", 1, 1, A, "error", code="provider_interrupted"),
    ]


def test_a_whole_answer_does_not_fail() -> None:
    assert rules(failed()) == ["I5"]
    assert "no fault on the way" in str(checker.check(failed())[0])
    assert rules([entry for entry in failed() if not isinstance(entry, history.Marked)]) == []
    # Nothing is known of the way to a provider that tells nothing of its calls.
    assert rules([entry for entry in failed() if not isinstance(entry, history.Called)]) == []


def test_a_cancel_excuses_that_a_whole_answer_failed() -> None:
    assert rules(failed(history.Cancelled(11.5, "s"))) == []
    assert rules(failed(history.Cancelled(11.5, "another"))) == ["I5"]


def test_a_fault_excuses_it_from_the_first_call_to_the_end() -> None:
    assert rules(failed(*fault(10.5, 10.6))) == []
    assert rules(failed(*fault(11.9, 20.0))) == []
    assert rules(failed(*fault(12.1, 20.0))) == ["I5"]
    # One that was just over is still felt.
    assert rules(failed(*fault(5.0, 10.0 - outcome.FELT))) == []
    assert rules(failed(*fault(5.0, 9.9 - outcome.FELT))) == ["I5"]
    assert rules(failed(history.Called(30.0, "s"), *fault(10.5, 10.6))) == []


def test_the_end_is_when_somebody_was_told_first() -> None:
    told: list[history.Entry] = [
        history.Connected(0.0, "r", "c", "s"),
        history.Delivered(11.5, "c", 1, 1, A, "error"),
        history.Disconnected(11.6, "c", True),
    ]
    assert rules(failed(*told, *fault(11.7, 20.0))) == ["I5"]
    # Where nobody was, it may have been at any time until the store was read.
    unseen = [entry for entry in failed() if not isinstance(entry, history.Appended)]
    assert rules([*fault(50.0, 60.0), *unseen]) == []
    assert rules([*unseen]) == ["I5"]


@pytest.mark.parametrize(("code", "found"), [("internal", ["I5"]), ("interrupted", [])])
def test_only_a_bug_fails_as_internal(code: str, found: list[str]) -> None:
    assert rules([history.Kept(0.0, "log", "s", 1, 1, A, "error", code=code)]) == found
    excuses: list[history.Entry] = [*fault(0.0, 9.0), history.Cancelled(0.0, "s")]
    assert rules([*excuses, history.Kept(0.0, "log", "s", 1, 1, A, "error", code=code)]) == found


def forgot(*more: history.Entry, at: float = 5.0, loses: bool = True) -> list[history.Entry]:
    """A reader has 1 to 3 of a life whose 3 a failover at `at` loses; in its place stands another
    life's."""
    had = [history.Delivered(4.0, "c", 1, seq, A, "chunk") for seq in (1, 2, 3)]
    kept = [history.Kept(9.0, "log", "s", 1, seq, A, "chunk") for seq in (1, 2)]
    return [
        history.Connected(0.0, "r", "c", "s"),
        *had,
        history.Fault(at, "failover", True, loses),
        history.Fault(at + 1, "failover", False, loses),
        *more,
        *kept,
        history.Kept(9.0, "log", "s", 2, 3, B, "chunk"),
        history.Kept(9.0, "log", "s", 2, 4, B, "error"),
    ]


AGAIN = [
    history.Delivered(7.0, "c", *place)
    for place in ((1, 1, A, "chunk"), (1, 2, A, "chunk"), (2, 3, B, "chunk"), (2, 4, B, "error"))
]


def test_what_a_failover_lost_is_void_for_a_reader_who_is_told() -> None:
    assert rules(forgot(history.Reset(6.0, "c"), *AGAIN)) == []
    back = history.Connected(6.5, "r", "d", "s", "1-3")
    again = [history.Delivered(7.0, "d", one.epoch, one.seq, one.digest, one.kind) for one in AGAIN]
    left = history.Disconnected(6.0, "c", False)
    assert rules(forgot(left, back, history.Reset(6.6, "d"), *again)) == []


def test_what_a_failover_lost_is_nothing_to_a_reader_who_never_came_back() -> None:
    assert rules(forgot(history.Disconnected(4.5, "c", False, True))) == []


def test_what_is_lost_is_told_before_anything_else_and_only_near_a_failover() -> None:
    assert {"I2", "I4"} <= set(rules(forgot(history.Delivered(7.0, "c", 2, 4, B, "error"))))
    went_on: list[history.Entry] = [*AGAIN[:2], history.Reset(7.0, "c"), *AGAIN]
    assert {"I1", "I2", "I4"} <= set(rules(forgot(*went_on)))
    assert {"I2", "I4"} <= set(rules(forgot(history.Reset(6.0, "c"), *AGAIN, loses=False)))
    late = forgot(history.Reset(9.0, "c"), at=4.0 + account.LOST_SECONDS + 0.1)
    assert {"I2", "I4"} <= set(rules(late))


@pytest.mark.parametrize(("loses", "found"), [(True, []), (False, ["I7"])])
def test_a_stream_may_be_unknown_for_the_moment_in_a_failover(
    loses: bool, found: list[str]
) -> None:
    entries: list[history.Entry] = [
        history.Fault(1.0, "failover", True, loses),
        history.Connected(1.5, "r", "c", "s"),
        history.Answered(1.6, "c", 404),
        history.Disconnected(1.7, "c", True),
        history.Fault(2.0, "failover", False, loses),
    ]
    assert [rule for rule in rules(entries) if rule == "I7"] == found


def destroyed(*more: history.Entry, loses: bool = False) -> list[history.Entry]:
    """A reader had one event of a stream that was asked to be destroyed at 2, and was by 3; another
    stream is kept."""
    return [
        history.Connected(1.0, "r", "c", "s"),
        history.Answered(1.1, "c", 200),
        history.Delivered(1.2, "c", 1, 1, A, "start"),
        history.Shredded(2.0, "s"),
        history.Disconnected(2.5, "c", False),
        history.Shredded(3.0, "s", True),
        history.Fault(4.0, "failover", True, loses),
        history.Fault(5.0, "failover", False, loses),
        *more,
        history.Kept(9.0, "log", "other", 1, 1, A, "error"),
    ]


def told(status: int, at: float, bad: bool = False) -> list[history.Entry]:
    """The same reader comes back, and is told this."""
    return [
        history.Connected(at, "r", "d", "s", "1-1", bad),
        history.Answered(at, "d", status),
        history.Disconnected(at, "d", True),
    ]


@pytest.mark.parametrize("status", outcome.GONE)
def test_of_a_stream_that_is_destroyed_a_reader_is_told_that_it_is_gone(status: int) -> None:
    assert rules(destroyed(*told(status, 2.1))) == []
    assert rules(destroyed(*told(status, 3.1))) == []
    assert rules(destroyed(*told(status, 3.1, bad=True))) == []
    assert rules(destroyed(*told(status, 1.9))) == ["I7"]
    assert "I7" in rules(destroyed(*told(409, 3.1)))


@pytest.mark.parametrize(("loses", "found"), [(True, []), (False, ["I7"])])
def test_of_what_is_destroyed_nobody_can_tell_whether_a_failover_had_lost_it(
    loses: bool, found: list[str]
) -> None:
    entries: list[history.Entry] = [
        history.Fault(0.1, "failover", True, loses),
        history.Fault(0.2, "failover", False, loses),
        history.Connected(0.5, "r", "c", "s", "1-1"),
        history.Reset(1.0, "c"),
        history.Disconnected(1.5, "c", False, True),
        history.Shredded(2.0, "s"),
        history.Shredded(3.0, "s", True),
    ]
    assert [rule for rule in rules(entries) if rule == "I7"] == found


def test_what_is_destroyed_is_in_no_store_and_nobody_reads_it() -> None:
    assert rules(destroyed(), now=6.0) == []
    kept: history.Entry = history.Kept(9.0, "log", "s", 1, 1, A, "error")
    assert "I4" in rules(destroyed(kept))
    read: list[history.Entry] = [
        history.Connected(3.1, "q", "e", "s"),
        history.Delivered(3.2, "e", 1, 1, A, "start"),
        history.Disconnected(3.3, "e", False),
    ]
    assert "I4" in rules(destroyed(*read))
    assert "I4" not in rules(destroyed(*read, loses=True))
