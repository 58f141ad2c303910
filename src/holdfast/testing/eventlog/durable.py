"""What outlives the process: for engines that keep streams in a store."""

from __future__ import annotations

import pytest

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.testing.eventlog.parts import (
    COMPLETE,
    EVERY_FIELD,
    FAILED,
    NewLog,
    Pen,
    Reopen,
    begin,
    chunk,
    header,
    header_of,
    read_all,
)


class Durable:
    """What a log has acknowledged, it has after it was opened again."""

    async def test_all_that_was_acknowledged_survives(
        self, new_log: NewLog, reopen: Reopen
    ) -> None:
        log = await new_log()
        secret = log.secret
        pens = [await begin(log, time, client_id=f"c{time}") for time in (1_000, 2_000, 3_000)]
        await pens[0].write(chunk("a\u2028"), chunk("b"))
        await pens[1].write(chunk("c"), FAILED)
        life = await log.claim(pens[2].stream, 6_000)
        assert life is not None
        await Pen(log, pens[2].stream, life).write(chunk("d"), ts=7_000)
        before = [await read_all(log, pen.stream) for pen in pens]
        known = await log.find(base.Query())
        for _ in range(3):
            log = await reopen(log)
            assert [await read_all(log, pen.stream) for pen in pens] == before
            assert await log.find(base.Query()) == known
            assert log.secret == secret
            for event in (event for whole in before for event in whole):
                stream = pens[[event in whole for whole in before].index(True)].stream
                await log.read(stream, event.position)
        with pytest.raises(errors.UnknownPosition):
            await log.read(pens[2].stream, events.Position(life.epoch, 1))

    async def test_all_of_a_header_survives(self, new_log: NewLog, reopen: Reopen) -> None:
        log = await new_log()
        pen, ended = await begin(log, **EVERY_FIELD), await begin(log, **EVERY_FIELD)
        await ended.write(COMPLETE)
        for _ in range(2):
            log = await reopen(log)
            assert await header_of(log, pen) == header(**EVERY_FIELD)
            assert await header_of(log, ended) == header(**EVERY_FIELD, request=b"")

    async def test_the_rules_for_writers_hold_after_it_was_opened_again(
        self, new_log: NewLog, reopen: Reopen
    ) -> None:
        log = await new_log()
        pen, ended = await begin(log), await begin(log)
        tick = (pen.batch(chunk("a"), chunk("b")), ended.batch(COMPLETE))
        await log.append(tick)
        log = await reopen(log)
        again = await log.create(pen.stream, header(owner="x"), (chunk("z"),), 9_000)
        assert again == base.Exists(header())
        assert await log.append(tick[:1]) == [base.Ok()]
        gap = base.Batch(pen.stream, pen.epoch, 9, 9_000, (chunk("z"),))
        assert await log.append((gap,)) == [base.Lost(3)]
        late = base.Batch(ended.stream, ended.epoch, 3, 9_000, (chunk("z"),))
        assert await log.append((late,)) == [base.Fenced()]
        life = await log.claim(pen.stream, 9_000)
        assert life is not None
        assert life.last == 4
        assert await log.append(tick[:1]) == [base.Fenced()]

    async def test_the_flag_to_cancel_survives(self, new_log: NewLog, reopen: Reopen) -> None:
        log = await new_log()
        pen = await begin(log)
        await log.request_cancel(pen.stream)
        log = await reopen(log)
        life = await log.claim(pen.stream, 6_000)
        assert life is not None
        assert (await Pen(log, pen.stream, life).write(chunk("a"))).cancelled

    async def test_what_is_open_at_a_start_is_an_orphan_until_it_is_claimed(
        self, new_log: NewLog, reopen: Reopen
    ) -> None:
        log = await new_log()
        pens = [await begin(log) for _ in range(5)]
        await pens[0].write(COMPLETE)
        assert await log.orphans(10) == []
        log = await reopen(log)
        wanted = {pen.stream for pen in pens[1:]}
        assert set(await log.orphans(10)) == wanted
        assert len(await log.orphans(3)) == 3
        await begin(log)
        for pen in pens[1:]:
            life = await log.claim(pen.stream, 6_000)
            assert life is not None
            await Pen(log, pen.stream, life).write(FAILED)
            wanted.discard(pen.stream)
            assert set(await log.orphans(10)) == wanted

    async def test_what_has_expired_stays_expired(self, new_log: NewLog, reopen: Reopen) -> None:
        log = await new_log()
        pen, kept = await begin(log, owner="mine"), await begin(log)
        await pen.write(chunk("a"), COMPLETE)
        await kept.write(COMPLETE, ts=20_000)
        assert await log.expire(10_000, 10) == 1
        log = await reopen(log)
        stone = await log.stat(pen.stream)
        assert isinstance(stone, base.Tombstone)
        assert stone.owner == "mine"
        assert await log.orphans(10) == []
        assert [info.stream for info in await log.find(base.Query())] == [kept.stream]
        with pytest.raises(errors.StreamNotFound):
            await log.read(pen.stream, events.BEGIN)
