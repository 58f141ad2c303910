"""What alerts see: the last minutes of all nodes, added up."""

from __future__ import annotations

import msgspec

from holdfast.telemetry import counts
from holdfast.telemetry.alerts import rules, sight
from holdfast.telemetry.histogram import Histogram


def test_shares_and_percentiles_are_those_of_all_nodes_together() -> None:
    here = counts.Counts(
        streams_completed=90,
        streams_error=0,
        connections_continued=9,
        connections_missed=1,
        chunk_latency=Histogram({1000: 90}, 0),
        appends=Histogram({2000: 200}, 0),
    )
    there = counts.Counts(
        streams_completed=8,
        streams_error=1,
        streams_cancelled=1,
        connections_continued=10,
        chunk_latency=Histogram({2_000_000: 10}, 0),
        appends=Histogram({500_000: 1}, 0),
    )
    seen = sight.sight({"a": sight.Seen(here, 30, 2.0), "b": sight.Seen(there, 12, 7.0)})
    assert seen.error_rate == sight.Reading(0.01, 100)
    assert seen.latency == sight.Reading(2.0, 100)
    assert seen.log_append == sight.Reading(0.002, 201)
    assert seen.resume_misses == sight.Reading(0.05, 20)
    assert seen.connection_drops.value == 42
    assert seen.archive_lag == sight.Reading(7.0, 1, ("b",))


def test_the_event_loop_is_that_of_the_worst_node() -> None:
    slow = counts.Counts(loop_lag=Histogram({800_000: 100}, 0))
    quick = counts.Counts(loop_lag=Histogram({1000: 100_000}, 0))
    seen = sight.sight({"a": sight.Seen(quick), "b": sight.Seen(slow)})
    assert seen.loop_lag == sight.Reading(0.8, 100, ("b",))


def test_a_provider_that_several_nodes_pass_over_is_one() -> None:
    told = {
        "x": sight.Seen(breakers=("b", "a")),
        "y": sight.Seen(breakers=("b",)),
        "z": sight.Seen(),
    }
    assert sight.sight(told).breakers_open == sight.Reading(2.0, 1, ("a", "b"))


def test_a_log_that_fails_one_node_fails() -> None:
    seen = sight.sight({"a": sight.Seen(), "b": sight.Seen(log_failing=True)})
    assert seen.log_failing == sight.Reading(1.0, 1, ("b",))
    assert sight.sight({"a": sight.Seen()}).log_failing == sight.Reading(0.0, 1)


def test_the_oldest_key_of_all_nodes_is_looked_at() -> None:
    told = {"a": sight.Seen(key_age=3.0), "b": sight.Seen(), "c": sight.Seen(key_age=9.5)}
    assert sight.sight(told).key_age == sight.Reading(9.5, 2)


def test_a_key_ring_that_is_gone_is_that_of_a_node() -> None:
    told = {"a": sight.Seen(), "b": sight.Seen(key_ring=True)}
    assert sight.sight(told).key_ring == sight.Reading(1.0, 1, ("b",))


def test_what_cannot_be_had_is_not_zero() -> None:
    seen = sight.sight({"a": sight.Seen()})
    for figure in (seen.error_rate, seen.latency, seen.log_append, seen.loop_lag, seen.key_age):
        assert figure.value is None
    assert seen.resume_misses.value is None
    assert seen.connection_drops.value == seen.breakers_open.value == 0.0


def test_samples_are_of_five_minutes_and_of_an_hour() -> None:
    """One error and one drop each ten seconds, for three hours."""
    samples = sight.Samples(0.0)
    for number in range(1, 3 * 360 + 1):
        now = counts.Counts(streams_error=number, connections_dropped=number)
        samples.add(10.0 * number, now)
        seen = samples.seen(now, 0.0, ())
        assert seen.counted.streams_error == min(number, rules.WINDOW_SECONDS / 10)
        assert seen.dropped == min(number, rules.HOUR_SECONDS / 10)
    assert len(samples._counted) == rules.WINDOW_SECONDS / 10 + 1
    assert len(samples._dropped) == rules.HOUR_SECONDS / 10 + 1


def test_a_node_tells_what_rules_look_at_and_no_more() -> None:
    some = Histogram({1000: 1}, 900)
    looked_at = counts.Counts(
        streams_completed=1,
        streams_error=2,
        streams_cancelled=3,
        connections_continued=4,
        connections_missed=5,
        chunk_latency=some,
        appends=some,
        loop_lag=some,
    )
    counted = msgspec.structs.replace(
        looked_at, written_bytes=7, errors={"x": 1}, streams_active=3, duration=some
    )
    told = sight.Samples(0.0).seen(counted, 1.0, ("a",))
    assert told == sight.Seen(looked_at, 0, 1.0, ("a",))
