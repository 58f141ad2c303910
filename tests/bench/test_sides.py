"""Scenarios of several clients or servers: how what each of them says becomes one figure.

Strategy: rows that nobody measured.
"""

from __future__ import annotations

from typing import Any

import pytest
from bench import audience, bare, ears, fanout, servers, workers


def said(tokens: int, p99: float, gaps: int = 0) -> dict[str, Any]:
    return {
        "conns": 10,
        "peak": 10,
        "tokens": tokens,
        "tok_per_s": tokens / 2,
        "ttft_ms": [1.0, 2.0, p99 + 1],
        "lat_ms": [1.0, 2.0, p99],
        "gaps": gaps,
        "failed": 1,
        "bad_status": 1,
    }


def test_a_percentile_of_several_clients_is_the_worst_of_theirs() -> None:
    one = workers.together("redis", [said(100, 9.0), said(300, 4.0, gaps=2)], 0.2, 400.0)
    assert (one.first_p99_ms, one.p99_ms, one.tokens_per_s) == (10.0, 9.0, 200.0)
    assert (one.streams, one.opened) == (20, 20)
    assert one.cpu_us == pytest.approx(500.0)
    assert (one.gaps, one.failed, one.kb_per_stream) == (2, 4, 20.0)


def test_clients_that_heard_nothing_are_no_figure() -> None:
    with pytest.raises(servers.Failed):
        workers.together("redis", [said(0, 0.0)], 0.2, 400.0)


def test_shares_are_even_and_whole() -> None:
    assert workers.shares(10, 3) == [4, 3, 3]


def side(name: str, number: int, cpu_us: float, busy: float = 0.5) -> fanout.Side:
    heard = audience.Heard(10, 1.0, 100, 100, 0.1, 1.0, 2.0, 3.0, 0, 0, 0, busy)
    return fanout.side(name, number, cpu_us / 1e6 * 100, 0.0, heard)


def test_a_round_whose_client_was_busy_is_no_figure() -> None:
    good = [side("holdfast", 1, 12.0), side("bare", 1, 6.0)]
    slow = [side("bare", 2, 6.0), side("holdfast", 2, 60.0, busy=audience.BUSY + 0.01)]
    assert fanout.figures([*good, *slow])["holdfast ÷ bare"].value == pytest.approx(2.0)
    assert fanout.figures(slow) == {}
    assert "No figure" in fanout.table([*good, *slow])
    assert "No figure" not in fanout.table(good)


@pytest.mark.parametrize("size", [100, 121, 250])
def test_a_bare_event_has_a_stamp_and_its_size(size: int) -> None:
    data = bare.event(3, 17, size)
    assert len(data) == size
    ear = ears.Ear(3)
    assert ear.hear(data) == [17]
    assert ear.gaps == 0
