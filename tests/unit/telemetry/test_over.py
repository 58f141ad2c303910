"""Sums of many minutes: the same as adding them one to the other, but for what is active."""

from __future__ import annotations

import random

from holdfast.telemetry import counts, over
from holdfast.telemetry.histogram import Histogram


def minute(dice: random.Random) -> counts.Counts:
    names = dice.sample(["a/x", "a/y", "b/x"], dice.randrange(3))
    return counts.Counts(
        streams_active=dice.randrange(9),
        sent_chunks=dice.randrange(99),
        errors={dice.choice("xyz"): dice.randrange(1, 9)},
        chunk_latency=Histogram({dice.choice((10, 20, 30)): dice.randrange(1, 5)}, 7),
        calls={
            name: counts.Calls(
                calls_active=dice.randrange(5),
                begun=1,
                failed={dice.choice("uv"): Histogram({20: 2}, 40)},
            )
            for name in names
        },
    )


def flat(of: counts.Counts) -> counts.Counts:
    """Without what is active."""
    return counts.came(of, counts.NOTHING)


def test_it_is_the_sum_of_all() -> None:
    dice = random.Random(4)
    for _ in range(50):
        some = [minute(dice) for _ in range(dice.randrange(1, 12))]
        total = over.Over()
        for one in some:
            total.add(one)
        found = total.counts()
        assert flat(found) == flat(counts.added(some))
        assert found.streams_active == max(one.streams_active for one in some)
        for name, calls in found.calls.items():
            seen = [one.calls[name].calls_active for one in some if name in one.calls]
            assert calls.calls_active == max(seen)


def test_what_was_added_stays_as_it_was() -> None:
    dice = random.Random(5)
    first = minute(dice)
    before = flat(first)
    total = over.Over()
    for one in (first, minute(dice), first):
        total.add(one)
    assert flat(first) == before
    assert over.Over().counts() == counts.NOTHING
