"""Tables of runs: what is compared with what, and which runs have no figure.

Strategy: runs that nobody measured.
"""

from __future__ import annotations

import pytest
from bench import many, relay, report
from bench.scenario import Bench, Size


def a_run(name: str, cpu: float, load: float = 0.3) -> relay.Run:
    return relay.Run(name, cpu, cpu, 20_000, 5, 20, 30, 0, 0, 0.0, load / 2, load)


RUNS = [
    a_run("nginx", 10),
    a_run("sqlite", 15),
    a_run("sqlite", 40),
    a_run("nginx", 20),
    a_run("nginx", 10),
    a_run("sqlite", 30),
]


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    assert report.times(RUNS, "sqlite", "nginx", "cpu_us") == 2.0
    assert report.times(RUNS, "sqlite", "redis", "cpu_us") is None


def test_a_load_that_was_busy_has_no_figure() -> None:
    runs = [*RUNS, a_run("redis", 30), a_run("redis", 30, load=report.LOAD + 0.01)]
    assert report.names(report.good(runs)) == ["nginx", "sqlite"]
    assert report.refused(runs) == ["redis: no figure: the load took 86% of its core."]
    assert "redis ÷ nginx" not in report.ratios(runs, {"redis": "nginx", "sqlite": "nginx"})
    assert report.good(RUNS) == RUNS
    assert report.refused(RUNS) == []


def test_a_figure_has_what_must_be_told_with_it() -> None:
    lossy = a_run("sqlite", 20)._replace(gaps=3, failed=1, tokens_per_write=1.25)
    told = report.beside([a_run("sqlite", 30)._replace(tokens_per_write=1.75), lossy])
    for part in ("25.0 µs", "p50 5.0", "p99 20.0", "1.50 tokens a write", "3 gaps", "1 failed"):
        assert part in told


def test_the_relays_figures_are_by_their_names() -> None:
    runs = [*RUNS, a_run("redis", 20), a_run("redis", 45), a_run("redis", 35)]
    figures = many.figures(runs)
    assert figures["sqlite ÷ nginx"].value == 2.0
    assert figures["sqlite ÷ nginx"].ratio
    assert figures["redis - sqlite"].value == 5.0
    assert figures["p99 added"].value == 20
    assert not figures["p99 added"].ratio


def test_the_order_turns_each_round() -> None:
    bench = Bench("relay", Size(1, 3), {}, (0, 1))
    assert list(bench.turns("ab")) == [(1, "a"), (1, "b"), (2, "b"), (2, "a"), (3, "a"), (3, "b")]


@pytest.mark.parametrize(
    ("cores", "parts"),
    [
        ((1,), ((1,), (1,))),
        ((1, 2), ((1,), (2,))),
        ((1, 2, 3), ((1,), (2, 3))),
        (range(1, 32), (range(1, 5), range(16, 20))),
    ],
)
def test_provider_and_client_share_the_cores(
    cores: tuple[int, ...], parts: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    assert relay.Load(False, cores).split == parts


def test_few_streams_are_read_by_our_client_beside_the_pairs() -> None:
    rest = ("10", "body.json")
    for streams, few in ((1000, 20), (100, 10), (20, 2)):
        pairs, ours = relay.Load(True, (1,), ramp=50).clients(("80", "/"), streams, rest)
        assert "RAMP=50" in pairs
        assert "--ramp=50" in ours
        assert pairs[-5:] == ["80", "/", str(streams - few), *rest]
        assert ours[-5:] == ["80", "/", str(few), *rest]
    assert len(relay.Load(True, (1,)).clients(("80", "/"), 5, rest)) == 1
    (alone,) = relay.Load(True, (1,), ours=True).clients(("80", "/"), 1000, rest)
    assert "bench.load" in alone
