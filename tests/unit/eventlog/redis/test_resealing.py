"""Turning sealing on and rewrapping, cut off or made twice at any step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from tests import redis_servers
from tests.unit.eventlog.redis import logs

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.redis import engine, hints, index, keys, lines, scripts
from holdfast.sealing import stores
from holdfast.testing.eventlog import parts, sealing

OLD, NEW = sealing.OLD, sealing.NEW


@pytest.fixture
async def nodes(valkey: redis_servers.Server) -> AsyncIterator[logs.Nodes]:
    async with logs.nodes(valkey) as made:
        yield made


def of(nodes: logs.Nodes, stream: events.StreamId) -> set[object]:
    """All keys of a stream."""
    found = nodes.do("KEYS", keys.stream(stream).replace(b"{", b"\\{") + b"*")
    assert isinstance(found, list)
    return set(found)


async def long(log: engine.RedisLog) -> tuple[events.StreamId, list[events.Event]]:
    """A stream of some pages, which has ended."""
    pen = await parts.begin(log)
    for number in range(280):
        await pen.write(parts.chunk(f"word {number}"))
    await pen.write(parts.COMPLETE)
    return pen.stream, await parts.read_all(log, pen.stream)


async def test_what_a_version_before_made_is_sealed_with_all_its_pages(nodes: logs.Nodes) -> None:
    log = await nodes.start()
    stream, wanted = await long(log)
    nodes.do("HDEL", keys.stream(stream), "owner", "created")
    info = await log.stat(stream)
    log = await nodes.start(by=sealing.by(OLD))
    assert await parts.read_all(log, stream) == wanted
    assert (await stores.reseal_all(log)).done == 1
    assert await parts.read_all(log, stream) == wanted
    assert await log.stat(stream) == info
    assert of(nodes, stream) == {keys.stream(stream), keys.entries(stream)}
    assert nodes.do("PTTL", keys.entries(stream)) == -1
    assert nodes.do("HMGET", keys.stream(stream), "owner", "created") == [b"me", b"1000"]


async def test_what_is_cut_off_while_it_is_put_aside_is_plain_and_the_rest_goes(
    nodes: logs.Nodes,
) -> None:
    plain = await nodes.start()
    stream = (await sealing.ended(plain)).stream
    wanted = await parts.read_all(plain, stream)
    log = await nodes.start(by=sealing.by(OLD))
    how = log._session.seals.sealer.new(stream, "me", OLD.id)
    aside = keys.sealing(stream, "dead")
    await log._session.resealing._put_aside(stream, how, aside)
    left = nodes.do("PTTL", aside)
    assert isinstance(left, int)
    assert 0 < left <= 3_600_000
    assert await parts.read_all(plain, stream) == wanted
    assert (await stores.reseal_all(log)).done == 1
    assert await parts.read_all(log, stream) == wanted


@pytest.mark.parametrize("name", ["seq", "epoch", "ended", "key", "entries", "aside"])
async def test_what_has_changed_meanwhile_is_not_replaced(nodes: logs.Nodes, name: str) -> None:
    """As by a failover, or another node."""
    pen = await parts.begin(await nodes.start())
    await pen.write(parts.COMPLETE)
    log = await nodes.start(by=sealing.by(OLD))
    hash, entries = keys.stream(pen.stream), keys.entries(pen.stream)
    aside = keys.sealing(pen.stream, "mine")
    how = log._session.seals.sealer.new(pen.stream, "me", OLD.id)
    await log._session.resealing._put_aside(pen.stream, how, aside)
    known = nodes.do("HMGET", hash, "epoch", "seq")
    assert isinstance(known, list)
    if name == "entries":
        nodes.do("XADD", entries, f"{1 << 40}-9", "b", "more")
    elif name == "aside":
        nodes.do("DEL", aside, entries)
    elif name == "ended":
        nodes.do("HDEL", hash, "ended")
    else:
        nodes.do("HSET", hash, name, 7)
    before = nodes.do("HGETALL", hash), nodes.do("XRANGE", entries, "-", "+")
    call = scripts.SEAL.call((hash, entries, aside), *known, b"header", "me", 1, b"key")
    assert nodes.do(*call) == 0
    assert (nodes.do("HGETALL", hash), nodes.do("XRANGE", entries, "-", "+")) == before
    assert aside not in of(nodes, pen.stream)


async def test_two_nodes_seal_at_once_and_each_stream_is_sealed_once(nodes: logs.Nodes) -> None:
    plain = await nodes.start()
    pens = [await sealing.ended(plain) for _ in range(20)]
    wanted = [await parts.read_all(plain, pen.stream) for pen in pens]
    some = [await nodes.start(by=sealing.by(OLD)) for _ in range(2)]
    done = await asyncio.gather(*(stores.reseal_all(log, step=5) for log in some))
    assert sum(part.done for part in done) == 20
    assert await some[0].wrapped_by() == {OLD.id: 20}
    assert [await parts.read_all(some[1], pen.stream) for pen in pens] == wanted
    assert all(len(of(nodes, pen.stream)) == 2 for pen in pens)


async def test_what_is_plain_and_cannot_be_read_stays_as_it_is(nodes: logs.Nodes) -> None:
    plain = await nodes.start()
    gone, good = [await sealing.ended(plain) for _ in range(2)]
    bad = await parts.begin(plain)
    for _ in range(3):
        await bad.write(parts.chunk(70_000 * "x"))  # two are a page
    await bad.write(parts.COMPLETE)
    nodes.do("XADD", keys.entries(bad.stream), f"{1 << 50}-9", "b", b"not ours")
    nodes.do("DEL", keys.entries(gone.stream))
    log = await nodes.start(by=sealing.by(OLD))
    part = await stores.reseal_all(log)
    assert (part.done, part.left, part.unreadable) == (1, 0, 2)
    assert await log.wrapped_by() == {"": 2, OLD.id: 1}
    assert of(nodes, bad.stream) == {keys.stream(bad.stream), keys.entries(bad.stream)}
    assert len(await parts.read_all(log, good.stream)) == 23


async def test_a_pass_goes_on_where_its_last_stream_was_let_go(nodes: logs.Nodes) -> None:
    log = await nodes.start()
    pens = [await parts.begin(log, created_at=1_000 + number // 3) for number in range(9)]
    wires, found = log._session.lines, list[events.StreamId]()
    after, some = "", [pens[0].stream]
    while some:
        some, after = await index.page(wires, after, 2)
        found += some
        if some:
            await wires.ask(index.take(some[-1], "me"))
    assert set(found) == {pen.stream for pen in pens}


async def test_a_pass_misses_nothing_where_others_are_let_go_while_it_looks(
    nodes: logs.Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await nodes.start()
    pens = [await parts.begin(log, created_at=1_000 + number // 4) for number in range(24)]
    wires, found, after = log._session.lines, list[events.StreamId](), ""
    ask = wires.ask

    async def meanwhile(commands: Sequence[lines.Keyed], lane: str = lines.WRITE) -> list[object]:
        """The earliest of those that are there goes between any two commands."""
        if all(one.key == keys.STREAMS for one in commands):
            nodes.do("ZPOPMIN", keys.STREAMS)
        return await ask(commands, lane)

    first = await index.page(wires, after, 8)
    monkeypatch.setattr(wires, "ask", meanwhile)
    some, after = first
    while some:
        found += some
        some, after = await index.page(wires, after, 3)
    assert sorted(found) == sorted(pen.stream for pen in pens)


async def test_what_is_shredded_meanwhile_is_not_given_a_key(nodes: logs.Nodes) -> None:
    log = await nodes.start(by=sealing.by(OLD))
    pen = await sealing.ended(log)
    wrapped = nodes.do("HGET", keys.stream(pen.stream), "key")
    assert isinstance(wrapped, bytes)
    assert await log.shred(pen.stream)
    call = scripts.REWRAP.call((keys.stream(pen.stream),), wrapped, b"again")
    assert nodes.do(*call) == 0
    stone = await log.stat(pen.stream)
    assert isinstance(stone, base.Tombstone)


async def test_what_is_shredded_is_not_archived(nodes: logs.Nodes) -> None:
    log = engine.RedisLog(nodes.where, archived=True, sealer=sealing.by(OLD))
    await log.start()
    try:
        gone, stays = await sealing.ended(log), await sealing.ended(log)
        assert await log.shred(gone.stream)
        assert [ended.stream for ended in await log.ended(10)] == [stays.stream]
        assert nodes.do("ZCARD", keys.ENDED) == 1
    finally:
        await log.close()


async def test_a_shredding_that_died_halfway_is_finished(nodes: logs.Nodes) -> None:
    log = await nodes.start(by=sealing.by(OLD))
    pen = await sealing.ended(log, owner="acme/ann")
    nodes.do("DEL", keys.stream(pen.stream), keys.entries(pen.stream))
    nodes.do("HSET", keys.stream(pen.stream), "expired", 1, "owner", "acme/ann")
    assert await log.shred(pen.stream) is False
    left = keys.STREAMS, keys.of_owner("acme/ann"), keys.of_tenant("acme"), keys.ARCHIVED
    assert [nodes.do("ZCARD", key) for key in left] == [0, 0, 0, 0]


async def test_others_who_read_are_woken_by_a_shredding(nodes: logs.Nodes) -> None:
    log, other = [await nodes.start(by=sealing.by(OLD)) for _ in range(2)]
    pen, ready, woken = await sealing.ended(log), asyncio.Event(), asyncio.Event()
    marker = events.new_stream_id()
    other.watch(marker, ready.set)
    other.watch(pen.stream, woken.set)
    async with asyncio.timeout(logs.LIMIT):
        while not ready.is_set():  # it may not listen yet
            nodes.do("PUBLISH", keys.HINTS, hints.message(b"0", hints.MORE, [marker]))
            await asyncio.sleep(0.01)
        assert await log.shred(pen.stream)
        await woken.wait()
    with pytest.raises(errors.StreamNotFound):
        await other.read(pen.stream, events.BEGIN)
