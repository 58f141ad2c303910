"""What a node has counted: plain numbers, and how they are put together.

Strategy: whoever counts anyway tells its numbers when it is asked, so that nothing is done for a
token. All numbers are sums since the node began, but for the few that say how much there is now:
so a span of time is the difference of two, and several nodes, or several minutes, are their sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

MINUTE_MS = 60_000


class Counts(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """`..._active` are those that there are at the moment, all else is counted. `written` is of
    answers, `sent` to readers; times in ms. A stream that a node takes over is not `started` there.
    `duration_ms` is that of all completed streams; `latency_ms` from an event's append to its
    write, of `latency_count` writes."""

    streams_active: int = 0
    streams_started: int = 0
    streams_adopted: int = 0
    streams_completed: int = 0
    streams_error: int = 0
    streams_cancelled: int = 0
    duration_ms: int = 0
    written_chunks: int = 0
    written_bytes: int = 0
    connections_active: int = 0
    connections_opened: int = 0
    connections_resumed: int = 0
    connections_dropped: int = 0
    sent_chunks: int = 0
    sent_bytes: int = 0
    latency_ms: int = 0
    latency_count: int = 0


NOTHING = Counts()


def added(some: Iterable[Counts]) -> Counts:
    """The sum of all: of several nodes at one time, or of parts of one."""
    columns = zip(*map(msgspec.structs.astuple, (NOTHING, *some)), strict=True)
    return Counts(*map(sum, columns))


def since(now: Counts, before: Counts) -> Counts:
    """What came between two states of one node; what is active is so now."""
    counted = msgspec.structs.astuple(now)
    left = msgspec.structs.astuple(before)
    span = Counts(*(one - other for one, other in zip(counted, left, strict=True)))
    return _active(span, now)


def over(minutes: Mapping[int, Counts]) -> Counts:
    """The sum of minutes, each that of all nodes; active are the most at the end of one."""
    total, some = added(minutes.values()), minutes.values()
    most = Counts(
        streams_active=max((one.streams_active for one in some), default=0),
        connections_active=max((one.connections_active for one in some), default=0),
    )
    return _active(total, most)


def _active(counted: Counts, as_in: Counts) -> Counts:
    return msgspec.structs.replace(
        counted,
        streams_active=as_in.streams_active,
        connections_active=as_in.connections_active,
    )


def minute_of(ms: int) -> int:
    """When the minute began that this time is in."""
    return ms - ms % MINUTE_MS
