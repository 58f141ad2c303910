"""Periods: which minutes one has, and what was counted in it and in each of its steps.

Strategy: archives in memory, filled by hand; the truth is what was put there, and what nodes tell.
"""

from __future__ import annotations

import math
import random

import msgspec
import pytest

from holdfast import errors
from holdfast.archive import memory, rows
from holdfast.http import figures, periods
from holdfast.telemetry import counts, histogram

M = counts.MINUTE_MS
ALL = periods.Period(0, 10**9 * M)


def row(at: int, node: str, counted: counts.Counts) -> rows.Minute:
    return rows.Minute(at, node, msgspec.json.encode(counted))


async def archive(*minutes: rows.Minute) -> memory.MemoryArchive:
    found = memory.MemoryArchive()
    await found.keep_minutes(minutes)
    return found


@pytest.mark.parametrize(
    ("start", "end", "covered"),
    [
        (0, M, (0, M)),
        (1, M, (M, M)),
        (1, M + 1, (M, 2 * M)),
        (M - 1, 3 * M - 1, (M, 3 * M)),
        (3 * M, 9 * M + 5, (3 * M, 9 * M + 7)),  # as far as they have been
        (9 * M + 1, 9 * M + 7, (9 * M + 7, 9 * M + 7)),
        (5, 5, (M, M)),
    ],
)
def test_a_period_has_the_minutes_that_begin_in_it(
    start: int, end: int, covered: tuple[int, int]
) -> None:
    assert periods.Period(start, end).covered(9 * M + 7) == covered


async def test_a_period_of_many_pages_is_counted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROWS", 3)
    kept = memory.MemoryArchive()
    for at in range(10):
        await kept.keep_minutes([row(at, node, counts.Counts(sent_chunks=1)) for node in "ab"])
    found = await periods.counted(kept, ALL, {})
    assert periods.whole(found).sent_chunks == 20


async def test_a_minute_that_was_told_and_is_written_by_now_counts_once() -> None:
    told = {
        "a": {M: counts.Counts(sent_chunks=5), 3 * M: counts.Counts(sent_chunks=7)},
        "b": {M: counts.Counts(sent_chunks=11)},
    }
    kept = await archive(
        row(0, "a", counts.Counts(sent_chunks=1)),
        row(M, "a", counts.Counts(sent_chunks=5)),
        row(M, "c", counts.Counts(sent_chunks=100)),
    )
    found = await periods.counted(kept, ALL, told, M)
    assert {at: one.sent_chunks for at, one in found.items()} == {0: 1, M: 116, 3 * M: 7}
    assert list(found) == sorted(found)


async def test_active_are_the_most_at_the_end_of_a_minute_of_all_nodes() -> None:
    def at_work(streams: int, calls: int) -> counts.Counts:
        return counts.Counts(streams_active=streams, calls={"p/m": counts.Calls(calls, begun=1)})

    kept = await archive(
        row(0, "a", at_work(1, 2)),
        row(0, "b", at_work(4, 3)),
        row(M, "a", at_work(3, 1)),
        row(2 * M, "b", at_work(4, 4)),
    )
    for step in (None, 2 * M):
        found = periods.whole(await periods.counted(kept, ALL, {}, step))
        assert (found.streams_active, found.calls["p/m"]) == (5, counts.Calls(5, begun=4))


async def test_a_period_with_too_many_minutes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periods, "MAX_MINUTES", 3)
    kept = await archive(*(row(at, "a", counts.NOTHING) for at in range(4)))
    with pytest.raises(errors.InvalidField):
        await periods.counted(kept, ALL, {})
    assert len(await periods.counted(kept, periods.Period(0, 3), {})) == 1


async def test_bytes_that_are_no_minute_are_told() -> None:
    with pytest.raises(errors.LogCorrupt):
        await periods.counted(await archive(rows.Minute(0, "a", b"{")), ALL, {})


def test_each_step_of_a_span_is_there_and_as_long_as_it_is_in_it() -> None:
    steps = {0: counts.Counts(sent_chunks=3), 4 * M: counts.Counts(sent_chunks=16)}
    found = list(periods.each(steps, (M, 7 * M - 20_000), 2 * M))
    assert [(start, seconds) for start, seconds, _ in found] == [
        (0, 60.0),
        (2 * M, 120.0),
        (4 * M, 120.0),
        (6 * M, 40.0),
    ]
    assert [one.sent_chunks for _, _, one in found] == [3, 0, 16, 0]


async def test_the_p99_of_60_unlike_minutes_in_the_archive_is_that_of_all_samples() -> None:
    dice, samples = random.Random(9), list[int]()
    minutes = []
    for minute in range(60):
        recorder, slow = histogram.Recorder(), minute % 10 == 0
        for _ in range(dice.choice((3, 40, 900))):
            sample = int(dice.expovariate(1 / (2_000_000 if slow else 4_000)))
            samples.append(sample)
            recorder.add(sample)
        counted = counts.Counts(chunk_latency=recorder.histogram())
        minutes.append(row(minute * M, f"node {minute % 3}", counted))
    found = periods.whole(await periods.counted(await archive(*minutes), ALL, {}))
    shown = figures.latency(found.chunk_latency)
    assert shown.count == len(samples)
    for share, told in ((0.5, shown.p50), (0.95, shown.p95), (0.99, shown.p99)):
        exact = sorted(samples)[math.ceil(share * len(samples)) - 1] / 1000
        assert told is not None
        assert exact <= told <= 1.1 * exact
