"""The search for saturation: it ends, near the bound, and what did not hold is never the best.

Strategy: a server is a function that says which rates hold; no server is started.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bench import relay, saturation


def search(holds: Callable[[int], bool], start: int) -> dict[int, bool]:
    tried: dict[int, bool] = {}
    while (rate := saturation.next_rate(tried, start)) is not None:
        assert rate not in tried
        assert 1 <= rate <= saturation.HIGHEST
        tried[rate] = holds(rate)
        assert len(tried) < 20
    return tried


@pytest.mark.parametrize("bound", [1, 2, 3, 7, 20, 31, 49, 50])
@pytest.mark.parametrize("start", [1, 20, 50, 90])
def test_it_ends_near_the_bound(bound: int, start: int) -> None:
    tried = search(lambda rate: rate <= bound, start)
    best = max((rate for rate, held in tried.items() if held), default=0)
    assert best <= bound
    assert best >= bound / saturation.CLOSE - 1


def test_a_server_that_holds_nothing_or_everything() -> None:
    assert not any(search(lambda rate: False, 20).values())
    tried = search(lambda rate: True, 20)
    assert max(tried) == saturation.HIGHEST
    assert all(tried.values())


def test_one_that_failed_below_what_held_is_noise() -> None:
    assert saturation.next_rate({20: False, 30: True}, 20) == 45


RUN = relay.Run("sqlite", 30.0, 28.0, 20_000.0, 5.0, 40.0, 30.0, 0, 0, 0.0, 0.1, 0.2)


@pytest.mark.parametrize(
    ("run", "held"),
    [
        (RUN, True),
        (RUN._replace(p99_ms=saturation.P99_MS), False),
        (RUN._replace(gaps=1), False),
        (RUN._replace(failed=1), False),
        (RUN._replace(tokens_per_s=16_000.0), False),
    ],
)
def test_what_holds(run: relay.Run, held: bool) -> None:
    assert saturation.holds(run, 1000, 20) is held


def probe(
    name: str, tokens: float, held: bool = True, number: int = 1, load: float = 0.5
) -> saturation.Probe:
    return saturation.Probe(
        name, number, 1000, 20, held, tokens, 5.0, 40.0, 30.0, 0, 0, load, 0.0, 1.5
    )


def test_the_ratio_is_that_of_the_best_that_held_in_a_round() -> None:
    probes = [
        probe("nginx", 40_000.0),
        probe("nginx", 60_000.0, held=False),
        probe("sqlite", 30_000.0),
        probe("sqlite", 20_000.0),
        probe("sqlite", 50_000.0, held=False),
        probe("sqlite", 39_000.0, number=2),
    ]
    figures = saturation.figures(probes)
    assert figures["sqlite ÷ nginx"].value == 0.75
    assert figures["tokens/s"].value == 34_500.0
    assert saturation.figures(probes[1:2]) == {}


def test_a_load_at_its_limit_is_told() -> None:
    told = saturation.table([probe("nginx", 1.0, load=0.97), probe("sqlite", 1.0)])
    assert "nginx: at least" in told
    assert "sqlite: at least" not in told
