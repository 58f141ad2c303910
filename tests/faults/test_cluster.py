"""A short storm over three nodes in the ordinary run, and proof that its figures mean something.

`make chaos-cluster` is the long form: five minutes, a thousand readers, faults of every kind.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests import conftest
from tests.faults.chaos import book as books
from tests.faults.chaos import run as chaos
from tests.faults.chaos import wire
from tests.faults.cluster import breaking, recovery, run
from tests.integration import processes

from holdfast.testing import history

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 170
"""Seconds for all of it, on a machine with other work."""

SHORT = ("--seconds", "10", "--streams", "30", "--lease", "2", "--seed", "2", "--sealed")


@pytest.mark.case("1.16")
@pytest.mark.case("1.19")
@pytest.mark.case("1.22")
@pytest.mark.case("4.25")
def test_nothing_is_lost_in_a_short_storm_over_three_nodes(
    valkey_program: Path, postgres: object
) -> None:
    """In a process of its own, as it has a network of its own."""
    paths = os.pathsep.join([str(processes.SOURCE), str(ROOT)])
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.cluster", *SHORT],
        cwd=ROOT,
        env=processes.environment({"PYTHONPATH": paths}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=LIMIT)
    except BaseException:
        # As by Ctrl-C, after which it ends all that it has started.
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=processes.PATIENCE)
        raise
    assert process.returncode == 0, out + err
    if "skipped: partitions" in out:
        conftest.missing("namespaces", "no network namespaces can be made")


def seen(*more: history.Entry, node: str = "b") -> dict[str, list[float]]:
    """What a reader at a node has waited for, when node `a` died at 10."""
    entries: list[history.Entry] = [
        history.Connected(1.0, "r", "c", "s"),
        history.Delivered(9.0, "c", 1, 1, "", "chunk"),
        *more,
    ]
    doors = {"c": wire.Door(1, name=node), "d": wire.Door(2, name="c")}
    return recovery.waits(entries, doors, [breaking.Death(10.0, "a", "kill", 30.0)], {"s"})


GOES_ON = [
    history.Delivered(22.0, "c", 2, 2, "", "metadata"),
    history.Delivered(22.5, "c", 2, 3, "", "chunk"),
    history.Delivered(23.0, "c", 2, 4, "", "chunk"),
]


def test_a_wait_ends_with_the_first_token_of_another_life() -> None:
    assert seen(*GOES_ON) == {"kill": [12.5]}


def test_a_reader_that_had_to_come_back_has_waited_all_the_while() -> None:
    left = history.Disconnected(12.0, "c", False)
    back = history.Connected(12.5, "r", "d", "s", "1-1")
    again = [history.Delivered(one.at, "d", *one_of(one)) for one in GOES_ON]
    assert seen(left, back, *again) == {"kill": [12.5]}


def one_of(event: history.Delivered) -> tuple[int, int, str, str]:
    return event.epoch, event.seq, event.digest, event.kind


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [history.Delivered(11.0, "c", 1, 2, "", "chunk")],
        [history.Disconnected(9.5, "c", False)],
        [history.Delivered(31.0, "c", 2, 2, "", "chunk")],
    ],
    ids=["nothing came", "the same life", "it had gone", "it was too late to be for this"],
)
def test_who_did_not_wait_for_this_death_is_not_counted(entries: list[history.Entry]) -> None:
    assert seen(*entries) == {}


def test_a_reader_at_the_dead_node_is_not_counted() -> None:
    assert seen(*GOES_ON, node="a") == {}


def test_a_run_is_too_slow_where_one_in_a_hundred_is() -> None:
    assert not run.over({}, 15.0)
    assert not run.over({"kill": [16.0] * 99 + [17.0]}, 15.0)
    assert run.over({"kill": [16.0] * 99 + [17.1]}, 15.0)
    assert run.over({"kill": [16.0] * 99, "stop": [40.0]}, 15.0)


async def test_a_bag_is_emptied_before_a_fault_comes_again() -> None:
    drawn: list[int] = []

    def fault(number: int) -> object:
        async def happen() -> None:
            drawn.append(number)

        return happen

    bag = breaking.Bag(random.Random(1), [fault(number) for number in range(5)])  # type: ignore[misc]
    for _ in range(10):
        await bag.next()
    assert sorted(drawn[:5]) == sorted(drawn[5:]) == list(range(5))
    assert drawn[:5] != drawn[5:]
    await asyncio.sleep(0)


ENOUGH = Counter(
    {
        **dict.fromkeys(run.DEATHS, 1),
        **dict.fromkeys(run.FAILOVERS, 1),
        **dict.fromkeys(run.AWAY, 1),
    }
)
COUNTS = Counter(
    {
        "streams": 10,
        "Redis: complete": 8,
        "PostgreSQL: complete": 8,
        chaos.CANCELS: 1,
        chaos.CURSORS: 1,
    }
)
NO_DEATH = dict.fromkeys(run.DEATHS, 0)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(
    ("faults", "counts", "waited", "told", "of_long"),
    [
        ({}, {}, 1, "", ""),
        (
            NO_DEATH,
            {},
            1,
            *2 * ["deaf: there was no kill, no kill and start, no stop, no partition"],
        ),
        ({"stop": 0}, {}, 1, "", "deaf: there was no stop"),
        (
            dict.fromkeys(run.FAILOVERS[1:], 0),
            {},
            1,
            "",
            "deaf: there was no failover, primary frozen, no failover, primary behind",
        ),
        (
            dict.fromkeys(run.AWAY, 0),
            {},
            1,
            *2 * ["deaf: there was no PostgreSQL stopped, no PostgreSQL frozen"],
        ),
        ({}, {chaos.CANCELS: 0}, 1, *2 * [f"deaf: {chaos.CANCELS}: none"]),
        (
            {},
            {"PostgreSQL: complete": 4},
            1,
            *2 * ["deaf: of 10 streams 4 are complete in PostgreSQL"],
        ),
        ({}, {}, 0, "", "deaf: no reader saw its answer go on at another node"),
    ],
)
def test_a_run_in_which_too_little_happened_has_failed(
    faults: dict[str, int], counts: dict[str, int], waited: int, told: str, of_long: str, long: bool
) -> None:
    had, seen = Counter({**ENOUGH, **faults}), Counter({**COUNTS, **counts})
    assert "".join(run.lacking(seen, had, True, waited, long)) == (of_long if long else told)


def test_where_no_cable_can_be_pulled_no_partition_is_missed() -> None:
    had = Counter({**ENOUGH, "partition": 0})
    assert list(run.lacking(COUNTS, had, False, 1, True)) == []
    assert list(run.lacking(COUNTS, had, True, 1, True)) == ["deaf: there was no partition"]


def test_a_storm_lasts_until_enough_has_happened_but_not_for_ever() -> None:
    options = run.Options(Path(), "", 20.0, 1, 1, 3.0)
    book = books.Book()
    assert options.goes_on(book, True, 19.0)
    assert options.goes_on(book, True, 21.0)
    assert not options.goes_on(book, True, 20.0 * run.MOST)
    book.faults.update(ENOUGH)
    assert options.goes_on(book, True, 21.0)  # nothing about time could be judged yet
    book.counts["lulls"] += 1
    assert not options.goes_on(book, True, 21.0)
    book.lull = True
    assert options.goes_on(book, True, 21.0)
