"""Who can write to Redis, and has no key, makes no stream say what it does not.

Strategy: a sealed stream of two lives lies on a real server, and each test changes what lies there
as somebody could who has copies of all of it. Nothing of that is read: neither the events nor,
where it is about the header, what is known of the stream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests import redis_servers
from tests.unit.eventlog.redis import logs

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.redis import blocks, engine, keys
from holdfast.sealing import codec
from holdfast.testing.eventlog import parts, sealing

Entry = tuple[bytes, bytes]


@pytest.fixture
async def nodes(valkey: redis_servers.Server) -> AsyncIterator[logs.Nodes]:
    async with logs.nodes(valkey) as made:
        yield made


@pytest.fixture
async def log(nodes: logs.Nodes) -> engine.RedisLog:
    return await nodes.start(by=sealing.by(sealing.OLD))


class Lying:
    """What of a stream lies in Redis."""

    def __init__(self, nodes: logs.Nodes, stream: events.StreamId) -> None:
        self._nodes, self.stream = nodes, stream
        self.hash, self.events = keys.stream(stream), keys.entries(stream)

    @property
    def entries(self) -> list[Entry]:
        found = self._nodes.do("XRANGE", self.events, "-", "+")
        assert isinstance(found, list)
        return [
            (entry, fields[b"b"] if isinstance(fields, dict) else fields[1])
            for entry, fields in found
        ]

    def put(self, *entries: Entry) -> None:
        self._nodes.do("DEL", self.events)
        for entry, block in entries:
            self._nodes.do("XADD", self.events, entry, "b", block)

    def get(self, name: str) -> bytes:
        found = self._nodes.do("HGET", self.hash, name)
        assert isinstance(found, bytes)
        return found

    def set(self, name: str, value: bytes | str | int) -> None:
        self._nodes.do("HSET", self.hash, name, value)


async def written(log: engine.RedisLog, nodes: logs.Nodes, **fields: Any) -> Lying:
    """Five entries: three of a first life, of which a copy was made, two of a second."""
    pen = await parts.begin(log, **fields)
    await pen.write(parts.chunk("one"))
    await pen.write(parts.chunk("two"))
    life = await log.claim(pen.stream, 6_000)
    assert life is not None
    await parts.Pen(log, pen.stream, life).write(parts.chunk("three"), parts.COMPLETE)
    lying = Lying(nodes, pen.stream)
    assert len(lying.entries) == 5
    assert len(await parts.read_all(log, pen.stream)) == 6
    return lying


async def refused(log: engine.RedisLog, lying: Lying) -> None:
    with pytest.raises(errors.LogCorrupt, match=lying.stream):
        await parts.read_all(log, lying.stream)


@pytest.mark.case("4.25")
async def test_an_entry_that_was_changed_swapped_moved_or_put_in_is_refused(
    nodes: logs.Nodes, log: engine.RedisLog
) -> None:
    lying, other = await written(log, nodes), await written(log, nodes)
    one, two, three, four, five = lying.entries
    flipped = bytes((*two[1][:-1], two[1][-1] ^ 1))
    plain = blocks.pack(
        codec.PLAIN, lying.stream, int(two[0].split(b"-")[0]), 2, (parts.chunk("no"),), 5_000
    )
    for bad in (
        [one, (two[0], flipped), three, four, five],
        [one, (two[0], three[1]), (three[0], two[1]), four, five],
        [one, (two[0], other.entries[1][1]), three, four, five],
        [one, (two[0], plain), three, four, five],
        [one, three, four, five],
        [one, two, three, five],
        [one, two, three, four],
        [],
    ):
        lying.put(*bad)
        await refused(log, lying)
    lying.put(one, two, three, four, five)
    assert len(await parts.read_all(log, lying.stream)) == 6


@pytest.mark.case("4.25")
async def test_a_closed_stream_that_was_cut_off_is_refused(
    nodes: logs.Nodes, log: engine.RedisLog
) -> None:
    """With a hash that says so too, and also to who has read all that is left."""
    lying = await written(log, nodes)
    all_of_it = lying.entries
    runs = lying.get("runs").split(b",")
    for left, seq in ((4, 4), (3, 3)):
        lying.put(*all_of_it[:left])
        lying.set("seq", seq)
        await refused(log, lying)
        epoch = int(runs[left == 4].split(b":")[0])
        with pytest.raises(errors.LogCorrupt, match="lacks its end"):
            await log.read(lying.stream, events.Position(epoch, seq))


@pytest.mark.case("4.25")
async def test_what_an_older_life_wrote_is_not_replayed(
    nodes: logs.Nodes, log: engine.RedisLog
) -> None:
    """A failover lost the first life's third event, and another one took its place."""
    pen = await parts.begin(log)
    await pen.write(parts.chunk("one"))
    lying = Lying(nodes, pen.stream)
    before = {name: lying.get(name) for name in ("epoch", "seq", "runs", "first")}
    kept = lying.entries
    await pen.write(parts.chunk("lost"), parts.COMPLETE)
    lost = lying.entries[-1]
    nodes.do("HDEL", lying.hash, "ended", "status")
    for name, value in before.items():
        lying.set(name, value)
    lying.put(*kept)
    life = await log.claim(pen.stream, 6_000)
    assert life is not None
    await parts.Pen(log, pen.stream, life).write(parts.COMPLETE)
    assert len(await parts.read_all(log, pen.stream)) == 4
    lying.put(*kept, lost)
    await refused(log, lying)


@pytest.mark.case("4.25")
@pytest.mark.parametrize("name", ["owner", "key", "header"])
async def test_what_is_anothers_is_refused(
    nodes: logs.Nodes, log: engine.RedisLog, name: str
) -> None:
    lying, other = await written(log, nodes), await written(log, nodes, owner="else/bob")
    lying.set(name, other.get(name))
    with pytest.raises(errors.LogCorrupt, match=lying.stream):
        await log.stat(lying.stream)
    if name != "header":
        await refused(log, lying)


@pytest.mark.case("4.25")
async def test_a_sealed_stream_without_its_key_is_no_plain_one(
    nodes: logs.Nodes, log: engine.RedisLog
) -> None:
    lying = await written(log, nodes)
    nodes.do("HDEL", lying.hash, "key")
    await refused(log, lying)
    with pytest.raises(errors.LogCorrupt):
        await log.stat(lying.stream)


async def test_a_list_shows_one_that_cannot_be_read_and_says_so_once(
    nodes: logs.Nodes, log: engine.RedisLog
) -> None:
    good, bad = await written(log, nodes), await written(log, nodes, owner="acme/ann")
    bad.set("header", b"not ours")
    with capture_logs() as told:
        for _ in range(2):
            found = {info.stream: info for info in await log.find(base.Query())}
    assert set(found) == {good.stream, bad.stream}
    info = found[bad.stream]
    assert info.header == base.Header("acme/ann", 1_000, "", "")
    assert (info.status, info.head.closed, info.ended_at) == ("completed", True, 5_000)
    assert [(line["event"], line["stream"]) for line in told] == [("stream_unreadable", bad.stream)]
    for name in ("created", "epoch"):
        good.set(name, "no number")
    good.set("header", b"not ours")
    mine = await log.find(base.Query(owner="acme/ann"))
    assert [info.stream for info in mine] == [bad.stream]
    assert [info.stream for info in await log.find(base.Query())] == [bad.stream]


async def test_what_this_node_does_not_write_is_sealed_all_the_same(
    nodes: logs.Nodes, log: engine.RedisLog
) -> None:
    pen = await parts.begin(log)
    log._writer._begun.clear()
    await pen.write(parts.chunk("one"))
    await pen.write(parts.COMPLETE)
    assert len(await parts.read_all(log, pen.stream)) == 3


async def test_without_its_key_a_stream_is_neither_written_nor_claimed(
    nodes: logs.Nodes, log: engine.RedisLog
) -> None:
    pen, other = await parts.begin(log, owner="acme/ann"), await parts.begin(log)
    log._writer._begun.clear()
    nodes.do("HDEL", keys.stream(other.stream), "key")
    nodes.do("HSET", keys.stream(other.stream), "key", b"no key")
    tick = (pen.batch(parts.chunk("a")), other.batch(parts.chunk("a")))
    first, second = await log.append(tick)
    assert isinstance(first, base.Ok)
    assert isinstance(second, base.Fenced)
    assert len(Lying(nodes, other.stream).entries) == 1
    taker = await nodes.start(by=sealing.by(sealing.OLD))
    with pytest.raises(errors.LogCorrupt, match=other.stream):
        await taker.claim(other.stream, 6_000)
    assert logs.held(taker) == set()
