"""Engines that break one rule each, and the test of the suite that sees it.

Strategy: a broken engine is the memory engine with one verb bent; `SEES` names the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

import msgspec

from holdfast import errors, events
from holdfast.eventlog import base, memory


def changed(batch: base.Batch, **fields: Any) -> base.Batch:
    return msgspec.structs.replace(batch, **fields)


class SkipsTheFence(memory.MemoryLog):
    async def append(self, tick: base.Tick) -> list[base.Result]:
        heads = await self.heads([batch.stream for batch in tick])
        return await super().append(
            tuple(
                changed(b, epoch=head.epoch) if head else b
                for b, head in zip(tick, heads, strict=True)
            )
        )


class FencesNoClosedStream(memory.MemoryLog):
    """Takes a second terminal event."""

    async def append(self, tick: base.Tick) -> list[base.Result]:
        for batch in tick:
            stream = self._streams.get(batch.stream)
            if stream is not None and batch.last > stream.last:
                stream.ended_at = None
        return await super().append(tick)


class RepeatsARetry(memory.MemoryLog):
    async def append(self, tick: base.Tick) -> list[base.Result]:
        heads = await self.heads([batch.stream for batch in tick])
        moved = (
            changed(b, last=head.seq + len(b.drafts)) if head and b.last <= head.seq else b
            for b, head in zip(tick, heads, strict=True)
        )
        return await super().append(tuple(moved))


class FencesARetry(memory.MemoryLog):
    async def append(self, tick: base.Tick) -> list[base.Result]:
        before = await self.heads([batch.stream for batch in tick])
        results = await super().append(tick)
        return [
            base.Fenced() if head is not None and batch.last <= head.seq else result
            for batch, head, result in zip(tick, before, results, strict=True)
        ]


class MergesEvents(memory.MemoryLog):
    async def append(self, tick: base.Tick) -> list[base.Result]:
        merged = []
        for batch in tick:
            data = b"".join(draft.data for draft in batch.drafts[:-1])
            drafts = (events.Draft("chunk", data), *batch.drafts[-1:])
            whole = len(batch.drafts) < 3
            merged.append(batch if whole else changed(batch, drafts=drafts))
        return await super().append(tuple(merged))


class ClosesGaps(memory.MemoryLog):
    async def append(self, tick: base.Tick) -> list[base.Result]:
        heads = await self.heads([batch.stream for batch in tick])
        moved = (
            changed(b, last=min(b.last, head.seq + len(b.drafts))) if head else b
            for b, head in zip(tick, heads, strict=True)
        )
        return await super().append(tuple(moved))


class StopsAtTheFirstBadBatch(memory.MemoryLog):
    async def append(self, tick: base.Tick) -> list[base.Result]:
        results: list[base.Result] = []
        for batch in tick:
            results += await super().append((batch,))
            if not isinstance(results[-1], base.Ok):
                results += [base.Fenced()] * (len(tick) - len(results))
                break
        return results


class TakesWhatNoLogMayHold(memory.MemoryLog):
    async def append(self, tick: base.Tick) -> list[base.Result]:
        with contextlib.suppress(ValueError):
            return await super().append(tick)
        return [base.Ok()] * len(tick)


class OverwritesAStream(memory.MemoryLog):
    async def create(
        self,
        stream: events.StreamId,
        header: base.Header,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> base.Life | base.Exists:
        if self._streams.get(stream) is not None:
            self._streams.drop(stream)
        return await super().create(stream, header, drafts, ts)


class RevivesTheExpired(memory.MemoryLog):
    async def create(
        self,
        stream: events.StreamId,
        header: base.Header,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> base.Life | base.Exists:
        self._tombstones.pop(stream, None)
        return await super().create(stream, header, drafts, ts)


class ReordersAPage(memory.MemoryLog):
    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        page = await super().read(stream, after, limit)
        return msgspec.structs.replace(page, events=page.events[::-1])


class SkipsAnEvent(memory.MemoryLog):
    """As a log does that numbers by a sequence and shows 7 before 6."""

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        page = await super().read(stream, after, limit)
        rest = page.events[1:] if len(page.events) > 1 and after.seq else page.events
        return msgspec.structs.replace(page, events=rest)


class GuessesAPosition(memory.MemoryLog):
    """Reads on after the seq, whatever the epoch says."""

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        found = self._streams.get(stream)
        if found is not None and 0 < after.seq <= found.last:
            after = events.Position(found._epoch_of(after.seq), after.seq)
        return await super().read(stream, after, limit)


class KnowsOnlyThePresentEpoch(memory.MemoryLog):
    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        found = self._streams.get(stream)
        if found is not None and after.seq and after.epoch != found.epoch:
            raise errors.UnknownPosition
        return await super().read(stream, after, limit)


class WaitsBeyondTheEnd(memory.MemoryLog):
    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        found = self._streams.get(stream)
        if found is not None and after.seq > found.last:
            return base.Page((), after, False, False)
        return await super().read(stream, after, limit)


class ForgetsTheLimits(memory.MemoryLog):
    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        page = await super().read(stream, after)
        while page.more:
            more = await super().read(stream, page.position)
            page = msgspec.structs.replace(more, events=page.events + more.events)
        return page


class ClosesTooEarly(memory.MemoryLog):
    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        page = await super().read(stream, after, limit)
        found = self._streams.get(stream)
        return msgspec.structs.replace(page, closed=bool(found and found.ended_at))


class ClaimsWithoutAnEvent(memory.MemoryLog):
    async def claim(self, stream: events.StreamId, ts: int) -> base.Life | None:
        found = self._streams.get(stream)
        if found is None or found.ended_at is not None:
            return None
        found.begin(events.new_epoch(found.epoch))
        return base.Life(found.epoch, found.last)


class ClaimsWhatIsClosed(memory.MemoryLog):
    async def claim(self, stream: events.StreamId, ts: int) -> base.Life | None:
        found = self._streams.get(stream)
        if found is not None:
            found.ended_at = None
        return await super().claim(stream, ts)


class GivesOneLifeToMany(memory.MemoryLog):
    async def claim(self, stream: events.StreamId, ts: int) -> base.Life | None:
        found = self._streams.get(stream)
        if found is not None and len(found.runs) > 1:
            return base.Life(found.epoch, found.last)
        return await super().claim(stream, ts)


class LosesAWake(memory.MemoryLog):
    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        calls = iter([wake])
        return super().watch(stream, lambda: next(calls, lambda: None)())


class WakesNobodyAfterAClaim(memory.MemoryLog):
    async def claim(self, stream: events.StreamId, ts: int) -> base.Life | None:
        hinting, self._hints = self._hints, memory.Hints()
        life = await super().claim(stream, ts)
        self._hints = hinting
        return life


class WakesBeforeItIsVisible(memory.MemoryLog):
    async def append(self, tick: base.Tick) -> list[base.Result]:
        for batch in tick:
            self._hints.wake(batch.stream)
        hinting, self._hints = self._hints, memory.Hints()
        await asyncio.sleep(0)
        results = await super().append(tick)
        self._hints = hinting
        return results


class UndoesForOthers(memory.MemoryLog):
    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        super().watch(stream, wake)

        def undo() -> None:
            self._hints._wakes.pop(stream, None)

        return undo


class UndoesNothing(memory.MemoryLog):
    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        super().watch(stream, wake)
        return lambda: None


class LetsAWakeFail(memory.MemoryLog):
    async def append(self, tick: base.Tick) -> list[base.Result]:
        results = await super().append(tick)
        for batch in tick:
            for wake in self._hints._wakes.get(batch.stream, {}).values():
                wake()
        return results


class SaysCancelledOnce(memory.MemoryLog):
    async def append(self, tick: base.Tick) -> list[base.Result]:
        results = await super().append(tick)
        for batch in tick:
            stream = self._streams.get(batch.stream)
            if stream is not None:
                stream.cancelled = False
        return results


class ForgetsToCancelAtAClaim(memory.MemoryLog):
    async def claim(self, stream: events.StreamId, ts: int) -> base.Life | None:
        found = self._streams.get(stream)
        if found is not None:
            found.cancelled = False
        return await super().claim(stream, ts)


class CancelsWhatHasEnded(memory.MemoryLog):
    async def request_cancel(self, stream: events.StreamId) -> bool:
        found = self._streams.get(stream)
        if found is not None:
            found.cancelled = True
        return found is not None


class CancelsWithoutAHint(memory.MemoryLog):
    def watch_cancels(self, hint: base.CancelHint) -> base.Undo:
        return lambda: None


class KeepsTheRequest(memory.MemoryLog):
    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        found = await super().stat(stream)
        if isinstance(found, base.Info) and found.ended_at is not None:
            kept = msgspec.structs.replace(found.header, request=b'{"q":1}')
            return msgspec.structs.replace(found, header=kept)
        return found


class FindsTheOldestFirst(memory.MemoryLog):
    async def find(self, query: base.Query) -> list[base.Info]:
        return (await super().find(query))[::-1]


class FindsWhatIsForeign(memory.MemoryLog):
    async def find(self, query: base.Query) -> list[base.Info]:
        return await super().find(msgspec.structs.replace(query, owner=None))


class FindsAllTenants(memory.MemoryLog):
    async def find(self, query: base.Query) -> list[base.Info]:
        return await super().find(msgspec.structs.replace(query, tenant=""))


class TakesATenantForABeginning(memory.MemoryLog):
    """Shows the streams of `acme2` to `acme`."""

    def shows(self, tenant: str, owner: str) -> bool:
        return owner.startswith(tenant)

    async def find(self, query: base.Query) -> list[base.Info]:
        every = msgspec.structs.replace(query, tenant="", limit=10**6)
        found = [i for i in await super().find(every) if self.shows(query.tenant, i.header.owner)]
        return found[: query.limit]


class TakesATenantForAPattern(TakesATenantForABeginning):
    """As SQL's LIKE has it, but for the case of letters."""

    def shows(self, tenant: str, owner: str) -> bool:
        signs = {"%": ".*", "_": "."}
        pattern = "".join(signs.get(sign, re.escape(sign)) for sign in tenant)
        return not tenant or re.match(f"{pattern}/", owner) is not None


class TakesATenantForAFoldedName(TakesATenantForABeginning):
    def shows(self, tenant: str, owner: str) -> bool:
        return not tenant or owner.lower().startswith(f"{tenant}/".lower())


class TakesAnOwnerForItsTenant(TakesATenantForABeginning):
    """Where a name has no `/`."""

    def shows(self, tenant: str, owner: str) -> bool:
        return tenant in ("", owner.partition("/")[0])


class MixesUpHeads(memory.MemoryLog):
    async def heads(self, streams: Any) -> list[base.Head | None]:
        return sorted(await super().heads(streams), key=lambda head: head.seq if head else 0)


class ExpiresTooMuch(memory.MemoryLog):
    async def expire(self, before: int, limit: int) -> int:
        return await super().expire(before, limit + 100)


class ExpiresTooEarly(memory.MemoryLog):
    async def expire(self, before: int, limit: int) -> int:
        return await super().expire(before + 1, limit)


class LeavesNoTombstone(memory.MemoryLog):
    async def expire(self, before: int, limit: int) -> int:
        count = await super().expire(before, limit)
        self._tombstones.clear()
        return count


SEES: dict[type[memory.MemoryLog], str] = {
    SkipsTheFence: "test_rule_3_an_append_with_another_epoch_is_fenced",
    FencesNoClosedStream: "test_rule_3_an_append_behind_the_terminal_event_is_fenced",
    RepeatsARetry: "test_rule_3_a_batch_that_is_there_already_is_ok",
    FencesARetry: "test_rule_3_a_batch_that_is_there_already_is_ok",
    ClosesGaps: "test_rule_3_a_gap_is_lost_and_changes_nothing",
    StopsAtTheFirstBadBatch: "test_rule_2_an_append_is_atomic_for_each_stream",
    MergesEvents: "test_a_page_holds_so_many_events_at_most",
    TakesWhatNoLogMayHold: "test_rule_4_a_tick_that_no_log_may_hold_changes_nothing",
    OverwritesAStream: "test_rule_3_creating_a_stream_twice_changes_nothing",
    RevivesTheExpired: "test_a_stream_that_has_expired_is_not_created_anew",
    ReordersAPage: "test_rule_1_the_sequence_numbers_are_1_2_3_without_gap_or_repeat",
    SkipsAnEvent: "test_rule_1_an_event_becomes_visible_after_every_event_before_it",
    GuessesAPosition: "test_rule_6_any_other_position_is_unknown",
    WaitsBeyondTheEnd: "test_rule_6_any_other_position_is_unknown",
    KnowsOnlyThePresentEpoch: "test_rule_6_a_position_is_good_if_the_log_holds_exactly_that_event",
    ForgetsTheLimits: "test_a_page_ends_once_its_data_reach_so_many_bytes",
    ClosesTooEarly: "test_rule_5_a_page_is_closed_when_nothing_will_follow_it",
    ClaimsWithoutAnEvent: "test_rule_1_numbers_run_on_through_all_epochs",
    ClaimsWhatIsClosed: "test_rule_5_claim_on_a_closed_stream_changes_nothing",
    GivesOneLifeToMany: "test_rule_5_claims_at_once_make_one_life_after_another",
    LosesAWake: "test_rule_7_a_wake_follows_each_append_and_claim",
    WakesNobodyAfterAClaim: "test_rule_7_a_wake_follows_each_append_and_claim",
    WakesBeforeItIsVisible: "test_rule_7_clear_read_wait_never_misses_an_event",
    UndoesForOthers: "test_rule_7_undo_takes_a_wake_back_and_is_idempotent",
    UndoesNothing: "test_rule_7_a_wake_may_take_itself_back",
    LetsAWakeFail: "test_rule_7_a_wake_that_fails_hurts_nobody",
    SaysCancelledOnce: "test_rule_8_every_ok_says_that_the_stream_is_to_be_cancelled",
    ForgetsToCancelAtAClaim: "test_rule_8_the_flag_survives_a_claim",
    CancelsWhatHasEnded: "test_rule_8_what_has_ended_or_is_not_there_cannot_be_cancelled",
    CancelsWithoutAHint: "test_rule_8_a_request_sends_the_hint",
    KeepsTheRequest: "test_stat_tells_what_is_known_of_a_stream",
    FindsTheOldestFirst: "test_find_gives_the_newest_first_page_by_page",
    FindsWhatIsForeign: "test_find_filters",
    FindsAllTenants: "test_find_knows_a_tenant_by_its_whole_name",
    TakesATenantForABeginning: "test_find_knows_a_tenant_by_its_whole_name",
    TakesATenantForAPattern: "test_find_knows_a_tenant_by_its_whole_name",
    TakesATenantForAFoldedName: "test_find_knows_a_tenant_by_its_whole_name",
    TakesAnOwnerForItsTenant: "test_find_knows_a_tenant_by_its_whole_name",
    MixesUpHeads: "test_heads_tells_how_far_each_of_many_streams_is",
    ExpiresTooMuch: "test_expire_does_a_bounded_piece_of_the_work",
    ExpiresTooEarly: "test_expire_removes_what_ended_before_and_nothing_else",
    LeavesNoTombstone: "test_expire_leaves_a_tombstone",
}
