"""Counters that break one rule each, and the test of the suite that sees it.

Strategy: as in `broken`: the counters in memory with their verb bent; `SEES` names the test.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping, Sequence

import msgspec

from holdfast.eventlog import counters, memory
from holdfast.eventlog.counters import Change

Sums = list[Mapping[int, int]]


def changed(changes: Sequence[Change], bend: Callable[[Change], Change]) -> list[Change]:
    return [bend(change) for change in changes]


class ForgetsNegativeAmounts(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        return await super().add(
            changed(changes, lambda c: msgspec.structs.replace(c, amount=max(0, c.amount))), now
        )


class ForgetsHowFarBelow0(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        found = await super().add(changes, now)
        return [{slot: max(0, total) for slot, total in slots.items()} for slots in found]


class ShowsTheExpired(counters.MemoryCounters):
    def _kept(self, name: str, now: int) -> dict[int, int]:
        return super()._kept(name, now - 1)


class RevivesTheExpired(counters.MemoryCounters):
    """Goes on with what is still there of an expired slot."""

    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        for name, slot in counters.gathered(changes):
            total, until = self._names.get(name, {}).get(slot, (0, now + 1))
            if until <= now:
                self._names[name][slot] = (total, now + 1)
        return await super().add(changes, now)


class RemovesNothing(counters.MemoryCounters):
    def _remove(self, limit: int, now: int) -> None:
        """Leaves all there is."""


class RemovesEverything(counters.MemoryCounters):
    def _remove(self, limit: int, now: int) -> None:
        super()._remove(1_000_000, now)


class RemovesWhatWasPutOff(counters.MemoryCounters):
    def _remove(self, limit: int, now: int) -> None:
        while limit and self._ends and self._ends[0][0] <= now:
            _, name, slot = heapq.heappop(self._ends)
            del self._names[name][slot]
            limit -= 1


class TakesTheNewestTime(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        for name, slot in counters.gathered(changes):
            if slot in self._names.get(name, {}):
                self._names[name][slot] = (self._names[name][slot][0], now + 1)
        return await super().add(changes, now)


class KeepsForWhoOnlyAsks(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        for change in changes:
            slots = self._names.get(change.name, {})
            total, until = slots.get(change.slot, (0, now))
            if until > now:
                slots[change.slot] = (total, max(until, change.until))
        return await super().add(changes, now)


class MakesASlotForWhoOnlyAsks(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        found = await super().add(changes, now)
        pairs = zip(changes, found, strict=True)
        return [slots if change.amount else {change.slot: 0, **slots} for change, slots in pairs]


class LosesAChange(counters.MemoryCounters):
    """The last one for a slot takes the place of those before it in a call."""

    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        last = {(change.name, change.slot): change for change in changes if change.amount}
        await super().add(list(last.values()), now)
        return [self._kept(change.name, now) for change in changes]


class AnswersWithTheSumsBefore(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        found: Sums = [self._kept(change.name, now) for change in changes]
        await super().add(changes, now)
        return found


class AnswersOnTheWay(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        return [(await super(AnswersOnTheWay, self).add([each], now))[0] for each in changes]


class AnswersForEachName(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        found = await super().add(changes, now)
        names = [change.name for change in changes]
        return [slots for at, slots in enumerate(found) if names[at] not in names[:at]]


class MixesNames(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        return await super().add(
            changed(changes, lambda c: msgspec.structs.replace(c, name=c.name.casefold())), now
        )


class CutsNames(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        return await super().add(
            changed(changes, lambda c: msgspec.structs.replace(c, name=c.name.split("\0")[0])), now
        )


class MixesSlots(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        return await super().add(
            changed(changes, lambda c: msgspec.structs.replace(c, slot=c.slot % 10)), now
        )


class GivesWhatIsItsOwn(counters.MemoryCounters):
    """Later calls change the answers of earlier ones."""

    def __init__(self) -> None:
        super().__init__()
        self._given: dict[str, dict[int, int]] = {}

    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        found = await super().add(changes, now)
        for change, slots in zip(changes, found, strict=True):
            self._given.setdefault(change.name, {}).update(slots)
        return [self._given[change.name] for change in changes]


class ReadsTheListLater(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        for _ in range(3):
            await asyncio.sleep(0)
        return await super().add(changes, now)


class AddsInTwoSteps(counters.MemoryCounters):
    """Another call may come between its changes."""

    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        for change in changes[:-1]:
            await super().add([change], now)
            await asyncio.sleep(0)
        await super().add(changes[-1:], now)
        return [self._kept(change.name, now) for change in changes]


class ReadsThenWrites(counters.MemoryCounters):
    """What others added meanwhile is overwritten."""

    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        before = {change.name: dict(self._names.get(change.name, {})) for change in changes}
        await asyncio.sleep(0)
        self._names.update(before)
        return await super().add(changes, now)


class AddsPartOfWhatItRefuses(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        if len(changes) > counters.MAX_CHANGES:
            await super().add(changes[: counters.MAX_CHANGES], now)
        return await super().add(changes, now)


class TakesAnyNumber(counters.MemoryCounters):
    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        found: Sums = []
        for start in range(0, len(changes), counters.MAX_CHANGES):
            found += await super().add(changes[start : start + counters.MAX_CHANGES], now)
        return found


class TurnsOver(counters.MemoryCounters):
    """As 64 bits do: the highest sum is followed by the lowest."""

    async def add(self, changes: Sequence[Change], now: int) -> Sums:
        before = {change.name: self._kept(change.name, now) for change in changes}
        await super().add(changes, now)
        for (name, slot), (amount, _) in counters.gathered(changes).items():
            total, until = self._names[name][slot]
            plain = before[name].get(slot, 0) + amount
            if plain != total:
                self._names[name][slot] = ((plain + 2**63) % 2**64 - 2**63, until)
        return [self._kept(change.name, now) for change in changes]


class CountsAsFloats(counters.MemoryCounters):
    def _kept(self, name: str, now: int) -> dict[int, int]:
        return {slot: int(float(total)) for slot, total in super()._kept(name, now).items()}


class ForgetsWithTheStreams(memory.MemoryLog):
    """Keeps what is counted with the streams, and expires both."""

    async def expire(self, before: int, limit: int) -> int:
        assert isinstance(self.counters, counters.MemoryCounters)
        self.counters._names.clear()
        self.counters._ends.clear()
        return await super().expire(before, limit)


SEES: dict[type[counters.MemoryCounters], str] = {
    ForgetsNegativeAmounts: "test_counters_4_an_amount_may_be_negative_and_so_may_a_sum",
    ForgetsHowFarBelow0: "test_counters_4_an_amount_may_be_negative_and_so_may_a_sum",
    ShowsTheExpired: "test_counters_5_a_slot_is_kept_until_its_time",
    RevivesTheExpired: "test_counters_5_an_expired_slot_begins_from_0",
    RemovesNothing: "test_counters_6_expired_slots_are_removed_and_others_are_not",
    RemovesEverything: "test_counters_6_a_call_looks_at_a_bounded_number",
    RemovesWhatWasPutOff: "test_counters_6_expired_slots_are_removed_and_others_are_not",
    TakesTheNewestTime: "test_counters_5_the_latest_time_counts",
    KeepsForWhoOnlyAsks: "test_counters_4_an_amount_of_0_only_asks",
    MakesASlotForWhoOnlyAsks: "test_counters_4_an_amount_of_0_only_asks",
    LosesAChange: "test_counters_1_an_answer_is_for_each_change_after_all_of_them",
    AnswersWithTheSumsBefore: "test_counters_1_an_answer_is_for_each_change_after_all_of_them",
    AnswersOnTheWay: "test_counters_1_an_answer_is_for_each_change_after_all_of_them",
    AnswersForEachName: "test_counters_1_an_answer_is_for_each_change_after_all_of_them",
    MixesNames: "test_counters_3_names_and_slots_are_their_own",
    CutsNames: "test_counters_3_names_and_slots_are_their_own",
    MixesSlots: "test_counters_3_names_and_slots_are_their_own",
    GivesWhatIsItsOwn: "test_counters_1_an_answer_stays_as_it_was_given",
    ReadsTheListLater: "test_counters_1_the_callers_list_is_its_own",
    AddsInTwoSteps: "test_counters_2_each_of_many_calls_at_once_counts_once",
    ReadsThenWrites: "test_counters_2_each_of_many_calls_at_once_counts_once",
    AddsPartOfWhatItRefuses: "test_counters_1_a_call_that_is_refused_adds_nothing",
    TakesAnyNumber: "test_counters_1_a_call_that_is_refused_adds_nothing",
    TurnsOver: "test_counters_7_a_sum_stays_within_its_limits",
    CountsAsFloats: "test_counters_7_a_sum_stays_within_its_limits",
}
