"""The reader loop: no wake-up is lost, pages that go on do not wait, the end ends it.

Strategy: the loop has few places where something can happen meanwhile: before it begins, in a
read before and after the page was taken, while a portion is handled, in the wait. An event may
become visible at any of them and its hint come at any later one: all the orders of two events
are tried, and in each the reader has everything as soon as the last hint has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import msgspec
import pytest

from holdfast import errors, events
from holdfast.eventlog import base, memory, reader
from holdfast.testing import simulated

HEADER = base.Header("", 0, "demo", "m")


class Portion(msgspec.Struct, frozen=True):
    """The numbers of some events."""

    numbers: tuple[int, ...]
    position: events.Position
    closed: bool = False
    more: bool = False


class Source:
    """Events that are numbers from 1; `point` is called wherever something may happen."""

    def __init__(self, point: Callable[[], None] = lambda: None, page: int = 10) -> None:
        self.visible = 0
        self.closed = False
        self.reads: list[events.Position] = []
        self.glances: list[events.Position] = []
        self._point, self._page = point, page

    async def read(self, after: events.Position) -> Portion:
        self.reads.append(after)
        self._point()
        await asyncio.sleep(0)
        self._point()
        portion = self._portion(after)
        self._point()
        await asyncio.sleep(0)
        self._point()
        return portion

    def glance(self, after: events.Position) -> Portion | None:
        self.glances.append(after)
        return self._portion(after) if self.visible > after.seq else None

    def _portion(self, after: events.Position) -> Portion:
        if after.epoch:
            raise errors.UnknownPosition
        last = min(self.visible, after.seq + self._page)
        more = last < self.visible
        return Portion(
            tuple(range(after.seq + 1, last + 1)),
            events.Position(0, last),
            self.closed and not more,
            more,
        )

    def rewind(self) -> Portion:
        return Portion((-1,), events.BEGIN, more=True)


# The flag


@simulated.timed
async def test_a_new_flag_waits() -> None:
    waiting = asyncio.create_task(reader.Flag().wait())
    await simulated.idle()
    assert not waiting.done()
    waiting.cancel()


@simulated.timed
async def test_a_flag_that_is_set_does_not_wait_until_it_is_cleared() -> None:
    flag = reader.Flag()
    flag.set()
    flag.set()
    await flag.wait()
    await flag.wait()
    flag.clear()
    waiting = asyncio.create_task(flag.wait())
    await simulated.idle()
    assert not waiting.done()
    flag.set()
    flag.set()
    await waiting


@simulated.timed
async def test_a_set_just_before_the_wait_counts() -> None:
    flag = reader.Flag()
    waiting = asyncio.create_task(flag.wait())
    flag.set()
    flag.clear()
    flag.set()
    await waiting


@simulated.timed
async def test_a_wait_that_was_woken_returns_although_the_flag_is_cleared_again() -> None:
    flag = reader.Flag()
    waiting = asyncio.create_task(flag.wait())
    await simulated.idle()
    flag.set()
    flag.clear()
    await waiting


@simulated.timed
async def test_a_cancelled_wait_leaves_a_usable_flag() -> None:
    flag = reader.Flag()
    waiting = asyncio.create_task(flag.wait())
    await simulated.idle()
    waiting.cancel()
    flag.set()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    await flag.wait()
    flag.clear()
    again = asyncio.create_task(flag.wait())
    await simulated.idle()
    flag.set()
    await again


# No order of events, hints and reads loses a wake-up

STEPS = 9
ORDERS = [
    (first, second)
    for first, second in itertools.product(
        [(seen, hinted) for seen in range(STEPS) for hinted in range(seen, STEPS)], repeat=2
    )
    if first[0] <= second[0]
]


class Taker:
    """Takes what it may; `idle` says so of each call of `ready` in turn, then of all."""

    def __init__(self, got: list[int], idle: tuple[bool, ...] = (True,)) -> None:
        self.got, self.calls, self._idle = got, 0, idle

    def ready(self) -> bool:
        self.calls += 1
        return self._idle[min(self.calls, len(self._idle)) - 1]

    def take(self, portion: Portion) -> None:
        self.got.extend(portion.numbers)


async def read_in_order(
    order: tuple[tuple[int, int], ...], idle: tuple[bool, ...] | None = None
) -> None:
    """`order` holds (step at which it is visible, step of its hint) of each event."""
    flag, got, steps = reader.Flag(), list[int](), [0]
    taker = None if idle is None else Taker(got, idle)

    def point() -> None:
        for visible, hinted in order:
            source.visible += visible == steps[0]
            if hinted == steps[0]:
                flag.set()
        steps[0] += 1

    source = Source(point)

    async def follow() -> None:
        async for portion in reader.follow(source, events.BEGIN, flag, taker):
            got.extend(portion.numbers)
            point()
            await asyncio.sleep(0)
            point()

    point()
    following = asyncio.create_task(follow())
    await simulated.idle()
    while steps[0] <= max(hinted for _, hinted in order):
        point()
        await simulated.idle()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert got == [1, 2]


@pytest.mark.parametrize("first", sorted({first for first, _ in ORDERS}))
def test_no_wake_up_is_lost(first: tuple[int, int]) -> None:
    async def all_orders() -> None:
        for order in ORDERS:
            if order[0] == first:
                await read_in_order(order)
                for idle in ((True,), (True, False), (False, True)):
                    await read_in_order(order, idle)

    simulated.run(all_orders())


# The loop


async def take(portions: AsyncIterator[Portion], count: int) -> list[tuple[int, ...]]:
    """The numbers of the next portions."""
    return [(await anext(portions)).numbers for _ in range(count)]


@contextlib.asynccontextmanager
async def following(
    source: Source,
    flag: reader.Flag,
    after: events.Position = events.BEGIN,
    taker: Taker | None = None,
) -> AsyncGenerator[AsyncIterator[Portion], None]:
    portions = reader.follow(source, after, flag, taker)
    assert isinstance(portions, AsyncGenerator)
    try:
        yield portions
    finally:
        await portions.aclose()


@simulated.timed
async def test_pages_that_go_on_do_not_wait() -> None:
    source, flag = Source(page=2), reader.Flag()
    source.visible = 5
    async with following(source, flag) as portions:
        assert await take(portions, 3) == [(1, 2), (3, 4), (5,)]
        waiting = asyncio.ensure_future(anext(portions))
        await simulated.idle()
        assert not waiting.done()
        assert source.reads == [events.Position(0, seq) for seq in (0, 2, 4)]
        source.visible = 6
        flag.set()
        assert (await waiting).numbers == (6,)


@simulated.timed
async def test_a_wake_that_finds_nothing_gives_an_empty_portion() -> None:
    source, flag = Source(), reader.Flag()
    source.visible = 1
    async with following(source, flag) as portions:
        assert await take(portions, 1) == [(1,)]
        for _ in range(3):
            flag.set()
            assert await take(portions, 1) == [()]
        assert simulated.now() == simulated.BEGIN


@simulated.timed
async def test_many_wakes_are_one() -> None:
    source, flag = Source(), reader.Flag()
    async with following(source, flag) as portions:
        assert await take(portions, 1) == [()]
        for _ in range(5):
            flag.set()
        assert await take(portions, 1) == [()]
        waiting = asyncio.ensure_future(anext(portions))
        await simulated.idle()
        assert not waiting.done()
        flag.set()
        await waiting


@simulated.timed
async def test_a_stream_that_is_closed_ends_the_loop() -> None:
    source, flag = Source(page=2), reader.Flag()
    source.visible, source.closed = 5, True
    portions = [portion async for portion in reader.follow(source, events.BEGIN, flag)]
    assert [portion.numbers for portion in portions] == [(1, 2), (3, 4), (5,)]
    assert [portion.closed for portion in portions] == [False, False, True]


@simulated.timed
async def test_a_closed_stream_that_was_read_to_its_end_gives_one_empty_portion() -> None:
    source, flag = Source(), reader.Flag()
    source.visible, source.closed = 5, True
    after = events.Position(0, 5)
    portions = [portion async for portion in reader.follow(source, after, flag)]
    assert [(portion.numbers, portion.closed) for portion in portions] == [((), True)]


@simulated.timed
async def test_an_end_that_comes_later_is_seen() -> None:
    source, flag = Source(), reader.Flag()
    async with following(source, flag) as portions:
        assert await take(portions, 1) == [()]
        source.visible, source.closed = 1, True
        flag.set()
        assert [portion.numbers async for portion in portions] == [(1,)]


@simulated.timed
async def test_an_unknown_position_is_a_rewind_and_then_the_stream_from_its_begin() -> None:
    source, flag = Source(page=2), reader.Flag()
    source.visible, source.closed = 3, True
    lost = events.Position(7, 2)
    portions = [portion async for portion in reader.follow(source, lost, flag)]
    assert [portion.numbers for portion in portions] == [(-1,), (1, 2), (3,)]
    assert source.reads == [lost, events.BEGIN, events.Position(0, 2)]


@simulated.timed
async def test_a_position_that_the_log_forgot_on_the_way_is_a_rewind_too() -> None:
    source, flag = Source(page=2), reader.Flag()
    source.visible = 2
    async with following(source, flag) as portions:
        assert await take(portions, 1) == [(1, 2)]
        original = source.read

        async def read(after: events.Position) -> Portion:
            source.read = original  # type: ignore[method-assign]
            raise errors.UnknownPosition

        source.read = read  # type: ignore[method-assign]
        flag.set()
        assert await take(portions, 2) == [(-1,), (1, 2)]


@simulated.timed
async def test_other_failures_of_a_read_come_out() -> None:
    source, flag = Source(), reader.Flag()

    async def read(after: events.Position) -> Portion:
        raise errors.LogCorrupt

    source.read = read  # type: ignore[method-assign]
    async with following(source, flag) as portions:
        with pytest.raises(errors.LogCorrupt):
            await anext(portions)


# The log as a source


async def stream_of(log: memory.MemoryLog, *texts: str) -> events.StreamId:
    stream = events.new_stream_id()
    drafts = tuple(events.draft(events.Chunk("content", text)) for text in texts)
    await log.create(stream, HEADER, drafts, 5)
    return stream


@simulated.timed
async def test_a_log_is_read_as_pages() -> None:
    log = memory.MemoryLog()
    stream = await stream_of(log, "a", "b")
    source = reader.LogSource(log, stream)
    page = await source.read(events.BEGIN)
    assert [event.seq for event in page.events] == [1, 2]
    assert await source.read(page.position) == base.Page((), page.position, False, False)
    with pytest.raises(errors.UnknownPosition):
        await source.read(events.Position(1, 1))


async def told(log: memory.MemoryLog, stream: events.StreamId) -> list[events.Event]:
    found: list[events.Event] = []
    await reader.tell(log, stream, found.append)
    return found


@simulated.timed
async def test_all_that_is_written_by_now_is_told_and_nothing_is_waited_for() -> None:
    log = memory.MemoryLog()
    texts = [f"{number}" for number in range(2 * base.PAGE_EVENTS + 5)]
    stream = await stream_of(log, *texts)
    found = await told(log, stream)
    assert [event.seq for event in found] == list(range(1, len(texts) + 1))
    bodies = [event.body for event in found]
    assert [body.delta for body in bodies if isinstance(body, events.Chunk)] == texts
    assert await told(log, stream) == found
    with pytest.raises(errors.StreamNotFound):
        await told(log, events.new_stream_id())


@simulated.timed
async def test_others_have_their_turn_between_the_pages() -> None:
    log = memory.MemoryLog()
    stream = await stream_of(log, *["a"] * (3 * base.PAGE_EVENTS))
    turns: list[int] = []

    async def other() -> None:
        while True:
            turns.append(len(found))
            await asyncio.sleep(0)

    found: list[events.Event] = []
    task = asyncio.ensure_future(other())
    await reader.tell(log, stream, found.append)
    task.cancel()
    assert {base.PAGE_EVENTS, 2 * base.PAGE_EVENTS} <= set(turns)


@simulated.timed
async def test_a_rewind_of_the_log_is_one_transient_event() -> None:
    log = memory.MemoryLog()
    stream = await stream_of(log, "a")
    page = reader.LogSource(log, stream).rewind()
    assert (page.position, page.closed, page.more) == (events.BEGIN, False, True)
    assert page.events == (events.Event("rewind", b'{"reason":"unknown_position"}', 0, 0, 0),)


@simulated.timed
async def test_a_stream_is_followed_while_it_is_written() -> None:
    log = memory.MemoryLog()
    stream = events.new_stream_id()
    life = await log.create(stream, HEADER, (), 5)
    assert isinstance(life, base.Life)
    flag, got = reader.Flag(), list[str]()
    undo = log.watch(stream, flag.set)

    async def follow() -> None:
        source = reader.LogSource(log, stream)
        async for page in reader.follow(source, events.Position(9, 9), flag):
            got.extend(event.kind for event in page.events)

    following = asyncio.create_task(follow())
    bodies: list[events.Body] = [events.Chunk("content", "a"), events.Chunk("content", "b")]
    for last, body in enumerate((*bodies, events.Error("x", "y", False)), 1):
        await simulated.idle()
        batch = base.Batch(stream, life.epoch, last, 5, (events.draft(body),))
        assert await log.append((batch,)) == [base.Ok()]
    await following
    undo()
    assert got == ["rewind", "chunk", "chunk", "error"]
    assert simulated.now() == simulated.BEGIN


# Who can take a portion without waiting


@contextlib.asynccontextmanager
async def taking(
    source: Source, taker: Taker, flag: reader.Flag
) -> AsyncGenerator[tuple[AsyncIterator[Portion], asyncio.Future[Portion]], None]:
    """The loop, at its wait, and what it yields next."""
    async with following(source, flag, taker=taker) as portions:
        assert await take(portions, 1) == [()]
        waiting = asyncio.ensure_future(anext(portions))
        await simulated.idle()
        yield portions, waiting
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


@simulated.timed
async def test_what_comes_during_the_wait_is_taken_before_the_hint_returns() -> None:
    source, flag, taker = Source(), reader.Flag(), Taker([])
    async with taking(source, taker, flag) as (_, waiting):
        for number in (1, 2, 3):
            source.visible = number
            flag.set()
            assert taker.got == list(range(1, number + 1))
        await simulated.idle()
        assert not waiting.done()
        assert source.reads == [events.BEGIN]


@simulated.timed
async def test_who_is_not_ready_is_woken_and_goes_on_where_it_was() -> None:
    source, flag, taker = Source(), reader.Flag(), Taker([], (True, False, True))
    async with taking(source, taker, flag) as (portions, waiting):
        source.visible = 1
        flag.set()
        source.visible = 2
        flag.set()
        assert taker.got == [1]
        assert (await waiting).numbers == (2,)
        again = asyncio.ensure_future(anext(portions))
        await simulated.idle()
        source.visible = 3
        flag.set()
        assert taker.got == [1, 3]
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)


@simulated.timed
async def test_while_the_loop_is_on_its_way_nothing_is_taken_beside_it() -> None:
    source, flag, taker = Source(), reader.Flag(), Taker([], (False, True))
    async with taking(source, taker, flag) as (_, waiting):
        source.visible = 1
        flag.set()
        flag.set()
        assert (taker.calls, taker.got) == (1, [])
        assert (await waiting).numbers == (1,)


@simulated.timed
async def test_the_end_and_what_goes_on_are_the_loop_s_and_are_read_once() -> None:
    source, flag, taker = Source(page=2), reader.Flag(), Taker([])
    async with taking(source, taker, flag) as (portions, waiting):
        source.visible = 3
        flag.set()
        assert ((await waiting).numbers, taker.got) == ((1, 2), [])
        assert source.reads == [events.BEGIN]
        assert await take(portions, 1) == [(3,)]
        again = asyncio.ensure_future(anext(portions))
        await simulated.idle()
        source.visible, source.closed = 4, True
        flag.set()
        assert [(await again).numbers, taker.got] == [(4,), []]
        assert source.reads == [events.BEGIN, events.Position(0, 2)]
        with pytest.raises(StopAsyncIteration):
            await anext(portions)


@simulated.timed
async def test_a_hint_that_leads_to_nothing_in_memory_wakes_the_loop() -> None:
    source, flag, taker = Source(), reader.Flag(), Taker([])
    async with taking(source, taker, flag) as (_, waiting):
        flag.set()
        assert (await waiting).numbers == ()
        assert source.glances == [events.BEGIN]


@simulated.timed
async def test_a_position_that_is_unknown_at_a_glance_is_the_loop_s_to_rewind() -> None:
    source, flag, taker = Source(), reader.Flag(), Taker([])
    async with taking(source, taker, flag) as (_, waiting):

        def glance(after: events.Position) -> Portion:
            raise errors.UnknownPosition

        async def read(after: events.Position) -> Portion:
            raise errors.UnknownPosition

        source.glance = glance  # type: ignore[method-assign]
        source.read = read  # type: ignore[method-assign]
        flag.set()
        assert (await waiting).numbers == (-1,)


@simulated.timed
@pytest.mark.parametrize("error", [errors.LogCorrupt("x"), ZeroDivisionError()])
@pytest.mark.parametrize("where", ["glance", "take"])
async def test_what_fails_fails_in_the_loop_and_not_in_who_gave_the_hint(
    where: str, error: Exception
) -> None:
    source, flag, taker = Source(), reader.Flag(), Taker([])
    async with taking(source, taker, flag) as (_, waiting):

        def fail(*_: object) -> None:
            raise error

        setattr(source if where == "glance" else taker, where, fail)
        source.visible = 1
        flag.set()
        with pytest.raises(type(error)):
            await waiting
