"""Nodes die, stand still and forget; each stream of a dead one goes to one other, a living one
loses none.

Strategy: several nodes in this process on one Valkey. Who dies has a short lease that expires in
truth; who lives has a long one, so that a busy machine kills nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from tests import redis_servers
from tests.unit.eventlog.redis import logs

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.redis import engine, keys, scripts
from holdfast.testing.eventlog import parts

ROUNDS = 4 * int(os.environ.get("HOLDFAST_ROUNDS", "1"))
STREAMS, TAKERS, AT_ONCE = 20, 3, 3


@pytest.fixture
async def nodes(valkey: redis_servers.Server) -> AsyncIterator[logs.Nodes]:
    async with logs.nodes(valkey) as made:
        yield made


async def begun(log: engine.RedisLog, count: int = 3) -> dict[events.StreamId, parts.Pen]:
    pens = [await parts.begin(log) for _ in range(count)]
    return {pen.stream: pen for pen in pens}


async def taken(log: engine.RedisLog, wanted: set[events.StreamId]) -> None:
    """Waits until this node has just these."""
    found: set[events.StreamId] = set()
    async with asyncio.timeout(logs.LIMIT):
        while not found >= wanted:
            found |= set(await log.orphans(100))
            await asyncio.sleep(0.01)
    assert found == wanted


@pytest.mark.case("1.22")
async def test_each_stream_of_a_dead_node_goes_to_one_of_several(nodes: logs.Nodes) -> None:
    """All ask at once, for a few at a time, while a living node goes on writing."""
    living = await nodes.start()
    its = await begun(living)
    takers = [await nodes.start(settled=True) for _ in range(TAKERS)]
    for _ in range(ROUNDS):
        dead = await nodes.start(logs.SHORT)
        pens = await begun(dead, STREAMS)
        await logs.die(dead)
        lives: Counter[events.StreamId] = Counter()

        async def take(log: engine.RedisLog, lives: Counter[events.StreamId] = lives) -> None:
            while lives.total() < STREAMS:
                for stream in await log.orphans(AT_ONCE):
                    life = await log.claim(stream, 6_000)
                    assert life is not None
                    lives[stream] += 1
                    await parts.Pen(log, stream, life).write(parts.COMPLETE)
                await asyncio.sleep(0.01)

        async with asyncio.timeout(logs.LIMIT), asyncio.TaskGroup() as group:
            for log in takers:
                group.create_task(take(log))
        assert lives == Counter(pens.keys())
        for stream in pens:
            assert [event.seq for event in await parts.read_all(living, stream)] == [1, 2, 3]
        for pen in its.values():
            await pen.write(parts.chunk("still here"))
    assert [set(await log.orphans(100)) for log in takers] == TAKERS * [set()]
    assert logs.held(living) == its.keys()
    assert all(logs.held(log) == set() for log in takers)


async def test_who_has_not_held_its_lease_for_long_takes_what_was_given_back_alone(
    nodes: logs.Nodes,
) -> None:
    """A failover may have lost the leases of all who live."""
    dead, gone, young = await nodes.start(), await nodes.start(), await nodes.start()
    lost, given = await begun(dead), await begun(gone)
    nodes.do("DEL", keys.life(await logs.die(dead)))
    await gone.close()
    await taken(young, set(given))
    for _ in range(5):
        assert set(await young.orphans(100)) == set(given)
    nodes.settle(young)
    await taken(young, {*given, *lost})


async def test_a_lease_that_is_held_for_its_whole_time_settles(nodes: logs.Nodes) -> None:
    dead, log = await nodes.start(logs.SHORT), await nodes.start(1.0)
    pens = await begun(dead)
    await logs.die(dead)
    await taken(log, set(pens))


async def test_what_a_taker_did_not_claim_goes_to_the_next(nodes: logs.Nodes) -> None:
    dead = await nodes.start(logs.SHORT)
    pens = await begun(dead)
    await logs.die(dead)
    for _ in range(2):
        taker = await nodes.start(settled=True)
        await taken(taker, set(pens))
        nodes.do("DEL", keys.life(await logs.die(taker)))
    last = await nodes.start(settled=True)
    await taken(last, set(pens))
    for stream in pens:
        assert await last.claim(stream, 6_000) is not None


@pytest.mark.case("1.22")
async def test_a_node_that_stood_still_is_refused_and_is_one_again(nodes: logs.Nodes) -> None:
    log, other = await nodes.start(logs.SHORT), await nodes.start(settled=True)
    pens = list((await begun(log, 4)).values())
    session = log._session
    await session.tasks.close()  # nothing of it runs
    await taken(other, {pen.stream for pen in pens})
    first, second, third, _ = pens
    lives = [await other.claim(pen.stream, 6_000) for pen in (first, second)]
    # It comes back, with connections and renewals, and believes what it believed.
    back = await woken(nodes, log)
    tick = tuple(pen.batch(parts.chunk("zombie")) for pen in (first, second, third))
    assert await back.append(tick) == [base.Fenced(), base.Fenced(), base.Ok()]
    lease = keys.life(logs.life(back))
    await logs.until(lambda: nodes.do("EXISTS", lease))
    assert await back.orphans(100) == []  # it sees that another writes what it was refused
    # What was taken and not claimed yet is its own, since it is there again.
    assert await other.claim(third.stream, 6_000) is None
    for pen, life in zip((first, second), lives, strict=True):
        assert life is not None
        await parts.Pen(other, pen.stream, life).write(parts.COMPLETE)
    assert not {first.stream, second.stream} & logs.held(back)
    assert third.stream in logs.held(back)


async def woken(nodes: logs.Nodes, log: engine.RedisLog) -> engine.RedisLog:
    """A node with the life and the streams of one that stood still."""
    back = await nodes.start()
    old, new = log._session.lease, back._session.lease
    new.life, new.held, new._set = old.life, old.held, old._set
    back._writer._begun.update(log._writer._begun)
    log._opened = log._writing = None
    await new._renew()
    return back


async def test_what_waited_in_a_server_that_stood_still_takes_nothing(nodes: logs.Nodes) -> None:
    """All leases have expired when it wakes. It reads what a node sent before anybody knew: a
    renewal whose answer nobody gets, and then a question for the streams of the dead."""
    log, other = await nodes.start(settled=True), await nodes.start(settled=True)
    pens = await begun(other)
    nodes.do("DEL", keys.life(logs.life(log)), keys.life(logs.life(other)))
    lease = log._session.lease
    place = (keys.life(lease.life), keys.LIVES, lease._set)
    await lease._ask(scripts.RENEW.call(place, lease.life, lease._ms))
    assert await log.orphans(100) == []
    assert logs.held(other) == pens.keys()


@pytest.mark.parametrize("lives", [True, False])
async def test_leases_that_redis_forgets_cost_nobody_a_stream(
    nodes: logs.Nodes, lives: bool
) -> None:
    """As a failover forgets them, or a network that was away for their whole time. `lives`: that
    there are nodes is forgotten too."""
    some = [await nodes.start(settled=True) for _ in range(3)]
    pens = [pen for log in some for pen in (await begun(log)).values()]
    for _ in range(3):
        nodes.do("DEL", *(keys.life(logs.life(log)) for log in some))
        if lives:
            nodes.do("DEL", keys.LIVES)
        for _ in range(2):
            assert [await log.orphans(100) for log in some] == [[], [], []]
        for log in some:  # one after the other renews, and looks before the others did
            await log._session.lease._renew()
            assert await log.orphans(100) == []
            nodes.settle(log)
    for pen in pens:
        await pen.write(parts.COMPLETE)


async def test_streams_that_redis_forgot_to_be_held_go_on_after_their_node(
    nodes: logs.Nodes,
) -> None:
    """All keys of nodes are gone at once; later the node dies."""
    log, other = await nodes.start(1.0), await nodes.start(settled=True)
    pens = await begun(log)
    life = logs.life(log)
    nodes.do("DEL", keys.life(life), keys.LIVES, keys.held(life))
    await logs.until(lambda: nodes.do("SCARD", keys.held(life)) == len(pens))
    await logs.die(log)
    nodes.settle(other)
    await taken(other, set(pens))


def memory_of(nodes: logs.Nodes) -> dict[bytes, bytes]:
    """All that Redis has, but for leases."""
    names = nodes.do("KEYS", "*")
    assert isinstance(names, list)
    kept = [name for name in names if not name.startswith(keys.life(b""))]
    return {name: nodes.do("DUMP", name) for name in kept}  # type: ignore[misc]


def fail_over(nodes: logs.Nodes, to: dict[bytes, bytes]) -> None:
    """What came behind that is lost, and all connections break; leases are renewed since."""
    for name in memory_of(nodes):
        nodes.do("DEL", name)
    for name, dumped in to.items():
        nodes.do("RESTORE", name, 0, dumped)
    nodes.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def found(log: engine.RedisLog) -> set[events.StreamId]:
    """Orphans, after a look or two that find the connections broken."""
    async with asyncio.timeout(logs.LIMIT):
        for _ in range(2):
            await logs.orphans(log)
        return set(await log.orphans(100))


@pytest.mark.parametrize("behind", ["the beginning", "the taking", "the claim"])
@pytest.mark.parametrize("lives", [True, False])
async def test_a_failover_that_loses_a_take_over_leaves_no_stream_without_anybody(
    nodes: logs.Nodes, behind: str, lives: bool
) -> None:
    """Its first node was away for a moment, another took it over, and the copy that has to go on
    does not know; by what that knows the first one writes it, who has let go of it. That one goes
    on, where it `lives`; else the other, who is refused for a life that is older than its own."""
    log, other = await nodes.start(), await nodes.start(settled=True)
    pen = await parts.begin(log)
    copies = {"the beginning": memory_of(nodes)}
    nodes.do("DEL", keys.life(logs.life(log)))
    await taken(other, {pen.stream})
    copies["the taking"] = memory_of(nodes)
    life = await other.claim(pen.stream, 6_000)
    assert life is not None
    copies["the claim"] = memory_of(nodes)
    await log._session.lease._renew()
    assert await log.append((pen.batch(parts.chunk("late")),)) == [base.Fenced()]
    assert await log.orphans(100) == []
    assert logs.held(log) == set()
    fail_over(nodes, copies[behind])
    if not lives:
        nodes.do("DEL", keys.life(await logs.die(log)))
    its = parts.Pen(other, pen.stream, life)
    batch = its.batch(parts.chunk("more"))
    with contextlib.suppress(errors.LogUnavailable):
        await other.append((batch,))
    (said,) = await other.append((batch,))
    if behind == "the claim":
        assert said == base.Ok()
        assert await found(other) | (await found(log) if lives else set()) == set()
        return
    assert said == base.Fenced()
    one, last = (log, other) if lives else (other, log)
    assert await found(one) == {pen.stream}
    assert not lives or await found(last) == set()
    again = await one.claim(pen.stream, 7_000)
    assert again is not None
    await parts.Pen(one, pen.stream, again).write(parts.COMPLETE)
    assert logs.held(one) == set()
    assert not lives or logs.held(last) == set()
