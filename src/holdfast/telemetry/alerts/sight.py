"""What alerts look at: the figures of all nodes, now and over the last minutes.

Strategy: a node keeps its own counts of some seconds ago, so that what came since then is a
difference. It tells the few figures that rules need, and whoever evaluates adds up those of all
nodes: shares and percentiles of all streams together, and where one node may be in trouble while
the others are well, the worst of them. A figure that cannot be had is None, never 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

from holdfast.telemetry import counts
from holdfast.telemetry.alerts import rules
from holdfast.telemetry.histogram import SECOND, Histogram


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A figure, out of how many observations, and which names are in it."""

    value: float | None = None
    count: int = 0
    detail: tuple[str, ...] = ()


NONE = Reading()


class Sight(msgspec.Struct, frozen=True, gc=False):
    """All figures at one moment, of all nodes: shares from 0 to 1, times in seconds. `latency` is
    the 95th percentile, `log_append` and `loop_lag` the 99th."""

    error_rate: Reading = NONE
    latency: Reading = NONE
    connection_drops: Reading = NONE
    breakers_open: Reading = NONE
    log_failing: Reading = NONE
    log_append: Reading = NONE
    archive_lag: Reading = NONE
    loop_lag: Reading = NONE
    resume_misses: Reading = NONE
    key_age: Reading = NONE
    key_ring: Reading = NONE

    def of(self, rule: rules.Rule) -> Reading:
        """The one that a rule looks at."""
        found: Reading = getattr(self, rule.looks_at)
        return found


class Seen(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What one node tells of itself: what it `counted` in the last `WINDOW_SECONDS`, as far as
    rules look at it, `dropped` of the last hour, and `archive_lag` (seconds) and `breakers` (the
    providers that are passed over), `log_failing`, `key_age` (seconds) and `key_ring`, whether that
    is unreadable, of now."""

    counted: counts.Counts = counts.NOTHING
    dropped: int = 0
    archive_lag: float = 0.0
    breakers: tuple[str, ...] = ()
    log_failing: bool = False
    key_age: float | None = None
    key_ring: bool = False


class Samples:
    """What a node had counted, at moments of the last hour. Times are seconds of one clock that
    does not jump. Bounded by how often `add` is called: each round of evaluation."""

    def __init__(self, now: float) -> None:
        self._counted: deque[tuple[float, counts.Counts]] = deque([(now, counts.NOTHING)])
        self._dropped: deque[tuple[float, int]] = deque([(now, 0)])

    def add(self, now: float, counted: counts.Counts) -> None:
        """Keeps this, and lets go what is too old to be a beginning."""
        self._counted.append((now, _looked_at(counted)))
        self._dropped.append((now, counted.connections_dropped))
        while len(self._counted) > 1 and now - self._counted[1][0] >= rules.WINDOW_SECONDS:
            self._counted.popleft()
        while len(self._dropped) > 1 and now - self._dropped[1][0] >= rules.HOUR_SECONDS:
            self._dropped.popleft()

    def seen(
        self,
        counted: counts.Counts,
        archive_lag: float,
        breakers: tuple[str, ...],
        log_failing: bool = False,
        key_age: float | None = None,
        key_ring: bool = False,
    ) -> Seen:
        """What there is to tell now."""
        recent = counts.since(_looked_at(counted), self._counted[0][1])
        dropped = counted.connections_dropped - self._dropped[0][1]
        return Seen(recent, dropped, archive_lag, breakers, log_failing, key_age, key_ring)


def _looked_at(counted: counts.Counts) -> counts.Counts:
    """What rules look at: all else, as the calls to each model, would be much to keep."""
    return counts.Counts(
        streams_completed=counted.streams_completed,
        streams_error=counted.streams_error,
        streams_cancelled=counted.streams_cancelled,
        connections_continued=counted.connections_continued,
        connections_missed=counted.connections_missed,
        chunk_latency=counted.chunk_latency,
        appends=counted.appends,
        loop_lag=counted.loop_lag,
    )


def sight(nodes: Mapping[str, Seen]) -> Sight:
    """What these nodes, by their names, show together."""
    told = nodes.values()
    total = counts.added(one.counted for one in told)
    ended = total.streams_completed + total.streams_error + total.streams_cancelled
    came_back = total.connections_continued + total.connections_missed
    breakers = tuple(sorted({name for one in told for name in one.breakers}))
    ages = [one.key_age for one in told if one.key_age is not None]
    return Sight(
        error_rate=_share(total.streams_error, ended),
        latency=_quantile(total.chunk_latency, 0.95),
        connection_drops=Reading(float(sum(one.dropped for one in told)), 1),
        breakers_open=Reading(float(len(breakers)), 1, breakers),
        log_failing=_worst(
            {name: Reading(float(one.log_failing), 1) for name, one in nodes.items()}
        ),
        log_append=_quantile(total.appends, 0.99),
        archive_lag=_worst({name: Reading(one.archive_lag, 1) for name, one in nodes.items()}),
        loop_lag=_worst(
            {name: _quantile(one.counted.loop_lag, 0.99) for name, one in nodes.items()}
        ),
        resume_misses=_share(total.connections_missed, came_back),
        key_age=Reading(max(ages), len(ages)) if ages else NONE,
        key_ring=_worst({name: Reading(float(one.key_ring), 1) for name, one in nodes.items()}),
    )


def _worst(readings: Mapping[str, Reading]) -> Reading:
    """The highest, with the name of its node; nobody is named where all is 0."""
    name = max(readings, key=lambda name: readings[name].value or 0.0)
    one = readings[name]
    return msgspec.structs.replace(one, detail=(name,)) if one.value else one


def _share(part: int, whole: int) -> Reading:
    return Reading(part / whole, whole) if whole else NONE


def _quantile(samples: Histogram, share: float) -> Reading:
    us = samples.quantile(share)
    return NONE if us is None else Reading(us / SECOND, samples.count)
