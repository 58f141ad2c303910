"""The last hour: what came in a span is exact, whichever nodes came, went or were not heard.

Strategy: looks are added by hand. The truth is what each node was told to count and when.
"""

from __future__ import annotations

import pytest

from holdfast.telemetry import counts, recent

SECOND, MINUTE = 1_000, 60_000


def seen(chunks: int, since: int = 0, active: int = 0) -> recent.Seen:
    return recent.Seen(since, counts.Counts(sent_chunks=chunks, streams_active=active))


def chunks(lately: recent.Recent, ms: int) -> tuple[int, int]:
    came, span = lately.span(ms)
    return came.sent_chunks, span


def test_before_there_are_two_looks_nothing_came() -> None:
    lately = recent.Recent()
    assert chunks(lately, SECOND) == (0, 0)
    lately.add(5_000, {"a": seen(70)})
    assert chunks(lately, SECOND) == (0, 0)


def test_a_span_is_what_all_nodes_counted_in_it() -> None:
    lately = recent.Recent()
    for second in range(30):
        told = {"a": seen(10 * second), "b": seen(1000 + second)}
        lately.add(second * SECOND, told)
    assert chunks(lately, SECOND) == (11, SECOND)
    assert chunks(lately, 10 * SECOND) == (110, 10 * SECOND)
    assert chunks(lately, 3600 * SECOND) == (29 * 11, 29 * SECOND)


def test_a_node_that_comes_counts_from_its_begin_and_one_that_was_there_from_now() -> None:
    lately = recent.Recent()
    lately.add(10_000, {"a": seen(0)})
    lately.add(20_000, {"a": seen(0), "new": seen(7, since=15_000), "old": seen(500, since=9_000)})
    assert chunks(lately, MINUTE)[0] == 7
    lately.add(30_000, {"a": seen(0), "new": seen(8, since=15_000), "old": seen(502, since=9_000)})
    assert chunks(lately, MINUTE)[0] == 10


def test_who_goes_takes_nothing_along_and_who_was_not_heard_makes_up_for_it() -> None:
    lately = recent.Recent()
    lately.add(0, {"a": seen(0), "b": seen(0)})
    lately.add(10_000, {"a": seen(5), "b": seen(100)})
    lately.add(20_000, {"a": seen(6)})
    assert chunks(lately, 10_000) == (1, 10_000)
    assert chunks(lately, 20_000) == (106, 20_000)
    lately.add(30_000, {"a": seen(6), "b": seen(140)})
    assert chunks(lately, 10_000) == (40, 10_000)


def test_an_hour_is_kept_by_the_minute_and_no_longer() -> None:
    lately = recent.Recent()
    for look in range(3 * 360):
        lately.add(look * 10 * SECOND, {"a": seen(look)})
    for ms in (10 * SECOND, 5 * MINUTE, 20 * MINUTE, 60 * MINUTE):
        came, span = chunks(lately, ms)
        assert came == span // (10 * SECOND)
        assert abs(span - ms) <= MINUTE // 2 + 10 * SECOND
    assert len(lately._fine) <= 31
    assert len(lately._coarse) <= 62


def test_a_clock_that_is_set_back_adds_nothing_twice() -> None:
    lately = recent.Recent()
    lately.add(50_000, {"a": seen(0)})
    lately.add(20_000, {"a": seen(3)})
    lately.add(60_000, {"a": seen(4)})
    assert chunks(lately, MINUTE) == (4, 10_000)


def test_what_is_active_is_no_sum() -> None:
    lately = recent.Recent()
    for second in range(3):
        lately.add(second, {"a": seen(0, active=7)})
    assert lately.span(10)[0].streams_active == 0


def test_nodes_that_come_and_go_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "NODES", 3)
    lately = recent.Recent()
    for number in range(9):
        lately.add(number, {"a": seen(number), f"n{number}": seen(0, since=number)})
    assert len(lately._before) == 3
    assert lately.span(100)[0].sent_chunks == 8
