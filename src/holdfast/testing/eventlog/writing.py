"""Rules 1 to 5: numbers, atomic appends, one writer, ticks as values, closed streams."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import events
from holdfast.eventlog import base
from holdfast.testing.eventlog.parts import (
    COMPLETE,
    EVERY_FIELD,
    FAILED,
    NewLog,
    Pen,
    begin,
    chunk,
    header,
    header_of,
    read_all,
)


class Writing:
    """Rules 1 to 5."""

    async def test_rule_1_the_sequence_numbers_are_1_2_3_without_gap_or_repeat(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        pen = await begin(log)
        await pen.write(chunk("a"))
        await pen.write(chunk("b"), chunk("c"), ts=6_000)
        found = await read_all(log, pen.stream)
        assert [event.seq for event in found] == [1, 2, 3, 4]
        assert [event.kind for event in found] == ["start", "chunk", "chunk", "chunk"]
        assert [event.ts for event in found] == [1_000, 5_000, 6_000, 6_000]
        assert {event.epoch for event in found} == {pen.epoch}

    async def test_rule_1_numbers_run_on_through_all_epochs(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        await pen.write(chunk("a"))
        life = await log.claim(pen.stream, 7_000)
        assert life is not None
        assert life.last == 3
        await Pen(log, pen.stream, life).write(chunk("b"), COMPLETE)
        found = await read_all(log, pen.stream)
        assert [event.seq for event in found] == [1, 2, 3, 4, 5]
        assert [event.epoch for event in found] == [pen.epoch] * 2 + [life.epoch] * 3
        assert found[2].body == events.Adopted(life.epoch)
        assert found[2].ts == 7_000
        assert life.epoch >> 16 == (pen.epoch >> 16) + 1

    async def test_rule_1_an_event_becomes_visible_after_every_event_before_it(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        pens = [await begin(log) for _ in range(8)]

        async def write(pen: Pen) -> None:
            for number in range(20):
                await pen.write(chunk(f"{number}"), chunk("x"))
            await pen.write(COMPLETE)

        async def follow(pen: Pen) -> None:
            position = events.BEGIN
            while True:
                page = await log.read(pen.stream, position, 7)
                first = position.seq + 1
                assert [e.seq for e in page.events] == list(range(first, first + len(page.events)))
                position = page.position
                if page.closed:
                    assert position.seq == 42
                    return
                await asyncio.sleep(0)

        await asyncio.gather(*map(write, pens), *map(follow, pens))

    async def test_rule_2_an_append_is_atomic_for_each_stream(self, new_log: NewLog) -> None:
        log = await new_log()
        good, fenced, lost = [await begin(log) for _ in range(3)]
        fenced.epoch += 1
        lost.last += 4
        tick = tuple(pen.batch(chunk("a"), chunk("b")) for pen in (fenced, good, lost))
        assert await log.append(tick) == [base.Fenced(), base.Ok(), base.Lost(1)]
        assert [len(await read_all(log, pen.stream)) for pen in (fenced, good, lost)] == [1, 3, 1]

    async def test_rule_2_what_read_has_shown_once_it_shows_for_ever(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        await pen.write(chunk("same"), chunk("same"))
        await pen.write(chunk("\U0001f980 é\n\r\u2028\x00"), chunk(""))
        shown = await read_all(log, pen.stream)
        assert [event.data for event in shown[1:3]] == [chunk("same").data] * 2
        life = await log.claim(pen.stream, 6_000)
        assert life is not None
        assert (await read_all(log, pen.stream))[:5] == shown
        await Pen(log, pen.stream, life).write(chunk("more"), COMPLETE)
        assert (await read_all(log, pen.stream))[:5] == shown
        assert len(await read_all(log, pen.stream)) == 8

    async def test_rule_2_a_created_stream_has_its_header_and_its_first_event(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        pen = await begin(log, request_id="r1", client_id="c", user_id="u", fingerprint=b"\0f")
        info = await log.stat(pen.stream)
        assert isinstance(info, base.Info)
        assert info.header == header(
            request_id="r1", client_id="c", user_id="u", fingerprint=b"\0f"
        )
        assert info.head == base.Head(pen.epoch, 1, False)

    async def test_rule_2_a_header_stays_as_it_was_but_for_the_request(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        pen = await begin(log, **EVERY_FIELD)
        asked = header(**EVERY_FIELD)
        assert {*EVERY_FIELD, "created_at", "request"} == set(asked.__struct_fields__)
        assert await header_of(log, pen) == asked
        life = await log.claim(pen.stream, 6_000)
        assert life is not None
        assert await header_of(log, pen) == asked
        await Pen(log, pen.stream, life).write(COMPLETE)
        assert await header_of(log, pen) == header(**EVERY_FIELD, request=b"")
        again = await log.create(pen.stream, header(owner="x"), (chunk("z"),), 9_000)
        assert again == base.Exists(header(**EVERY_FIELD, request=b""))

    async def test_rule_3_an_append_with_another_epoch_is_fenced(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        life = await log.claim(pen.stream, 6_000)
        assert life is not None
        young = Pen(log, pen.stream, life)
        for epoch in (pen.epoch, life.epoch + 1, life.epoch + (1 << 16), 0):
            for last in (1, life.last + 1, life.last + 2):
                batch = base.Batch(pen.stream, epoch, last, 5_000, (chunk("x"),))
                assert await log.append((batch,)) == [base.Fenced()]
        await young.write(chunk("mine"))
        assert len(await read_all(log, pen.stream)) == 3

    async def test_rule_3_an_append_behind_the_terminal_event_is_fenced(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        pen = await begin(log)
        await pen.write(FAILED)
        for last in (pen.last + 1, pen.last + 9):
            late = base.Batch(pen.stream, pen.epoch, last, 5_000, (COMPLETE,))
            assert await log.append((late,)) == [base.Fenced()]
        assert [event.kind for event in await read_all(log, pen.stream)] == ["start", "error"]

    async def test_rule_3_a_batch_that_is_there_already_is_ok(self, new_log: NewLog) -> None:
        log = await new_log()
        pen, ended = await begin(log), await begin(log)
        tick = (pen.batch(chunk("a"), chunk("b")), ended.batch(chunk("c"), COMPLETE))
        for _ in range(3):
            assert await log.append(tick) == [base.Ok(), base.Ok()]
        assert [len(await read_all(log, batch.stream)) for batch in tick] == [3, 3]

    async def test_rule_3_a_gap_is_lost_and_changes_nothing(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        await pen.write(chunk("a"))
        ahead = base.Batch(pen.stream, pen.epoch, 5, 5_000, (chunk("d"), COMPLETE))
        assert await log.append((ahead,)) == [base.Lost(2)]
        assert await log.heads([pen.stream]) == [base.Head(pen.epoch, 2, False)]
        await pen.write(chunk("b"))
        assert log.forgets in (True, False)  # which says nothing of gaps

    async def test_rule_3_an_append_to_a_stream_that_is_not_there_is_fenced(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        pen = Pen(log, events.new_stream_id(), base.Life(1 << 16, 0))
        assert await log.append((pen.batch(chunk("a")),)) == [base.Fenced()]
        assert await log.heads([pen.stream]) == [None]

    async def test_rule_3_every_batch_of_a_tick_has_its_result_in_order(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        pen, other = await begin(log), await begin(log)
        assert await log.append(()) == []
        first = pen.batch(chunk("a"))
        pen.last += 1
        tick = (first, other.batch(), pen.batch(chunk("b")), first)
        assert await log.append(tick) == [base.Ok()] * 4
        assert len(await read_all(log, pen.stream)) == 3

    async def test_rule_4_an_engine_never_changes_a_tick(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        tick = (pen.batch(chunk("a"), COMPLETE),)
        before = repr(tick)
        await log.append(tick)
        await log.append(tick)
        assert repr(tick) == before

    async def test_rule_4_a_tick_that_no_log_may_hold_changes_nothing(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        good, bad = await begin(log), await begin(log)
        beat = events.draft(events.Heartbeat("now"))
        for drafts in ((beat,), (beat, chunk("x")), (COMPLETE, chunk("x")), (FAILED, COMPLETE)):
            with pytest.raises(ValueError, match="kind"):
                await log.append((good.batch(chunk("a")), bad.batch(*drafts)))
            with pytest.raises(ValueError, match="kind"):
                await log.create(events.new_stream_id(), header(), drafts, 1_000)
        with pytest.raises(ValueError, match="-1"):
            await log.append((bad.batch(chunk("a"), ts=-1),))
        assert [len(await read_all(log, pen.stream)) for pen in (good, bad)] == [1, 1]
        await good.write(chunk("a"))

    async def test_rule_5_claim_on_a_closed_stream_changes_nothing(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        await pen.write(COMPLETE)
        assert await log.claim(pen.stream, 6_000) is None
        assert await log.claim(events.new_stream_id(), 6_000) is None
        assert await log.heads([pen.stream]) == [base.Head(pen.epoch, 2, True)]

    async def test_rule_5_a_page_is_closed_when_nothing_will_follow_it(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        pen = await begin(log)
        await pen.write(chunk("a"), chunk("b"))
        assert not (await log.read(pen.stream, events.BEGIN)).closed
        await pen.write(COMPLETE)
        first = await log.read(pen.stream, events.BEGIN, 3)
        assert (first.closed, first.more, first.position) == (
            False,
            True,
            events.Position(pen.epoch, 3),
        )
        second = await log.read(pen.stream, first.position)
        assert (second.closed, second.more, len(second.events)) == (True, False, 1)
        again = await log.read(pen.stream, second.position)
        assert (again.closed, again.more, again.events) == (True, False, ())
        assert again.position == second.position

    async def test_rule_5_claims_at_once_make_one_life_after_another(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        lives = await asyncio.gather(*(log.claim(pen.stream, 6_000) for _ in range(8)))
        found = sorted((life for life in lives if life is not None), key=lambda life: life.last)
        assert [life.last for life in found] == list(range(2, 10))
        assert [life.epoch >> 16 for life in found] == list(range(2, 10))
        for life in found[:-1]:
            late = Pen(log, pen.stream, life).batch(chunk("late"))
            assert await log.append((late,)) == [base.Fenced()]
        await Pen(log, pen.stream, found[-1]).write(COMPLETE)

    async def test_rule_3_creating_a_stream_twice_changes_nothing(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log, owner="first")
        await pen.write(chunk("a"))
        again = await log.create(pen.stream, header(owner="second"), (COMPLETE,), 9_000)
        assert again == base.Exists(header(owner="first"))
        assert len(await read_all(log, pen.stream)) == 2
        await pen.write(COMPLETE)
        ended = await log.create(pen.stream, header(owner="second"), (chunk("b"),), 9_000)
        assert ended == base.Exists(header(owner="first", request=b""))

    async def test_rule_3_of_many_who_create_a_stream_at_once_one_does(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        stream = events.new_stream_id()
        made = await asyncio.gather(
            *(log.create(stream, header(), (chunk(f"{n}"),), 1_000) for n in range(8))
        )
        assert [type(one) for one in made].count(base.Life) == 1
        assert made.count(base.Exists(header())) == 7
        assert len(await read_all(log, stream)) == 1
