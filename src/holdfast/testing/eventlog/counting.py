"""The rules of `eventlog.counters`: sums beside the streams, and what outlives the process."""

from __future__ import annotations

import asyncio
import random

import pytest

from holdfast.eventlog import base, counters
from holdfast.testing.eventlog.parts import COMPLETE, NewLog, Reopen, begin, chunk, read_all

NOW = 4_102_444_800_000
"""The year 2100, in ms: a store's own clock, if it has one, takes nothing away meanwhile."""

LATER = NOW + 60_000


def change(name: str, amount: int, slot: int = 1, until: int = LATER) -> counters.Change:
    return counters.Change(name, slot, amount, until)


def counters_of(log: base.EventLog) -> counters.Counters:
    assert log.counters is not None, "this engine has no counters: see UncountedContract"
    return log.counters


async def ask(sums: counters.Counters, *names: str, now: int = NOW) -> dict[str, dict[int, int]]:
    """What is kept of these names."""
    found = await sums.add([change(name, 0) for name in names], now)
    return {name: dict(slots) for name, slots in zip(names, found, strict=True)}


class Uncounted:
    """For engines without counters."""

    async def test_it_says_that_it_keeps_no_counters(self, new_log: NewLog) -> None:
        assert (await new_log()).counters is None


class Counting:
    """Rules 1 to 8 of the counters."""

    async def test_counters_1_an_answer_is_for_each_change_after_all_of_them(
        self, new_log: NewLog
    ) -> None:
        sums = counters_of(await new_log())
        assert await sums.add([], NOW) == []
        assert await sums.add([change("a", 5)], NOW) == [{1: 5}]
        mixed = [
            change("a", 2, slot=2),
            change("b", 1),
            change("a", 1),
            change("c", 0),
            change("a", 10, slot=2),
        ]
        assert await sums.add(mixed, NOW) == [
            {1: 6, 2: 12},
            {1: 1},
            {1: 6, 2: 12},
            {},
            {1: 6, 2: 12},
        ]

    async def test_counters_1_an_answer_stays_as_it_was_given(self, new_log: NewLog) -> None:
        sums = counters_of(await new_log())
        (first,) = await sums.add([change("a", 1)], NOW)
        await sums.add([change("a", 1), change("a", 1, slot=2)], NOW)
        assert first == {1: 1}

    async def test_counters_1_the_callers_list_is_its_own(self, new_log: NewLog) -> None:
        sums = counters_of(await new_log())
        changes = [change("a", 1)]

        async def use_it_again() -> None:
            changes.append(change("b", 1))

        answer, _ = await asyncio.gather(sums.add(changes, NOW), use_it_again())
        assert answer == [{1: 1}]
        assert changes == [change("a", 1), change("b", 1)]
        assert await ask(sums, "a", "b") == {"a": {1: 1}, "b": {}}

    async def test_counters_1_a_call_that_is_refused_adds_nothing(self, new_log: NewLog) -> None:
        sums = counters_of(await new_log())
        full = [change(f"{number}", 1) for number in range(counters.MAX_CHANGES)]
        with pytest.raises(ValueError, match="changes at most"):
            await sums.add([*full, change("one more", 1)], NOW)
        for never in (-1, counters.MAX_SUM + 1):
            with pytest.raises(ValueError, match="ms"):
                await sums.add(full[:1], never)
        assert await ask(sums, "0", "one more") == {"0": {}, "one more": {}}
        assert await sums.add(full, NOW) == [{1: 1}] * counters.MAX_CHANGES

    async def test_counters_2_each_of_many_calls_at_once_counts_once(self, new_log: NewLog) -> None:
        sums = counters_of(await new_log())
        calls = [sums.add([change("a", 1), change("b", -1)], NOW) for _ in range(100)]
        answers = await asyncio.gather(*calls)
        assert sorted(a[1] for a, _ in answers) == list(range(1, 101))
        assert [a[1] + b[1] for a, b in answers] == [0] * 100
        assert await ask(sums, "a", "b") == {"a": {1: 100}, "b": {1: -100}}

    async def test_counters_2_sums_are_those_of_plain_adding(self, new_log: NewLog) -> None:
        sums, chance = counters_of(await new_log()), random.Random(1)
        plain: dict[tuple[str, int], tuple[int, int]] = {}
        for now in range(NOW, NOW + 100):
            changes = [
                change(
                    chance.choice("abc"),
                    chance.randint(-9, 9),
                    slot=chance.randint(0, 3),
                    until=now + chance.randint(0, 20),
                )
                for _ in range(chance.randint(1, 6))
            ]
            plain = {key: kept for key, kept in plain.items() if kept[1] > now}
            for each in changes:
                if each.amount:
                    total, until = plain.get((each.name, each.slot), (0, 0))
                    until = max(until, each.until)
                    plain[each.name, each.slot] = (total + each.amount, until)
            plain = {key: kept for key, kept in plain.items() if kept[1] > now}
            expected = [
                {slot: total for (name, slot), (total, _) in plain.items() if name == each.name}
                for each in changes
            ]
            assert await sums.add(changes, now) == expected

    async def test_counters_3_names_and_slots_are_their_own(self, new_log: NewLog) -> None:
        sums = counters_of(await new_log())
        names = ["a", "A", "a ", "", "a\0", "a\0b", "a:1", "a%", "_", "\u00e9", "e\u0301"]
        names += ["\U0001f980" * counters.MAX_NAME, "x" * counters.MAX_NAME]
        for amount, name in enumerate(names, 1):
            await sums.add([change(name, amount), change(name, -amount, slot=2)], NOW)
        expected = {name: {1: n, 2: -n} for n, name in enumerate(names, 1)}
        assert await ask(sums, *names) == expected
        last = counters.MAX_SUM
        ends = [change("a", 1, slot=0), change("a", 1, slot=last), change("a", 1, slot=11)]
        found = await sums.add(ends, NOW)
        assert found == [{0: 1, 1: 1, 2: -1, 11: 1, last: 1}] * 3
        assert await ask(sums, "A") == {"A": {1: 2, 2: -2}}

    async def test_counters_4_an_amount_may_be_negative_and_so_may_a_sum(
        self, new_log: NewLog
    ) -> None:
        sums = counters_of(await new_log())
        seen = [(await sums.add([change("a", amount)], NOW))[0][1] for amount in (3, -5, -4, 6)]
        assert seen == [3, -2, -6, 0]
        assert await ask(sums, "a") == {"a": {1: 0}}

    async def test_counters_4_an_amount_of_0_only_asks(self, new_log: NewLog) -> None:
        sums = counters_of(await new_log())
        assert await ask(sums, "a", "b") == {"a": {}, "b": {}}
        await sums.add([change("a", 1, until=NOW + 10)], NOW)
        asking = [change("a", 0, until=NOW + 99), change("a", 0, slot=2)]
        assert await sums.add(asking, NOW) == [{1: 1}] * 2
        assert await ask(sums, "a", now=NOW + 9) == {"a": {1: 1}}
        assert await ask(sums, "a", now=NOW + 10) == {"a": {}}

    async def test_counters_5_a_slot_is_kept_until_its_time(self, new_log: NewLog) -> None:
        sums = counters_of(await new_log())
        # Of so many none is shown, though no call removes all of them.
        ends = [change("a", 7, slot=slot, until=NOW + 5) for slot in range(10, 20)]
        await sums.add([*ends, change("a", 1, slot=2)], NOW)
        kept = dict.fromkeys(range(10, 20), 7)
        assert await ask(sums, "a", now=NOW + 4) == {"a": {**kept, 2: 1}}
        assert await ask(sums, "a", now=NOW + 5) == {"a": {2: 1}}
        # What is late already makes no slot, and moves one that is kept for longer.
        late = [change("b", 1, until=NOW), change("a", 1, slot=2, until=NOW)]
        assert await sums.add(late, NOW + 5) == [{}, {2: 2}]

    async def test_counters_5_the_latest_time_counts(self, new_log: NewLog) -> None:
        sums = counters_of(await new_log())
        for until in (NOW + 5, NOW + 9, NOW + 7):
            await sums.add([change("a", 1, until=until)], NOW)
        # In one call too, in whatever order.
        both = [change("b", 1, until=NOW + 9), change("b", 1, until=NOW + 5)]
        await sums.add(both, NOW)
        await sums.add([change("c", 1, until=NOW - 1), change("c", 1, until=NOW + 9)], NOW)
        expected = {"a": {1: 3}, "b": {1: 2}, "c": {1: 2}}
        assert await ask(sums, "a", "b", "c", now=NOW + 8) == expected
        assert await ask(sums, "a", "b", "c", now=NOW + 9) == {"a": {}, "b": {}, "c": {}}

    async def test_counters_5_an_expired_slot_begins_from_0(self, new_log: NewLog) -> None:
        sums = counters_of(await new_log())
        # So many that no call removes all of them.
        await sums.add([change("a", 9, slot=slot, until=NOW + 5) for slot in range(50)], NOW)
        for slot in (0, 25, 49):
            (found,) = await sums.add([change("a", 1, slot=slot)], NOW + 5)
            assert found[slot] == 1
        assert await ask(sums, "a", now=NOW + 5) == {"a": {0: 1, 25: 1, 49: 1}}

    async def test_counters_6_expired_slots_are_removed_and_others_are_not(
        self, new_log: NewLog
    ) -> None:
        sums = counters_of(await new_log())
        put_off = [change("put off", 1, slot=slot, until=NOW + 5) for slot in range(20)]
        await sums.add(put_off, NOW)
        await sums.add([change("put off", 1, slot=slot) for slot in range(20)], NOW)
        for slot in range(20):
            here = change("a", 1, slot=slot, until=NOW + slot)
            await sums.add([here, change(f"a{slot}", 1, until=NOW + slot)], NOW)
        # Each of these looks at some of the 60, and there are as many.
        for number in range(60):
            await sums.add([change("b", 1, slot=number % 2)], NOW + 30)
        # Whoever's clock is behind would see what expired, if it were there still.
        names = ["a", *(f"a{slot}" for slot in range(20))]
        assert await ask(sums, *names, now=NOW - 1) == {name: {} for name in names}
        expected = {"b": {0: 30, 1: 30}, "put off": dict.fromkeys(range(20), 2)}
        assert await ask(sums, "b", "put off") == expected

    async def test_counters_6_a_call_looks_at_a_bounded_number(self, new_log: NewLog) -> None:
        sums = counters_of(await new_log())
        await sums.add([change("a", 1, slot=slot, until=NOW + 5) for slot in range(50)], NOW)
        await sums.add([change("b", 1)], NOW + 5)
        left = (await ask(sums, "a", now=NOW))["a"]
        assert len(left) >= 50 - counters.REMOVED_A_CHANGE

    async def test_counters_7_a_sum_stays_within_its_limits(self, new_log: NewLog) -> None:
        sums = counters_of(await new_log())
        most = counters.MAX_AMOUNT
        full = [change("a", most)] * counters.MAX_CHANGES
        (exact, *_) = await sums.add(full, NOW)
        assert exact == {1: counters.MAX_CHANGES * most}
        mine = [change("a", most)] * 99 + [change("b", 1)]
        assert (await sums.add(mine, NOW))[-2:] == [{1: counters.MAX_SUM}, {1: 1}]
        assert await sums.add([change("a", 1)], NOW) == [{1: counters.MAX_SUM}]
        assert await sums.add([change("a", -1)], NOW) == [{1: counters.MAX_SUM - 1}]
        down = [change("a", -most)] * counters.MAX_CHANGES
        for _ in range(3):
            (low, *_) = await sums.add(down, NOW)
        assert low == {1: -counters.MAX_SUM}
        assert await sums.add([change("a", 2)], NOW) == [{1: 2 - counters.MAX_SUM}]

    async def test_counters_8_each_log_has_counters_of_its_own(self, new_log: NewLog) -> None:
        first, second = counters_of(await new_log()), counters_of(await new_log())
        assert await first.add([change("a", 1)], NOW) == [{1: 1}]
        assert await second.add([change("a", 2)], NOW) == [{1: 2}]

    async def test_counters_8_counters_and_streams_do_not_disturb_each_other(
        self, new_log: NewLog
    ) -> None:
        log = await new_log()
        sums = counters_of(log)
        pens = [await begin(log) for _ in range(20)]

        async def write(number: int) -> None:
            for text in "abcde":
                await pens[number].write(chunk(text * 100))
                slot = change("written", 1, slot=number % 3)
                await sums.add([slot, change(pens[number].stream, 1)], NOW)
            await pens[number].write(COMPLETE, ts=9_000 + number)

        await asyncio.gather(*map(write, range(20)))
        before = [await read_all(log, pen.stream) for pen in pens]
        assert [[event.seq for event in whole] for whole in before] == [[1, 2, 3, 4, 5, 6, 7]] * 20
        assert await ask(sums, "written") == {"written": {0: 35, 1: 35, 2: 30}}
        assert await log.expire(9_010, 100) == 10
        assert await ask(sums, "written", pens[0].stream) == {
            "written": {0: 35, 1: 35, 2: 30},
            pens[0].stream: {1: 5},
        }
        for number in range(10):
            await sums.add([change("far", 1)] * 100, LATER + number)
        assert await ask(sums, "written", now=LATER) == {"written": {}}
        assert [await read_all(log, pen.stream) for pen in pens[10:]] == before[10:]
        assert len(await log.find(base.Query())) == 10


class DurableCounting:
    """Rule 8: what a call has returned is there after the log was opened again."""

    async def test_counters_8_sums_survive(self, new_log: NewLog, reopen: Reopen) -> None:
        log = await new_log()
        low = change("low", -counters.MAX_AMOUNT, until=NOW + 5)
        for round_ in range(1, 4):
            await counters_of(log).add([change("a", 1), change("\u00e9", 2, slot=9), low], NOW)
            log = await reopen(log)
            assert await ask(counters_of(log), "a", "\u00e9", "low") == {
                "a": {1: round_},
                "\u00e9": {9: 2 * round_},
                "low": {1: -round_ * counters.MAX_AMOUNT},
            }
        assert await ask(counters_of(log), "low", now=NOW + 5) == {"low": {}}

    async def test_counters_8_what_is_removed_stays_so_and_what_is_put_off_stays(
        self, new_log: NewLog, reopen: Reopen
    ) -> None:
        log = await new_log()
        first = [change("a", 1, until=NOW + 5), change("b", 1, until=NOW + 5)]
        await counters_of(log).add(first, NOW)
        log = await reopen(log)
        await counters_of(log).add([change("b", 1)], NOW)
        log = await reopen(log)
        for _ in range(3):
            await counters_of(log).add([change("c", 1)], NOW + 5)
        log = await reopen(log)
        assert await ask(counters_of(log), "a", "b") == {"a": {}, "b": {1: 2}}
