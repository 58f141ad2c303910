"""Counts: sums of nodes, spans between two states, and minutes put together.

Strategy: each field has a number of its own, so that none can be taken for another.
"""

from __future__ import annotations

import itertools

import msgspec
import pytest

from holdfast.telemetry import counts

FIELDS = counts.Counts.__struct_fields__
ACTIVE = {"streams_active", "connections_active"}


def numbered(factor: int) -> counts.Counts:
    return counts.Counts(*(factor * (1 << number) for number in range(len(FIELDS))))


def values(of: counts.Counts) -> dict[str, int]:
    return msgspec.structs.asdict(of)


def test_parts_are_added_field_by_field() -> None:
    assert counts.added([numbered(1), numbered(10), counts.NOTHING]) == numbered(11)
    assert counts.added([]) == counts.NOTHING
    assert counts.added(itertools.repeat(numbered(1), 3)) == numbered(3)


def test_a_span_has_what_came_and_what_is_active_at_its_end() -> None:
    span = counts.since(numbered(7), numbered(3))
    for name in FIELDS:
        expected = numbered(7 if name in ACTIVE else 4)
        assert getattr(span, name) == getattr(expected, name), name


def test_minutes_are_added_and_active_are_the_most() -> None:
    whole = counts.over({0: numbered(2), 60_000: numbered(9), 120_000: numbered(4)})
    for name in FIELDS:
        expected = numbered(9 if name in ACTIVE else 15)
        assert getattr(whole, name) == getattr(expected, name), name
    assert counts.over({}) == counts.NOTHING


@pytest.mark.parametrize(
    ("ms", "begun"), [(0, 0), (59_999, 0), (60_000, 60_000), (1_700_000_012_345, 1_699_999_980_000)]
)
def test_a_minute_begins_at_its_second_0(ms: int, begun: int) -> None:
    assert counts.minute_of(ms) == begun


def test_what_another_version_counts_does_no_harm() -> None:
    """Neither more fields than are known, nor fewer."""
    encoded = msgspec.json.encode({"streams_started": 3, "dreams": 7})
    assert msgspec.json.decode(encoded, type=counts.Counts) == counts.Counts(streams_started=3)
    assert values(counts.Counts(streams_started=3))["streams_started"] == 3
