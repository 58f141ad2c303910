"""Nodes that count together, over counters that may be away.

Strategy: two ledgers over the same counters are two nodes; a new one is a node after a restart. A
test takes the counters away, holds them back or looks at them.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.unit.metering.counting import Clock, Stops, used
from tests.unit.metering.nodes import Sums, begin, names, node, say

from holdfast import errors
from holdfast.archive.base import Quota
from holdfast.eventlog import counters
from holdfast.metering import ledger

# Two nodes


async def test_two_nodes_count_together() -> None:
    sums, clock = Sums(), Clock()
    here, there = node(sums, clock), node(sums, clock)
    mine, theirs = await here.of("acme/", "key:k"), await there.of("acme/", "key:k")
    streams = [begin(here, mine), begin(there, theirs)]
    for accounts, stream, count in ((mine, streams[0], 30), (theirs, streams[1], 20)):
        say(stream, count)
        for _ in range(count):
            accounts[0].request()
    for _ in range(2):
        await here.share()
        await there.share()
    for accounts in (mine, theirs):
        assert [used(one) for one in accounts] == [70, 70]
        assert used(accounts[0], "requests") == 50
    clock.passes(70)
    await here.share()
    await there.share()
    for accounts in (mine, theirs):
        for limit in accounts[0].limits:
            limit.window.roll(clock.now)
        assert [limit.window.used for limit in accounts[0].limits] == [0, 0, 70]


async def test_others_are_not_counted_with() -> None:
    """A name and a limit are one counter, however alike they are."""
    sums, clock = Sums(), Clock()
    here, there = node(sums, clock), node(sums, clock)
    for owner, key in (("acme/", "key:k"), ("acme/", ""), ("acm/e", ""), ("acme/a", "key:kk")):
        for one in await here.of(owner, key):
            one.use(7, 0)
    await here.share()
    assert [used(one) for one in await there.of("acm/", "key:K")] == [0, 7]
    assert [used(one) for one in await there.of("acme/", "")] == [7, 21]
    for name in sums._names:
        assert "acme" not in name


@pytest.mark.case("4.17")
async def test_what_another_node_used_ends_streams_here() -> None:
    sums, clock, stop = Sums(), Clock(), Stops()
    here, there = node(sums, clock), node(sums, clock)
    stream = begin(here, await here.of("acme/", "key:k"))
    stream.watch(stop)
    for one in await there.of("acme/", "key:k"):
        one.use(90, 0)
    await here.share()
    await there.share()
    assert stop.codes == []
    await here.share()
    assert stop.codes == ["token_limit"]
    with pytest.raises(errors.TokenLimit):
        begin(here, await here.of("acme/", "key:k"))


@pytest.mark.case("4.17")
async def test_what_was_used_before_a_restart_holds_from_the_first_request() -> None:
    sums, clock = Sums(), Clock()
    before = node(sums, clock)
    [key, _] = await before.of("acme/", "key:k")
    key.use(995, 0)
    for _ in range(100):
        key.request()
    await before.share()
    after = node(sums, clock)
    accounts = await after.of("acme/", "key:k")
    with pytest.raises(errors.RequestLimit):
        accounts[0].check_requests()
    with pytest.raises(errors.TokenLimit):
        begin(after, accounts)
    clock.passes(70)
    with pytest.raises(errors.TokenLimit, match="1000 tokens a day"):
        begin(after, accounts)
    accounts[0].check_requests()


# Counters that are away


@pytest.mark.parametrize("error", [errors.LogUnavailable("away"), errors.LogCorrupt("bad")])
async def test_counters_that_are_away_cost_nothing(error: errors.LogError) -> None:
    """What was not added is added later, and once."""
    sums, clock = Sums(), Clock()
    sums.away = error
    here = node(sums, clock)
    accounts = await here.of("acme/", "key:k")
    for _ in range(5):
        stream = begin(here, accounts)
        await here.share()
        stream.close()
        clock.passes(1)
    assert [used(one) for one in accounts] == [50, 50]
    sums.away = None
    for _ in range(3):
        await here.share()
    assert [used(one) for one in accounts] == [50, 50]
    there = node(sums, clock)
    assert [used(one) for one in await there.of("acme/", "key:k")] == [50, 50]


async def test_what_was_used_before_they_were_found_counts_then() -> None:
    sums, clock = Sums(), Clock()
    before = node(sums, clock)
    for one in await before.of("acme/", "key:k"):
        one.use(60, 0)
    await before.share()
    sums.away = errors.LogUnavailable()
    after = node(sums, clock)
    accounts = await after.of("acme/", "key:k")
    begin(after, accounts).close()
    assert [used(one) for one in accounts] == [10, 10]
    sums.away = None
    await after.share()
    assert [used(one) for one in accounts] == [70, 70]


async def test_a_node_that_stops_in_the_middle_of_sharing_counts_once() -> None:
    """The counters have added it, though nobody waited for their answer."""
    sums, clock = Sums(), Clock()
    here = node(sums, clock)
    accounts = await here.of("acme/", "key:k")
    for one in accounts:
        one.use(40, 0)
    sums.held = asyncio.Event()
    sums.added.clear()
    running = asyncio.create_task(here.share())
    await sums.added.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    clock.passes(5)
    assert [used(one) for one in accounts] == [40, 40]
    sums.held = None
    accounts[0].use(2, 0)
    await here.share()
    assert [used(one) for one in accounts] == [42, 40]
    there = node(sums, clock)
    assert [used(one) for one in await there.of("acme/", "key:k")] == [42, 40]


async def test_what_is_used_while_it_is_shared_is_not_lost() -> None:
    sums, clock = Sums(), Clock()
    here = node(sums, clock)
    accounts = await here.of("acme/", "key:k")
    accounts[0].use(30, 0)
    sums.held = asyncio.Event()
    sums.added.clear()
    running = asyncio.create_task(here.share())
    await sums.added.wait()
    accounts[0].use(12, 0)
    accounts[0].request()
    sums.held.set()
    await running
    sums.held = None
    assert (used(accounts[0]), used(accounts[0], "requests")) == (42, 1)
    await here.share()
    there = node(sums, clock)
    found = await there.of("acme/", "key:k")
    assert (used(found[0]), used(found[0], "requests")) == (42, 1)


async def test_no_sum_is_too_large_to_be_shared() -> None:
    """A counter takes so much at once and no more; the rest is added next time."""
    sums, clock = Sums(), Clock()
    here = node(sums, clock)
    accounts = await here.of("acme/", "key:k")
    accounts[0].use(2**60, 2**60)
    for _ in range(3):
        await here.share()
    there = node(sums, clock)
    with pytest.raises(errors.TokenLimit):
        begin(there, await there.of("acme/", "key:k"))


# Many accounts


async def test_a_call_has_no_more_changes_than_it_may() -> None:
    sums, clock = Sums(), Clock()
    most = Quota(0, 0, 10**9, 10**9, 10**9, 10**9)
    here = node(sums, clock, lambda name: most)
    sums.away = errors.LogUnavailable()
    everybody = [await here.of("acme/", f"key:{number}") for number in range(200)]
    for turn in range(40):
        for accounts in everybody:
            accounts[0].use(1, 1)
            accounts[0].request()
            accounts[0].settle()
        clock.passes(3600 if turn < 25 else 5)
    sums.away = None
    sums.sizes.clear()
    await here.share()
    assert sum(sums.sizes) >= 200 * (13 + 13 + 25 + 25)
    assert max(sums.sizes) <= counters.MAX_CHANGES
    there = node(sums, clock, lambda name: most)
    for number in (0, 3, 7, 199):
        windows = [
            [limit.window.used for limit in (await one.of("acme/", f"key:{number}"))[0].limits]
            for one in (here, there)
        ]
        assert windows == [[12, 12, 39, 39]] * 2


async def test_many_accounts_do_not_hold_up_the_streams() -> None:
    here, turns = node(Sums(), Clock()), 0
    for number in range(500):
        for one in await here.of(f"t{number}/", ""):
            one.use(1, 0)

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    await here.share()
    assert turns > 100
    turns = 0
    await here.share()  # nothing has happened since, but that is to be found out
    running.cancel()
    assert turns > 50


async def test_ten_thousand_users() -> None:
    sums, clock = Sums(), Clock()
    here, there = node(sums, clock), node(sums, clock)
    for number in range(10_000):
        for one in await here.of(f"t{number % 10}/u{number}", "jwt:k"):
            one.use(1, 0)
    sums.sizes.clear()
    await here.share()
    assert len(sums.sizes) < 2000
    for number in (0, 17, 9_999):
        found = await there.of(f"t{number % 10}/u{number}", "jwt:k")
        assert names(found) == [f"user:t{number % 10}/u{number}", f"tenant:t{number % 10}"]
        assert used(found[0]) == 1
        assert [limit.window.used for limit in found[1].limits] == [1000]
    sums.sizes.clear()
    await here.share()
    assert sums.sizes == []


async def test_idle_accounts_are_forgotten_and_come_back_with_their_sums(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger, "MAX_ACCOUNTS", 10)
    sums, clock = Sums(), Clock()
    here = node(sums, clock)
    for number in range(30):
        accounts = await here.of(f"t{number}/", f"key:{number}")
        accounts[0].use(number + 1, 0)
    busy = begin(here, await here.of("t7/", "key:7"))
    reading = (await here.of("t8/", "key:8"))[0]
    reading.connections += 1
    await here.share()
    assert len(here._accounts) == 60  # they were here just now
    clock.passes(61)
    await here.share()
    assert len(here._accounts) == 10
    assert {"key:7", "tenant:t7", "key:8"} <= set(here._accounts)
    back = await here.of("t3/", "key:3")
    assert [limit.window.used for limit in back[0].limits] == [0, 4, 4]
    busy.close()
    reading.connections -= 1
    assert (reading.connections, busy.over) == (0, None)


async def test_what_is_not_shared_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_ACCOUNTS", 0)
    sums, clock = Sums(), Clock()
    here = node(sums, clock)
    accounts = await here.of("acme/", "key:k")
    accounts[0].use(5, 0)
    sums.away = errors.LogUnavailable()
    for _ in range(2):
        clock.passes(70)
        await here.share()
    assert set(here._accounts) == {"key:k"}
    sums.away = None
    await here.share()
    assert here._accounts == {}
    assert [limit.window.used for limit in (await here.of("acme/", "key:k"))[0].limits] == [0, 0, 5]


async def test_one_that_is_busy_learns_what_others_use_though_it_uses_nothing() -> None:
    sums, clock, stop = Sums(), Clock(), Stops()
    here, there = node(sums, clock), node(sums, clock)
    stream = begin(here, await here.of("acme/", "key:k"))
    stream.watch(stop)
    await here.share()
    for second in range(10):
        for one in await there.of("acme/", "key:k"):
            one.use(9, 0)
        clock.passes(1)
        await there.share()
        await here.share()
        assert stop.codes == (["token_limit"] if second == 9 else [])


async def test_it_shares_for_as_long_as_it_is_let(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SHARE_SECONDS", 0.0)
    sums, clock = Sums(), Clock()
    here = node(sums, clock)
    [key, _] = await here.of("acme/", "key:k")
    running = asyncio.create_task(here.run())
    async with asyncio.timeout(30):
        for count in (10, 20):
            key.use(10, 0)
            while used((await node(sums, clock).of("acme/", "key:k"))[0]) != count:  # noqa: ASYNC110
                await asyncio.sleep(0)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
