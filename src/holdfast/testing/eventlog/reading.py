"""Rule 6 and the questions: positions, pages, heads, stat and find."""

from __future__ import annotations

import contextlib
import itertools

import msgspec
import pytest

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.testing.eventlog.parts import (
    CANCELLED,
    COMPLETE,
    FAILED,
    NewLog,
    Pen,
    begin,
    chunk,
    header,
    read_all,
)

TENANTS: dict[str, tuple[str, ...]] = {
    "acme": ("acme/", "acme/alice", "acme/alice/x", "acme//"),
    "acme2": ("acme2/", "acme2/alice"),
    "ACME": ("ACME/alice",),
    "ac_e": ("ac_e/alice",),
    "a%": ("a%/alice",),
    "*": ("*/alice",),
    "alice": ("alice/acme",),
}
"""Tenants, and the owners of streams that are of each."""

NOBODYS = ("", "acme", "/", "/acme/alice")
"""Owners that are of no tenant."""


async def adopted(log: base.EventLog) -> tuple[Pen, Pen]:
    """A stream of six events in two lives: the first wrote 1 to 3, the second 4 to 6."""
    old = await begin(log)
    await old.write(chunk("a"), chunk("b"))
    life = await log.claim(old.stream, 6_000)
    assert life is not None
    new = Pen(log, old.stream, life)
    await new.write(chunk("c"), chunk("d"))
    return old, new


class Reading:
    """Rule 6, pages, and what is known of streams."""

    @pytest.mark.parametrize("closed", [False, True])
    async def test_rule_6_a_position_is_good_if_the_log_holds_exactly_that_event(
        self, new_log: NewLog, closed: bool
    ) -> None:
        log = await new_log()
        old, new = await adopted(log)
        if closed:
            await new.write(COMPLETE)
        whole = await read_all(log, new.stream)
        assert [e.epoch for e in whole] == [old.epoch] * 3 + [new.epoch] * (4 if closed else 3)
        for event in whole:
            assert await read_all(log, new.stream, event.position) == whole[event.seq :]
        for epoch in (0, old.epoch, new.epoch, 7):
            assert await read_all(log, new.stream, events.Position(epoch, 0)) == whole

    @pytest.mark.parametrize("closed", [False, True])
    async def test_rule_6_any_other_position_is_unknown(
        self, new_log: NewLog, closed: bool
    ) -> None:
        log = await new_log()
        old, new = await adopted(log)
        if closed:
            await new.write(COMPLETE)
        last = new.last
        bad = [
            (new.epoch, last + 1),  # beyond the end
            (new.epoch, 2**63 - 1),
            (new.epoch + 1, last),  # a life that was lost, and one that never was
            (old.epoch, 4),  # the right seq, of the life before
            (new.epoch, 3),
            (0, 1),
        ]
        for epoch, seq in bad:
            with pytest.raises(errors.UnknownPosition):
                await log.read(new.stream, events.Position(epoch, seq))

    async def test_rule_6_a_stream_that_is_not_there_cannot_be_read(self, new_log: NewLog) -> None:
        log = await new_log()
        with pytest.raises(errors.StreamNotFound):
            await log.read(events.new_stream_id(), events.BEGIN)

    @pytest.mark.parametrize("closed", [False, True])
    async def test_a_page_holds_so_many_events_at_most(self, new_log: NewLog, closed: bool) -> None:
        log = await new_log()
        pen = await begin(log)
        await pen.write(*(chunk(f"{number}") for number in range(base.PAGE_EVENTS)))
        if closed:
            await pen.write(COMPLETE)
        for limit, count in ((1, 1), (2, 2), (base.PAGE_EVENTS, 256), (10_000, 256), (0, 1)):
            page = await log.read(pen.stream, events.BEGIN, limit)
            assert (len(page.events), page.more) == (count, True)
            assert page.position == page.events[-1].position
        rest = await log.read(pen.stream, page.position)
        full = await log.read(pen.stream, events.Position(pen.epoch, 1), 10_000)
        assert [event.seq for event in rest.events] == list(range(2, 258))
        assert full == rest
        assert rest.more is closed

    @pytest.mark.parametrize("closed", [False, True])
    async def test_a_page_ends_once_its_data_reach_so_many_bytes(
        self, new_log: NewLog, closed: bool
    ) -> None:
        log = await new_log()
        pen = await begin(log)
        overhead = len(chunk("").data)
        exact = chunk("x" * (base.PAGE_BYTES // 2 - overhead))
        await pen.write(exact, exact, chunk("after"))
        await pen.write(chunk("y" * (base.PAGE_BYTES + 1)), chunk("last"))
        if closed:
            await pen.write(COMPLETE)
        position, seqs = events.Position(pen.epoch, 1), []
        while position.seq < 6:
            page = await log.read(pen.stream, position)
            seqs.append([event.seq for event in page.events])
            position = page.position
        # Two that reach the limit exactly; one small and one that alone is over it; the rest.
        assert seqs == [[2, 3], [4, 5], [6, 7] if closed else [6]]

    @pytest.mark.parametrize("closed", [False, True])
    async def test_a_glance_gives_what_a_read_gives_or_says_nothing(
        self, new_log: NewLog, closed: bool
    ) -> None:
        log = await new_log()
        old, new = await adopted(log)
        if closed:
            await new.write(COMPLETE)
        whole = await read_all(log, new.stream)
        for position in (events.BEGIN, *(event.position for event in whole)):
            page = log.glance(new.stream, position)
            assert page is None or (page.events and page == await log.read(new.stream, position))
        assert log.glance(new.stream, whole[-1].position) is None
        assert log.glance(events.new_stream_id(), events.BEGIN) is None
        for epoch, seq in ((old.epoch, 4), (new.epoch, 3), (new.epoch, 99), (7, 1)):
            with contextlib.suppress(errors.UnknownPosition):
                assert log.glance(new.stream, events.Position(epoch, seq)) is None

    async def test_who_watches_sees_at_a_glance_what_was_written_a_moment_ago(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        pen = await begin(log)
        seen: list[base.Page | None] = []
        head = events.Position(pen.epoch, 1)
        log.watch(pen.stream, lambda: seen.append(log.glance(pen.stream, head)))
        await pen.write(chunk("a"), chunk("b"))
        await pen.write(COMPLETE)
        first, last = (page for page in (seen[0], seen[-1]) if page is not None)
        assert [event.seq for event in first.events] == [2, 3]
        assert [event.seq for event in last.events] == [2, 3, 4]
        assert (first.closed, last.closed) == (False, True)

    async def test_a_page_at_the_head_is_empty_and_has_no_more(self, new_log: NewLog) -> None:
        log = await new_log()
        pen = await begin(log)
        head = events.Position(pen.epoch, 1)
        assert await log.read(pen.stream, head) == base.Page((), head, False, False)

    async def test_heads_tells_how_far_each_of_many_streams_is(self, new_log: NewLog) -> None:
        log = await new_log()
        pens = [await begin(log) for _ in range(3)]
        await pens[1].write(chunk("a"), chunk("b"))
        await pens[2].write(COMPLETE)
        unknown = events.new_stream_id()
        wanted = [pens[2].stream, unknown, pens[0].stream, pens[1].stream, pens[2].stream]
        closed = base.Head(pens[2].epoch, 2, True)
        assert await log.heads(wanted) == [
            closed,
            None,
            base.Head(pens[0].epoch, 1, False),
            base.Head(pens[1].epoch, 3, False),
            closed,
        ]
        assert await log.heads([]) == []

    async def test_stat_tells_what_is_known_of_a_stream(self, new_log: NewLog) -> None:
        log = await new_log()
        assert await log.stat(events.new_stream_id()) is None
        ends: dict[events.Draft, events.Status] = {
            COMPLETE: "completed",
            FAILED: "error",
            CANCELLED: "cancelled",
        }
        for end, status in ends.items():
            pen = await begin(log)
            info = base.Info(pen.stream, header(), base.Head(pen.epoch, 1, False), "pending")
            assert await log.stat(pen.stream) == info
            await pen.write(events.draft(events.Usage()))
            found = await log.stat(pen.stream)
            assert isinstance(found, base.Info)
            assert found.status == "pending"
            await pen.write(chunk("a"), events.draft(events.Rewind("restart")))
            found = await log.stat(pen.stream)
            assert isinstance(found, base.Info)
            assert found.status == "streaming"
            await pen.write(end, ts=8_000)
            head = base.Head(pen.epoch, 5, True)
            # The request is dropped when the stream has ended.
            assert await log.stat(pen.stream) == base.Info(
                pen.stream, header(request=b""), head, status, False, 8_000
            )

    async def test_find_gives_the_newest_first_page_by_page(self, new_log: NewLog) -> None:
        log = await new_log()
        times = [3_000, 1_000, 2_000, 2_000, 2_000, 4_000]
        pens = [await begin(log, time) for time in times]
        for pen in pens[::2]:
            await pen.write(COMPLETE)
        order = sorted(((t, p.stream) for t, p in zip(times, pens, strict=True)), reverse=True)
        for limit in (1, 2, 4, 6, 50):
            before, found = None, []
            while page := await log.find(base.Query(before=before, limit=limit)):
                assert len(page) <= limit
                found += [(info.header.created_at, info.stream) for info in page]
                before = found[-1]
            assert found == order
        assert await log.find(base.Query(limit=0)) == []

    async def test_find_filters(self, new_log: NewLog) -> None:
        log = await new_log()
        a = await begin(log, 1_000, owner="a", client_id="c1", session_id="s")
        b = await begin(log, 2_000, owner="a", client_id="c2")
        c = await begin(log, 3_000, owner="b", client_id="c1", session_id="s")
        d = await begin(log, 4_000, owner="b")
        await b.write(chunk("x"))
        await c.write(COMPLETE)
        await d.write(chunk("x"), CANCELLED)
        wanted: list[tuple[base.Query, list[Pen]]] = [
            (base.Query(), [d, c, b, a]),
            (base.Query(owner="a"), [b, a]),
            (base.Query(owner="nobody"), []),
            (base.Query(client_id="c1"), [c, a]),
            (base.Query(session_id="s", owner="a"), [a]),
            (base.Query(status="pending"), [a]),
            (base.Query(status="streaming"), [b]),
            (base.Query(status="completed"), [c]),
            (base.Query(status="cancelled"), [d]),
            (base.Query(status="error"), []),
            (base.Query(created_from=2_000, created_to=4_000), [c, b]),
            (base.Query(created_from=2_000, created_to=4_000, before=(3_000, c.stream)), [b]),
        ]
        for query, pens in wanted:
            found = await log.find(query)
            assert [info.stream for info in found] == [pen.stream for pen in pens], query
            for info in found:
                assert info == await log.stat(info.stream)

    @pytest.mark.parametrize("closed", [False, True])
    async def test_find_knows_a_tenant_by_its_whole_name(
        self, new_log: NewLog, closed: bool
    ) -> None:
        """It is neither a pattern nor the beginning of another one's name."""
        log = await new_log()
        owners = [*itertools.chain(*TENANTS.values()), *NOBODYS]
        for time, owner in enumerate(2 * owners):
            pen = await begin(log, time, owner=owner)
            if closed:
                await pen.write(COMPLETE)
        unknown = ("acm", "acme22", "acme/", "acme/alice", "/", "%", "_", "?", "a*", "nobody")
        wanted: dict[str, tuple[str, ...]] = {**dict.fromkeys(unknown, ()), **TENANTS}
        for tenant, whose in {**wanted, "": tuple(owners)}.items():
            for limit in (1, 3, 50):
                found, before = [], None
                query = base.Query(tenant=tenant, limit=limit)
                while page := await log.find(msgspec.structs.replace(query, before=before)):
                    found += [info.header.owner for info in page]
                    before = (page[-1].header.created_at, page[-1].stream)
                assert found == 2 * list(whose[::-1]), tenant
        for owner, tenant in itertools.product(owners, wanted):
            page = await log.find(base.Query(owner, tenant=tenant))
            whose = (owner,) if owner in wanted[tenant] else ()
            assert [info.header.owner for info in page] == 2 * list(whose), (owner, tenant)
