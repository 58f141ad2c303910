"""Histograms: percentiles of parts that were put together are those of all samples.

Strategy: the truth is the sorted list of the samples; a bucket may be off by its width and by no
more. Minutes are made unlike on purpose, as an average of their percentiles would be far off.
"""

from __future__ import annotations

import math
import random

import pytest

from holdfast.telemetry import counts, histogram


def filled(samples: list[int]) -> histogram.Histogram:
    recorder = histogram.Recorder()
    for sample in samples:
        recorder.add(sample)
    return recorder.histogram()


def truth(samples: list[int], share: float) -> int:
    return sorted(samples)[max(1, math.ceil(share * len(samples))) - 1]


def unlike_minutes() -> list[list[int]]:
    """Of 60 minutes most are quick, some slow, some empty; each of another size."""
    dice = random.Random(5)
    return [
        [
            int(dice.lognormvariate(math.log(10_000 if minute % 7 else 900_000), 1.1))
            for _ in range(dice.choice((0, 10, 300, 2000)))
        ]
        for minute in range(60)
    ]


@pytest.mark.parametrize("share", [0, 0.5, 0.95, 0.99, 0.999, 1])
def test_the_percentile_of_60_unlike_minutes_is_that_of_all_their_samples(share: float) -> None:
    minutes = unlike_minutes()
    parts = [counts.Counts(chunk_latency=filled(some)) for some in minutes]
    found = counts.added(parts).chunk_latency.quantile(share)
    exact = truth([one for some in minutes for one in some], share)
    assert found is not None
    assert exact <= found <= exact * 1.1
    assert found == histogram.bound(exact)


def test_an_average_of_percentiles_would_be_far_off() -> None:
    """So the test before this one can fail."""
    minutes = [some for some in unlike_minutes() if some]
    averaged = sum(truth(some, 0.99) for some in minutes) / len(minutes)
    exact = truth([one for some in minutes for one in some], 0.99)
    assert abs(averaged - exact) > 0.2 * exact


def test_bounds_are_a_tenth_apart_and_have_those_that_others_name() -> None:
    pairs = list(zip(histogram.BOUNDS[1:], histogram.BOUNDS[2:], strict=False))
    assert all(low < high <= low * 1.1 for low, high in pairs)
    named = (histogram.OPERATION, histogram.FIRST, histogram.FINE, histogram.DELIVERY)
    for seconds in (one for some in named for one in some):
        assert round(seconds * histogram.SECOND) in histogram.BOUNDS


@pytest.mark.parametrize(
    ("us", "bound"),
    [
        (-5, 0),
        (0, 0),
        (1, 10),
        (10, 10),
        (11, 11),
        (20_000, 20_000),
        (20_001, 22_000),
        (10_000 * histogram.SECOND, 10_000 * histogram.SECOND),
        (10**15, 10_000 * histogram.SECOND),
    ],
)
def test_a_sample_belongs_to_the_first_bound_that_it_is_not_over(us: int, bound: int) -> None:
    assert histogram.bound(us) == bound
    found = filled([us])
    assert found == histogram.Histogram({bound: 1}, max(us, 0))


@pytest.mark.parametrize("ms", [-3, 0, 1, 7, 1022, 1023, 1024, 1025, 86_400_000])
def test_a_sample_in_ms_is_counted_as_one_in_us(ms: int) -> None:
    by_ms, by_us = histogram.Recorder(), histogram.Recorder()
    by_ms.add_ms(ms)
    by_us.add(1000 * ms)
    assert by_ms.histogram() == by_us.histogram()


def test_joined_samples_are_those_of_both() -> None:
    one, other = histogram.Recorder(), histogram.Recorder()
    for sample in (20, 400, 400):
        one.add(sample)
    other.add(400)
    one.join(other)
    assert one.histogram() == filled([20, 400, 400, 400])
    assert other.histogram() == filled([400])


def test_what_is_under_a_bound_that_others_name_is_exact() -> None:
    dice = random.Random(3)
    samples = [int(dice.expovariate(1) * 50_000) for _ in range(5000)]
    found = filled(samples).under(histogram.FIRST)
    assert found == [sum(one <= round(s * 1e6) for one in samples) for s in histogram.FIRST]


def test_without_samples_nothing_is_said() -> None:
    assert histogram.EMPTY.quantile(0.5) is None
    assert histogram.EMPTY.average_ms is None
    assert histogram.EMPTY.count == 0
    assert filled([1500, 2500]).average_ms == 2.0
