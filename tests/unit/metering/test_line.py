"""A late node opens few streams at a time, tenants in turn, and nobody waits for ever.

Strategy: openings that end when the test says so, in simulated time. Who is refused where many wait
is in `test_admission`, how tenants take turns in `test_turns`.
"""

from __future__ import annotations

import asyncio

import pytest

from holdfast import errors
from holdfast.metering import line, turns
from holdfast.testing import simulated


@pytest.fixture(autouse=True)
def four_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "AT_ONCE", 4)


class Door:
    """A node's, with those who come to it; `inside` are those whose stream is being opened."""

    def __init__(self, late: float = line.LATE, *, on: bool = True) -> None:
        self.busy = line.BUSY
        self.line = line.Line(lambda: self.busy, on=on)
        self.comes(late)
        self.inside: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._go: dict[str, asyncio.Event] = {}

    def comes(self, late: float) -> None:
        """The loop, most of the times."""
        for seconds in (9.0, late, late, late, 0.0):
            self.line.look(seconds)

    async def come(self, *names: str) -> None:
        """Each as the tenant that its first letter is."""
        for name in names:
            self._go[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._come(name))
        await simulated.idle()

    async def _come(self, name: str) -> None:
        async with self.line.turn(name[0]):
            self.inside.append(name)
            try:
                await self._go[name].wait()
            finally:
                self.inside.remove(name)

    async def done(self, *names: str) -> None:
        for name in names:
            self._go[name].set()
        await simulated.idle()

    async def all_done(self) -> None:
        await self.done(*self._go)
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        assert (len(self.line), self.inside) == (0, [])
        assert {self.line.of(tenant) for tenant in "ab"} == {0}
        await self.come("a-last")
        await self.done("a-last")
        assert self.tasks["a-last"].done()


def many(tenant: str, count: int) -> list[str]:
    return [f"{tenant}{number}" for number in range(count)]


@pytest.mark.parametrize("door", [(line.LATE - 0.001, True), (9.0, False)])
@simulated.timed
async def test_one_that_is_in_time_or_has_no_line_opens_whatever_comes(
    door: tuple[float, bool],
) -> None:
    late, on = door
    made = Door(late, on=on)
    await made.come(*many("a", 50))
    assert (len(made.inside), len(made.line)) == (50, 0)
    await made.all_done()


@simulated.timed
async def test_a_late_one_opens_few_at_a_time_in_the_order_in_which_they_came() -> None:
    door, few = Door(), line.AT_ONCE
    names = many("a", few + 3)
    await door.come(*names, "b0")
    assert (door.inside, len(door.line)) == (names[:few], 4)
    assert [door.line.of(tenant) for tenant in "abc"] == [3, 1, 0]
    await door.done("a1")
    assert (door.inside, len(door.line)) == (["a0", "a2", "a3", "b0"], 3)
    await door.done("a2")
    assert (door.inside, len(door.line)) == (["a0", "a3", "b0", "a4"], 2)
    await door.all_done()


@simulated.timed
async def test_a_line_that_keeps_the_loop_in_time_is_joined_while_that_is_busy() -> None:
    door, few = Door(), line.AT_ONCE
    await door.come(*many("a", few + 1))
    door.comes(0)
    await door.come("a-late")
    assert len(door.line) == 2
    door.busy = line.BUSY - 0.01
    await door.come("a-idle")
    assert (door.inside[-1], len(door.line)) == ("a-idle", 2)
    door.busy = 1.0
    await door.done("a0", "a1")
    assert (door.inside[-2:], len(door.line)) == ([f"a{few}", "a-late"], 0)
    await door.come(*many("b", 20))
    assert len(door.line) == 0
    await door.all_done()


@simulated.timed
async def test_who_waits_when_the_node_drains_has_no_turn_any_more() -> None:
    door, few = Door(), line.AT_ONCE
    names = many("a", few + 2)
    await door.come(*names)
    door.line.end()
    await door.done("a0")
    for name in names[few:]:
        assert isinstance(door.tasks[name].exception(), errors.Draining)
    assert (door.inside, len(door.line)) == (names[1:few], 0)


@simulated.timed
async def test_one_tenant_may_have_a_whole_line() -> None:
    door = Door()
    await door.come(*many("a", turns.MAX_WAITING + 100))
    assert len(door.line) == turns.MAX_WAITING + 100 - line.AT_ONCE
    await door.all_done()


@simulated.timed
async def test_who_asks_once_does_not_wait_for_all_that_another_one_has_asked_for() -> None:
    door, few = Door(), line.AT_ONCE
    names = many("a", 20 * few)
    await door.come(*names)
    await door.come("b0")
    await door.done(*names[:few])
    assert "b0" in door.inside
    await door.all_done()


@simulated.timed
async def test_nobody_waits_for_longer_than_it_can_be_borne() -> None:
    door, few = Door(), line.AT_ONCE
    names = many("a", few + 3)
    await door.come(*names)
    await asyncio.sleep(line.PATIENCE - 1)
    await door.done("a0")
    await door.come("a-new")
    await asyncio.sleep(2)
    for name in names[few + 1 :]:
        error = door.tasks[name].exception()
        assert isinstance(error, errors.Overloaded)
        assert error.retry_after == line.AGAIN
    assert door.inside == [*names[1:few], names[few]]
    assert (len(door.line), door.line.of("a")) == (1, 1)
    await door.done("a1")
    assert door.inside[-1] == "a-new"
    await door.all_done()


@pytest.mark.parametrize("late", [0.0, line.LATE])
@simulated.timed
async def test_who_goes_while_it_waits_or_is_opened_leaves_nothing(late: float) -> None:
    door, few = Door(late), line.AT_ONCE
    await door.come(*many("a", few + 2))
    door.comes(line.LATE)
    for name in ("a1", f"a{few + 1}", f"a{few}"):
        door.tasks[name].cancel()
        await simulated.idle()
    assert len(door.line) == 0
    await door.come("b0")
    assert "b0" in door.inside
    await door.all_done()


@simulated.timed
async def test_a_stream_that_cannot_be_opened_gives_its_turn_to_the_next() -> None:
    door = Door()
    await door.come(*many("a", line.AT_ONCE - 1))

    async def fails() -> None:
        async with door.line.turn("a"):
            await asyncio.sleep(1)
            raise LookupError

    failing = asyncio.create_task(fails())
    await simulated.idle()
    await door.come("b0")
    assert "b0" not in door.inside
    with pytest.raises(LookupError):
        await failing
    await simulated.idle()
    assert "b0" in door.inside
    await door.all_done()
