"""Finished streams in every archive: kept whole, once, and read as the event log reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from tests.contract import archives
from tests.contract.archives import Clock, NewArchive, Told, told

from holdfast import errors, events, storage
from holdfast.archive import base, records, rows
from holdfast.testing.eventlog import parts

FAILED = events.Error("interrupted", "The writer died.", True)
CANCELLED = events.Error("cancelled", "The stream was cancelled.", False)


class Keeping:
    """What may fail while a stream is kept: its pages."""

    def __init__(self, stream: Told, after: int) -> None:
        self.stream, self.after = stream, after
        self.asked = 0

    async def pages(self) -> AsyncIterator[Sequence[events.Event]]:
        for event in self.stream.all:
            if self.asked == self.after:
                raise errors.LogUnavailable("the log is away")
            self.asked += 1
            yield (event,)


# Kept


@pytest.mark.parametrize("engine", archives.EVERY, indirect=True)
@pytest.mark.parametrize("end", [None, FAILED, CANCELLED])
async def test_a_stream_comes_back_as_it_was(new: NewArchive, end: events.Body | None) -> None:
    archive = await new()
    one = told(
        "Zoë ",
        "",
        "\N{GRINNING FACE}\0",
        end=end,
        adopted=True,
        client_id="c\0\x01",
        session_id="s",
        user_id="u",
        request_id="r",
        key="k",
        dialect="openai_chat",
        fingerprint=b"\0\xff",
        owner="acme/\x01\0'; DROP TABLE stream; --",
        model="m\0",
    )
    info = msgspec.structs.replace(one.info, cancelled=end is CANCELLED)
    await archive.keep(info, archives.ATTEMPTS, one.pages())
    assert await archive.stat(info.stream) == info
    assert tuple(await archives.read_all(archive, info.stream)) == one.all
    assert await archive.attempts(info.stream) == list(archives.ATTEMPTS)
    assert await archive.heads([info.stream]) == [info.head]
    assert await archive.find(storage.Query(owner=info.header.owner)) == [info]


@pytest.mark.parametrize("engine", archives.EVERY, indirect=True)
async def test_all_of_a_header_is_kept_but_for_the_request(new: NewArchive) -> None:
    archive = await new()
    await archives.kept(archive, one := told("a", **parts.EVERY_FIELD))
    await archive.keep_all([finished(other := told("b", **parts.EVERY_FIELD, request=b"secret"))])
    for stream in (one, other):
        found = await archive.stat(stream.info.stream)
        assert isinstance(found, storage.Info)
        assert found.header == msgspec.structs.replace(one.info.header, request=b"")
        assert found in await archive.find(storage.Query())


async def test_the_request_is_not_kept(new: NewArchive) -> None:
    archive = await new()
    one = told("a", request=b'{"q":"secret"}')
    await archives.kept(archive, one)
    found = await archive.stat(one.info.stream)
    assert isinstance(found, storage.Info)
    assert found.header == msgspec.structs.replace(one.info.header, request=b"")


async def test_what_was_never_kept_is_not_there(new: NewArchive) -> None:
    archive = await new()
    stream = events.new_stream_id()
    assert await archive.stat(stream) is None
    assert await archive.heads([stream]) == [None]
    assert await archive.attempts(stream) == []
    with pytest.raises(errors.StreamNotFound):
        await archive.read(stream, events.BEGIN)


async def test_a_second_keep_changes_nothing_and_reads_no_page(new: NewArchive) -> None:
    archive = await new()
    one = told("a", "b")
    assert await archive.keep(one.info, archives.ATTEMPTS, one.pages()) is True
    other = told("x", stream=one.info.stream, owner="other/bob")
    again = Keeping(other, 0)
    assert await archive.keep(other.info, (), again.pages()) is False
    assert again.asked == 0
    assert await archive.stat(one.info.stream) == one.info
    assert tuple(await archives.read_all(archive, one.info.stream)) == one.all
    assert await archive.attempts(one.info.stream) == list(archives.ATTEMPTS)


async def test_of_many_that_keep_at_once_one_does(new: NewArchive) -> None:
    archive = await new()
    ways = [told(f"way {number}", stream="s" * 26) for number in range(6)]
    await asyncio.gather(*(archives.kept(archive, way) for way in ways))
    found = tuple(await archives.read_all(archive, ways[0].info.stream))
    assert found in [way.all for way in ways]
    assert len(await archive.find(storage.Query())) == 1


def finished(one: Told, *attempts: rows.Attempt) -> records.Finished:
    return records.finished(one.info, attempts, one.all)


@pytest.mark.parametrize("engine", archives.EVERY, indirect=True)
async def test_streams_that_are_kept_together_come_back_each_as_it_was(new: NewArchive) -> None:
    archive = await new()
    some = [
        told("a", "b", owner="acme/\x01\0", client_id="c\0"),
        told(*"abc", adopted=True, request=b"secret", session_id="s"),
        told(end=CANCELLED),
        told(*map(str, range(records.SEGMENT_EVENTS + 1))),
    ]
    assert await archive.keep_all(()) == set()
    whole = [finished(some[0], *archives.ATTEMPTS), *map(finished, some[1:])]
    assert await archive.keep_all(whole) == {one.info.stream for one in some}
    for one in some:
        header = msgspec.structs.replace(one.info.header, request=b"")
        assert await archive.stat(one.info.stream) == msgspec.structs.replace(
            one.info, header=header
        )
        assert tuple(await archives.read_all(archive, one.info.stream)) == one.all
    assert await archive.attempts(some[0].info.stream) == list(archives.ATTEMPTS)
    assert await archive.attempts(some[1].info.stream) == []


async def test_together_with_others_what_is_there_or_was_let_go_stays_as_it_is(
    new: NewArchive,
) -> None:
    archive = await new()
    gone, there, fresh = told("gone", ended_at=1), told("there"), told("fresh")
    await archives.kept(archive, gone, there)
    assert await archive.expire(2, 10) == 1
    other = told("other", stream=there.info.stream, owner="other/bob")
    some = [finished(one, *archives.ATTEMPTS) for one in (gone, other, fresh)]
    assert await archive.keep_all(some) == {fresh.info.stream}
    assert isinstance(await archive.stat(gone.info.stream), storage.Tombstone)
    assert await archive.attempts(gone.info.stream) == []
    assert await archive.stat(there.info.stream) == there.info
    assert tuple(await archives.read_all(archive, there.info.stream)) == there.all
    assert await archive.attempts(there.info.stream) == []
    assert tuple(await archives.read_all(archive, fresh.info.stream)) == fresh.all
    with pytest.raises(errors.StreamNotFound):
        await archive.read(gone.info.stream, events.BEGIN)


@pytest.mark.parametrize("engine", archives.LASTING, indirect=True)
async def test_of_two_nodes_that_keep_the_same_together_one_does(join: NewArchive) -> None:
    nodes = [await join() for _ in range(2)]
    for _ in range(5):
        streams = [told(*"abc") for _ in range(30)]
        ways = (streams, streams[::-1])
        new = await asyncio.gather(
            *(
                node.keep_all([finished(one, *archives.ATTEMPTS) for one in way])
                for node, way in zip(nodes, ways, strict=True)
            )
        )
        assert sorted(new[0] | new[1]) == sorted(one.info.stream for one in streams)
        assert not new[0] & new[1]
        for one in streams:
            assert tuple(await archives.read_all(nodes[0], one.info.stream)) == one.all
            assert await nodes[0].attempts(one.info.stream) == list(archives.ATTEMPTS)


@pytest.mark.parametrize("spoilt", ["end", "gap", "head"])
async def test_a_short_stream_that_is_not_as_it_is_said_to_be_is_refused(spoilt: str) -> None:
    one = told(*"abc")
    info, all = one.info, one.all
    if spoilt == "end":
        all = all[:-1]
    elif spoilt == "gap":
        all = all[:1] + all[2:]
    else:
        info = msgspec.structs.replace(info, head=storage.Head(info.head.epoch, 9, True))
    with pytest.raises(ValueError, match=r"follow|end"):
        records.finished(info, (), all)


@pytest.mark.parametrize("engine", archives.SHARED, indirect=True)
async def test_of_two_nodes_that_keep_at_once_one_does(join: NewArchive) -> None:
    nodes = [await join() for _ in range(2)]
    streams = [told(*"abc", adopted=True) for _ in range(20)]
    await asyncio.gather(*(archives.kept(node, *streams) for node in nodes))
    for one in streams:
        for node in nodes:
            assert await node.stat(one.info.stream) == one.info
            assert tuple(await archives.read_all(node, one.info.stream)) == one.all


async def test_attempts_may_be_told_while_the_pages_come(new: NewArchive) -> None:
    """And of one number the last holds."""
    archive = await new()
    one, said = told("a"), list[rows.Attempt]()

    async def pages() -> AsyncIterator[Sequence[events.Event]]:
        yield one.all
        said.extend([rows.Attempt(2, "p", "m", 5), archives.ATTEMPTS[0], archives.ATTEMPTS[1]])

    await archive.keep(one.info, said, pages())
    assert await archive.attempts(one.info.stream) == list(archives.ATTEMPTS)


def _without(events_: tuple[events.Event, ...], index: int) -> tuple[events.Event, ...]:
    return events_[:index] + events_[index + 1 :]


GOOD = told(*"abcd", adopted=True)
BAD: dict[str, tuple[events.Event, ...]] = {
    "nothing": (),
    "no start": GOOD.all[1:],
    "a gap": _without(GOOD.all, 2),
    "twice": (*GOOD.all[:3], GOOD.all[2], *GOOD.all[3:]),
    "no end": GOOD.all[:-1],
    "behind the end": (*GOOD.all, msgspec.structs.replace(GOOD.all[-1], seq=7)),
    "transient": (*GOOD.all[:2], msgspec.structs.replace(GOOD.all[2], kind="heartbeat")),
    "an older life again": (
        *GOOD.all[:-1],
        msgspec.structs.replace(GOOD.all[-1], epoch=archives.OLD_EPOCH),
    ),
}


@pytest.mark.parametrize("bad", BAD)
async def test_what_is_no_whole_stream_is_not_kept(new: NewArchive, bad: str) -> None:
    archive = await new()
    with pytest.raises(ValueError, match="event"):
        await archives.kept(archive, Told(GOOD.info, BAD[bad]))
    await check_nothing_of(archive, GOOD)
    await archives.kept(archive, GOOD)
    assert tuple(await archives.read_all(archive, GOOD.info.stream)) == GOOD.all


@pytest.mark.parametrize(
    "said",
    [
        {"head": storage.Head(archives.EPOCH, 5, True)},
        {"head": storage.Head(archives.EPOCH + 1, 6, True)},
        {"head": storage.Head(archives.EPOCH, 6, False)},
        {"status": "error"},
        {"ended_at": None},
    ],
)
async def test_events_that_are_not_as_was_said_are_not_kept(
    new: NewArchive, said: dict[str, object]
) -> None:
    archive = await new()
    with pytest.raises(ValueError, match=r"ended|end otherwise"):
        await archive.keep(msgspec.structs.replace(GOOD.info, **said), (), GOOD.pages())
    await check_nothing_of(archive, GOOD)


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_what_the_pages_raise_comes_through_and_nothing_is_kept(
    new: NewArchive, after: int
) -> None:
    archive = await new()
    big = told(*["x" * 700_000] * 4)
    with pytest.raises(errors.LogUnavailable):
        await archive.keep(big.info, (), Keeping(big, after).pages())
    await check_nothing_of(archive, big)
    await archives.kept(archive, big)
    assert tuple(await archives.read_all(archive, big.info.stream)) == big.all


async def check_nothing_of(archive: base.Archive, one: Told) -> None:
    assert await archive.stat(one.info.stream) is None
    assert await archive.find(storage.Query()) == []
    with pytest.raises(errors.StreamNotFound):
        await archive.read(one.info.stream, events.BEGIN)


@pytest.mark.parametrize("engine", archives.EVERY, indirect=True)
async def test_a_stream_of_many_segments_and_groups(new: NewArchive) -> None:
    """More than is in memory at once, with lives and sizes at every border."""
    archive = await new()
    texts = ["x" * 100_000] * 30 + ["y"] * (2 * records.SEGMENT_EVENTS + 3) + ["z" * 65_000] * 20
    one = told(*texts, adopted=True)
    await archives.kept(archive, one)
    assert tuple(await archives.read_all(archive, one.info.stream)) == one.all
    for seq in (1, 29, 30, 31, 32, 1030, 1031, 2031, 2034, 2035, len(one.all) - 1):
        position = one.all[seq - 1].position
        page = await archive.read(one.info.stream, position, 3)
        assert page.events == one.all[seq : seq + len(page.events)]
        assert page.events


# Read


@pytest.mark.parametrize("engine", archives.EVERY, indirect=True)
async def test_rule_4_a_position_is_good_if_the_archive_holds_exactly_that_event(
    new: NewArchive,
) -> None:
    archive = await new()
    one = told(*"abcdef", adopted=True)
    await archives.kept(archive, one)
    for event in one.all:
        rest = await archives.read_all(archive, one.info.stream, event.position)
        assert tuple(rest) == one.all[event.seq :]
    for epoch in (0, archives.OLD_EPOCH, archives.EPOCH, 7, 2**63 - 1):
        found = await archives.read_all(archive, one.info.stream, events.Position(epoch, 0))
        assert tuple(found) == one.all


@pytest.mark.parametrize("engine", archives.EVERY, indirect=True)
async def test_rule_4_any_other_position_is_unknown(new: NewArchive) -> None:
    archive = await new()
    one = told(*"abcdef", adopted=True)  # 1 to 4 of the old life, 5 to 8 of the new one
    assert [event.epoch for event in one.all[3:5]] == [archives.OLD_EPOCH, archives.EPOCH]
    await archives.kept(archive, one)
    bad = [
        (archives.EPOCH, 9),
        (archives.EPOCH, 2**63 - 1),
        (archives.EPOCH, 4),
        (archives.OLD_EPOCH, 5),
        (archives.OLD_EPOCH, 8),
        (archives.EPOCH + 1, 8),
        (0, 1),
    ]
    for epoch, seq in bad:
        with pytest.raises(errors.UnknownPosition):
            await archive.read(one.info.stream, events.Position(epoch, seq))


async def test_a_page_holds_so_many_events_at_most(new: NewArchive) -> None:
    archive = await new()
    one = told(*(f"{number}" for number in range(storage.PAGE_EVENTS)))
    await archives.kept(archive, one)
    stream = one.info.stream
    for limit, count in ((1, 1), (2, 2), (storage.PAGE_EVENTS, 256), (10_000, 256), (0, 1)):
        page = await archive.read(stream, events.BEGIN, limit)
        assert (len(page.events), page.more, page.closed) == (count, True, False)
        assert page.position == page.events[-1].position
    rest = await archive.read(stream, page.position)
    assert [event.seq for event in rest.events] == list(range(2, 258))
    assert rest.more
    last = await archive.read(stream, rest.position)
    assert (last.events, last.more, last.closed) == (one.all[-1:], False, True)


@pytest.mark.parametrize("engine", archives.EVERY, indirect=True)
async def test_a_page_ends_once_its_data_reach_so_many_bytes(new: NewArchive) -> None:
    archive = await new()
    overhead = len(events.draft(events.Chunk("content", "x")).data) - 1
    exact = "x" * (storage.PAGE_BYTES // 2 - overhead)
    one = told(exact, exact, "after", "y" * (storage.PAGE_BYTES + 1), "last")
    await archives.kept(archive, one)
    position, seqs = one.all[0].position, []
    while position.seq < len(one.all):
        page = await archive.read(one.info.stream, position)
        seqs.append([event.seq for event in page.events])
        position = page.position
    assert seqs == [[2, 3], [4, 5], [6, 7]]


async def test_a_page_at_the_head_is_empty_and_closed(new: NewArchive) -> None:
    archive = await new()
    one = told("a")
    await archives.kept(archive, one)
    head = one.all[-1].position
    assert await archive.read(one.info.stream, head) == storage.Page((), head, True, False)


async def test_heads_are_told_for_many_streams_in_their_order(new: NewArchive) -> None:
    archive = await new()
    few, many = told("a"), told(*"abc")
    await archives.kept(archive, few, many)
    unknown = events.new_stream_id()
    wanted = [many.info.stream, unknown, few.info.stream, many.info.stream]
    heads = [many.info.head, None, few.info.head, many.info.head]
    assert await archive.heads(wanted) == heads
    assert await archive.heads([]) == []


# Let go


@pytest.mark.parametrize("engine", archives.EVERY, indirect=True)
async def test_the_oldest_are_let_go_and_leave_tombstones(new: NewArchive, clock: Clock) -> None:
    archive = await new()
    ends = (3000, 1000, 4000, 2000)
    streams = {end: told("a", created_at=end - 9, ended_at=end) for end in ends}
    for one in streams.values():
        await archive.keep(one.info, archives.ATTEMPTS, one.pages())
    assert await archive.expire(4000, 2) == 2
    assert await archive.expire(4000, 2) == 1
    assert await archive.expire(4000, 2) == 0
    stone = storage.Tombstone("acme/ann", clock.now)
    for end in (1000, 2000, 3000):
        stream = streams[end].info.stream
        assert await archive.stat(stream) == stone
        assert await archive.attempts(stream) == []
        assert await archive.heads([stream]) == [None]
        with pytest.raises(errors.StreamNotFound):
            await archive.read(stream, events.BEGIN)
    assert await archive.find(storage.Query()) == [streams[4000].info]
    assert tuple(await archives.read_all(archive, streams[4000].info.stream)) == streams[4000].all


async def test_what_was_let_go_is_not_kept_again(new: NewArchive) -> None:
    archive = await new()
    one = told("a")
    await archives.kept(archive, one)
    assert await archive.expire(10_000, 10) == 1
    again = Keeping(one, 0)
    await archive.keep(one.info, (), again.pages())
    assert again.asked == 0
    assert isinstance(await archive.stat(one.info.stream), storage.Tombstone)


async def test_one_that_is_let_go_while_it_is_kept_again_stays_away(new: NewArchive) -> None:
    """A slow node tells of it once more, and another lets it go meanwhile."""
    archive = await new()
    one = told("a", "b")

    async def pages() -> AsyncIterator[Sequence[events.Event]]:
        yield one.all[:1]
        await archives.kept(archive, one)
        assert await archive.expire(10_000, 10) == 1
        yield one.all[1:]

    await archive.keep(one.info, (), pages())
    assert isinstance(await archive.stat(one.info.stream), storage.Tombstone)
    assert await archive.find(storage.Query()) == []


async def test_tombstones_are_forgotten_in_the_end(new: NewArchive, clock: Clock) -> None:
    archive = await new()
    one = told("a")
    await archives.kept(archive, one)
    await archive.expire(10_000, 10)
    clock.now += storage.TOMBSTONE_MS
    await archive.expire(0, 10)
    assert await archive.stat(one.info.stream) is not None
    clock.now += 1
    await archive.expire(0, 0)
    assert await archive.stat(one.info.stream) is not None
    await archive.expire(0, 10)
    assert await archive.stat(one.info.stream) is None


@pytest.mark.parametrize("engine", archives.SHARED, indirect=True)
async def test_two_nodes_that_let_go_at_once_count_each_stream_once(join: NewArchive) -> None:
    nodes = [await join() for _ in range(2)]
    streams = [told("a", ended_at=1000 + number) for number in range(30)]
    await archives.kept(nodes[0], *streams)
    counts = await asyncio.gather(*(node.expire(5000, 40) for node in nodes * 2))
    assert sum(counts) == 30
    assert await nodes[1].find(storage.Query()) == []


@pytest.mark.parametrize("engine", archives.LASTING, indirect=True)
async def test_all_is_there_after_a_restart(join: NewArchive) -> None:
    first = await join()
    one = told(*"abc", adopted=True)
    await first.keep(one.info, archives.ATTEMPTS, one.pages())
    await first.close()
    with pytest.raises(errors.ArchiveUnavailable, match="is not open"):
        await first.stat(one.info.stream)
    await first.start()
    for archive in (first, await join()):
        assert await archive.stat(one.info.stream) == one.info
        assert tuple(await archives.read_all(archive, one.info.stream)) == one.all
