"""Places that are taken on all nodes: told anew in each period, forgotten with who took them.

Strategy: nodes with accounts of one name on one set of counters, and a clock that the test moves.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.metering import counting

from holdfast import errors
from holdfast.archive.base import Quota
from holdfast.eventlog import counters
from holdfast.metering import account, ledger, places

NAME = "tenant:acme"


class Nodes:
    """Some nodes, each with a ledger; their accounts are those of one owner."""

    def __init__(self, count: int) -> None:
        self.clock, self.sums = counting.Clock(), counters.MemoryCounters()
        self.ledgers = [
            ledger.Ledger(
                self.sums,
                lambda name: Quota(streams=3, connections=2),
                None,
                self.clock,
                shared=True,
            )
            for _ in range(count)
        ]

    async def accounts(self) -> list[account.Account]:
        return [(await one.of("acme/zoe", ""))[-1] for one in self.ledgers]

    async def share(self) -> None:
        """All tell, and each is asked for its accounts, as by a request."""
        for one in self.ledgers:
            await one.share()
        self.clock.now += ledger.NEWS_MS + 1
        await self.accounts()


async def test_answers_under_way_count_wherever_they_are() -> None:
    nodes = Nodes(3)
    here, there, third = await nodes.accounts()
    there.streams, third.streams = 2, 1
    await nodes.share()
    here.streams += 1
    with pytest.raises(errors.StreamLimit):
        here.check(1, 0)
    here.streams -= 1
    third.streams = 0
    await nodes.share()
    here.streams += 1
    here.check(1, 0)


async def test_open_readers_count_wherever_they_are() -> None:
    nodes = Nodes(2)
    here, there = await nodes.accounts()
    there.connections = 2
    here.check_connections()
    await nodes.share()
    with pytest.raises(errors.ConnectionLimit):
        here.check_connections()
    there.connections = 1
    await nodes.share()
    here.check_connections()


async def test_what_a_node_holds_is_known_for_as_long_as_it_says_so() -> None:
    nodes = Nodes(2)
    here, there = await nodes.accounts()
    there.streams = 3
    for _ in range(50):
        await nodes.share()
        assert here.elsewhere["streams"] == 3
        assert there.elsewhere["streams"] == 0


async def test_what_a_dead_node_held_is_forgotten() -> None:
    nodes = Nodes(2)
    here, there = await nodes.accounts()
    there.streams = 3
    await nodes.share()
    nodes.ledgers.pop()
    left = []
    for _ in range(2 * places.PERIOD_MS // ledger.NEWS_MS + 1):
        await nodes.share()
        left.append(here.elsewhere["streams"])
    assert left[0] == 3
    assert left[-1] == 0


async def test_one_node_alone_tells_nobody() -> None:
    sums = counters.MemoryCounters()
    one = ledger.Ledger(sums, lambda name: Quota(streams=3), None, counting.Clock())
    account = (await one.of("acme/zoe", ""))[-1]
    account.streams = 2
    await one.share()
    assert account.told["streams"] == places.Told()


@given(steps=st.lists(st.tuples(st.integers(0, 15_000), st.integers(0, 9)), max_size=40))
def test_the_newest_slot_holds_what_was_told_last(steps: list[tuple[int, int]]) -> None:
    mine, other = places.Node(1), places.Node(2)
    told, now, sums = places.Told(), 0, dict[int, int]()
    for passed, count in steps:
        now += passed
        place = mine.change(told, count, now)
        assert place.until > now + places.PERIOD_MS
        sums[place.slot] = sums.get(place.slot, 0) + place.amount
        told = places.Told(place.slot, count)
        assert other.elsewhere(sums) == count
        assert mine.elsewhere(sums) == 0
