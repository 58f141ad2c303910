"""What a node has counted: plain numbers, and how they are put together.

Strategy: whoever counts anyway tells its numbers when it is asked, so that nothing is done for a
token. `Counts` is a tree of sums since the node began, but for the few that say how much there is
now (`..._active`): so a span of time is the difference of two, and several nodes, or several
minutes, are their sum. Both are one rule that goes down the tree, and a new figure is a new field.
Names in it are of closed sets: error codes are ours, providers and models those of the settings.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import msgspec

from holdfast.telemetry.histogram import EMPTY, Histogram

MINUTE_MS = 60_000


IDENTITY = "identity"
"""The encoding of what is sent as it is."""

ENCODINGS = ("gzip", "deflate", "zstd", "br")
"""The others."""


class Coded(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Bytes in one encoding: as they were sent, and how many more they were before."""

    sent_bytes: int = 0
    saved_bytes: int = 0


class Calls(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The calls to one model of a provider. `duration` is of all that ended, `failed` by code of
    those that did not bring the whole answer; `first_chunk` until the answer began, `between`
    from one chunk of it to the next. Tokens are as the provider told them."""

    calls_active: int = 0
    begun: int = 0
    failed: dict[str, Histogram] = {}
    duration: Histogram = EMPTY
    first_chunk: Histogram = EMPTY
    between: Histogram = EMPTY
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def errors(self) -> dict[str, int]:
        """How many did not bring the whole answer, by code."""
        return {code: each.count for code, each in self.failed.items()}

    @property
    def whole(self) -> Histogram:
        """How long those took that did."""
        found: Histogram = functools.reduce(_minus, self.failed.values(), self.duration)
        return found


class Counts(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """`..._active` are those that there are at the moment, all else is counted. `written` is of
    answers, `sent` to readers. A stream that a node takes over is not `started` there.

    `errors` are by code: why streams ended. `unreadable`, by code too, is how often what is stored
    could not be read back, and `refused` by reason how many new streams were not taken. `duration`
    is that of all completed streams, `first_chunk` from the request to the first chunk,
    `chunk_latency` from an event's time, which it gets just before it is appended, to its write,
    for readers who were there when it came.
    `coded` is, by encoding, that part of `sent_bytes` that was not sent as it is.
    `calls` are by `provider/model`. `appends` are those of ticks to the log; `loop_lag` is how much
    later than asked for the event loop came. `cpu_us` is what the process has computed, in
    microseconds. Of the connections that were resumed, some `continued` with the next event to what
    they had, and some `missed`: it is not there any more; which of it is known with the first event
    that is sent.

    Of the readers' sockets, as far as they are seen: `sockets_seen` counts the looks at one, and
    `rtt_us` is the sum of what `rtt_count` of them told; see `tcp`."""

    streams_active: int = 0
    streams_started: int = 0
    streams_adopted: int = 0
    streams_completed: int = 0
    streams_error: int = 0
    streams_cancelled: int = 0
    fallbacks: int = 0
    errors: dict[str, int] = {}
    duration: Histogram = EMPTY
    first_chunk: Histogram = EMPTY
    written_chunks: int = 0
    written_bytes: int = 0
    connections_active: int = 0
    connections_opened: int = 0
    connections_resumed: int = 0
    connections_continued: int = 0
    connections_missed: int = 0
    connections_dropped: int = 0
    sent_chunks: int = 0
    sent_bytes: int = 0
    chunk_latency: Histogram = EMPTY
    calls: dict[str, Calls] = {}
    cpu_us: int = 0
    appends: Histogram = EMPTY
    loop_lag: Histogram = EMPTY
    rtt_us: int = 0
    rtt_count: int = 0
    retransmissions: int = 0
    packets_lost: int = 0
    sockets_seen: int = 0
    unreadable: dict[str, int] = {}
    refused: dict[str, int] = {}
    coded: dict[str, Coded] = {}

    @property
    def saved_bytes(self) -> int:
        """How many more bytes `sent_bytes` would be without any coding."""
        return sum(one.saved_bytes for one in self.coded.values())


NOTHING = Counts()


def added(some: Iterable[Counts]) -> Counts:
    """The sum of all: of several nodes at one time, or of parts of one."""
    found: Counts = functools.reduce(_plus, some, NOTHING)
    return found


def joined(some: Iterable[Calls]) -> Calls:
    """The sum of the calls to several models."""
    found: Calls = functools.reduce(_plus, some, Calls())
    return found


def since(now: Counts, before: Counts) -> Counts:
    """What came between two states of one node; what is active is so now."""
    found: Counts = _minus(now, before)
    return found


def came(now: Counts, before: Counts) -> Counts:
    """The same as a sum, which has nothing active in it."""
    found: Counts = _minus(now, before, active=False)
    return found


def _plus(one: Any, other: Any) -> Any:
    """Both are of one type: numbers, mappings of such, or structs of such."""
    if isinstance(one, int):
        return one + other
    if isinstance(one, dict):
        if not other:
            return one
        more = {name: _plus(one[name], two) if name in one else two for name, two in other.items()}
        return {**one, **more}
    if other is EMPTY:
        return one
    return type(one)(*map(_plus, *_parts(one, other)))


def _minus(one: Any, other: Any, *, active: bool = True) -> Any:
    """As `_plus`. What is 0 in a mapping is left out; `active`: what is so now stays."""
    if isinstance(one, int):
        return one - other
    if isinstance(one, dict):
        left = {
            name: _minus(two, other.get(name, type(two)()), active=active)
            for name, two in one.items()
        }
        return {name: two for name, two in left.items() if two != type(two)()}
    if other is EMPTY:
        return one
    fields = zip(type(one).__struct_fields__, *_parts(one, other), strict=True)
    return type(one)(
        *(
            a * active if name.endswith("_active") else _minus(a, b, active=active)
            for name, a, b in fields
        )
    )


def _parts(one: Any, other: Any) -> tuple[Iterable[Any], Iterable[Any]]:
    return msgspec.structs.astuple(one), msgspec.structs.astuple(other)


def minute_of(ms: int) -> int:
    """When the minute began that this time is in."""
    return ms - ms % MINUTE_MS
