"""An event that comes late is told of, unless a fault or its reader was the cause."""

from __future__ import annotations

from holdfast.testing import history
from holdfast.testing.simulation import promptness


def run(delivered: float, *faults: history.Fault, connected: float = 0.0) -> list[str]:
    """What is late where the event was acknowledged at 10 s."""
    entries: list[history.Entry] = [
        history.Connected(connected, "r", "c", "s"),
        history.Answered(connected, "c", 200),
        *faults,
        history.Appended(10.0, "s", 7, 1, "d", "chunk"),
        history.Delivered(delivered, "c", 7, 1, "d", "chunk"),
    ]
    return list(promptness.late(entries, {"c"}))


def test_what_comes_at_once_is_in_time() -> None:
    assert run(10.0 + promptness.PROMPT) == []


def test_what_comes_later_is_late() -> None:
    assert run(10.1 + promptness.PROMPT) == ["seq 1 came 0.60 s late (c)"]


def test_time_counts_from_when_the_reader_came() -> None:
    assert run(20.0, connected=19.9) == []


def test_a_fault_excuses() -> None:
    on, off = history.Fault(9.0, "kill", True), history.Fault(9.5, "kill", False)
    assert run(20.0, on) == []
    assert run(20.0, on, off) != []
    assert run(20.0, history.Fault(9.0, "kill", True), history.Fault(10.0, "kill", False)) == []


def test_what_lost_its_hint_is_found_by_two_polls() -> None:
    fault = (history.Fault(9.0, "weather", True), history.Fault(10.5, "weather", False))
    assert run(13.5, *fault, connected=11.0) == []
    assert run(13.6, *fault, connected=11.0) == ["seq 1 came 2.60 s late (c)"]


def test_a_slow_reader_is_not_judged() -> None:
    entries: list[history.Entry] = [
        history.Connected(0.0, "r", "c", "s"),
        history.Answered(0.0, "c", 200),
        history.Appended(1.0, "s", 7, 1, "d", "chunk"),
        history.Delivered(9.0, "c", 7, 1, "d", "chunk"),
    ]
    assert list(promptness.late(entries, ())) == []
