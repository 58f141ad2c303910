"""What a node tells of itself, and how the samples of metrics are read from it.

Strategy: a reading is a plain function from a node to samples, each with the values of its metric's
labels. Those are of closed sets: names of the settings, codes of ours, states. What is not measured
has no sample, and what can be said before it happens begins with 0: of a series that begins with 1,
no increase is seen.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, get_args

import msgspec

from holdfast import errors
from holdfast.telemetry import conventions, counts, histogram, record, vitals


class Node(msgspec.Struct, frozen=True, gc=False):
    """What a node tells. `providers` has the kind of each by its name; `key_age_ms` is None where
    nothing is sealed, `key_ring_failures` and `key_ring_unreadable` are as `sealing.holder`
    has them; the rest is how far its archive is behind, as `keeper.State` has it."""

    counted: counts.Counts
    vitals: vitals.Vitals
    providers: Mapping[str, str]
    archive_lag_ms: int
    reports_waiting: int
    reports_dropped: int
    key_age_ms: int | None = None
    key_ring_failures: int = 0
    key_ring_unreadable: bool = False


class Sum(NamedTuple):
    """A summary: how many samples there were, and what they come to."""

    many: int
    total: float


Value = float | histogram.Histogram | Sum
Sample = tuple[tuple[str, ...], Value]
"""The values of a metric's labels, and its own. A histogram has microseconds."""

Read = Callable[[Node], Iterable[Sample]]

CALLS = ("provider", "gen_ai_provider_name", "gen_ai_operation_name", "gen_ai_request_model")
"""The labels of calls to a model."""


def at(path: str, scale: float = 1) -> Read:
    """The value at this path in a node, divided by the scale; none where that is None."""
    found = operator.attrgetter(path)

    def read(node: Node) -> Iterator[Sample]:
        value = found(node)
        if value is not None:
            yield (), value if scale == 1 else value / scale

    return read


def seen(path: str) -> Read:
    """What the kernel tells of readers' sockets: none where no socket was seen."""
    read = at(path)
    return lambda node: read(node) if node.counted.sockets_seen else ()


def rtt(node: Node) -> Iterator[Sample]:
    """In seconds."""
    counted = node.counted
    if counted.rtt_count:
        yield (), Sum(counted.rtt_count, counted.rtt_us / histogram.SECOND)


def ended(node: Node) -> Iterator[Sample]:
    """By status."""
    yield ("completed",), node.counted.streams_completed
    yield ("error",), node.counted.streams_error
    yield ("cancelled",), node.counted.streams_cancelled


_ENDS = tuple(
    one.code
    for some in (errors.ProviderError, errors.StreamFailure)
    for one in some.__subclasses__()
    if one is not errors.Cancelled
)
"""Codes that an answer may end with by what is common."""


def failed(node: Node) -> Iterable[Sample]:
    """By code."""
    found = {**dict.fromkeys(_ENDS, 0), **node.counted.errors}
    return (((code,), many) for code, many in found.items())


def unreadable(node: Node) -> Iterable[Sample]:
    """By code."""
    usual = (errors.LogCorrupt.code, errors.KeyMissing.code)
    found = {**dict.fromkeys(usual, 0), **node.counted.unreadable}
    return (((code,), many) for code, many in found.items())


def refused(node: Node) -> Iterable[Sample]:
    """By reason."""
    found = {**dict.fromkeys(get_args(record.Refused), 0), **node.counted.refused}
    return (((reason,), many) for reason, many in found.items())


def resumed(node: Node) -> Iterator[Sample]:
    """By result."""
    yield ("hit",), node.counted.connections_continued
    yield ("miss",), node.counted.connections_missed


def sent(node: Node) -> Iterator[Sample]:
    """By encoding."""
    counted = node.counted
    coded = sum(one.sent_bytes for one in counted.coded.values())
    yield (counts.IDENTITY,), counted.sent_bytes - coded
    for name, one in _coded(counted):
        yield (name,), one.sent_bytes


def uncoded(node: Node) -> Iterator[Sample]:
    """By encoding: what was compressed, before that."""
    for name, one in _coded(node.counted):
        yield (name,), one.sent_bytes + one.saved_bytes


def _coded(counted: counts.Counts) -> Iterable[tuple[str, counts.Coded]]:
    return {**dict.fromkeys(counts.ENCODINGS, counts.Coded()), **counted.coded}.items()


def appended(node: Node) -> Iterator[Sample]:
    """By engine."""
    yield (node.vitals.engine,), node.counted.appends


def broken(node: Node) -> Iterable[Sample]:
    """By provider. One call that is let through to see is no sign that it is well."""
    shut = node.vitals.passed_over
    return (((name,), name in shut) for name in node.providers)


def version(node: Node) -> Iterator[Sample]:
    """By version."""
    yield (node.vitals.version,), 1


def called(field: str) -> Read:
    """A field of the calls to each model, by `CALLS`."""
    found = operator.attrgetter(field)
    return lambda node: ((labels, found(calls)) for labels, calls in _calls(node))


def lasted(node: Node) -> Iterator[Sample]:
    """Durations by `CALLS` and code, which is "" where the whole answer came: for Prometheus that
    is to have no such label."""
    for labels, calls in _calls(node):
        yield (*labels, ""), calls.whole
        for code, each in calls.failed.items():
            yield (*labels, code), each


def call_errors(node: Node) -> Iterator[Sample]:
    """By `CALLS` and code."""
    for labels, calls in _calls(node):
        for code, many in calls.errors.items():
            yield (*labels, code), many


def _calls(node: Node) -> Iterator[tuple[tuple[str, ...], counts.Calls]]:
    for name, calls in node.counted.calls.items():
        provider, _, model = name.partition("/")
        kind = node.providers.get(provider, provider)
        labels = (provider, conventions.provider(kind), conventions.operation(kind), model)
        yield labels, calls
