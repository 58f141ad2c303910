"""Ears of the bench: tokens are found across reads, and gaps and repeats are told.

Strategy: bytes in, numbers out; each cut through a stamp is tried.
"""

from __future__ import annotations

import pytest
from bench import ears, wires

SAID = b"".join(wires.stamp(number, 1000 + number).encode() + b"@x@ ; " for number in range(3))


@pytest.mark.parametrize("cut", range(len(SAID)))
def test_a_stamp_that_two_reads_share_is_one(cut: int) -> None:
    ear = ears.Ear()
    heard = ear.hear(SAID[:cut]) + ear.hear(SAID[cut:])
    assert heard == [1000, 1001, 1002]
    assert (ear.last, ear.gaps, ear.repeats) == (2, 0, 0)


def test_a_gap_and_a_repeat_are_told() -> None:
    ear = ears.Ear()
    for number in (0, 1, 3, 3, 4, 2):
        ear.hear(wires.stamp(number, 1).encode())
    assert (ear.last, ear.gaps, ear.repeats) == (4, 1, 2)


def test_who_resumes_expects_the_token_after() -> None:
    late, early = ears.Ear(7), ears.Ear(7)
    late.hear(wires.stamp(8, 1).encode())
    early.hear(wires.stamp(6, 1).encode() + wires.stamp(7, 1).encode())
    assert (late.gaps, late.repeats) == (1, 0)
    assert (early.gaps, early.repeats) == (0, 1)


def test_what_is_too_long_for_a_stamp_is_not_kept() -> None:
    ear = ears.Ear()
    assert ear.hear(b"@" + b"1" * ears.LONGEST) == []
    assert ear.hear(b":5;") == []


@pytest.mark.parametrize(("share", "found"), [(0.0, 0.0), (0.5, 50.0), (0.99, 99.0), (1.0, 99.0)])
def test_a_percentile(share: float, found: float) -> None:
    assert ears.percentile([float(n) for n in range(100)], share) == found


def test_a_percentile_of_nothing() -> None:
    assert ears.percentile([], 0.99) == 0.0
