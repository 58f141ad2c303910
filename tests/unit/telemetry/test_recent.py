"""The last hour: what came in a span is exact, whichever nodes came, went or were not heard.

Strategy: looks are added by hand. The truth is what each node was told to count and when.
"""

from __future__ import annotations

import pytest

from holdfast.telemetry import counts, recent


def seen(chunks: int, since: int = 0, active: int = 0) -> recent.Seen:
    calls = {"p/m": counts.Calls(active, begun=chunks)}
    return recent.Seen(since, counts.Counts(sent_chunks=chunks, streams_active=active, calls=calls))


def look(lately: recent.Recent, at: float, **told: recent.Seen) -> None:
    lately.add(at, told, round(at * 1000))


def chunks(lately: recent.Recent, seconds: float) -> tuple[int, float]:
    came, span = lately.span(seconds)
    return came.sent_chunks, span


def test_before_there_are_two_looks_nothing_came() -> None:
    lately = recent.Recent()
    assert chunks(lately, 1) == (0, 0)
    look(lately, 5, a=seen(70))
    assert chunks(lately, 1) == (0, 0)


def test_a_span_is_what_all_nodes_counted_in_it() -> None:
    lately = recent.Recent()
    for second in range(13):
        look(lately, second, a=seen(10 * second), b=seen(1000 + second))
    assert chunks(lately, 1) == (11, 1)
    assert chunks(lately, 10) == (110, 10)
    assert chunks(lately, 3600) == (12 * 11, 12)


def test_a_look_that_came_late_has_all_since_the_one_before() -> None:
    """Not nothing, and not all of it in one second."""
    lately = recent.Recent()
    for at in (0.0, 1.0, 3.6):
        look(lately, at, a=seen(round(100 * at)))
    assert chunks(lately, 1) == (260, 2.6)
    look(lately, 4.58, a=seen(458))
    assert chunks(lately, 1)[0] == 98


def test_a_node_that_comes_counts_from_its_begin_and_one_that_was_there_from_now() -> None:
    lately = recent.Recent()
    look(lately, 10, a=seen(0))
    look(lately, 12, a=seen(0), new=seen(7, since=11_000), old=seen(500, since=9_000))
    assert chunks(lately, 5)[0] == 7
    look(lately, 13, a=seen(0), new=seen(8, since=11_000), old=seen(502, since=9_000))
    assert chunks(lately, 5)[0] == 10


def test_a_node_that_began_anew_under_its_name_counts_from_its_begin() -> None:
    lately = recent.Recent()
    look(lately, 1, a=seen(500, since=100))
    look(lately, 2, a=seen(3, since=1_500))
    assert chunks(lately, 5)[0] == 3


def test_who_goes_takes_nothing_along_and_who_was_not_heard_makes_up_for_it() -> None:
    lately = recent.Recent()
    look(lately, 0, a=seen(0), b=seen(0))
    look(lately, 1, a=seen(5), b=seen(100))
    look(lately, 2, a=seen(6))
    assert chunks(lately, 1) == (1, 1)
    assert chunks(lately, 2) == (106, 2)
    look(lately, 3, a=seen(6), b=seen(140))
    assert chunks(lately, 1) == (40, 1)


def test_looks_are_kept_for_as_long_as_they_are_asked_for() -> None:
    lately = recent.Recent()
    for second in range(1000):
        look(lately, second, a=seen(second))
    assert len(lately._looks) <= recent.KEPT + 2
    assert chunks(lately, 10) == (10, 10)


def test_what_is_active_is_no_sum() -> None:
    lately = recent.Recent()
    for second in range(3):
        look(lately, second, a=seen(second, active=7))
    came, _ = lately.span(10)
    assert (came.streams_active, came.calls["p/m"].calls_active) == (0, 0)


def test_nodes_that_come_and_go_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "NODES", 3)
    lately = recent.Recent()
    for number in range(9):
        look(lately, number, **{"a": seen(number), f"n{number}": seen(0, since=number)})
    assert len(lately._before) == 3
    assert lately.span(100)[0].sent_chunks == 8
