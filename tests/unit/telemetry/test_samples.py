"""How samples are read: what has no sample, what begins with 0, and which labels there can be."""

from __future__ import annotations

from typing import get_args

import msgspec
from tests.unit.telemetry import told

from holdfast import errors
from holdfast.telemetry import record, samples


def passing_over(*names: str) -> samples.Node:
    said = msgspec.structs.replace(told.VITALS, passed_over=names)
    return msgspec.structs.replace(told.NODE, vitals=said)


def test_what_is_none_has_no_sample() -> None:
    read = samples.at("vitals.memory")
    assert list(read(told.NODE)) == [((), 50_000_000)]
    assert list(read(told.SILENT)) == []


def test_a_value_is_told_in_its_unit() -> None:
    assert list(samples.at("archive_lag_ms", 1000)(told.NODE)) == [((), 1.5)]


def test_sockets_that_were_seen_and_lost_nothing_say_so() -> None:
    counted = msgspec.structs.replace(told.SILENT.counted, sockets_seen=1)
    seen = msgspec.structs.replace(told.SILENT, counted=counted)
    read = samples.seen("counted.packets_lost")
    assert list(read(seen)) == [((), 0)]
    assert list(read(told.SILENT)) == []
    assert list(samples.rtt(seen)) == []


def test_refusals_are_told_before_they_happen() -> None:
    before, after = dict(samples.refused(told.SILENT)), dict(samples.refused(told.NODE))
    assert set(before.values()) == {0}
    assert before.keys() == {(reason,) for reason in get_args(record.Refused)}
    assert after == {**before, ("late",): 4}


def test_usual_ends_are_told_before_they_happen() -> None:
    before, after = dict(samples.failed(told.SILENT)), dict(samples.failed(told.NODE))
    assert set(before.values()) == {0}
    assert {("provider_timeout",), ("interrupted",), ("log_lost",)} < before.keys()
    assert (errors.Cancelled.code,) not in before
    assert after == {**before, ("provider_timeout",): 1, ("token_limit",): 1}


def test_bytes_are_told_by_what_they_were_sent_in_and_before_any_were() -> None:
    before = dict(samples.sent(told.SILENT))
    assert before == {(name,): 0 for name in ("identity", "gzip", "deflate", "zstd", "br")}
    after = dict(samples.sent(told.NODE))
    assert after == {**before, ("identity",): 600, ("gzip",): 200, ("br",): 100}
    assert sum(map(float, after.values())) == told.COUNTED.sent_bytes  # type: ignore[arg-type]
    assert dict(samples.uncoded(told.SILENT)) == {one: 0 for one in before if one != ("identity",)}
    assert dict(samples.uncoded(told.NODE)) == {
        ("gzip",): 1200,
        ("deflate",): 0,
        ("zstd",): 0,
        ("br",): 400,
    }


def test_a_provider_is_broken_while_it_is_passed_over() -> None:
    found = dict(samples.broken(passing_over("main")))
    assert found == {("main",): 1, ("spare",): 0, ("demo",): 0}


def test_a_breaker_of_nobody_that_is_configured_is_not_told() -> None:
    assert set(dict(samples.broken(passing_over("gone")))) == {
        ("main",),
        ("spare",),
        ("demo",),
    }


def test_calls_are_named_by_who_is_asked() -> None:
    counted = msgspec.structs.replace(
        told.COUNTED, calls={"spare/org/model": told.CALLS, "gone/x": told.CALLS}
    )
    node = msgspec.structs.replace(told.NODE, counted=counted)
    assert dict(samples.called("begun")(node)) == {
        ("spare", "mistral_ai", "chat", "org/model"): 9,
        ("gone", "gone", "chat", "x"): 9,
    }


def test_a_node_survives_the_way_to_another() -> None:
    packed = msgspec.msgpack.encode(told.NODE)
    assert msgspec.msgpack.decode(packed, type=samples.Node) == told.NODE
