"""Streams that may have no writer: none is forgotten, none is taken from who lives.

Strategy: what a replica knows that takes over is put into Redis by hand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests import redis_servers
from tests.unit.eventlog.redis import logs

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.redis import engine, keys, lines, strays
from holdfast.testing.eventlog import parts


@pytest.fixture
async def nodes(valkey: redis_servers.Server) -> AsyncIterator[logs.Nodes]:
    async with logs.nodes(valkey) as made:
        yield made


async def refused(nodes: logs.Nodes, log: engine.RedisLog, holder: bytes) -> parts.Pen:
    """A stream of this node that, as Redis has it, is at its beginning and written by `holder`."""
    pen = await parts.begin(log)
    life = await log.claim(pen.stream, 2)
    assert life is not None
    key = keys.stream(pen.stream)
    back = ("epoch", pen.epoch, "seq", 1, "first", 1, "runs", f"{pen.epoch}:1", "holder", holder)
    nodes.do("HSET", key, *back)
    its = parts.Pen(log, pen.stream, life)
    assert await log.append((its.batch(parts.chunk("more")),)) == [base.Fenced()]
    return its


@pytest.mark.parametrize("count", [1, strays.AT_ONCE + 3])
async def test_what_a_living_node_writes_is_not_taken_when_leases_are_forgotten(
    nodes: logs.Nodes, count: int
) -> None:
    """It has had no time to say that it is there."""
    log, other = await nodes.start(), await nodes.start()
    pens = [await refused(nodes, log, logs.life(other)) for _ in range(count)]
    nodes.do("DEL", keys.life(logs.life(other)), keys.LIVES)
    assert await log.orphans(1_000) == []
    assert logs.held(log) == set()
    theirs = {pen.stream.encode() for pen in pens}
    assert nodes.do("SMEMBERS", keys.held(logs.life(other))) == theirs
    await other._session.lease._renew()
    nodes.settle(log)
    assert await log.orphans(1_000) == []
    nodes.do("DEL", keys.life(await logs.die(other)))
    nodes.settle(log)
    assert len(await log.orphans(1_000)) == min(count, 100)


async def test_what_could_not_be_seen_to_is_in_doubt_still(
    nodes: logs.Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, dead = await nodes.start(settled=True), await nodes.start()
    life = await logs.die(dead)
    nodes.do("DEL", keys.life(life))
    pen = await refused(nodes, log, life)
    ask = lines.Lines.ask

    async def torn(self: lines.Lines, commands: Any, *more: Any) -> list[Any]:
        if commands[0].words[0] == "SADD":
            raise errors.LogUnavailable
        return await ask(self, commands, *more)

    with monkeypatch.context() as patch:
        patch.setattr(lines.Lines, "ask", torn)
        with pytest.raises(errors.LogUnavailable):
            await log.orphans(10)
    assert await log.orphans(10) == [pen.stream]


async def test_who_asks_again_for_what_was_refused_leaves_it_in_doubt(nodes: logs.Nodes) -> None:
    """A client comes back by its key before anybody has looked."""
    log, dead = await nodes.start(settled=True), await nodes.start()
    life = await logs.die(dead)
    nodes.do("DEL", keys.life(life))
    pen = await refused(nodes, log, life)
    found = await log.create(events.StreamId(pen.stream), parts.header(), (), 3)
    assert isinstance(found, base.Exists)
    assert await log.orphans(10) == [pen.stream]
