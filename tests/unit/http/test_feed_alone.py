"""A reader with a fold of its own: it is told each event once, and nothing behind its last word."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import errors, events
from holdfast.eventlog import base, memory, reader, watch
from holdfast.http import feed
from holdfast.testing import simulated
from holdfast.testing.eventlog import parts

REWIND = events.draft(events.Rewind("restart"))


class Fold:
    """Tells each event's kind and how many came before; a rewind is the end, as an error is."""

    padded = False

    def __init__(self, failures: tuple[str, ...] = ("error", "rewind")) -> None:
        self._failures, self.count = failures, 0
        self.ended = self.failed = False

    def render(self, event: events.Event) -> bytes:
        if self.ended:
            return b""
        self.count += 1
        self.failed = event.kind in self._failures
        self.ended = self.failed or event.kind == "complete"
        return f"{self.count}{event.kind} ".encode()

    def rewind(self, reason: str) -> bytes:
        self.ended = self.failed = True
        return f"!{reason}".encode()


class Log(memory.MemoryLog):
    """It may forget everything."""

    lost = False

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        if self.lost:
            raise errors.UnknownPosition
        return await super().read(stream, after, limit)


async def begun() -> tuple[Log, parts.Pen, feed.Alone]:
    log = Log()
    pen = await parts.begin(log)
    return log, pen, feed.Alone(log, pen.stream, Fold())


async def test_each_event_is_told_once_as_it_comes() -> None:
    _, pen, alone = await begun()
    await pen.write(parts.chunk("a"))
    first = await alone.read(events.BEGIN)
    assert (first.data, first.chunks, first.closed, first.failed) == (
        b"1start 2chunk ",
        1,
        False,
        False,
    )
    nothing = await alone.read(first.position)
    assert (nothing.data, nothing.chunks, nothing.position) == (b"", 0, first.position)
    await pen.write(parts.chunk("b"))
    await pen.write(parts.COMPLETE)
    last = await alone.read(first.position)
    assert (last.data, last.closed, last.failed) == (b"3chunk 4complete ", True, False)


async def test_at_a_glance_each_event_is_told_once_too() -> None:
    _, pen, alone = await begun()
    first = alone.glance(events.BEGIN)
    assert first is not None
    assert (first.data, first.closed) == (b"1start ", False)
    assert alone.glance(first.position) is None
    await pen.write(parts.chunk("a"), REWIND)
    last = alone.glance(first.position)
    assert last is not None
    assert (last.data, last.closed, last.failed) == (b"2chunk 3rewind ", True, True)


async def test_an_error_is_the_end_and_a_failure() -> None:
    _, pen, alone = await begun()
    await pen.write(parts.FAILED)
    piece = await alone.read(events.BEGIN)
    assert (piece.data, piece.closed, piece.failed) == (b"1start 2error ", True, True)


@pytest.mark.parametrize("more", [(), (parts.chunk("b"),), (parts.chunk("b"), parts.COMPLETE)])
async def test_a_rewind_in_the_log_is_the_readers_end_and_a_failure(
    more: tuple[events.Draft, ...],
) -> None:
    """Whatever follows it: this reader cannot begin anew, and has not the whole answer."""
    _, pen, alone = await begun()
    await pen.write(parts.chunk("a"), REWIND, *more)
    piece = await alone.read(events.BEGIN)
    assert (piece.data, piece.closed, piece.failed) == (b"1start 2chunk 3rewind ", True, True)


async def test_a_rewind_that_a_fold_goes_on_behind_is_no_failure() -> None:
    _, pen, _ = await begun()
    await pen.write(REWIND, parts.COMPLETE)
    piece = await feed.Alone(pen.log, pen.stream, Fold(("error",))).read(events.BEGIN)
    assert (piece.data, piece.closed, piece.failed) == (b"1start 2rewind 3complete ", True, False)


async def test_a_position_that_the_log_has_lost_is_the_readers_end_and_a_failure() -> None:
    log, pen, alone = await begun()
    await pen.write(parts.chunk("a"))
    followed = reader.follow(alone, events.BEGIN, reader.Flag())
    assert (await anext(followed)).data == b"1start 2chunk "
    log.lost = True
    with pytest.raises(errors.UnknownPosition):
        await alone.read(events.Position(pen.epoch, 2))
    piece = alone.rewind()
    assert (piece.data, piece.closed, piece.failed) == (b"!unknown_position", True, True)
    await followed.aclose()


@simulated.timed
async def test_two_readers_have_folds_of_their_own_and_hints_while_they_are_there() -> None:
    log = Log()
    pen = await parts.begin(log)
    feeds = feed.Feeds(log, watch.Watch(log))
    flags = [reader.Flag(), reader.Flag()]
    with feeds.alone(pen.stream, Fold(), flags[0]) as one:
        await one.read(events.BEGIN)
        with feeds.alone(pen.stream, Fold(), flags[1]) as other:
            assert (await other.read(events.BEGIN)).data == b"1start "
            flags[1].clear()
            await pen.write(parts.chunk("a"))
            await flags[1].wait()
            assert (await other.read(events.Position(pen.epoch, 1))).data == b"2chunk "
        await flags[0].wait()
        assert (await one.read(events.Position(pen.epoch, 1))).data == b"2chunk "
        flags[1].clear()
        await pen.write(parts.chunk("b"))
        await simulated.idle()
        gone = asyncio.ensure_future(flags[1].wait())
        await simulated.idle()
        assert not gone.done()
        gone.cancel()
    assert len(feeds) == 0
