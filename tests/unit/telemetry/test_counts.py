"""Counts: sums of nodes, spans between two states, and minutes put together.

Strategy: each number in the tree is one of its own, so that none can be taken for another.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from holdfast.telemetry import counts, histogram

CALLS = counts.Calls(begun=1, duration=histogram.Histogram({10: 1}, 7))

FIELDS = counts.Counts.__struct_fields__
ACTIVE = {"streams_active", "connections_active", "calls_active"}


def numbered(factor: int, active: int | None = None) -> counts.Counts:
    """Each number in it is `factor` times one of its own; those that are active `active` times."""
    own = itertools.count(1009, 97)

    def value(kind: Any, name: str) -> Any:
        many = active if active is not None and name in ACTIVE else factor
        if isinstance(kind, inspect.IntType):
            return many * next(own)
        if isinstance(kind, inspect.DictType):
            keys = (20, 30) if isinstance(kind.key_type, inspect.IntType) else ("a", "b")
            return {key: value(kind.value_type, "") for key in keys}
        assert isinstance(kind, inspect.StructType)
        return kind.cls(**{one.name: value(one.type, one.name) for one in kind.fields})

    found = value(inspect.type_info(counts.Counts), "")
    assert isinstance(found, counts.Counts)
    return found


def test_parts_are_added_number_by_number() -> None:
    assert counts.added([numbered(1), numbered(10), counts.NOTHING]) == numbered(11)
    assert counts.added([counts.NOTHING, numbered(1)]) == numbered(1)
    assert counts.added([]) == counts.NOTHING
    assert counts.added(itertools.repeat(numbered(1), 3)) == numbered(3)


def test_names_that_only_one_part_has_stay() -> None:
    one, other = counts.Counts(errors={"a": 1, "b": 2}), counts.Counts(errors={"b": 5, "c": 4})
    assert counts.added([one, other]).errors == {"a": 1, "b": 7, "c": 4}
    assert one.errors == {"a": 1, "b": 2}


def test_a_span_has_what_came_and_what_is_active_at_its_end() -> None:
    assert counts.since(numbered(7), numbered(3)) == numbered(4, active=7)
    assert counts.since(numbered(7), counts.NOTHING) == numbered(7)


def test_what_did_not_come_is_not_named() -> None:
    now = counts.Counts(
        errors={"a": 3, "b": 1}, duration=histogram.Histogram({20: 2}, 40), calls={"p/m": CALLS}
    )
    before = counts.Counts(
        errors={"a": 3}, duration=histogram.Histogram({20: 2}, 40), calls={"p/m": CALLS}
    )
    assert counts.since(now, before) == counts.Counts(errors={"b": 1})


def test_what_came_has_nothing_active_in_it() -> None:
    assert counts.came(numbered(7), numbered(3)) == numbered(4, active=0)


@pytest.mark.parametrize(
    ("ms", "begun"), [(0, 0), (59_999, 0), (60_000, 60_000), (1_700_000_012_345, 1_699_999_980_000)]
)
def test_a_minute_begins_at_its_second_0(ms: int, begun: int) -> None:
    assert counts.minute_of(ms) == begun


def test_what_another_version_counts_does_no_harm() -> None:
    """Neither more fields than are known, nor fewer."""
    encoded = msgspec.json.encode({"streams_started": 3, "dreams": 7})
    assert msgspec.json.decode(encoded, type=counts.Counts) == counts.Counts(streams_started=3)


def test_what_a_minute_counted_is_read_again_as_it_was() -> None:
    whole = numbered(3)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=counts.Counts) == whole
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(whole), type=counts.Counts) == whole
