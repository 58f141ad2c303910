"""A feed whose log takes its time: what is read meanwhile, and what a failure leaves.

Strategy: a log hands out each page only when the test lets it, so that a read can be overtaken
by an append, by a hint and by another read.
"""

from __future__ import annotations

import asyncio

import pytest

from holdfast import errors, events
from holdfast.dialects import native
from holdfast.eventlog import base, memory, reader, watch
from holdfast.http import feed
from holdfast.testing import simulated
from holdfast.testing.eventlog import parts


class Held(memory.MemoryLog):
    """A log whose pages wait while `held`, in the order of the reads; one may fail instead."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.held = False
        self.waiting: list[asyncio.Future[None]] = []

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        self.reads += 1
        page = await super().read(stream, after, limit)
        if self.held:
            self.waiting.append(asyncio.get_running_loop().create_future())
            await self.waiting[-1]
        return page


class Shared:
    """A feed with two readers, which have read the stream's first event."""

    def __init__(self) -> None:
        self.log = Held()
        self.feeds = feed.Feeds(self.log, watch.Watch(self.log))

    async def begin(self) -> None:
        self.pen = await parts.begin(self.log)
        self.dialect = native.Native()
        self.flags = [reader.Flag(), reader.Flag()]
        for flag in self.flags:
            self.feed = self.feeds.join(self.pen.stream, self.dialect, flag)
        await self.feed.read(events.BEGIN)
        await self.feed.read(self.at(1))

    def at(self, seq: int) -> events.Position:
        return events.Position(self.pen.epoch, seq)


@simulated.timed
async def test_a_piece_is_not_the_last_while_somebody_looks_behind_it() -> None:
    shared = Shared()
    await shared.begin()
    await shared.pen.write(parts.chunk("a"))
    assert (await shared.feed.read(shared.at(1))).position == shared.at(2)
    await shared.pen.write(parts.chunk("b"))
    shared.log.held = True
    ahead = asyncio.ensure_future(shared.feed.read(shared.at(2)))
    await simulated.idle()
    # This one is a step behind: it had its hint, and will get no other.
    assert (await shared.feed.read(shared.at(1))).more
    shared.log.waiting[0].set_result(None)
    assert (await ahead).position == shared.at(3)


@simulated.timed
async def test_a_read_that_fails_leaves_its_hint_to_the_others() -> None:
    shared = Shared()
    await shared.begin()
    await shared.pen.write(parts.chunk("a"))
    await shared.feed.read(shared.at(1))
    await shared.pen.write(parts.chunk("b"))
    shared.log.held = True
    ahead = asyncio.ensure_future(shared.feed.read(shared.at(2)))
    await simulated.idle()
    shared.log.waiting[0].set_exception(errors.LogUnavailable())
    with pytest.raises(errors.LogUnavailable):
        await ahead
    assert (await shared.feed.read(shared.at(1))).more


@simulated.timed
async def test_a_read_that_was_overtaken_does_not_move_the_head_back() -> None:
    shared = Shared()
    await shared.begin()
    shared.log.held = True
    slow = asyncio.ensure_future(shared.feed.read(shared.at(1)))
    await simulated.idle()
    await shared.pen.write(parts.chunk("a"))
    fast = asyncio.ensure_future(shared.feed.read(shared.at(1)))
    await simulated.idle()
    shared.log.waiting[1].set_result(None)
    assert (await fast).position == shared.at(2)
    shared.log.waiting[0].set_result(None)
    assert (await slow).position == shared.at(1)
    shared.log.held = False
    # Who stands at the head still reads for all: its piece is kept, and the log asked once.
    await shared.pen.write(parts.chunk("b"))
    piece = await shared.feed.read(shared.at(2))
    shared.log.held = True
    assert await shared.feed.read(shared.at(2)) == piece


@simulated.timed
@pytest.mark.parametrize("behind", [0, 1])
async def test_readers_who_want_the_same_at_once_ask_the_log_once(behind: int) -> None:
    shared = Shared()
    await shared.begin()
    await shared.pen.write(parts.chunk("a"))
    shared.log.held, before = True, shared.log.reads
    at = shared.at(1) if not behind else events.BEGIN
    if behind:
        shared.feed._pieces.clear()
    reads = [asyncio.ensure_future(shared.feed.read(at)) for _ in range(10)]
    await simulated.idle()
    assert shared.log.reads == before + 1
    reads[1].cancel()
    shared.log.waiting[0].set_result(None)
    del reads[1]
    pieces = await asyncio.gather(*reads)
    assert {piece.position for piece in pieces} == {shared.at(2)}
    assert len({piece.data for piece in pieces}) == 1


@simulated.timed
async def test_a_hint_that_comes_during_a_read_is_not_lost_on_who_waits_for_it() -> None:
    shared = Shared()
    await shared.begin()
    await shared.pen.write(parts.chunk("a"))
    shared.log.held = True
    first = asyncio.ensure_future(shared.feed.read(shared.at(1)))
    joined = asyncio.ensure_future(shared.feed.read(shared.at(1)))
    await simulated.idle()
    await shared.pen.write(parts.chunk("b"))
    # This one has cleared its flag after that hint: it gets no other.
    late = asyncio.ensure_future(shared.feed.read(shared.at(1)))
    await simulated.idle()
    shared.log.waiting[0].set_result(None)
    assert (await first).position == (await joined).position == shared.at(2)
    assert joined.result().more
    shared.log.waiting[1].set_result(None)
    assert (await late).position == shared.at(3)


@simulated.timed
async def test_a_read_fails_for_all_who_wait_and_is_given_up_for_one_alone() -> None:
    shared = Shared()
    await shared.begin()
    await shared.pen.write(parts.chunk("a"))
    shared.log.held = True
    for failure in (errors.LogUnavailable(), errors.UnknownPosition()):
        reads = [asyncio.ensure_future(shared.feed.read(shared.at(1))) for _ in range(3)]
        await simulated.idle()
        shared.log.waiting.pop().set_exception(failure)
        assert await asyncio.gather(*reads, return_exceptions=True) == [failure] * 3
    reads = [asyncio.ensure_future(shared.feed.read(shared.at(1))) for _ in range(3)]
    await simulated.idle()
    reads.pop(0).cancel()
    shared.log.waiting.pop()
    await simulated.idle()
    (again,) = shared.log.waiting
    again.set_result(None)
    assert [piece.position for piece in await asyncio.gather(*reads)] == [shared.at(2)] * 2


@simulated.timed
async def test_when_whoever_led_has_stopped_another_reader_leads() -> None:
    shared = Shared()
    await shared.begin()  # these two are read no further
    await shared.pen.write(parts.chunk("before the others came"))
    flag = reader.Flag()
    joined = shared.feeds.join(shared.pen.stream, shared.dialect, flag)
    at = [events.BEGIN] * 10
    for _ in range(5):
        await shared.pen.write(parts.chunk("for all of them"))
        shared.feed.wake()
        for number, position in enumerate(at):
            piece = await joined.read(position)
            while piece.more:
                piece = await joined.read(piece.position)
            at[number] = piece.position
        assert set(at) == {shared.at(shared.pen.last)}
    before = shared.log.reads
    await shared.pen.write(parts.chunk("read once"))
    shared.feed.wake()
    pieces = [await joined.read(position) for position in at]
    assert shared.log.reads == before + 1
    assert {piece.position.seq for piece in pieces} == {shared.pen.last}


class Losing(Held):
    """A log that may lose what follows a seq, and have another life's events in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.lost_after: int | None = None

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        page = await super().read(stream, after, limit)
        if self.lost_after is None:
            return page
        if after.seq > self.lost_after:
            raise errors.UnknownPosition
        held = [event for event in page.events if event.seq <= self.lost_after]
        last = held[-1].position if held else after
        return base.Page(tuple(held), last, closed=False, more=False)


async def losing() -> Shared:
    """Its readers have four events, of which the log has lost the last two."""
    shared = Shared()
    shared.log = log = Losing()
    shared.feeds = feed.Feeds(log, watch.Watch(log))
    await shared.begin()
    for text in "abc":
        await shared.pen.write(parts.chunk(text))
        shared.feed.wake()
        await shared.feed.read(shared.at(shared.pen.last - 1))
    log.lost_after = 2
    return shared


@simulated.timed
async def test_what_the_log_has_lost_is_kept_for_nobody() -> None:
    shared = await losing()
    with pytest.raises(errors.UnknownPosition):
        await shared.feed.read(shared.at(4))
    # Who begins again gets what the log has, and stays there until there is more.
    assert (await shared.feed.read(events.BEGIN)).position == shared.at(2)
    piece = await shared.feed.read(shared.at(2))
    assert (piece.data, piece.more) == (b"", False)


@simulated.timed
async def test_a_position_that_was_made_up_costs_the_others_nothing() -> None:
    shared = await losing()
    with pytest.raises(errors.UnknownPosition):
        await shared.feed.read(events.Position(7, 9))
    reads = shared.log.reads
    await shared.feed.read(shared.at(3))
    assert shared.log.reads == reads


@simulated.timed
async def test_what_a_piece_led_to_is_lost_though_the_head_is_elsewhere() -> None:
    """As where the log has another life's events behind what it still holds."""
    shared = await losing()
    shared.feed._head = None
    with pytest.raises(errors.UnknownPosition):
        await shared.feed.read(shared.at(4))
    assert not shared.feed._pieces


@simulated.timed
async def test_nothing_is_kept_of_a_stream_that_is_destroyed() -> None:
    """Wherever its readers are, and whether the node itself destroys it or only hears of it."""
    for told in (True, False):
        shared = Shared()
        await shared.begin()
        await shared.pen.write(parts.chunk("a"))
        await shared.feed.read(shared.at(1))
        await shared.pen.write(parts.COMPLETE)
        if not told:  # somebody has seen the end
            await shared.feed.read(shared.at(2))
        reads = shared.log.reads
        assert (await shared.feed.read(shared.at(1))).data
        assert shared.log.reads == reads
        if told:
            shared.feeds.forget(shared.pen.stream)
        await shared.log.shred(shared.pen.stream)
        for at in (events.BEGIN, shared.at(1), shared.at(2)):
            with pytest.raises(errors.StreamNotFound):
                await shared.feed.read(at)


# What lies in memory


@simulated.timed
async def test_at_a_glance_each_gets_what_a_read_gives_and_the_log_is_asked_for_nothing() -> None:
    shared = Shared()
    await shared.begin()
    assert shared.feed.glance(shared.at(1)) is None
    await shared.pen.write(parts.chunk("a"))
    reads = shared.log.reads
    first, second = shared.feed.glance(shared.at(1)), shared.feed.glance(shared.at(1))
    assert first is not None
    assert second is first
    assert (first.position, first.more, first.chunks) == (shared.at(2), False, 1)
    assert await shared.feed.read(shared.at(1)) == first
    assert shared.log.reads == reads


@simulated.timed
async def test_a_piece_at_a_glance_says_whether_more_has_come() -> None:
    shared = Shared()
    await shared.begin()
    await shared.pen.write(parts.chunk("a"))
    assert shared.feed.glance(shared.at(1)) is not None
    await shared.pen.write(parts.chunk("b"))
    behind = shared.feed.glance(shared.at(1))
    assert behind is not None
    assert (behind.position, behind.more) == (shared.at(2), True)
    ahead = shared.feed.glance(shared.at(2))
    assert ahead is not None
    assert (ahead.position, ahead.more) == (shared.at(3), False)
    await shared.pen.write(parts.COMPLETE)
    end = shared.feed.glance(shared.at(3))
    assert end is not None
    assert end.closed


@simulated.timed
async def test_while_somebody_reads_the_log_nobody_looks_past_that() -> None:
    shared = Shared()
    await shared.begin()
    shared.log.held = True
    reading = asyncio.ensure_future(shared.feed.read(shared.at(1)))
    await simulated.idle()
    await shared.pen.write(parts.chunk("a"))
    assert shared.feed.glance(shared.at(1)) is None
    shared.log.waiting[0].set_result(None)
    await reading
    assert shared.feed.glance(shared.at(1)) is not None


@simulated.timed
async def test_who_is_far_behind_gets_it_at_a_glance_and_moves_no_head() -> None:
    shared = Shared()
    await shared.begin()
    for word in "abc":
        await shared.pen.write(parts.chunk(word))
    shared.feed.clear()
    head = shared.feed.glance(shared.at(3))
    behind = shared.feed.glance(events.BEGIN)
    assert head is not None
    assert behind is not None
    assert (head.position, behind.position) == (shared.at(4), shared.at(4))
    assert shared.feed.glance(shared.at(4)) is None


@simulated.timed
async def test_a_glance_from_a_position_that_is_unknown_leaves_the_hint_to_others() -> None:
    shared = Shared()
    await shared.begin()
    await shared.pen.write(parts.chunk("a"))
    with pytest.raises(errors.UnknownPosition):
        shared.feed.glance(events.Position(7, 1))
    found = shared.feed.glance(shared.at(1))
    assert found is not None
    assert not found.more


@simulated.timed
async def test_who_is_far_behind_takes_no_hint_from_those_at_the_head() -> None:
    shared = Shared()
    await shared.begin()
    await shared.pen.write(*(parts.chunk("a") for _ in range(base.PAGE_EVENTS + 50)))
    last = shared.pen.last
    assert shared.feed.glance(shared.at(last - 1)) is not None
    await shared.pen.write(parts.chunk("b"))
    behind = shared.feed.glance(shared.at(1))
    assert behind is not None
    assert behind.more
    piece = shared.feed.glance(shared.at(last - 1))
    assert piece is not None
    assert (piece.position, piece.more) == (shared.at(last), True)
