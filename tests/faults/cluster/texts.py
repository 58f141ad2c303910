"""What is asked for in a run with many nodes: long and slow answers, which outlive a node."""

from __future__ import annotations

import random

from tests.faults.chaos import texts

LEASES = (1 / 3, 1, 2, 3)
"""How long an answer lasts."""

TOTAL = 180
"""Seconds that a provider's call may take."""


def draw(lease: float, seed: int, number: int) -> texts.Wanted:
    """The stream of this number, where a lease has so many seconds."""
    dice = random.Random(f"{seed} long stream {number}")
    rate, seconds = dice.choice((2, 4, 8)), lease * dice.choice(LEASES)
    return texts.Wanted(
        label=f"cluster-{seed}-{number}",
        ours=dice.random() < 0.7,
        seed=dice.randrange(1000),
        pieces=max(4, int(rate * seconds)),
        rate=rate,
        ending=dice.choices(("clean", "rst", "fin", "stall"), (94, 2, 2, 2))[0],
        cancel_after=dice.uniform(0, lease) if dice.random() < 0.05 else None,
    )
