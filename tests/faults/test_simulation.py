"""The simulated core over a few hundred seeds, and what makes a seed worth something.

`make simulate` runs as many as one likes, and shows one event by event.
"""

from __future__ import annotations

import functools
from collections import Counter

import msgspec
import pytest
from tests import simulate
from tests.faults import plants

from holdfast import events
from holdfast.testing import history
from holdfast.testing.simulation import running

WHOLE = 1 / 3
"""Share of the answers that must become whole, at least; in health half of them do."""

TAKEN_OVER = 15
"""Answers that must become whole though their first writer died, at least; in health about 35."""

OFTEN = 100
"""So many seeds are looked at in several ways."""

_often = functools.cache(running.run)

SHARES = [range(first, first + 50) for first in range(0, 250, 50)]


def run(seed: int) -> running.Outcome:
    return _often(seed) if seed < OFTEN else running.run(seed)


@pytest.mark.parametrize("seeds", SHARES, ids=lambda seeds: f"from {seeds.start}")
def test_nothing_is_violated(seeds: range) -> None:
    outcomes = (run(seed) for seed in seeds)
    assert {outcome.seed: outcome.violations for outcome in outcomes if outcome.violations} == {}


def test_a_seed_gives_the_same_history_again() -> None:
    for seed in range(40):
        again = running.run(seed).entries
        assert msgspec.json.encode(run(seed).entries) == msgspec.json.encode(again)


def test_the_seeds_bring_about_what_matters() -> None:
    """A simulation in which nothing goes wrong finds nothing."""
    seen: Counter[str] = Counter()
    for seed in range(OFTEN):
        for entry in run(seed).entries:
            match entry:
                case history.Fault(on=True):
                    seen[entry.name] += 1
                case history.Answered():
                    seen[str(entry.status)] += 1
                case history.Disconnected(ours=False):
                    seen["finished" if entry.clean else "cut"] += 1
                case history.Kept():
                    seen[entry.kind] += 1
                case _:
                    seen[type(entry).__name__] += 1
    faults = ("kill", "close", "drain", "outage", "weather")
    answers = ("200", "204", "400", "410", "finished", "cut", "error", "complete")
    entries = ("Reset", "Cancelled", "Shredded", "Marked", "Connected", "Delivered")
    wanted = (*faults, *answers, *entries)
    assert {name: seen[name] for name in wanted if seen[name] < 10} == {}


def test_enough_answers_become_whole() -> None:
    """Each that fails may have its cause; but a product in which most do is none."""
    ends: Counter[str] = Counter()
    for seed in range(OFTEN):
        lives: dict[str, set[int]] = {}
        for entry in run(seed).entries:
            if isinstance(entry, history.Kept):
                lives.setdefault(entry.stream, set()).add(entry.epoch)
                ends[entry.kind] += entry.kind in events.TERMINAL
                if entry.kind == "complete" and len(lives[entry.stream]) > 1:
                    ends["taken over"] += 1
    assert ends["complete"] > WHOLE * (ends["complete"] + ends["error"])
    assert ends["taken over"] > TAKEN_OVER


def test_a_seed_that_fails_is_told_with_the_way_to_see_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plants.feed_kept(monkeypatch)
    (found,) = simulate.fails(range(1))
    simulate.tell(*found)
    assert simulate.replay(0) == len(found[1])
    said = capsys.readouterr().out
    assert "--replay 0" in said
    assert "feeds not given back" in said
    assert '"what":"delivered"' in said


def test_processes_share_the_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.run_all(0, simulate.SHARE + 1) == 0
    assert "51 seeds from 0: 0 failed" in capsys.readouterr().out
