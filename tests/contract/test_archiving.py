"""From the Redis log into an archive and back, on every archive.

Strategy: a real log and a real archive; the archiver's rounds are called by hand, so that a test
says when a stream is in the log alone, in both, and in the archive alone. A reader must not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs
from tests import redis_servers

from holdfast import errors, events, timeline
from holdfast.archive import base as archive_base
from holdfast.archive import records, rows
from holdfast.archiving import archiver, behind
from holdfast.eventlog import base, reader
from holdfast.eventlog.redis import address, engine, keys, lines
from holdfast.testing.eventlog import parts

FOREVER = 2**52
"""A time after all others, in ms."""


class Archive:
    """An archive that fails where it is told to."""

    def __init__(self, inside: archive_base.Archive) -> None:
        self.inside = inside
        self.down = False
        self.dies_after = False
        """It keeps the stream, and nobody hears of it."""
        self.kept = self.kept_together = 0
        """Streams that were, one by one and together."""

    def __getattr__(self, name: str) -> object:
        found = getattr(self.inside, name)
        if name not in ("keep", "keep_all", "read", "heads", "stat", "find", "shred"):
            return found

        async def call(*values: object, **more: object) -> object:
            if self.down:
                raise errors.ArchiveUnavailable
            result = await found(*values, **more)
            self.kept += name == "keep"
            self.kept_together += len(values[0]) if name == "keep_all" else 0  # type: ignore[arg-type]
            if name in ("keep", "keep_all") and self.dies_after:
                raise errors.ArchiveUnavailable
            return result

        return call


class Both:
    """A log, an archive, and what is between them."""

    def __init__(self, log: engine.RedisLog, archive: archive_base.Archive) -> None:
        self.live, self.archive = log, Archive(archive)
        self.archiver = self.another()
        self.log = behind.ArchivedLog(log, self.archive)  # type: ignore[arg-type]

    def another(self) -> archiver.Archiver:
        return archiver.Archiver(self.live, self.live, self.archive)  # type: ignore[arg-type]

    async def moved(self) -> None:
        """All that has ended is in the archive alone from now on."""
        while await self.archiver.round():
            pass
        while await self.live.expire(FOREVER, 100):
            pass


@pytest.fixture
async def both(
    valkey: redis_servers.Server, new: Callable[[], Awaitable[archive_base.Archive]]
) -> AsyncIterator[Both]:
    where = address.Address((("127.0.0.1", valkey.port),), database=redis_servers.next_database())
    log = engine.RedisLog(where, archived=True)
    await log.start()
    yield Both(log, await new())
    await log.close()


async def do(both: Both, *words: bytes | str | int) -> Any:
    """A command to the log's Redis."""
    (reply,) = await both.live._session.lines.ask([lines.Keyed(b"x", words)])
    return reply


async def finished(
    log: base.EventLog, created_at: int = 1_000, pages: int = 1, **header: object
) -> parts.Pen:
    """A stream of two lives, with more events than so many pages have."""
    pen = await parts.begin(log, created_at, **header)
    for _ in range(pages):
        await pen.write(*(parts.chunk(f"a{number}") for number in range(base.PAGE_EVENTS)))
    life = await log.claim(pen.stream, 6_000)
    assert life is not None
    young = parts.Pen(log, pen.stream, life)
    await young.write(parts.chunk("b"), parts.chunk("c"))
    await young.write(parts.COMPLETE, ts=created_at + 5_000)
    return young


async def told(log: base.EventLog, stream: events.StreamId) -> list[timeline.Entry]:
    """What happened to a stream."""
    story = timeline.Timeline()
    await reader.tell(log, stream, story.add)
    return story.entries


async def test_a_reader_does_not_notice_where_a_stream_is(both: Both) -> None:
    pen = await finished(both.log)
    whole = await parts.read_all(both.log, pen.stream)
    story = await told(both.log, pen.stream)
    info = await both.log.stat(pen.stream)
    head = await both.log.heads([pen.stream])
    listed = await both.log.find(base.Query())
    await both.moved()
    assert isinstance(await both.live.stat(pen.stream), base.Tombstone)
    assert await both.log.stat(pen.stream) == info
    assert await both.log.heads([pen.stream]) == head
    assert await both.log.find(base.Query()) == listed
    assert await parts.read_all(both.log, pen.stream) == whole
    assert await told(both.log, pen.stream) == story != []
    for event in whole[:: base.PAGE_EVENTS // 7]:
        rest = await parts.read_all(both.log, pen.stream, event.position)
        assert rest == whole[event.seq :]
    for epoch, seq in ((pen.epoch, 3), (pen.epoch, pen.last + 1), (1, 1)):
        with pytest.raises(errors.UnknownPosition):
            await both.log.read(pen.stream, events.Position(epoch, seq))


async def test_the_log_lets_nothing_go_before_the_archive_has_it(both: Both) -> None:
    pen = await finished(both.log)
    assert await both.live.expire(FOREVER, 10) == 0
    both.archive.down = True
    with pytest.raises(errors.ArchiveUnavailable):
        await both.archiver.round()
    assert await both.live.expire(FOREVER, 10) == 0
    assert len(await parts.read_all(both.log, pen.stream)) > base.PAGE_EVENTS
    both.archive.down = False
    await both.moved()
    assert both.archiver.kept == 1
    assert len(await parts.read_all(both.log, pen.stream)) > base.PAGE_EVENTS


@pytest.mark.parametrize("pages", [0, archiver.SHORT_PAGES])
async def test_an_archiver_that_dies_before_it_tells_is_followed_by_another(
    both: Both, pages: int
) -> None:
    """What it kept is there once, and as it was."""
    pen = await finished(both.log, pages=pages)
    whole = await parts.read_all(both.log, pen.stream)
    both.archive.dies_after = True
    with pytest.raises(errors.ArchiveUnavailable):
        await both.archiver.round()
    both.archive.dies_after = False
    assert [one.stream for one in await both.live.ended(10)] == [pen.stream]
    await both.moved()
    assert await both.live.ended(10) == []
    assert await parts.read_all(both.log, pen.stream) == whole
    assert len(await both.archive.inside.find(base.Query())) == 1


async def test_short_streams_are_archived_together_and_long_ones_alone(both: Both) -> None:
    lengths = [archiver.SHORT_PAGES if number == 3 else number % 3 for number in range(7)]
    pens = [await finished(both.log, 1_000 + n, pages) for n, pages in enumerate(lengths)]
    whole = [await parts.read_all(both.log, pen.stream) for pen in pens]
    assert await both.archiver.round() is False
    assert (both.archive.kept, both.archive.kept_together, both.archiver.kept) == (1, 6, 7)
    await both.moved()
    assert [await parts.read_all(both.log, pen.stream) for pen in pens] == whole


async def test_archivers_at_once_keep_each_stream_once(both: Both) -> None:
    pens = [await finished(both.log, 1_000 + number) for number in range(5)]
    some = [both.another() for _ in range(4)]
    await asyncio.gather(*(one.round() for one in some))
    assert sum(one.kept for one in some) == len(pens)
    found = await both.archive.inside.find(base.Query())
    assert {info.stream for info in found} == {pen.stream for pen in pens}
    assert await both.live.ended(10) == []


async def test_a_backlog_is_worked_off_by_all_archivers_together(both: Both) -> None:
    """What one wrote that is no more; the others do not all begin with the same."""
    for number in range(10 * archiver.AT_ONCE):
        await (await parts.begin(both.live, number)).write(parts.COMPLETE, ts=number)
    some = [both.another() for _ in range(2)]

    async def archive(one: archiver.Archiver) -> None:
        while await one.round():
            pass

    await asyncio.gather(*map(archive, some))
    assert sum(one.kept for one in some) == 10 * archiver.AT_ONCE
    assert both.archive.kept_together < 15 * archiver.AT_ONCE  # each for itself: 20


async def test_what_is_under_way_is_not_archived_and_needs_no_archive(both: Both) -> None:
    pen = await parts.begin(both.log)
    both.archive.down = True
    await pen.write(parts.chunk("a"))
    assert await both.archiver.round() is False
    assert len((await both.log.read(pen.stream, events.BEGIN)).events) == 2
    info = await both.log.stat(pen.stream)
    assert isinstance(info, base.Info)
    assert await both.log.heads([pen.stream]) == [info.head]


async def test_an_archive_that_is_away_is_a_log_that_cannot_be_read(both: Both) -> None:
    """For a while: it is no verdict on what is there."""
    pen = await finished(both.log)
    await both.moved()
    both.archive.down = True
    asked: Sequence[Awaitable[object]] = (
        both.log.read(pen.stream, events.BEGIN),
        both.log.stat(pen.stream),
        both.log.heads([pen.stream]),
        both.log.find(base.Query()),
        both.log.create(pen.stream, parts.header(), (parts.chunk("x"),), 9_000),
    )
    for one in asked:
        with pytest.raises(errors.LogUnavailable):
            await one


async def test_an_id_that_is_in_the_archive_alone_is_there(both: Both) -> None:
    """An Idempotency-Key leads to the answer that it had."""
    pen = await finished(both.log, owner="first")
    await both.moved()
    again = await both.log.create(
        pen.stream, parts.header(owner="second"), (parts.chunk("x"),), 9_000
    )
    assert again == base.Exists(parts.header(owner="first", request=b""))


async def test_what_the_archive_has_let_go_is_gone_for_its_owner(both: Both) -> None:
    pen = await finished(both.log, owner="mine")
    await both.moved()
    assert await both.archive.inside.expire(FOREVER, 10) == 1
    stone = await both.log.stat(pen.stream)
    assert isinstance(stone, base.Tombstone)
    assert stone.owner == "mine"
    with pytest.raises(errors.StreamNotFound):
        await both.log.read(pen.stream, events.BEGIN)
    with pytest.raises(errors.StreamExpired):
        await both.log.create(pen.stream, parts.header(), (parts.chunk("x"),), 9_000)


async def test_a_list_is_one_list(both: Both) -> None:
    """Whatever of it is in the log, in both, or in the archive."""
    pens = []
    for number in range(9):
        pens.append(await finished(both.log, 1_000 + number, owner="acme/a"))
        if number == 2:
            await both.moved()
        if number == 5:
            await both.archiver.round()
    for limit in (1, 2, 4, 20):
        found: list[events.StreamId] = []
        before: tuple[int, str] | None = None
        query = base.Query(owner="acme/a", limit=limit)
        while page := await both.log.find(base.Query(query.owner, limit=limit, before=before)):
            found += [info.stream for info in page]
            before = (page[-1].header.created_at, page[-1].stream)
        assert found == [pen.stream for pen in pens[::-1]]


async def test_a_damaged_stream_is_told_once_and_holds_up_no_other(
    both: Both, valkey: redis_servers.Server
) -> None:
    bad, good = await finished(both.log, 1_000), await finished(both.log, 2_000)
    with valkey.client() as client:
        client.execute_command("SELECT", both.live._where.database)  # type: ignore[no-untyped-call]
        key = f"holdfast:{{{bad.stream}}}:events"
        entry = client.execute_command("XRANGE", key, "-", "+")[0][0]  # type: ignore[no-untyped-call]
        client.execute_command("XDEL", key, entry)  # type: ignore[no-untyped-call]
    for _ in range(3):
        await both.archiver.round()
    assert [info.stream for info in await both.archive.inside.find(base.Query())] == [good.stream]
    assert [one.stream for one in await both.live.ended(10)] == [bad.stream]


async def test_a_header_that_cannot_be_read_holds_up_no_other(both: Both) -> None:
    bad, good = await finished(both.log, 1_000), await finished(both.log, 2_000)
    await do(both, "HSET", keys.stream(bad.stream), "header", b"not ours")
    assert [await both.archiver.round() for _ in range(2)] == [False, False]
    assert [info.stream for info in await both.archive.inside.find(base.Query())] == [good.stream]
    assert [one.stream for one in await both.live.ended(10)] == [bad.stream]


@pytest.mark.parametrize("pages", [0, archiver.SHORT_PAGES])
async def test_a_number_that_does_not_fit_holds_up_no_other(
    both: Both, engine: str, pages: int
) -> None:
    """Whatever a provider counts; an archive in memory takes it."""
    bad = await parts.begin(both.log, 1_000)
    for _ in range(pages):
        await bad.write(*(parts.chunk("a") for _ in range(base.PAGE_EVENTS)))
    await bad.write(events.draft(events.Usage(input_tokens=2**70)), parts.COMPLETE, ts=2_000)
    good = await finished(both.log, 3_000)
    assert [await both.archiver.round() for _ in range(2)] == [False, False]
    assert await both.archive.inside.stat(good.stream) is not None
    left = [one.stream for one in await both.live.ended(10)]
    assert left == ([] if engine == "memory" else [bad.stream])


async def test_what_a_failover_has_lost_altogether_is_told_once(both: Both) -> None:
    """But nothing of what the archive has."""
    both.archive.dies_after = True
    await finished(both.log)
    with pytest.raises(errors.ArchiveUnavailable):
        await both.archiver.round()
    both.archive.dies_after = False
    pen = await finished(both.log, pages=0)
    await do(both, "FLUSHDB")
    with capture_logs() as logs:
        for _ in range(3):
            await both.archiver.round()
    told = [(line["event"], line["stream"]) for line in logs]
    assert told == [("stream_lost", pen.stream)]
    assert await both.live.ended(10) == []


async def test_the_archive_has_the_attempts(both: Both) -> None:
    pen = await parts.begin(both.log)
    failed = events.Attempt(1, "demo", "m", error="provider_failed", duration_ms=7)
    second = events.Attempt(2, "other", "n", how="fresh")
    await pen.write(*(events.draft(one) for one in (failed, second)))
    await pen.write(parts.COMPLETE)
    await both.moved()
    found = await both.archive.inside.attempts(pen.stream)
    assert [(one.number, one.provider, one.model, one.error) for one in found] == [
        (1, "demo", "m", "provider_failed"),
        (2, "other", "n", ""),
    ]
    assert isinstance(found[0], rows.Attempt)


@pytest.mark.parametrize("which", [0, 1, -1])
async def test_a_gap_in_redis_is_told_and_never_passed_over(
    both: Both, valkey: redis_servers.Server, which: int
) -> None:
    pen = await finished(both.log)
    with valkey.client() as client:
        client.execute_command("SELECT", both.live._where.database)  # type: ignore[no-untyped-call]
        key = f"holdfast:{{{pen.stream}}}:events"
        entry = client.execute_command("XRANGE", key, "-", "+")[which][0]  # type: ignore[no-untyped-call]
        client.execute_command("XDEL", key, entry)  # type: ignore[no-untyped-call]
    with pytest.raises(errors.LogCorrupt, match="lacks"):
        await parts.read_all(both.live, pen.stream)


async def test_whose_an_id_is_can_be_told_where_redis_has_lost_all(both: Both, engine: str) -> None:
    """An archive that nodes do not share cannot tell it for all of them."""
    theirs = both.archive.inside if engine == "postgres" else both.live
    assert both.log.secret == theirs.secret
    assert len(both.log.secret) == 32


async def test_what_changes_while_it_is_archived_is_looked_at_again(both: Both) -> None:
    """As in a failover, which loses an end that was told already."""
    pen = await finished(both.log)
    stat, seen = both.live.stat, await both.live.stat(pen.stream)
    assert isinstance(seen, base.Info)
    older = msgspec.structs.replace(seen, head=base.Head(seen.head.epoch, 2, True))
    answers = [older, seen]

    async def changing(stream: events.StreamId) -> object:
        return answers.pop(0) if answers else await stat(stream)

    both.live.stat = changing  # type: ignore[method-assign, assignment]
    for _ in range(2):
        await both.archiver.round()
    assert both.archiver.kept == 1
    assert await both.live.ended(10) == []


@pytest.mark.parametrize(("ago", "kept"), [(0, 0), (archiver.SETTLED_MS, 1), (-3_600_000, 1)])
async def test_an_end_that_a_failover_may_lose_yet_is_left_alone(
    both: Both, ago: int, kept: int
) -> None:
    pen = await parts.begin(both.log)
    await pen.write(parts.COMPLETE, ts=events.now_ms() - ago)
    await both.archiver.round()
    assert both.archiver.kept == kept


async def test_an_end_that_a_failover_lost_is_waited_for(both: Both) -> None:
    """However soon it comes: what is under way is not acknowledged, and holds up nobody."""
    pen = await parts.begin(both.live)
    await pen.write(parts.chunk("a"))
    places = keys.stream(pen.stream), keys.entries(pen.stream)
    before = [await do(both, "DUMP", key) for key in places]
    await pen.write(parts.COMPLETE)
    for key, dump in zip(places, before, strict=True):
        await do(both, "RESTORE", key, 0, dump, "REPLACE")
    life = await both.live.claim(pen.stream, 6_000)
    assert life is not None
    others = [await finished(both.log, 2_000 + number, 0) for number in range(archiver.AT_ONCE)]
    for _ in range(3):
        await both.archiver.round()
    assert both.archiver.kept == len(others)
    assert both.archiver.oldest is None
    assert [one.stream for one in await both.live.ended(10)] == [pen.stream]
    await parts.Pen(both.live, pen.stream, life).write(parts.COMPLETE, ts=7_000)
    await both.moved()
    assert both.archiver.kept == len(others) + 1
    assert len(await parts.read_all(both.log, pen.stream)) == 4


@pytest.mark.parametrize("where", ["the log", "both", "the archive"])
async def test_what_is_destroyed_is_gone_wherever_it_was(both: Both, where: str) -> None:
    pen, other = await finished(both.log, owner="mine"), await finished(both.log, 2_000)
    if where == "both":
        await both.archiver.round()
    elif where == "the archive":
        await both.moved()
    assert await both.log.shred(pen.stream) is True
    for log in (both.log, both.live):
        with pytest.raises(errors.StreamNotFound):
            await log.read(pen.stream, events.BEGIN)
        assert isinstance(await log.stat(pen.stream), base.Tombstone)
    assert not isinstance(await both.archive.inside.stat(pen.stream), base.Info)
    assert await both.log.heads([pen.stream]) == [None]
    assert [info.stream for info in await both.log.find(base.Query())] == [other.stream]
    await both.archiver.round()
    assert not isinstance(await both.archive.inside.stat(pen.stream), base.Info)
    assert await both.log.shred(pen.stream) is False


async def test_what_is_destroyed_is_not_archived_by_who_read_it_before(both: Both) -> None:
    pen = await finished(both.log, owner="mine")
    info, all = await both.live.stat(pen.stream), await parts.read_all(both.live, pen.stream)
    assert isinstance(info, base.Info)
    assert await both.log.shred(pen.stream) is True
    assert await both.archive.inside.keep_all([records.finished(info, [], all)]) == set()
    stone = await both.log.stat(pen.stream)
    assert isinstance(stone, base.Tombstone)
    assert stone.owner == "mine"


async def test_what_an_earlier_call_did_not_keep_out_the_next_one_does(both: Both) -> None:
    """It died behind the log, or the archive was away."""
    pen = await finished(both.log, owner="mine")
    info, all = await both.live.stat(pen.stream), await parts.read_all(both.live, pen.stream)
    assert isinstance(info, base.Info)
    both.archive.down = True
    with pytest.raises(errors.LogUnavailable):
        await both.log.shred(pen.stream)
    both.archive.down = False
    assert await both.log.shred(pen.stream) is False
    assert await both.archive.inside.keep_all([records.finished(info, [], all)]) == set()
    assert isinstance(await both.archive.inside.stat(pen.stream), base.Tombstone)


async def test_what_a_failover_brings_back_meanwhile_is_to_be_destroyed_again(both: Both) -> None:
    """While the archive has not answered yet, the log is given up for a replica that was behind."""
    pen = await finished(both.log)
    names = (keys.stream(pen.stream), keys.entries(pen.stream))
    before = [await do(both, "DUMP", name) for name in names]
    inside = both.archive.inside.shred

    async def late(stream: events.StreamId, *, keep_out: bool = False) -> bool:
        for name, dumped in zip(names, before, strict=True):
            await do(both, "RESTORE", name, 0, dumped, "REPLACE")
        return await inside(stream, keep_out=keep_out)

    both.archive.inside.shred = late  # type: ignore[method-assign]
    assert await both.log.shred(pen.stream) is False
    assert isinstance(await both.log.stat(pen.stream), base.Info)
    both.archive.inside.shred = inside  # type: ignore[method-assign]
    assert await both.log.shred(pen.stream) is True
    assert isinstance(await both.log.stat(pen.stream), base.Tombstone)


async def test_what_is_under_way_is_not_destroyed(both: Both) -> None:
    pen = await parts.begin(both.log)
    assert await both.log.shred(pen.stream) is False
    assert len((await both.log.read(pen.stream, events.BEGIN)).events) == 1


async def test_an_archive_that_is_away_has_the_rest_destroyed_later(both: Both) -> None:
    pen = await finished(both.log)
    await both.archiver.round()
    both.archive.down = True
    with pytest.raises(errors.LogUnavailable):
        await both.log.shred(pen.stream)
    both.archive.down = False
    assert isinstance(await both.log.stat(pen.stream), base.Info)
    assert await both.log.shred(pen.stream) is True
    assert isinstance(await both.log.stat(pen.stream), base.Tombstone)
