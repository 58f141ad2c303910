"""Who listens to encrypted packets, and guesses which answer they hold.

Strategy: a listener knows each answer from one hearing and is to tell it in another one, of which
it sees sizes and times alone. Some look at one thing, and one at all of them together; the best of
them counts. None is clever, so that what they find out is a lower bound of what there is.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Packet(NamedTuple):
    """A write to one reader: when, in seconds since its stream was asked for, how many bytes, and
    how long the numbers in it are that everybody can count along."""

    at: float
    size: int
    numbers: int


Heard = Sequence[Packet]
"""One answer's packets."""


def _sizes(heard: Heard) -> list[int]:
    return [packet.size - packet.numbers for packet in heard]


def _total(heard: Heard) -> float:
    """Bytes beyond the least that a packet has: in the plain case the length of the text."""
    sizes = _sizes(heard)
    return sum(sizes) - len(sizes) * min(sizes)


def _together(one: Heard, other: Heard) -> float:
    """How many sizes have no match, whatever their order."""
    mine, theirs = Counter(_sizes(one)), Counter(_sizes(other))
    return sum(((mine - theirs) + (theirs - mine)).values())


def _in_order(one: Heard, other: Heard) -> float:
    """How many packets differ, place by place."""
    mine, theirs = _sizes(one), _sizes(other)
    unlike = sum(left != right for left, right in zip(mine, theirs, strict=False))
    return unlike + abs(len(mine) - len(theirs))


def _apart(of: Callable[[Heard], float]) -> Callable[[Heard, Heard], float]:
    return lambda one, other: abs(of(one) - of(other))


LISTENERS: dict[str, Callable[[Heard, Heard], float]] = {
    "sizes in order": _in_order,
    "sizes": _together,
    "bytes in all": _apart(lambda heard: float(sum(_sizes(heard)))),
    "bytes beyond the least": _apart(_total),
    "packets": _apart(len),
    "duration": _apart(lambda heard: heard[-1].at - heard[0].at),
}
"""How far two hearings are from each other, for each of them."""


def guessed(known: Sequence[Heard], heard: Sequence[Heard]) -> tuple[float, str]:
    """The share of answers that the best listener tells, and which one that is. Equals share."""
    scores: dict[str, float] = {}
    everything = [[0.0] * len(known) for _ in heard]
    for name, distance in LISTENERS.items():
        far = [[distance(one, other) for other in known] for one in heard]
        scores[name] = _told(far)
        usual = sum(map(sum, far)) / (len(known) * len(heard)) or 1.0
        for row, more in zip(everything, far, strict=True):
            row[:] = [value + each / usual for value, each in zip(row, more, strict=True)]
    scores["all of it"] = _told(everything)
    best = max(scores, key=lambda name: scores[name])
    return scores[best], best


def _told(far: Sequence[Sequence[float]]) -> float:
    """Of the nearest ones, each with an equal share of the guess."""
    right = 0.0
    for number, row in enumerate(far):
        nearest = min(row)
        right += (row[number] == nearest) / row.count(nearest)
    return right / len(far)


def bits(heard: Sequence[Heard]) -> tuple[int, float]:
    """How many sizes packets have, and how many bits of entropy a packet's size has."""
    counted = Counter(size for one in heard for size in _sizes(one))
    number = counted.total()
    return len(counted), -sum(n / number * math.log2(n / number) for n in counted.values())


def compressed(bodies: Sequence[bytes], heard: Heard) -> Heard:
    """The same packets, each flushed by gzip at once as a stream of events has to be."""
    machine = zlib.compressobj(6, zlib.DEFLATED, 31)
    sizes = [len(machine.compress(body) + machine.flush(zlib.Z_SYNC_FLUSH)) for body in bodies]
    return [
        packet._replace(size=size, numbers=0) for packet, size in zip(heard, sizes, strict=True)
    ]
