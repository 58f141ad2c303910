"""The scenarios' own arithmetic.

Strategy: values that nobody measured.
"""

from __future__ import annotations

import math

import pytest
from bench import agree, compressed, first, relay, setup, soak

from holdfast.http import coding


def a_setup(p99: float, load: float = 0.3) -> setup.SetUp:
    return setup.SetUp("sqlite", 1, p99, 2, 1, 500, 0, 0, load)


def a_first(p99: float, streams: int = 100) -> first.First:
    return first.First("sqlite", streams, 1, p99, 2, 0, 0, 0.3)


def test_the_slope_of_what_a_node_weighs() -> None:
    looks = [soak.Look(at, 50 + 0.25 * at) for at in range(20)]
    assert soak.slope(looks) == pytest.approx(0.25)
    noisy = [one._replace(mb=one.mb + (-1) ** at) for at, one in enumerate(looks)]
    assert soak.slope(noisy) == pytest.approx(0.25, abs=0.02)
    assert math.isnan(soak.slope(looks[:1]))


def test_beginnings_have_no_figure_where_the_load_was_busy() -> None:
    assert setup.figures([a_setup(9), a_setup(5), a_setup(7)])["p99"].value == 7
    assert setup.figures([a_setup(9), a_setup(5, load=0.9)]) == {}


def test_first_tokens_have_no_figure_where_no_stream_began() -> None:
    assert first.figures([a_first(9), a_first(5), a_first(7)])["p99"].value == 7
    assert first.figures([a_first(0, streams=0)]) == {}


def test_words_are_enough_and_need_no_escape() -> None:
    answers = compressed.texts()
    assert [len(one) for one in answers] == [compressed.TOKENS] * compressed.ANSWERS
    assert not {'"', "\\"}.intersection("".join(map("".join, answers)))


def test_events_together_are_smaller_than_alone() -> None:
    event = b'event: chunk\ndata: {"type":"content","delta":" %d"}\nid: x:1-%d\n\n'
    plain = b"".join(event % (number * 7919, number) for number in range(100))
    coder = coding.coder("gzip", compressed.LEVEL)
    assert coder is not None
    alone = sum(len(coder.code(one)) for one in compressed.EVENT.findall(plain))
    together = compressed.together([compressed.Answer(0, 100, plain)])
    assert together.plain == len(plain)
    assert 0.6 * alone < together.wire < 0.8 * alone
    assert together.share == 1 - together.wire / len(plain)
    assert compressed.EVENT.findall(plain)[1] == event % (7919, 1)


def test_loads_are_judged_by_cost_and_told_by_waits() -> None:
    pair = relay.Run("pair", 10, 10, 20_000, 5, 20, 30, 0, 0, 0.0, 0.1, 0.2, first_p99_ms=9.0)
    python = pair._replace(relay="python", cpu_us=11.4, p99_ms=60)
    table = agree.table([pair, python])
    assert "| CPU µs/token | 10.0 | 11.4 | 1.14 | met |" in table
    assert "| p99 ms | 20.0 | 60.0 | 3.00 |  |" in table
    assert "MISSED" not in table
    worse = agree.table([pair, python._replace(cpu_us=11.6)])
    assert "| CPU µs/token | 10.0 | 11.6 | 1.16 | MISSED |" in worse
