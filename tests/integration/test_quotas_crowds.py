"""A thousand at once, and tenants that crowd a node.

Strategy: all requests are under way together, on sockets of their own. What they came to is counted
from what the log holds. A limit is passed by the one read that reaches it, and by nothing after.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from tests.integration import asking, harness, node_with_keys
from tests.unit.metering import counting

from holdfast import events
from holdfast.eventlog import base, memory

CROWD = 1000


def codes(answers: Sequence[harness.Response]) -> Counter[str]:
    """How often each answer came: its status, or the code of its refusal."""
    return Counter(
        answer.json()["code"] if answer.status >= 400 else str(answer.status) for answer in answers
    )


async def all_at_once(
    server: harness.Running, holders: Sequence[node_with_keys.Key], body: bytes
) -> list[harness.Response]:
    """Everybody asks for a stream, in turn by each key, and nobody waits for another."""
    asked = (node_with_keys.create(server, holders[n % len(holders)], body) for n in range(CROWD))
    return list(await asyncio.gather(*asked))


async def streams(server: harness.Running) -> list[str]:
    """All that the log has."""
    found = await server.service.log.find(base.Query(limit=2 * CROWD))
    return [info.stream for info in found]


class Slow(memory.MemoryLog):
    """A log that takes its time to make a stream, so that all are being made together."""

    async def create(self, *made: Any, **of: Any) -> base.Life | base.Exists:
        for _ in range(50):
            await asyncio.sleep(0)
        return await super().create(*made, **of)


@pytest.mark.case("4.17")
@pytest.mark.parametrize("held_by", ["key", "tenant"])
@pytest.mark.parametrize("limit", [500, 5_000])
async def test_tokens(held_by: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what all of them ask nor what all of their answers say passes the limit by more than
    one read of one of them."""
    reads = node_with_keys.Reads(monkeypatch)
    tenant_s = {"tokens_per_minute": limit} if held_by == "tenant" else {}
    plans = {"all": {"tenants": ["acme"], **tenant_s}}
    async with node_with_keys.serving(plans=plans) as server:
        if held_by == "tenant":
            holders = [await node_with_keys.made(server) for _ in range(2)]
        else:
            holders = [await node_with_keys.made(server, tokens_per_minute=limit)]
        body = asking.demo("tokens=1000 rate=200", flush_interval_ms=0)
        found = codes(await all_at_once(server, holders, body))
        await asking.idle(server)
        assert set(found) == {"201", "token_limit"}
        made = await streams(server)
        assert len(made) == found["201"]
        told = [await node_with_keys.logged(server, stream) for stream in made]
        used = sum(node_with_keys.estimated(body, each) for each in told)
        assert used - reads.pieces[-1] < limit <= used
        assert {each[-1].kind for each in told} == {"error"}
        assert {await node_with_keys.ended(server, stream) for stream in made} == {
            ("error", "token_limit")
        }
        assert node_with_keys.places(server) == {(0, 0, 0)}


async def test_requests() -> None:
    async with node_with_keys.serving() as server:
        key = await node_with_keys.made(server, requests_per_minute=100)
        asked = (harness.ask(server.port, "GET", "/v1/streams", key.headers) for _ in range(CROWD))
        found = codes(await asyncio.gather(*asked))
        assert found == {"200": 100, "request_limit": CROWD - 100}


@pytest.mark.case("4.17")
@pytest.mark.parametrize("log", [memory.MemoryLog, Slow])
async def test_answers_under_way(log: type[memory.MemoryLog]) -> None:
    async with node_with_keys.serving(log()) as server:
        key = await node_with_keys.made(server, streams=20)
        found = codes(await all_at_once(server, [key], asking.STALLED))
        assert found == {"201": 20, "stream_limit": CROWD - 20}
        made = await streams(server)
        assert len(made) == 20
        assert {(one.streams, len(one.stops)) for one in node_with_keys.accounts(server)} == {
            (20, 20)
        }
        await node_with_keys.cancel(server, key, *made)
        assert node_with_keys.places(server) == {(0, 0, 0)}


@pytest.mark.case("4.17")
async def test_answers_under_way_by_two_keys_of_a_tenant() -> None:
    plans = {"all": {"tenants": ["acme"], "streams": 30}}
    async with node_with_keys.serving(Slow(), plans=plans) as server:
        holders = [await node_with_keys.made(server, streams=25), await node_with_keys.made(server)]
        found = codes(await all_at_once(server, holders, asking.STALLED))
        assert found == {"201": 30, "stream_limit": CROWD - 30}
        [one, two, tenant] = node_with_keys.accounts(
            server, *[f"key:{key.id}" for key in holders], "tenant:acme"
        )
        assert (one.streams + two.streams, tenant.streams) == (30, 30)
        assert one.streams <= 25
        await node_with_keys.cancel(server, holders[0], *await streams(server))
        assert node_with_keys.places(server) == {(0, 0, 0)}


@pytest.mark.parametrize("limited", ["connections", "requests"])
async def test_readers(limited: str) -> None:
    """None of them is refused by status."""
    async with node_with_keys.serving() as server:
        limits: dict[str, Any] = {"connections": {"connections": 50}}
        key = await node_with_keys.made(server, **limits.get(limited, {"requests_per_minute": 51}))
        stream = await node_with_keys.stalled(server, key)
        readers = await asyncio.gather(
            *[node_with_keys.read(server, key, stream) for _ in range(CROWD)],
        )
        await asyncio.gather(*[reader.until(asking.has(1)) for reader in readers])
        assert {reader.status for reader in readers} == {200}
        first = Counter(harness.said(_plain(reader))[0].event for reader in readers)
        assert first == {"start": 50, "reconnect": CROWD - 50}
        assert len(server.service.connections) == 50
        assert [one.connections for one in node_with_keys.accounts(server)] == [50, 50]
        for reader in readers:
            await reader.close()
        await asking.until(lambda: len(server.service.connections) == 0)
        assert [one.connections for one in node_with_keys.accounts(server)] == [0, 0]
        await server.service.cancel(events.stream_id(stream))
        await asking.idle(server)


def _plain(reader: harness.Reader) -> bytes:
    return b"".join(map(asking.without_retry, reader.blocks))


async def test_a_node_writes_no_more_than_it_may() -> None:
    """Those that are being made are counted with it."""
    async with node_with_keys.serving(Slow(), server={"max_connections": 20}) as server:
        key = await node_with_keys.made(server)
        found = codes(await all_at_once(server, [key], asking.STALLED))
        assert found == {"201": 18, "overloaded": CROWD - 18}  # nine tenths, for what is normal
        await node_with_keys.cancel(server, key, *await streams(server))


# Tenants


async def fill(server: harness.Running, key: node_with_keys.Key) -> list[str]:
    """As many streams as the node gives."""
    made = []
    while (answer := await node_with_keys.create(server, key, asking.STALLED)).status == 201:
        made.append(answer.json()["id"])
    assert answer.json()["code"] == "overloaded"
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) in range(1, 6)
    return made


async def test_12_5_a_tenant_that_has_the_whole_node_makes_room_for_another() -> None:
    clock = counting.Clock()
    async with node_with_keys.serving(clock=clock, server={"max_connections": 10}) as server:
        a, b = await node_with_keys.made(server, "a"), await node_with_keys.made(server, "b")
        mine = await fill(server, a)
        assert len(mine) == 9
        node_with_keys.passes(server, clock, 2)
        theirs = await fill(server, b)
        assert theirs == []
        node_with_keys.passes(server, clock, 2)
        while len(theirs) < 4:
            await node_with_keys.cancel(server, a, mine.pop())
            assert await fill(server, a) == []  # it asks first, and is refused
            theirs += await fill(server, b)
            assert len(mine) + len(theirs) == 9
        assert (len(mine), len(theirs)) == (5, 4)
        # Each has an equal part: the last place is for a third.
        await node_with_keys.cancel(server, a, mine.pop())
        node_with_keys.passes(server, clock, 2)
        assert await fill(server, a) == []
        assert await fill(server, b) == []
        c = await node_with_keys.made(server, "c")
        others = await fill(server, c)
        assert len(others) == 1
        for key, held in ((a, mine), (b, theirs), (c, others)):
            await node_with_keys.cancel(server, key, *held)


async def test_12_5_a_tenant_that_is_alone_again_may_have_everything_again() -> None:
    clock = counting.Clock()
    async with node_with_keys.serving(clock=clock, server={"max_connections": 10}) as server:
        a, b = await node_with_keys.made(server, "a"), await node_with_keys.made(server, "b")
        theirs, mine = [await node_with_keys.stalled(server, b)], list[str]()
        node_with_keys.passes(server, clock, 2)
        mine += await fill(server, a)
        assert len(mine) == 7
        await node_with_keys.cancel(server, b, *theirs)
        node_with_keys.passes(server, clock, 30)
        mine += await fill(server, a)
        assert len(mine) == 8  # the other one asked a while ago
        node_with_keys.passes(server, clock, 31)
        mine += await fill(server, a)
        assert len(mine) == 9
        await node_with_keys.cancel(server, a, *mine)


async def test_keys_of_one_tenant_are_no_tenants_each() -> None:
    clock = counting.Clock()
    async with node_with_keys.serving(clock=clock, server={"max_connections": 10}) as server:
        one, two = await node_with_keys.made(server, "a"), await node_with_keys.made(server, "a")
        first = await node_with_keys.stalled(server, one)
        node_with_keys.passes(server, clock, 2)
        mine = [first, *await fill(server, two)]
        assert len(mine) == 9
        await node_with_keys.cancel(server, one, *mine)


async def test_readers_of_a_tenant_make_room_for_another_s() -> None:
    clock = counting.Clock()
    async with node_with_keys.serving(clock=clock, server={"max_connections": 4}) as server:
        a, b = await node_with_keys.made(server, "a"), await node_with_keys.made(server, "b")
        ours = await node_with_keys.stalled(server, a)

        async def come(key: node_with_keys.Key, stream: str) -> harness.Reader | None:
            reader = await (await node_with_keys.read(server, key, stream)).until(asking.has(1))
            if b"event: start" in reader.body:
                return reader
            asking.sent_away(await reader.rest())
            return None

        mine = [await come(a, ours) for _ in range(4)]
        theirs = await node_with_keys.stalled(server, b)
        assert await come(b, theirs) is None
        node_with_keys.passes(server, clock, 2)
        other = []
        for _ in range(2):
            leaving = mine.pop()
            assert leaving is not None
            await leaving.close()
            await asking.until(lambda: len(server.service.connections) == 3)
            assert await come(a, ours) is None
            other.append(await come(b, theirs))
        for reader in (*mine, *other):
            assert reader is not None
            await reader.close()
        await node_with_keys.cancel(server, a, ours)
        await node_with_keys.cancel(server, b, theirs)
        assert node_with_keys.places(server) == {(0, 0, 0)}
