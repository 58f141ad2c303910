"""What is kept of a run, shown beside what is to be reached, and compared with what is recorded.

Strategy: results that nobody measured, written and read again as a run's are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench import results
from bench.aims import AIMS, Aim, of
from bench.scenario import Figure, Result, Size
from bench.scenarios import ALL

AROUND = {"date": "2026-11-30", "commit": "abc", "cpu": "some", "cores": 2}
RELAY = AIMS[0]
SIZE = "1000 of 20/s, 5 runs of 10 s"


def kept(tmp_path: Path, value: float, **more: Any) -> dict[str, Any]:
    """A run of `relay`, as it is read again."""
    size = more.pop("size", Size(RELAY.streams, 5, 10, RELAY.rate))
    figure = Figure(value, "p99 9 ms", ratio=True, higher=more.pop("higher", False))
    result = Result([{"relay": "sqlite"}], "| table |", {RELAY.figure: figure}, **more)
    file = results.keep(tmp_path / "a.json", AROUND, {}, {"relay": size}, {"relay": result})
    return results.read([file])[0]


def line(page: str, title: str) -> str:
    return next(one for one in page.splitlines() if title in one)


def test_a_row_shows_its_figure_with_machine_commit_and_date(tmp_path: Path) -> None:
    told = line(results.aims([kept(tmp_path, 1.6)]), RELAY.title)
    for part in ("1.6", "aim met", "p99 9 ms", "abc", "some, 2 cores", "2026-11-30", SIZE):
        assert f" {part} " in told


def test_a_row_without_a_figure_says_so(tmp_path: Path) -> None:
    assert "not measured" in line(results.aims([kept(tmp_path, 1.6)]), AIMS[1].title)


def test_a_figure_of_another_size_is_not_shown(tmp_path: Path) -> None:
    for size in (Size(200, 5, 10, RELAY.rate), Size(RELAY.streams, 5, 10, 2)):
        told = line(results.aims([kept(tmp_path, 1.6, size=size)]), RELAY.title)
        assert "not measured" in told


def test_lost_tokens_are_told_with_the_figure(tmp_path: Path) -> None:
    assert "TOKENS LOST" in line(results.aims([kept(tmp_path, 1.6, whole=False)]), RELAY.title)


def test_each_file_has_a_line_and_its_table(tmp_path: Path) -> None:
    both = [kept(tmp_path, 1.6), kept(tmp_path, 2.0)]
    page = results.page(both)
    assert page.count("| abc |") == 2
    assert page.count("| table |") == 2


@pytest.mark.parametrize(
    ("higher", "value", "met"),
    [
        (False, 1.7, "aim met"),
        (False, 1.8, "floor met, aim MISSED"),
        (False, 2.3, "floor MISSED"),
        (True, 1.7, "floor MISSED"),
    ],
)
def test_an_aim_is_met_from_its_side(higher: bool, value: float, met: str) -> None:
    bounds = (1.8, 2.2) if higher else (2.2, 1.7)
    assert Aim("", "", "", *bounds, higher=higher).met(value) == met


def test_a_worse_ratio_is_named_and_a_better_one_is_not(tmp_path: Path) -> None:
    recorded = results.ratios(kept(tmp_path, 2.0)["scenarios"])
    for value, told in ((2.29, False), (2.31, True), (1.0, False)):
        now = kept(tmp_path, value)["scenarios"]
        assert ("GREW" in results.grown(now, recorded)) is told


def test_of_what_should_be_high_a_lower_ratio_is_named(tmp_path: Path) -> None:
    recorded = results.ratios(kept(tmp_path, 2.0, higher=True)["scenarios"])
    for value, told in ((1.7, True), (1.8, False), (3.0, False)):
        now = kept(tmp_path, value, higher=True)["scenarios"]
        assert ("GREW" in results.grown(now, recorded)) is told


def test_a_ratio_of_another_size_is_not_compared(tmp_path: Path) -> None:
    recorded = results.ratios(kept(tmp_path, 1.0)["scenarios"])
    for size in (Size(100, 5, 10, RELAY.rate), Size(RELAY.streams, 5, 10, 2)):
        now = kept(tmp_path, 9.0, size=size)["scenarios"]
        told = results.grown(now, recorded)
        assert "another size" in told
        assert "GREW" not in told


def test_what_is_not_recorded_is_not_compared(tmp_path: Path) -> None:
    assert "nothing" in results.grown(kept(tmp_path, 2.0)["scenarios"], {})


def test_only_ratios_are_recorded_and_what_is_not_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "RECORDED", tmp_path / "recorded.json")
    one = kept(tmp_path, 2.0)
    timing = {"value": 9.0, "beside": "", "ratio": False, "higher": False}
    one["scenarios"]["relay"]["figures"]["p99 added"] = timing
    results.record([one])
    other = kept(tmp_path, 3.0)
    other["scenarios"] = {"tls": other["scenarios"]["relay"]}
    results.record([other])
    other["scenarios"] = {"relay": kept(tmp_path, 9.0)["scenarios"]["relay"]}
    figures = other["scenarios"]["relay"]["figures"]
    figures["redis ÷ nginx"] = figures.pop(RELAY.figure)
    results.record([other])
    found = results.recorded()
    assert {name: list(some) for name, some in found.items()} == {
        "relay": ["redis ÷ nginx", RELAY.figure],
        "tls": [RELAY.figure],
    }
    assert found["relay"][RELAY.figure]["value"] == 2.0


def test_every_row_names_a_scenario() -> None:
    assert {aim.scenario for aim in AIMS} <= {one.name for one in ALL}
    assert len({(aim.scenario, aim.figure) for aim in AIMS}) == len(AIMS)
    assert of(RELAY.scenario, RELAY.figure) is RELAY
    assert of(RELAY.scenario, "nothing") is None


def test_names_and_shared_options_are_the_same_everywhere() -> None:
    assert len({one.name for one in ALL}) == len(ALL)
    options = [option for one in ALL for option in one.options]
    assert len({option.name for option in options}) == len(set(options))
