"""Turns go round among tenants, and a queue has an end."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import errors
from holdfast.metering import turns


class Crowd:
    """Wishes that each need a look of the loop; `order` is that in which they began."""

    def __init__(self, at_once: int, each: int = 1) -> None:
        self.turns, self.order = turns.Turns(at_once, each), list[str]()
        self.under_way = self.most = 0

    async def wish(self, tenant: str) -> None:
        async with self.turns.one(tenant):
            self.order.append(tenant)
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(0)
            self.under_way -= 1


async def test_who_asks_once_waits_for_one_of_each_other_tenant() -> None:
    crowd = Crowd(1)
    wishes = [asyncio.ensure_future(crowd.wish("loud")) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(crowd.wish("quiet"), crowd.wish("calm"))
    assert crowd.order[:4].count("loud") <= 2
    await asyncio.gather(*wishes)
    assert (crowd.order.count("loud"), crowd.most) == (50, 1)
    assert (crowd.turns._queues, dict(crowd.turns._waiting)) == ({}, {})


async def test_no_more_than_that_at_once() -> None:
    crowd = Crowd(3)
    await asyncio.gather(*(crowd.wish(f"{number}") for number in range(20)))
    assert crowd.most == 3


async def test_a_tenant_has_as_many_turns_at_once_as_each_may() -> None:
    crowd = Crowd(3, 2)
    await asyncio.gather(*(crowd.wish("loud") for _ in range(20)))
    assert crowd.most == 2
    await asyncio.gather(*(crowd.wish(name) for name in 10 * ["loud", "quiet"]))
    assert crowd.most == 3
    assert (crowd.turns._queues, dict(crowd.turns._waiting)) == ({}, {})


async def test_a_queue_has_an_end_and_each_its_own() -> None:
    crowd = Crowd(1)
    wishes = [asyncio.ensure_future(crowd.wish("loud")) for _ in range(turns.MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(errors.Overloaded):
        await crowd.wish("loud")
    await crowd.wish("quiet")
    await asyncio.gather(*wishes)
    await crowd.wish("loud")


async def test_who_goes_while_he_waits_leaves_nothing() -> None:
    crowd = Crowd(1)
    async with crowd.turns.one("a"):
        waiting = [asyncio.ensure_future(crowd.wish(tenant)) for tenant in "aab"]
        await asyncio.sleep(0)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    await crowd.wish("b")
    assert crowd.order == ["b"]
    assert (crowd.turns._queues, dict(crowd.turns._waiting)) == ({}, {})
