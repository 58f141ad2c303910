"""Expiry: what ended long ago is removed, in bounded steps, and remembered for its owner."""

from __future__ import annotations

import pytest

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.testing.eventlog.parts import COMPLETE, NewLog, begin, chunk, header, read_all


class Expiry:
    """`expire`, and opening and closing a log."""

    async def test_expire_removes_what_ended_before_and_nothing_else(self, new_log: NewLog) -> None:
        log = await new_log()
        early, late, still_open = [await begin(log) for _ in range(3)]
        await early.write(COMPLETE, ts=9_999)
        await late.write(COMPLETE, ts=10_000)
        assert await log.expire(9_999, 10) == 0
        assert await log.expire(10_000, 10) == 1
        assert await log.expire(10_000, 10) == 0
        with pytest.raises(errors.StreamNotFound):
            await log.read(early.stream, events.BEGIN)
        assert len(await read_all(log, late.stream)) == 2
        await still_open.write(chunk("a"))
        assert [info.stream for info in await log.find(base.Query(status="completed"))] == [
            late.stream
        ]

    async def test_expire_leaves_a_tombstone(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log, owner="mine")
        await pen.write(chunk("a"), COMPLETE)
        await read_all(log, pen.stream)
        assert await log.expire(10_000, 10) == 1
        stone = await log.stat(pen.stream)
        assert isinstance(stone, base.Tombstone)
        assert stone.owner == "mine"
        assert await log.heads([pen.stream]) == [None]
        assert await log.claim(pen.stream, 9_000) is None
        assert await log.request_cancel(pen.stream) is False
        late = base.Batch(pen.stream, pen.epoch, pen.last + 1, 9_000, (chunk("b"),))
        assert await log.append((late,)) == [base.Fenced()]
        assert await log.find(base.Query()) == []

    async def test_a_stream_that_has_expired_is_not_created_anew(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        await pen.write(COMPLETE)
        await log.expire(10_000, 10)
        with pytest.raises(errors.StreamExpired):
            await log.create(pen.stream, header(), (chunk("a"),), 9_000)
        assert isinstance(await log.stat(pen.stream), base.Tombstone)

    async def test_expire_does_a_bounded_piece_of_the_work(self, new_log: NewLog) -> None:
        log = await new_log()
        pens = [await begin(log) for _ in range(7)]
        await log.append(tuple(pen.batch(COMPLETE) for pen in pens))
        removed = [await log.expire(10_000, 3) for _ in range(4)]
        assert removed == [3, 3, 1, 0]
        for pen in pens:
            assert isinstance(await log.stat(pen.stream), base.Tombstone)

    async def test_a_log_may_be_closed_twice(self, new_log: NewLog) -> None:
        log = await new_log()
        await begin(log)
        await log.start()
        await log.close()
        await log.close()

    async def test_each_log_has_a_secret_of_its_own(self, new_log: NewLog) -> None:
        first, second = await new_log(), await new_log()
        assert len(first.secret) == len(second.secret) == 32
        assert first.secret != second.secret
