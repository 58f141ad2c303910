"""The simulation finds bugs: each plant violates something within few seeds.

Run with `-s` to see at which seed, and what.
"""

from __future__ import annotations

import itertools

import pytest
from tests.faults import plants, plants_course

from holdfast.testing.simulation import running

SEEDS = 1000
"""Within so many each has to be found."""


def verdict(seed: int, parts: running.Parts) -> str:
    """What the seed violates first; "" where nothing."""
    try:
        return next(iter(running.run(seed, parts).violations), "")
    except Exception as error:
        return f"raised {error!r}"


@pytest.mark.parametrize(
    "plant", [*plants.PLANTS, *plants_course.PLANTS], ids=lambda plant: plant.__name__
)
def test_a_planted_bug_is_found(plant: plants.Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = plant(monkeypatch)
    found = ((seed, verdict(seed, parts)) for seed in itertools.count())
    seed, violation = next((seed, what) for seed, what in itertools.islice(found, SEEDS) if what)
    print(f"\n    {plant.__name__}: seed {seed}: {violation}")


def test_without_a_plant_nothing_is_found() -> None:
    assert [what for seed in range(20) if (what := verdict(seed, running.Parts()))] == []
