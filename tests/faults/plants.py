"""Bugs to be found: each changes one thing in what the simulation is made of.

Strategy: a plant is a function that gets pytest's `monkeypatch` and gives the parts of a run; it
says in one line what a programmer might have done. The product has none of them; that
the simulation finds each within few seeds is what shows that it would find one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
import pytest

from holdfast import connections, errors, events
from holdfast.eventlog import base, memory, reader, watch
from holdfast.eventlog import streams as state
from holdfast.http import feed, sse_body
from holdfast.producing import (
    adoption,
    attempt,
    course,
    fallback,
    opening,
    producer,
    replay,
    ticker,
    writers,
)
from holdfast.testing.simulation import running

Plant = Callable[[pytest.MonkeyPatch], running.Parts]


# In the log


class Changed(memory.MemoryLog):
    """A memory log whose `append` decides on each batch by `_batch`."""

    async def append(self, tick: base.Tick) -> list[base.Result]:
        results = []
        for batch in tick:
            results.append(self._batch(batch))
            self._hints.wake(batch.stream)
        self._settle()
        return results

    def _batch(self, batch: base.Batch) -> base.Result:
        return self._streams.append(batch)

    def _stream(self, batch: base.Batch) -> state.Stream:
        found = self._streams.get(batch.stream)
        assert found is not None
        return found

    def _write_anyway(self, batch: base.Batch) -> base.Result:
        stream = self._stream(batch)
        last = stream.last + len(batch.drafts)
        changed = msgspec.structs.replace(batch, epoch=stream.epoch, last=last)
        return self._streams.append(changed)


class Unfenced(Changed):
    def _batch(self, batch: base.Batch) -> base.Result:
        old = batch.epoch != self._stream(batch).epoch
        return self._write_anyway(batch) if old else super()._batch(batch)


def unfenced(patch: pytest.MonkeyPatch) -> running.Parts:
    """The appends of an old life are taken."""
    return running.Parts(log=Unfenced)


class Twice(Changed):
    def _batch(self, batch: base.Batch) -> base.Result:
        again = batch.last <= self._stream(batch).last
        return self._write_anyway(batch) if again else super()._batch(batch)


def appended_twice(patch: pytest.MonkeyPatch) -> running.Parts:
    """An append that is sent again is written again."""
    return running.Parts(log=Twice)


class Forgetful(Changed):
    def _batch(self, batch: base.Batch) -> base.Result:
        return base.Ok() if batch.last % 11 == 0 else super()._batch(batch)


def acknowledged_and_dropped(patch: pytest.MonkeyPatch) -> running.Parts:
    """Now and then a batch is acknowledged and not written."""
    return running.Parts(log=Forgetful)


class Endless(Changed):
    def _batch(self, batch: base.Batch) -> base.Result:
        result = super()._batch(batch)
        stream = self._stream(batch)
        if stream.ended_at is not None and stream.kinds[-2:-1] != stream.kinds[-1:]:
            stream.write(batch.drafts[-1:], batch.ts)
        return result


def two_terminals(patch: pytest.MonkeyPatch) -> running.Parts:
    """A stream that has ended is ended once more."""
    return running.Parts(log=Endless)


class Guessing(memory.MemoryLog):
    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        try:
            return await super().read(stream, after, limit)
        except errors.UnknownPosition:
            found = self._streams.get(stream)
            assert found is not None
            seq = min(after.seq, found.last)
            return found.page(events.Position(found._epoch_of(seq), seq), limit)


def guessed_position(patch: pytest.MonkeyPatch) -> running.Parts:
    """A position that the log does not hold is taken for the nearest one that it holds."""
    return running.Parts(log=Guessing)


class Merging(memory.MemoryLog):
    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        page = await super().read(stream, after, limit)
        merged: list[events.Event] = []
        for event in page.events:
            before = merged[-1] if merged else event
            if event.kind == before.kind == "chunk" and event is not before:
                merged.pop()
                body, first = event.body, before.body
                assert isinstance(body, events.Chunk)
                assert isinstance(first, events.Chunk)
                both = msgspec.structs.replace(first, delta=first.delta + body.delta)
                event = msgspec.structs.replace(event, data=events.draft(both).data)
            merged.append(event)
        return msgspec.structs.replace(page, events=tuple(merged))


def merged_later(patch: pytest.MonkeyPatch) -> running.Parts:
    """Pieces of one text that stand in a page together are read as one event."""
    return running.Parts(log=Merging)


# On the way to the reader


async def _clear_late(
    source: reader.Source[Any], after: events.Position, flag: reader.Flag, taker: Any = None
) -> AsyncGenerator[Any, None]:
    position = after
    while True:
        try:
            portion = await source.read(position)
        except errors.UnknownPosition:
            portion = source.rewind()
        flag.clear()
        position = portion.position
        yield portion
        if portion.closed:
            return
        if not portion.more:
            await flag.wait()


def lost_wake(patch: pytest.MonkeyPatch) -> running.Parts:
    """The reader clears its flag after the read."""
    patch.setattr(reader, "follow", _clear_late)
    return running.Parts()


def no_poll(patch: pytest.MonkeyPatch) -> running.Parts:
    """Nothing stands behind a hint that is lost."""

    async def run(self: watch.Watch) -> None:
        await asyncio.get_running_loop().create_future()

    patch.setattr(watch.Watch, "run", run)
    return running.Parts()


class StaleFeed(feed.Feed):
    async def read(self, after: events.Position) -> feed.Piece:
        found = self._pieces.get(after)
        return found if found is not None else await super().read(after)


def stale_piece(patch: pytest.MonkeyPatch) -> running.Parts:
    """A piece of the cache is taken for the newest one."""
    patch.setattr(feed, "Feed", StaleFeed)
    return running.Parts()


def one_too_late(patch: pytest.MonkeyPatch) -> running.Parts:
    """Who comes back begins one event after the next."""
    follow = reader.follow

    def skipping(source: Any, after: events.Position, flag: reader.Flag, taker: Any = None) -> Any:
        seq = after.seq + 1 if after.seq > 1 else after.seq
        return follow(source, events.Position(after.epoch, seq), flag, taker)

    patch.setattr(reader, "follow", skipping)
    return running.Parts()


def clean_goodbye(patch: pytest.MonkeyPatch) -> running.Parts:
    """A reader that is sent away sees a clean end."""
    away = sse_body.send_away

    async def clean(dialect: Any, scope: Any, send: Any, reason: str, coder: Any = None) -> None:
        await away(dialect, scope, send, reason, coder)
        await send({"type": "http.response.body", "body": b""})

    patch.setattr(sse_body, "send_away", clean)
    return running.Parts()


def slot_kept(patch: pytest.MonkeyPatch) -> running.Parts:
    """A reader that goes away by itself does not give its slot back."""
    leave = connections.Book.leave

    def leave_some(
        self: connections.Book, connection: connections.Connection, status: connections.Status
    ) -> None:
        if status != "disconnected":
            leave(self, connection, status)

    patch.setattr(connections.Book, "leave", leave_some)
    return running.Parts()


def feed_kept(patch: pytest.MonkeyPatch) -> running.Parts:
    """A feed stays when its last reader goes."""
    patch.setattr(feed.Feeds, "part", lambda *args: None)
    return running.Parts()


# On the way from the provider


def unfrozen_tick(patch: pytest.MonkeyPatch) -> running.Parts:
    """A tick that is sent again takes along what has come since."""

    async def append(self: ticker.Ticker) -> None:
        while True:
            try:
                results = await self._log.append(tuple(self._tick))
                break
            except errors.LogUnavailable:
                await asyncio.sleep(0.05)
                for place, writer in enumerate(self._taken):
                    more, batch = writer.take(0), self._tick[place]
                    if more is not None:
                        drafts = batch.drafts + more.drafts
                        last = more.last
                        self._tick[place] = msgspec.structs.replace(batch, drafts=drafts, last=last)
        writers, self._taken, self._tick = self._taken, [], []
        for writer, result in zip(writers, results, strict=True):
            writer.settled(result)

    patch.setattr(ticker.Ticker, "_append", append)
    return running.Parts()


def cut_is_the_end(patch: pytest.MonkeyPatch) -> running.Parts:
    """A connection that breaks off ends an answer as a whole one."""
    end = attempt.Attempt.end
    patch.setattr(attempt.Attempt, "end", lambda self, error: end(self, None) or self._settle(None))
    settle = attempt.Attempt._settle

    def lenient(self: attempt.Attempt, outcome: errors.HoldfastError | None) -> None:
        settle(self, None if isinstance(outcome, errors.ProviderInterrupted) else outcome)

    patch.setattr(attempt.Attempt, "_settle", lenient)
    return running.Parts()


def whole_answer_fails(patch: pytest.MonkeyPatch) -> running.Parts:
    """An answer that came to its end is taken for one that broke off."""
    run = course.Course.run

    async def spoiled(self: course.Course, step: Any) -> errors.HoldfastError | None:
        return await run(self, step) or errors.ProviderInterrupted()

    patch.setattr(course.Course, "run", spoiled)
    return running.Parts()


def cancel_ignored(patch: pytest.MonkeyPatch) -> running.Parts:
    """A request to cancel is acknowledged, and the provider goes on."""
    stop = producer.Producer.stop

    def deaf(self: producer.Producer, error: errors.HoldfastError) -> None:
        if not isinstance(error, errors.Cancelled):
            stop(self, error)

    patch.setattr(producer.Producer, "stop", deaf)
    return running.Parts()


def orphan_forgotten(patch: pytest.MonkeyPatch) -> running.Parts:
    """What a dead node left open stays open."""

    async def nothing(self: writers.Writers, stopping: Callable[[], bool]) -> None:
        return

    patch.setattr(writers.Writers, "adopt_orphans", nothing)
    return running.Parts()


def adoption_raises(patch: pytest.MonkeyPatch) -> running.Parts:
    """What was asked for is looked up under a name that is not there."""

    def wanted(header: base.Header) -> Any:
        raise KeyError("request")

    patch.setattr(adoption, "_wanted", wanted)
    return running.Parts()


def never_replayed(patch: pytest.MonkeyPatch) -> running.Parts:
    """What a dead node left open is ended at once, whatever its provider could tell again."""

    def give_up(orphan: fallback.Orphan, policy: fallback.Policy) -> fallback.GiveUp:
        return fallback.GiveUp(errors.Cancelled() if orphan.cancelled else errors.Interrupted())

    patch.setattr(fallback, "adopt", give_up)
    return running.Parts()


def replayed_once(patch: pytest.MonkeyPatch) -> running.Parts:
    """A replay that fails for a passing reason is not tried again."""
    step = fallback.next_step

    def give_up(error: errors.HoldfastError, tried: fallback.Tried, *more: Any) -> Any:
        after = step(error, tried, *more)
        again = tried.replaying and isinstance(after, fallback.Ask)
        return fallback.GiveUp(errors.Interrupted()) if again else after

    patch.setattr(fallback, "next_step", give_up)
    return running.Parts()


def replay_disbelieved(patch: pytest.MonkeyPatch) -> running.Parts:
    """The same answer, told again, is taken for another one."""

    def take(self: replay.Replay, bodies: Any) -> Any:
        raise errors.ContinuationDiverged

    patch.setattr(replay.Replay, "take", take)
    return running.Parts()


def told_again(patch: pytest.MonkeyPatch) -> running.Parts:
    """Who takes over a stream says what is written once more."""
    patch.setattr(replay.Replay, "take", lambda self, bodies: bodies)
    patch.setattr(replay.Replay, "caught_up", True)
    return running.Parts()


def key_ignored(patch: pytest.MonkeyPatch) -> running.Parts:
    """An Idempotency-Key does not lead to the stream that is there."""
    patch.setattr(opening, "stream_id", lambda origin, secret: events.new_stream_id())
    return running.Parts()


PLANTS: tuple[Plant, ...] = (
    unfenced,
    appended_twice,
    acknowledged_and_dropped,
    two_terminals,
    guessed_position,
    merged_later,
    lost_wake,
    no_poll,
    stale_piece,
    one_too_late,
    clean_goodbye,
    slot_kept,
    feed_kept,
    unfrozen_tick,
    cut_is_the_end,
    whole_answer_fails,
    cancel_ignored,
    orphan_forgotten,
    adoption_raises,
    never_replayed,
    replayed_once,
    replay_disbelieved,
    told_again,
    key_ignored,
)
