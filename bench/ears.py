"""What one reader hears: the stamped tokens in its bytes, in order or not, and how late.

Strategy: the provider's text says each token's number and time (`@SEQ:MICROS;`), as the load pair's
does, so whatever the format around it one search finds them all. A stamp that two reads share is
kept until its end comes. No I/O here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

STAMP = re.compile(rb"@(\d+):(\d+);")

LONGEST = 40
"""Bytes of a stamp at most; what is longer was none."""


class Ear:
    """Hears the tokens of one stream, from `first` on. `last` is the number of the newest."""

    __slots__ = ("_tail", "gaps", "last", "repeats")

    def __init__(self, first: int = 0) -> None:
        self._tail = b""
        self.last = first - 1
        self.gaps = self.repeats = 0

    def hear(self, data: bytes) -> list[int]:
        """The microseconds at which the tokens were written that have come whole with this read."""
        said = self._tail + data if self._tail else data
        times = []
        for number, micros in STAMP.findall(said):
            seq = int(number)
            if seq > self.last:
                self.gaps += seq != self.last + 1
                self.last = seq
            else:
                self.repeats += 1
            times.append(int(micros))
        at = said.rfind(b"@", -LONGEST)
        self._tail = said[at:] if at >= 0 and said.find(b";", at) < 0 else b""
        return times


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of numbers in order, the one below which this share of them is; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
