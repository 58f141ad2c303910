"""What a change may be, what a call comes to, and how the counters in memory stay small."""

from __future__ import annotations

import pytest

from holdfast.eventlog import counters

MOST = counters.MAX_SUM


def change(name: str = "a", slot: int = 1, amount: int = 1, until: int = 100) -> counters.Change:
    return counters.Change(name, slot, amount, until)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "\u00e9" * counters.MAX_NAME},
        {"slot": 0},
        {"slot": MOST},
        {"amount": counters.MAX_AMOUNT},
        {"amount": -counters.MAX_AMOUNT},
        {"until": 0},
        {"until": MOST},
    ],
)
def test_a_change_at_its_limits_can_be_built(fields: dict[str, int]) -> None:
    built = change(**fields)  # type: ignore[arg-type]
    assert {name: getattr(built, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "x" * (counters.MAX_NAME + 1)}, "200 characters at most"),
        ({"name": "half \ud83e"}, "surrogates not allowed"),
        ({"slot": -1}, "not -1"),
        ({"slot": MOST + 1}, f"not {MOST + 1}"),
        ({"amount": counters.MAX_AMOUNT + 1}, "An amount is"),
        ({"amount": -counters.MAX_AMOUNT - 1}, "An amount is"),
        ({"until": -1}, "A time is"),
        ({"until": MOST + 1}, "A time is"),
    ],
)
def test_a_change_that_no_engine_could_keep_cannot_be_built(
    fields: dict[str, int], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        change(**fields)  # type: ignore[arg-type]


def test_a_whole_call_fits_into_64_bits() -> None:
    assert counters.MAX_CHANGES * counters.MAX_AMOUNT <= counters.MAX_SUM == 2**63 - 1


def test_a_call_has_a_limit_and_a_time() -> None:
    counters.check([change()] * counters.MAX_CHANGES, 0)
    counters.check([], MOST)
    with pytest.raises(ValueError, match="1000 changes at most, not 1001"):
        counters.check([change()] * (counters.MAX_CHANGES + 1), 0)
    for never in (-1, MOST + 1):
        with pytest.raises(ValueError, match=f"not {never}"):
            counters.check([change()], never)


def test_the_changes_of_a_slot_come_to_one() -> None:
    call = [
        change(amount=5, until=10),
        change("b"),
        change(amount=-7, until=30),
        change(amount=0, until=99),
        change(amount=1, until=20),
        change("c", amount=0),
        change("d", amount=2),
        change("d", amount=-2),
    ]
    assert counters.gathered(call) == {("a", 1): (-1, 30), ("b", 1): (1, 100), ("d", 1): (0, 100)}


async def test_time_that_passes_leaves_nothing_behind() -> None:
    kept = counters.MemoryCounters()
    for now in range(1_000):
        await kept.add([change(f"{now % 7}", slot=now, until=now + 10)], now)
        assert len(kept._ends) == sum(map(len, kept._names.values())) <= 11
    await kept.add([change(amount=0)] * 6, 2_000)
    assert not kept._ends
    assert not kept._names


async def test_a_slot_that_is_put_off_again_and_again_is_one() -> None:
    kept = counters.MemoryCounters()
    for now in range(1_000):
        await kept.add([change(until=now + 10), change("b", until=5_000)], now)
        assert len(kept._ends) == 2
    assert await kept.add([change(amount=0), change("b", amount=0)], 1_009) == [{}, {1: 1_000}]


async def test_a_call_looks_at_a_few_slots() -> None:
    kept = counters.MemoryCounters()
    await kept.add([change(slot=slot, until=10) for slot in range(20)], 0)
    left = []
    for _ in range(3):
        await kept.add([change("b"), change("b", amount=0)], 10)
        left.append(len(kept._names["a"]))
    assert left == [16, 12, 8]


async def test_expired_slots_that_are_counted_in_again_are_kept_once() -> None:
    kept = counters.MemoryCounters()
    await kept.add([change(slot=slot, until=10) for slot in range(20)], 0)
    (found,) = await kept.add([change(slot=19, until=50)], 10)
    assert found == {19: 1}
    for _ in range(20):
        await kept.add([change(amount=0)], 49)
    assert kept._ends == [(50, "a", 19)]
    assert await kept.add([change(amount=0)], 50) == [{}]
    assert not kept._names
