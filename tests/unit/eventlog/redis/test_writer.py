"""Creating that is cut off: what was made has a writer or is an orphan, and nothing is both."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from tests import redis_servers
from tests.unit.eventlog.redis import logs

from holdfast import events
from holdfast.eventlog import base
from holdfast.eventlog.redis import engine, keys, lease, lines
from holdfast.testing import fault_proxy, faults
from holdfast.testing.eventlog import parts


@pytest.fixture
async def nodes(valkey: redis_servers.Server) -> AsyncIterator[logs.Nodes]:
    async with logs.nodes(valkey) as made:
        yield made


async def test_a_stream_that_is_being_created_is_no_orphan(nodes: logs.Nodes) -> None:
    log = await nodes.start()
    found: list[events.StreamId] = []
    over = asyncio.Event()

    async def look() -> None:
        while not over.is_set():
            found.extend(await log.orphans(100))
            await asyncio.sleep(0)  # it may need nothing from Redis

    async with asyncio.timeout(logs.LIMIT), asyncio.TaskGroup() as group:
        group.create_task(look())
        for _ in range(100):
            await asyncio.gather(*(parts.begin(log) for _ in range(3)))
        over.set()
    assert found == []
    assert len(logs.held(log)) == 300


async def test_a_creation_that_is_cut_off_leaves_an_orphan_or_nothing(nodes: logs.Nodes) -> None:
    slow = faults.Faults(up=(faults.Latency(0.001, jitter=0.001),))
    async with fault_proxy.FaultProxy(nodes.server.port, slow) as proxy:
        hosts = (("127.0.0.1", proxy.port),)
        nodes.where = msgspec.structs.replace(nodes.where, hosts=hosts)
        log, dice = await nodes.start(), random.Random(7)
        made = [events.new_stream_id() for _ in range(150)]
        loop = asyncio.get_running_loop()
        for stream in made:
            task = loop.create_task(log.create(stream, parts.header(), (), 1))
            loop.call_later(dice.random() * 0.012, task.cancel)
            await asyncio.gather(task, return_exceptions=True)
        found = await all_orphans(log)
        heads = await log.heads(made)
        there = {stream for stream, head in zip(made, heads, strict=True) if head is not None}
        begun = set(log._writer._begun)
        assert begun | found == there
        assert not begun & found
        assert min(len(begun), len(found), len(made) - len(there)) > 0
        assert logs.held(log) == there
        await log.close()


async def all_orphans(log: engine.RedisLog) -> set[events.StreamId]:
    """Until it has looked often enough at everything."""
    found: set[events.StreamId] = set()
    for _ in range(lease.LOOKS + 1):
        found.update(await log.orphans(1_000))
    return found


async def test_a_creation_that_happens_late_is_found(nodes: logs.Nodes) -> None:
    """A server that stood still reads on from a connection that was given up, and may do so after
    it was asked on another."""
    log, stream = await nodes.start(), events.new_stream_id()
    writer = log._writer
    await log._session.lease.hold(stream)
    writer._strays._doubtful[stream] = lease.LOOKS
    assert await log.orphans(10) == []
    await writer._create(stream, parts.header(), 1 << 16, (), 1)
    assert await log.orphans(10) == [stream]
    assert await log.claim(stream, 2) is not None


async def test_a_stream_that_is_created_after_all_is_no_orphan(nodes: logs.Nodes) -> None:
    """By a second call, of which the first one that broke knows nothing."""
    log = await nodes.start()
    pen = await parts.begin(log)
    log._writer._strays._doubtful[pen.stream] = lease.LOOKS
    assert await log.orphans(10) == []
    assert logs.held(log) == {pen.stream}
    await pen.write(parts.COMPLETE)


async def test_a_creation_that_is_tried_again_has_no_doubts(nodes: logs.Nodes) -> None:
    log, stream = await nodes.start(), events.new_stream_id()
    log._writer._strays._doubtful[stream] = lease.LOOKS
    await log.create(stream, parts.header(), (), 1)
    assert log._writer._strays._doubtful == {}


async def test_a_creation_that_happened_too_late_is_found_by_who_tries_again(
    nodes: logs.Nodes,
) -> None:
    log, stream = await nodes.start(), events.new_stream_id()
    await log._writer._create(stream, parts.header(), 1 << 16, (), 1)
    assert await log.orphans(10) == []
    assert isinstance(await log.create(stream, parts.header(), (), 2), base.Exists)
    assert await log.orphans(10) == [stream]
    assert await log.claim(stream, 3) is not None


async def test_who_tries_again_what_is_written_or_has_ended_makes_no_orphan(
    nodes: logs.Nodes,
) -> None:
    log = await nodes.start()
    pen, done = await parts.begin(log), await parts.begin(log)
    await done.write(parts.COMPLETE)
    for stream in (pen.stream, done.stream):
        assert isinstance(await log.create(stream, parts.header(), (), 2), base.Exists)
    assert await log.orphans(10) == []
    assert log._writer._strays._doubtful == {}
    assert logs.held(log) == {pen.stream}
    await pen.write(parts.COMPLETE)


def indexed(nodes: logs.Nodes) -> list[set[object]]:
    """What is in the index of all, and of the one owner."""
    names = (keys.STREAMS, keys.of_owner("me"))
    found = [nodes.do("ZRANGE", name, 0, -1) for name in names]
    return [set(ids) for ids in found if isinstance(ids, list)]


async def test_what_a_failover_lost_of_the_index_is_put_there_again(nodes: logs.Nodes) -> None:
    log = await nodes.start()
    under_way, over = await parts.begin(log), await parts.begin(log)
    await over.write(parts.COMPLETE)
    wanted = {pen.stream.encode() for pen in (under_way, over)}
    assert indexed(nodes) == [wanted, wanted]
    nodes.do("DEL", keys.STREAMS, keys.of_owner("me"))
    await logs.orphans(log)
    assert indexed(nodes) == [set(), set()]  # no connection broke: nothing is looked at
    nodes.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    for _ in range(3):  # the first ones find the connections broken
        assert await logs.orphans(log) == []
    assert log._session.lines.broken
    assert indexed(nodes) == [wanted, wanted]


async def test_a_stream_is_in_the_index_where_it_was_made_after_a_failover(
    nodes: logs.Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await nodes.start()
    wires = log._session.lines
    ask = wires.ask

    async def failing_over(
        commands: Sequence[lines.Keyed], lane: str = lines.WRITE
    ) -> list[object]:
        if commands[0].words[0] == "EVALSHA":
            nodes.do("DEL", keys.STREAMS, keys.of_owner("me"))
            for one in wires._links.values():
                one.broken += 1
            monkeypatch.undo()
        return await ask(commands, lane)

    monkeypatch.setattr(wires, "ask", failing_over)
    pen = await parts.begin(log)
    assert indexed(nodes) == 2 * [{pen.stream.encode()}]


async def test_who_goes_on_with_a_stream_puts_it_into_the_index(nodes: logs.Nodes) -> None:
    pen = await parts.begin(await nodes.start())
    nodes.do("DEL", keys.STREAMS, keys.of_owner("me"))
    assert await (await nodes.start()).claim(pen.stream, 2) is not None
    assert indexed(nodes) == 2 * [{pen.stream.encode()}]


async def test_what_a_dead_node_wanted_to_make_is_no_orphan_where_it_was_made(
    nodes: logs.Nodes,
) -> None:
    dead, log = await nodes.start(logs.SHORT), await nodes.start(settled=True)
    before, after, never = made = [events.new_stream_id() for _ in range(3)]
    for stream in made:
        await dead._session.lease.hold(stream)  # and then it stood still
    assert isinstance(await log.create(before, parts.header(), (), 1), base.Life)
    await logs.die(dead)
    found: list[events.StreamId] = []
    async with asyncio.timeout(logs.LIMIT):
        while never not in found:
            found += await log.orphans(100)
    assert before not in found
    assert isinstance(await log.create(after, parts.header(), (), 1), base.Life)
    assert await log.orphans(100) == [never]
    assert {before, after} <= logs.held(log)


async def test_a_life_that_is_over_takes_nothing_from_the_next_one_of_the_same_node(
    nodes: logs.Nodes,
) -> None:
    log = await nodes.start()
    pen = await parts.begin(log)
    life = await log.claim(pen.stream, 2)
    assert life is not None
    (told,) = await log.append((pen.batch(parts.chunk("late")),))
    assert isinstance(told, base.Fenced)
    assert logs.held(log) == {pen.stream}
    held = nodes.do("SMEMBERS", keys.held(logs.life(log)))
    assert held == {pen.stream.encode()}
    next_one = parts.Pen(log, pen.stream, life)
    await next_one.write(parts.chunk("more"))
    other = await nodes.start()
    assert await other.claim(pen.stream, 3) is not None
    (told,) = await log.append((next_one.batch(parts.chunk("late")),))
    assert isinstance(told, base.Fenced)
    assert await log.orphans(100) == []
    assert logs.held(log) == set()
