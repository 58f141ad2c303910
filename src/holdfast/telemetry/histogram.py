"""Histograms: how often something took how long, so that percentiles can be added up.

Strategy: all histograms have the same bounds, so the sum of several nodes, or of several minutes,
is the sum of their buckets, and its percentiles are those of all samples together, within the width
of a bucket: a tenth of the value. Among the bounds are those that OpenTelemetry's conventions and
common dashboards name, so what is told there is counted exactly. A bucket is named by its bound and
not by a number, so that what is stored can still be read when bounds are added.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left

import msgspec

SECOND = 1_000_000  # microseconds

_STEPS = (*range(10, 20), *range(20, 50, 2), *range(50, 100, 5))
"""Of each decade: none is over a tenth of the one before."""

_SHORTEST, _LONGEST = 10, 10_000 * SECOND

OPERATION = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
"""Seconds: the buckets of `gen_ai.client.operation.duration` and its like in OpenTelemetry's
conventions for generative AI."""

FIRST = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
"""Seconds: the buckets of `gen_ai.server.time_to_first_token` there, and beyond them vLLM's."""

FINE = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Seconds: for what a machine does by itself."""

DELIVERY = FINE[3:]
"""Seconds: from the log to a reader."""


def _us(seconds: float) -> int:
    return round(seconds * SECOND)


def _bounds() -> tuple[int, ...]:
    grid = {step * 10**decade for decade in range(9) for step in _STEPS} | {_LONGEST}
    named = {_us(one) for some in (OPERATION, FIRST, FINE, DELIVERY) for one in some}
    return (0, *sorted(one for one in grid | named if _SHORTEST <= one <= _LONGEST))


BOUNDS = _bounds()
"""Microseconds: nothing, and from 10 on. A sample belongs to the first bound that it is not over;
one over the last, which is 10,000 s, to the last."""

_BUCKETS = (*BOUNDS, BOUNDS[-1])


def bound(us: float) -> int:
    """The bound that a sample belongs to; both in microseconds."""
    return _BUCKETS[bisect_left(BOUNDS, us)]


class Histogram(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Samples by their bounds, and the sum of all of them; in microseconds."""

    buckets: dict[int, int] = {}
    total: int = 0

    @property
    def count(self) -> int:
        return sum(self.buckets.values())

    @property
    def average_ms(self) -> float | None:
        """None without samples."""
        count = self.count
        return round(self.total / count / 1000, 3) if count else None

    def quantile(self, share: float) -> int | None:
        """The bound in microseconds that this share of all samples is not over; 0 asks for the
        least. None without samples."""
        count = self.count
        if count <= 0:
            return None
        rank, seen = max(1, math.ceil(share * count)), 0
        for one in sorted(self.buckets):
            seen += self.buckets[one]
            if seen >= rank:
                return one
        raise AssertionError("a histogram has as many samples as its buckets")

    def under(self, seconds: tuple[float, ...]) -> list[int]:
        """How many samples are not over each of these, which rise; exact for those that are
        `BOUNDS`."""
        limits = [_us(one) for one in seconds]
        between = [0] * (len(limits) + 1)
        for one, many in self.buckets.items():
            between[bisect_left(limits, one)] += many
        return list(itertools.accumulate(between[:-1]))


EMPTY = Histogram()

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Histogram).decode


_OF_MS = tuple(bound(1000 * ms) for ms in range(1024))


class Packed:
    """A histogram that is put away: some hundred bytes."""

    __slots__ = ("_data",)

    def __init__(self, full: Recorder) -> None:
        self._data = _pack(full.histogram())

    def histogram(self) -> Histogram:
        """As it was."""
        return _unpack(self._data)


class Recorder:
    """A histogram that is being filled."""

    __slots__ = ("_buckets", "_total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._total = 0

    def add(self, us: int) -> None:
        """A sample in microseconds; one below 0 (a clock was set) counts as 0."""
        one = _BUCKETS[bisect_left(BOUNDS, us)]
        self._buckets[one] = self._buckets.get(one, 0) + 1
        if us > 0:
            self._total += us

    def add_ms(self, ms: int) -> None:
        """A sample in whole milliseconds; one below 0 (a clock was set) counts as 0."""
        ms = 0 if ms < 0 else ms
        one = _OF_MS[ms] if ms < 1024 else bound(1000 * ms)
        self._buckets[one] = self._buckets.get(one, 0) + 1
        self._total += 1000 * ms

    def join(self, other: Recorder) -> None:
        """All samples of another one, too."""
        buckets = self._buckets
        for one, many in other._buckets.items():
            buckets[one] = buckets.get(one, 0) + many
        self._total += other._total

    def histogram(self) -> Histogram:
        """As of now."""
        return Histogram(dict(self._buckets), self._total)
