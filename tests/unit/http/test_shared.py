"""Bytes are bounded together, and whoever holds most loses first."""

from __future__ import annotations

import random

import msgspec
import pytest

from holdfast.http import shared


class Holder(msgspec.Struct, frozen=True):
    tenant: str
    number: int = 1


A, B, C = (Holder(tenant) for tenant in "abc")
B2 = Holder("b", 2)


def test_who_holds_most_loses_what_was_added_to_longest_ago() -> None:
    held = shared.Shared[Holder](100)
    for holder, size in ((A, 30), (B, 20), (B2, 20), (B, 30)):
        assert held.put(holder, size) == []
    assert held.put(A, 51) == [A]  # now it is a that holds most, and has no other
    assert held.put(C, 25) == []
    assert held.put(C, 51) == [C]
    assert held.put(C, 49) == []
    assert held.put(B2, 22) == [B]


def test_nobody_loses_one_for_what_another_holds() -> None:
    held, ended = shared.Shared[Holder](100), list[Holder]()
    held.put(A, 30)
    for number in range(30):
        ended += held.put(Holder("loud", number), 10)
    ended += held.put(A, 40)
    assert ended == [Holder("loud", number) for number in range(24)]


def test_it_counts_for_whom_it_was_first() -> None:
    """Until nothing is held any more; then it may be somebody else's."""

    class Line:
        tenant = "a"

    one, other = Line(), Line()
    lines = shared.Shared[Line](100)
    lines.put(one, 60)
    one.tenant = "b"
    lines.put(one, 50)
    other.tenant = "c"
    assert lines.put(other, 50) == []
    lines.drop(one)
    lines.put(one, 40)
    assert lines.put(other, 70) == [other]
    assert lines._sums == {"b": 40}


def test_one_alone_may_be_over_the_bound() -> None:
    held = shared.Shared[Holder](100)
    assert held.put(A, 500) == []
    assert held.put(B, 1) == [A]
    assert held.put(B, 500) == []


def test_what_was_ended_counts_no_more() -> None:
    held = shared.Shared[Holder](100)
    held.put(A, 90)
    held.put(B, 10)
    assert held.put(B, 11) == [A]
    for holder in (A, A, B, C):
        held.drop(holder)
    assert (held._sum, dict(held._sums), held._of, held._tenants) == (0, {}, {}, {})


@pytest.mark.parametrize("seed", range(20))
def test_in_the_end_nothing_is_held(seed: int) -> None:
    dice, held, sizes = random.Random(seed), shared.Shared[Holder](100), dict[Holder, int]()
    for _ in range(300):
        holder = Holder(dice.choice("abc"), dice.randrange(5))
        if dice.random() < 0.2:
            held.drop(holder)
            sizes.pop(holder, None)
        else:
            sizes[holder] = dice.randrange(60)
            for one in held.put(holder, sizes[holder]):
                del sizes[one]
        assert held._sum == sum(sizes.values()) == held._sums.total()
        assert held._sum <= 100 or len(sizes) == 1
    for holder in sizes:
        held.drop(holder)
    assert (held._sum, dict(held._sums), held._of, held._tenants) == (0, {}, {}, {})
