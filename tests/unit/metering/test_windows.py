"""Windows against a plain list of what was used when.

Strategy: a history is made up by hypothesis: time passes, goes back too, something is used, taken
back, shared with other nodes. Beside the window stands a list of lots. Whatever happens, what the
window counts is never less than what was used within its last span, and never more than what was
used within that and one slot before.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.eventlog import counters
from holdfast.metering import windows

MINUTE, DAY = windows.MINUTE, windows.DAY
SPANS = st.sampled_from([MINUTE, DAY, windows.Span("blink", 1, 4)])
BEGIN = 1_700_000_000_000


class Lots:
    """What was used, as (time, amount); what was taken back was used first, of what a window still
    holds."""

    def __init__(self, span: windows.Span) -> None:
        self._span_ms, self._slot_ms = span.seconds * 1000, span.slot_ms
        self._lots: list[list[int]] = []

    def add(self, now: int, amount: int) -> None:
        if amount >= 0:
            self._lots.append([now, amount])
            return
        held = now - now % self._slot_ms - self._span_ms
        for lot in sorted(lot for lot in self._lots if lot[0] >= held):
            taken = min(lot[1], -amount)
            self._lots.remove(lot)
            self._lots.append([lot[0], lot[1] - taken])
            amount += taken

    def passed(self, now: int, slots: int = 1) -> None:
        """Forgets what no window can hold any more; with 0 `slots`, what none has to."""
        oldest = now - self._span_ms
        if slots:  # those that are whole within it
            oldest = oldest // self._slot_ms * self._slot_ms - 1
        newest = now + windows.FAR_MS - self._slot_ms
        self._lots = [lot for lot in self._lots if oldest < lot[0] < newest]

    def least(self, now: int) -> int:
        return sum(amount for at, amount in self._lots if at > now - self._span_ms)

    def most(self) -> int:
        return sum(amount for _, amount in self._lots)


def steps(span: windows.Span, *, back: bool = False) -> st.SearchStrategy[Any]:
    """How much time passes, in thousandths of a span, and what is used then."""
    passes = st.one_of(st.integers(0, 120), st.integers(0, 2500))
    if back:
        passes = st.one_of(passes, st.integers(-2500, 0))
    amounts = st.integers(0, 50) if back else st.one_of(st.integers(0, 50), st.integers(-40, -1))
    return st.lists(st.tuples(passes.map(lambda n: n * span.seconds), amounts), max_size=60)


def test_a_span_is_whole_slots() -> None:
    for span in (MINUTE, DAY):
        assert span.slot_ms * span.slots == span.seconds * 1000
    assert (MINUTE.slot_ms, DAY.slot_ms) == (5_000, 3_600_000)


@given(st.data(), SPANS, st.integers(0, 3_600_000))
def test_it_counts_what_was_used_lately(data: st.DataObject, span: windows.Span, at: int) -> None:
    window, lots, now = windows.Window(span), Lots(span), BEGIN + at
    for passed, amount in data.draw(steps(span)):
        now += passed
        lots.passed(now)
        window.roll(now)
        assert lots.least(now) <= window.used <= lots.most()
        window.add(now, amount)
        lots.add(now, amount)
        assert lots.least(now) <= window.used <= lots.most()


@given(st.data(), SPANS)
def test_it_counts_so_when_the_clock_goes_back(data: st.DataObject, span: windows.Span) -> None:
    """What was a span ago once may be forgotten, whatever the clock says afterwards."""
    window, lots, now = windows.Window(span), Lots(span), BEGIN
    for passed, amount in data.draw(steps(span, back=True)):
        now += passed
        lots.passed(now, slots=0)
        window.roll(now)
        window.add(now, amount)
        lots.add(now, amount)
        assert lots.least(now) <= window.used
        assert window.used >= 0


@given(st.data(), SPANS, st.integers(1, 200))
def test_who_keeps_to_it_uses_no_more_in_any_span(
    data: st.DataObject, span: windows.Span, most: int
) -> None:
    """Wherever the span begins; so a minute is not the minute of the clock."""
    window, used, now = windows.Window(span), [], BEGIN
    for passed, amount in data.draw(steps(span)):
        now += passed
        window.roll(now)
        if amount > 0 and window.used + amount <= most:
            window.add(now, amount)
            used.append((now, amount))
    for begin, _ in used:
        within = (amount for at, amount in used if begin <= at < begin + span.seconds * 1000)
        assert sum(within) <= most


def test_it_holds_one_slot_more_than_its_span() -> None:
    window = windows.Window(MINUTE)
    first = BEGIN - BEGIN % 5_000
    window.add(first, 7)
    for passed, left in ((4_999, 7), (60_000, 7), (64_999, 7), (65_000, 0)):
        window.roll(first + passed)
        assert window.used == left


def test_what_is_taken_back_was_used_first() -> None:
    """Else what another stream used later would be forgotten before its time."""
    window = windows.Window(MINUTE)
    window.add(BEGIN, 100)
    window.add(BEGIN + 30_000, 20)
    window.roll(BEGIN + 50_000)
    window.add(BEGIN + 50_000, -90)
    assert window.used == 30
    for passed, left in ((59_000, 30), (66_000, 20)):
        window.roll(BEGIN + passed)
        assert window.used == left


def test_what_a_clock_far_ahead_counted_locks_nobody_out() -> None:
    window = windows.Window(MINUTE)
    window.add(BEGIN + 366 * 86_400_000, 100)
    window.roll(BEGIN)
    assert (window.used, window.empty_at) == (0, 0)
    window.share({}, {window.slot(BEGIN + 366 * 86_400_000): 100}, BEGIN)
    assert window.used == 0


def test_what_is_taken_back_of_what_is_forgotten_is_forgotten() -> None:
    window = windows.Window(MINUTE)
    window.add(BEGIN, 100)
    window.roll(BEGIN + 100_000)
    window.add(BEGIN + 100_000, 5)
    window.add(BEGIN + 100_000, -90)
    assert window.used == 0
    window.add(BEGIN + 100_000, 10)
    window.roll(BEGIN + 110_000)
    assert window.used == 10


# How long it takes until there is room


@given(st.data(), SPANS, st.integers(1, 120))
def test_the_wait_is_right(data: st.DataObject, span: windows.Span, below: int) -> None:
    window, now = windows.Window(span), BEGIN
    for passed, amount in data.draw(steps(span)):
        now += passed
        window.roll(now)
        window.add(now, amount)
    now += data.draw(st.integers(0, span.seconds * 1000))
    window.roll(now)
    wait = window.wait_ms(now, below)
    assert (wait == 0) == (window.used < below)
    if wait:
        window.roll(now + wait - 1)
        assert window.used >= below
        window.roll(now + wait)
        assert window.used < below


@given(st.data(), SPANS)
def test_it_is_empty_when_it_says(data: st.DataObject, span: windows.Span) -> None:
    window, now = windows.Window(span), BEGIN
    for passed, amount in data.draw(steps(span)):
        now += passed
        window.roll(now)
        window.add(now, amount)
    window.add(now, 1)
    wait = window.empty_at - now
    window.roll(now + wait - 1)
    assert window.used > 0
    window.roll(now + wait)
    assert (window.used, window.empty_at) == (0, 0)


def test_an_empty_one_is_empty_now() -> None:
    window = windows.Window(DAY)
    window.roll(BEGIN)
    assert (window.used, window.empty_at, window.wait_ms(BEGIN, 1)) == (0, 0, 0)


@pytest.mark.parametrize("below", [0, -5])
def test_the_wait_for_less_than_nothing_is_a_whole_span(below: int) -> None:
    """Who wants more than there ever is waits long, and not no time at all."""
    window = windows.Window(MINUTE)
    window.roll(BEGIN)
    assert window.wait_ms(BEGIN, below) >= 60_000
    window.add(BEGIN, 3)
    assert window.wait_ms(BEGIN, below) >= 60_000


# Several nodes


async def share(window: windows.Window, sums: counters.MemoryCounters, now: int) -> None:
    """As the ledger does it."""
    given = window.unshared() or {window.slot(now): 0}
    found = await sums.add(
        [counters.Change("a", slot, amount, window.until(slot)) for slot, amount in given.items()],
        now,
    )
    window.share(given, found[-1], now)


@given(st.data(), SPANS)
def test_nodes_that_share_count_together(data: st.DataObject, span: windows.Span) -> None:
    nodes, sums, lots, now = (
        [windows.Window(span) for _ in range(3)],
        counters.MemoryCounters(),
        Lots(span),
        BEGIN,
    )
    mine = [Lots(span) for _ in nodes]
    todo = st.lists(
        st.tuples(
            st.integers(0, 2),
            st.one_of(st.integers(0, 120), st.integers(0, 2500)),
            st.one_of(st.none(), st.integers(1, 50)),
        ),
        max_size=40,
    )

    async def all_of_it() -> None:
        nonlocal now
        for number, passed, amount in data.draw(todo):
            now += passed * span.seconds
            window = nodes[number]
            window.roll(now)
            if amount is None:
                await share(window, sums, now)
            else:
                window.add(now, amount)
                lots.add(now, amount)
                mine[number].add(now, amount)
            for each in (lots, *mine):
                each.passed(now)
            # It knows what it did itself, and nothing that nobody did.
            assert mine[number].least(now) <= window.used <= lots.most()
        for _ in range(2):
            for window in nodes:
                await share(window, sums, now)
        for window in nodes:
            assert window.used == nodes[0].used
            assert lots.least(now) <= window.used <= lots.most()
            assert window.unshared() == {}

    asyncio.run(all_of_it())


def test_it_is_empty_when_what_others_used_is_old() -> None:
    window = windows.Window(MINUTE)
    window.share({}, {window.slot(BEGIN): 7}, BEGIN)
    for passed, wait in ((0, 65_000), (10_000, 55_000), (65_000, 0)):
        window.roll(BEGIN + passed)
        assert max(0, window.empty_at - (BEGIN + passed)) == wait
        assert (window.used > 0) is (wait > 0)


def test_what_nobody_has_told_the_sum_of_is_still_used() -> None:
    window = windows.Window(MINUTE)
    window.add(BEGIN, 7)
    window.gave(window.unshared())
    window.roll(BEGIN + 5_000)
    assert (window.used, window.unshared()) == (7, {})


def test_what_is_used_while_the_sums_are_asked_for_is_not_lost() -> None:
    window = windows.Window(MINUTE)
    window.add(BEGIN, 5)
    given, slot = window.unshared(), window.slot(BEGIN)
    window.add(BEGIN, 3)
    window.share(given, {slot: 11}, BEGIN)  # another node has 6
    assert (window.used, window.unshared()) == (14, {slot: 3})


def test_what_is_taken_back_of_others_use_is_told_to_them() -> None:
    one, other, sums = windows.Window(MINUTE), windows.Window(MINUTE), counters.MemoryCounters()

    async def both() -> None:
        one.add(BEGIN, 50)
        await share(one, sums, BEGIN)
        one.roll(BEGIN + 20_000)
        one.add(BEGIN + 20_000, -30)
        await share(one, sums, BEGIN + 20_000)
        await share(other, sums, BEGIN + 20_000)

    asyncio.run(both())
    for window in (one, other):
        assert window.used == 20
        window.roll(BEGIN + 66_000)
        assert window.used == 0
