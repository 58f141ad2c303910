"""How a crowded node is shared: the table, and a node to which tenants come for ever.

Strategy: the simulated node gives and takes places by the decision alone. Tenants ask again as soon
as they can, places become free in any order: whoever wants one gets its part sooner or later.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.metering import fair


@pytest.mark.parametrize(
    ("limit", "mine", "tenants", "room"),
    [
        (100, 0, 0, 100),
        (100, 99, 1, 100),
        (100, 49, 2, 100),
        (100, 50, 2, 90),
        (100, 99, 2, 90),
        (100, 32, 3, 100),
        (100, 33, 3, 90),
        (100, 0, 200, 100),
        (100, 1, 200, 90),
        (10, 5, 2, 9),
        (9, 5, 2, 8),
        (4.5, 3, 2, 4),
        (4.5, 2, 2, 4),
        (4.5, 1, 2, 4.5),
        (2, 1, 2, 1),
        (1, 1, 2, 0),
        (1, 0, 2, 1),
    ],
)
def test_the_table(limit: float, mine: int, tenants: int, room: float) -> None:
    assert fair.room(limit, mine, tenants) == room


@given(st.floats(0.75, 20_000), st.integers(0, 20_000), st.integers(0, 500))
def test_it_is_a_part_of_what_there_is(limit: float, mine: int, tenants: int) -> None:
    room = fair.room(limit, mine, tenants)
    assert 0 <= room <= limit
    if tenants < 2 or mine == 0 or mine + 1 <= limit / tenants:
        assert room == limit
    else:
        # The last place is never for who has its part: another one may want it.
        places = len([n for n in range(int(limit) + 1) if n < limit])
        assert room <= places - 1


def test_the_more_it_matters_the_more_there_is() -> None:
    assert fair.SHARES["low"] < fair.SHARES["normal"] < fair.SHARES["high"] == 1.0


class Node:
    """Places, and who has them."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.held: list[str] = []
        self.mine: Counter[str] = Counter()

    def ask(self, tenant: str, tenants: int) -> bool:
        given = len(self.held) < fair.room(self.limit, self.mine[tenant], tenants)
        if given:
            self.held.append(tenant)
            self.mine[tenant] += 1
        return given

    def free(self, place: int) -> None:
        self.mine[self.held.pop(place)] -= 1


@given(st.integers(1, 200))
def test_who_is_alone_may_have_everything(limit: int) -> None:
    node = Node(limit)
    while node.ask("a", 1):
        pass
    assert len(node.held) == limit


@given(st.integers(2, 8), st.integers(0, 32), st.randoms(use_true_random=False))
def test_nobody_starves(count: int, more: int, chance: random.Random) -> None:
    """One has the whole node and asks first, and the others ask in the worst order. Where there is
    a place for each, each gets an equal part as places become free."""
    limit = count + more
    greedy, *others = tenants = [f"t{number}" for number in range(count)]
    node = Node(limit)
    while node.ask(greedy, 1):
        pass
    most = dict.fromkeys(tenants, 0)
    for _ in range(3 * limit):
        node.free(0)
        chance.shuffle(others)
        for tenant in (greedy, *others):
            node.ask(tenant, count)
            most[tenant] = max(most[tenant], node.mine[tenant])
    assert min(most.values()) >= limit // count


@pytest.mark.parametrize("limit", [4, 10, 100])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_everybody_gets_an_equal_part_though_one_asks_first(limit: int, count: int) -> None:
    tenants = [f"t{number}" for number in range(count)]
    node = Node(limit)
    while node.ask(tenants[0], 1):
        pass
    for turn in range(20 * limit):
        node.free(turn % len(node.held))
        for tenant in tenants:
            while node.ask(tenant, count):
                pass
    for tenant in tenants:
        assert node.mine[tenant] >= limit // count


def test_nobody_is_thrown_out() -> None:
    node = Node(10)
    while node.ask("a", 1):
        pass
    for _ in range(10):
        assert not node.ask("b", 2)
    assert node.held == ["a"] * 10
    node.free(0)
    assert not node.ask("a", 2)
    assert node.ask("b", 2)
