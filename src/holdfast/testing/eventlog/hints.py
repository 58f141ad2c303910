"""Rules 7 and 8: wakes, which are hints, and the flag that asks a stream to be cancelled."""

from __future__ import annotations

import asyncio
import functools

from holdfast import events
from holdfast.eventlog import base, reader
from holdfast.testing.eventlog.parts import COMPLETE, NewLog, Pen, begin, chunk

HINT_SECONDS = 10.0
"""How long a hint may take; a test goes on as soon as it is there."""


class Waiter:
    """Counts its calls and waits for them."""

    def __init__(self) -> None:
        self.calls = 0
        self._flag = reader.Flag()

    def __call__(self) -> None:
        asyncio.get_running_loop()  # raises outside of the event loop
        self.calls += 1
        self._flag.set()

    async def called(self) -> None:
        async with asyncio.timeout(HINT_SECONDS):
            await self._flag.wait()
        self._flag.clear()


def broken() -> None:
    raise RuntimeError("a wake that fails")


class Hints:
    """Rules 7 and 8."""

    async def test_rule_7_a_wake_follows_each_append_and_claim(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        wake = Waiter()
        undo = log.watch(pen.stream, wake)
        for text in ("a", "b"):
            await pen.write(chunk(text))
            await wake.called()
        life = await log.claim(pen.stream, 6_000)
        assert life is not None
        await wake.called()
        await Pen(log, pen.stream, life).write(COMPLETE)
        await wake.called()
        undo()

    async def test_rule_7_a_wake_follows_a_tick_that_is_sent_again(self, new_log: NewLog) -> None:
        """Whoever missed the first, as its fate was unknown, has the other."""
        log = await new_log()
        pen, others = await begin(log), [await begin(log) for _ in range(5)]
        tick = (pen.batch(COMPLETE),)
        assert await log.append(tick) == [base.Ok()]
        for other in others:  # until what has ended is where such things are
            await other.write(COMPLETE)
        wake = Waiter()
        undo = log.watch(pen.stream, wake)
        assert await log.append(tick) == [base.Ok()]
        await wake.called()
        undo()

    async def test_rule_7_clear_read_wait_never_misses_an_event(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)

        async def write() -> None:
            for number in range(50):
                await pen.write(chunk(f"{number}"))
            await pen.write(COMPLETE)

        async def follow() -> int:
            flag, position = reader.Flag(), events.BEGIN
            undo = log.watch(pen.stream, flag.set)
            try:
                async with asyncio.timeout(HINT_SECONDS):
                    async for page in reader.follow(
                        reader.LogSource(log, pen.stream), position, flag
                    ):
                        position = page.position
            finally:
                undo()
            return position.seq

        _, *seen = await asyncio.gather(write(), *(follow() for _ in range(5)))
        assert seen == [52] * 5

    async def test_rule_7_undo_takes_a_wake_back_and_is_idempotent(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        gone, stays = Waiter(), Waiter()
        undos = [log.watch(pen.stream, wake) for wake in (gone, stays, gone)]
        undos[0]()
        undos[0]()
        await pen.write(chunk("a"))
        await stays.called()
        await gone.called()  # it was registered twice and taken back once
        undos[2]()
        await pen.write(chunk("b"))
        await stays.called()
        assert gone.calls == 1
        undos[1]()
        undos[1]()

    async def test_rule_7_a_wake_may_take_itself_back(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        once, after = Waiter(), Waiter()

        def first() -> None:
            once()
            undos[0]()

        undos = [log.watch(pen.stream, wake) for wake in (first, after)]
        for text in ("a", "b"):
            await pen.write(chunk(text))
            await after.called()
        assert once.calls == 1
        undos[1]()

    async def test_rule_7_a_wake_that_fails_hurts_nobody(self, new_log: NewLog) -> None:
        log = await new_log()
        pen, other = await begin(log), await begin(log)
        told: list[dict[str, object]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))
        wake, elsewhere = Waiter(), Waiter()
        log.watch(pen.stream, broken)
        log.watch(pen.stream, wake)
        log.watch(other.stream, elsewhere)
        try:
            tick = (pen.batch(chunk("a")), other.batch(chunk("b")))
            assert await log.append(tick) == [base.Ok(), base.Ok()]
            await wake.called()
            await elsewhere.called()
        finally:
            loop.set_exception_handler(None)
        assert [str(context["exception"]) for context in told] == ["a wake that fails"]

    async def test_rule_7_a_wake_may_look_at_once_and_finds_what_it_was_called_for(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        pens, waiter = [await begin(log) for _ in range(3)], Waiter()
        found: list[tuple[events.StreamId, int]] = []

        def look(pen: Pen) -> None:
            page = log.glance(pen.stream, events.Position(pen.epoch, 1))
            if page is not None:  # else it does not lie in memory
                found.append((pen.stream, page.position.seq))

        for pen in pens:
            log.watch(pen.stream, functools.partial(look, pen))
        log.watch(pens[-1].stream, waiter)
        tick = tuple(pen.batch(chunk("a")) for pen in pens)
        assert await log.append(tick) == [base.Ok()] * 3
        await waiter.called()
        assert set(found) <= {(pen.stream, 2) for pen in pens}

    async def test_rule_8_every_ok_says_that_the_stream_is_to_be_cancelled(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        pen = await begin(log)
        assert await pen.write(chunk("a")) == base.Ok(cancelled=False)
        assert await log.request_cancel(pen.stream) is True
        assert await log.request_cancel(pen.stream) is True
        again = base.Batch(pen.stream, pen.epoch, pen.last, 5_000, (chunk("a"),))
        assert await log.append((again,)) == [base.Ok(cancelled=True)]
        for draft in (chunk("b"), COMPLETE):
            assert await pen.write(draft) == base.Ok(cancelled=True)
        info = await log.stat(pen.stream)
        assert isinstance(info, base.Info)
        assert info.cancelled
        assert info.status == "completed"

    async def test_rule_8_the_flag_survives_a_claim(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        await log.request_cancel(pen.stream)
        life = await log.claim(pen.stream, 6_000)
        assert life is not None
        assert (await Pen(log, pen.stream, life).write(chunk("a"))).cancelled

    async def test_rule_8_what_has_ended_or_is_not_there_cannot_be_cancelled(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        pen = await begin(log)
        await pen.write(COMPLETE)
        assert await log.request_cancel(pen.stream) is False
        assert await log.request_cancel(events.new_stream_id()) is False
        info = await log.stat(pen.stream)
        assert isinstance(info, base.Info)
        assert not info.cancelled

    async def test_rule_8_a_request_sends_the_hint(self, new_log: NewLog) -> None:
        log = await new_log()
        pens = [await begin(log) for _ in range(3)]
        told: list[events.StreamId] = []
        waiter, after = Waiter(), Waiter()

        def hint(stream: events.StreamId) -> None:
            told.append(stream)
            waiter()

        def fails(stream: events.StreamId) -> None:
            raise RuntimeError(stream)

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        undos = [log.watch_cancels(fails), log.watch_cancels(hint)]
        log.watch_cancels(lambda stream: after())
        try:
            await log.request_cancel(pens[0].stream)
            await waiter.called()
            await after.called()
            for undo in (*undos, *undos):
                undo()
            await log.request_cancel(pens[1].stream)
            await after.called()
        finally:
            asyncio.get_running_loop().set_exception_handler(None)
        assert told == [pens[0].stream]
