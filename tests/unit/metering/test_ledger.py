"""All accounts of a node: whose they are, what a new stream is charged, who shares the node.

Strategy: the clock stands still, and the counters are those in memory.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.metering.counting import Clock, Stops, used
from tests.unit.metering.nodes import WANTED, Sums, begin, names, node, say

from holdfast import errors, events
from holdfast.archive.base import Quota
from holdfast.metering import prices

# Which accounts there are


@pytest.mark.parametrize(
    ("owner", "key", "expected"),
    [
        ("", "", []),
        ("", "key:k", []),
        ("acme/", "key:k", ["key:k", "tenant:acme"]),
        ("acme/alice", "key:k", ["key:k", "tenant:acme"]),
        ("acme/alice", "jwt:kid", ["user:acme/alice", "tenant:acme"]),
        ("acme/alice", "hook:", ["user:acme/alice", "tenant:acme"]),
        ("acme/", "hook:key:k", ["user:acme/", "tenant:acme"]),
        ("acme/a/b", "", ["user:acme/a/b", "tenant:acme"]),
        ("acme/\u00e9 \U0001f3a3", "", ["user:acme/\u00e9 \U0001f3a3", "tenant:acme"]),
    ],
)
async def test_whose_accounts_doings_count_in(owner: str, key: str, expected: list[str]) -> None:
    book = node(None, Clock())
    assert names(await book.of(owner, key)) == expected


async def test_an_account_is_made_once() -> None:
    sums = Sums()
    sums.held = asyncio.Event()
    book = node(sums, Clock())
    asking = [asyncio.create_task(book.of("acme/", f"key:{n % 3}")) for n in range(30)]
    await sums.added.wait()
    sums.held.set()
    found = await asyncio.gather(*asking)
    assert len({id(one[0]) for one in found}) == 3
    assert len({id(one[1]) for one in found}) == 1


async def test_a_caller_that_goes_away_while_its_account_is_made() -> None:
    sums = Sums()
    sums.held = asyncio.Event()
    book = node(sums, Clock())
    first, second = (asyncio.create_task(book.of("acme/", "key:k")) for _ in range(2))
    await sums.added.wait()
    first.cancel()
    sums.held.set()
    assert names(await second) == ["key:k", "tenant:acme"]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_who_has_no_tenant_has_no_meter() -> None:
    book = node(None, Clock())
    assert book.open((), WANTED, 0, "p", "m") is None
    assert book.metered((), WANTED, 0) is None


# A new stream


async def test_a_new_stream_is_charged_for_its_prompt_in_both_accounts() -> None:
    book = node(None, Clock())
    accounts = await book.of("acme/", "key:k")
    stream = begin(book, accounts)
    assert [(used(one), one.streams) for one in accounts] == [(10, 1)] * 2
    say(stream, 5)
    stream.close()
    assert [(used(one), one.streams) for one in accounts] == [(15, 0)] * 2


@pytest.mark.parametrize("refusal", ["streams", "tokens"])
async def test_a_refused_stream_leaves_nothing(refusal: str) -> None:
    book = node(None, Clock())
    accounts = await book.of("acme/", "key:k")
    if refusal == "streams":
        for _ in range(3):
            begin(book, accounts)
    else:
        accounts[0].use(95, 0)
    before = [(used(one), one.streams, len(one.stops)) for one in accounts]
    for _ in range(5):
        with pytest.raises(errors.QuotaError):
            begin(book, accounts)
    assert [(used(one), one.streams, len(one.stops)) for one in accounts] == before


async def test_a_model_without_a_price() -> None:
    rows = [prices.Row(("m",), prices.Price(1.0))]
    book = node(None, Clock(), lambda name: Quota(cost_per_day=1000), *rows)
    accounts = await book.of("acme/", "key:k")
    begin(book, accounts).close()
    with pytest.raises(errors.Forbidden, match="no price"):
        book.open(accounts, WANTED, 0, "p", "other")
    assert [one.streams for one in accounts] == [0, 0]


async def test_one_that_is_taken_over_is_charged_by_its_calls() -> None:
    book = node(None, Clock())
    accounts = await book.of("acme/", "key:k")
    accounts[0].use(500, 0)  # it was let in before
    stream = book.metered(accounts, WANTED, 0, written=120)
    assert stream is not None
    stop = Stops()
    stream.watch(stop)
    assert [one.streams for one in accounts] == [1, 1]
    assert used(accounts[1]) == 0
    stream.said([events.Attempt(2, "p", "m", how="continue")])
    assert used(accounts[1]) == 40
    assert set(stop.codes) == {"token_limit"}


# Who wants something


async def test_how_a_node_is_shared() -> None:
    clock = Clock()
    here = node(None, clock)
    assert here.room(100, 100) == 100
    await here.of("a/", "key:a")
    clock.passes(1)
    assert here.room(100, 100) == 100
    await here.of("b/", "key:b")
    assert here.room(100, 50) == 100  # as of a second ago
    clock.passes(1)
    assert here.room(100, 50) == 90
    assert here.room(100, 49) == 100
    clock.passes(60)
    assert here.room(100, 50) == 100  # neither has asked for a minute


@pytest.mark.parametrize("busy", ["streams", "connections"])
async def test_who_has_something_wants_something(busy: str) -> None:
    clock = Clock()
    here = node(None, clock)
    for name in "ab":
        accounts = await here.of(f"{name}/", f"key:{name}")
        if busy == "streams":
            begin(here, accounts)
        else:
            accounts[1].connections += 1
    clock.passes(600)
    assert here.room(100, 50) == 90


async def test_a_tenant_with_many_users_is_one() -> None:
    clock = Clock()
    here = node(None, clock)
    for number in range(20):
        await here.of(f"a/u{number}", "")
    clock.passes(1)
    assert here.room(100, 100) == 100
