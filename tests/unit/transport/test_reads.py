"""Sockets in polls of ours: each is read when it has something, and all are left alone while the
node is busy, one poll after another.

Strategy: real sockets and a real event loop, whose timer the test holds: so nothing waits for time.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holdfast.transport import reads


class Loop:
    """The event loop; `timers` are the calls that are to come later, and when."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.timers: list[tuple[float, Callable[..., None], Any]] = []
        self.watched: set[int] = set()
        self.failed: list[dict[str, Any]] = []
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def fail(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failed.append(context)

    def add_reader(self, fd: int, callback: Callable[..., None], *args: Any) -> None:
        self.watched.add(fd)
        self._loop.add_reader(fd, callback, *args)

    def remove_reader(self, fd: int) -> None:
        self.watched.discard(fd)
        self._loop.remove_reader(fd)

    def call_at(self, when: float, callback: Callable[..., None], *args: Any) -> Loop:
        self.timers.append((when, callback, args))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    @property
    def due(self) -> list[float]:
        return [when for when, _, _ in self.timers]

    def fire(self) -> None:
        """The next timer's time has come."""
        when, callback, args = self.timers.pop()
        self.now = max(self.now, when)
        callback(*args)


class Pace:
    """`busy`: how long may be waited."""

    def __init__(self, busy: float = 0.0) -> None:
        self.busy, self.rounds = busy, 0

    def period(self) -> float:
        return self.busy

    def gathered(self) -> None:
        self.rounds += 1


class Peer:
    """A connection, and the other end of its socket."""

    def __init__(self, bodies: reads.Reads) -> None:
        self.far, self.near = socket.socketpair()
        self.near.setblocking(False)
        self.fd, self.bodies = self.near.fileno(), bodies
        self.got: list[bytes] = []
        self.on_read: Callable[[], None] = lambda: None
        self._told = asyncio.Event()

    def readable(self) -> None:
        self.got.append(self.near.recv(1000))
        self.on_read()
        self._told.set()

    async def has(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.got) < count:
                self._told.clear()
                await self._told.wait()

    def close(self) -> None:
        self.bodies.drop(self.fd, self)
        self.far.close()
        self.near.close()


def reading(pace: Pace | None = None) -> tuple[reads.Reads, Loop]:
    """What goes wrong in a call of the event loop's is in `Loop.failed`, which is to be empty."""
    loop: Any = Loop()
    asyncio.get_running_loop().set_exception_handler(loop.fail)
    bodies = reads.Reads(lambda ready: reads.Poll(loop, ready))
    bodies.pace = pace
    return bodies, loop


@contextlib.contextmanager
def peers(bodies: reads.Reads, count: int = 2) -> Iterator[list[Peer]]:
    some = [Peer(bodies) for _ in range(count)]
    for one in some:
        assert bodies.add(one.fd, one)
    try:
        yield some
    finally:
        for one in some:
            one.close()


async def test_each_is_read_when_it_has_something() -> None:
    bodies, loop = reading()
    with peers(bodies) as (first, second):
        first.far.send(b"one")
        await first.has(1)
        second.far.send(b"two")
        first.far.send(b"three")
        await second.has(1)
        await first.has(2)
        assert (first.got, second.got) == ([b"one", b"three"], [b"two"])
        assert len(loop.watched) == 1
        second.far.close()
        await second.has(2)
        assert second.got[-1] == b""
    assert not loop.watched


async def test_what_comes_to_a_node_that_is_not_busy_is_read_at_once() -> None:
    pace = Pace()
    bodies, loop = reading(pace)
    with peers(bodies) as (first, _):
        for number in range(3):
            first.far.send(b"x")
            await first.has(number + 1)
        assert (pace.rounds, loop.timers) == (3, [])


async def test_after_a_round_of_a_busy_node_all_gathers_until_the_time_is_over() -> None:
    pace = Pace(busy=4)
    bodies, loop = reading(pace)
    with peers(bodies) as (first, second):
        first.on_read = lambda: setattr(loop, "now", loop.now + 1)
        first.far.send(b"a")
        await first.has(1)
        # From begin to begin: what the round took is in it.
        assert (loop.due, loop.watched) == ([4], set())
        first.far.send(b"b")
        second.far.send(b"c")
        first.far.send(b"d")
        loop.fire()
        assert (first.got, second.got, pace.rounds) == ([b"a", b"bd"], [b"c"], 2)
        assert (loop.due, loop.watched) == ([8], set())
        pace.busy = 0
        loop.fire()
        first.far.send(b"e")
        await first.has(3)
        assert (loop.timers, len(loop.watched)) == ([], 1)
    assert (loop.watched, loop.failed) == (set(), [])


async def test_what_is_too_much_for_a_round_is_read_in_the_next_turn_without_a_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reads, "AT_ONCE", 2)
    pace = Pace(busy=9)
    bodies, loop = reading(pace)
    with peers(bodies, 5) as some:
        for one in some:
            one.far.send(b"x")
        for one in some:
            await one.has(1)
        assert (pace.rounds, loop.due, loop.watched) == (3, [9], set())
        for one in some:
            one.far.send(b"y")
        loop.fire()
        assert (pace.rounds, loop.timers, len(loop.watched)) == (4, [], 1)
        for one in some:
            await one.has(2)
        assert (pace.rounds, loop.due) == (6, [18])


async def test_many_are_spread_over_a_few_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "ROOM", 2)
    monkeypatch.setattr(reads, "POLLS", 3)
    bodies, loop = reading()
    with peers(bodies, 2) as few:
        assert len(loop.watched) == 1
        with peers(bodies, 6) as more:
            assert len(loop.watched) == 3
            for one in (*few, *more):
                one.far.send(b"x")
            for one in (*few, *more):
                await one.has(1)
        assert len(loop.watched) == 1
    assert (loop.watched, loop.failed) == (set(), [])


async def test_where_no_other_poll_can_be_one_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "ROOM", 1)
    loop: Any = Loop()
    rooms = [True]
    bodies = reads.Reads(lambda ready: reads.Poll(loop, ready) if rooms and rooms.pop() else None)
    with peers(bodies, 3) as some:
        assert len(loop.watched) == 1
        for one in some:
            one.far.send(b"x")
            await one.has(1)


@contextlib.contextmanager
def four(
    monkeypatch: pytest.MonkeyPatch, pace: Pace, count: int = 4
) -> Iterator[tuple[Loop, list[Peer]]]:
    """Four polls, and so many sockets in them."""
    monkeypatch.setattr(reads, "ROOM", 1)
    monkeypatch.setattr(reads, "POLLS", 4)
    bodies, loop = reading(pace)
    with peers(bodies, count) as some:
        yield loop, some
    assert (loop.watched, loop.timers, loop.failed) == (set(), [], [])


async def _rested(some: list[Peer]) -> None:
    """All have been read once, and their polls rest."""
    for one in some:
        one.far.send(b"x")
    for one in some:
        await one.has(1)


async def test_polls_that_rest_take_turns_each_once_in_a_period(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with four(monkeypatch, Pace(busy=8), count=6) as (loop, some):
        await _rested(some)
        assert (loop.due, loop.watched) == ([2], set())
        read: list[tuple[float, int]] = []
        for number, one in enumerate(some):
            one.on_read = lambda number=number: read.append((loop.now, number))  # type: ignore[misc]
        for _ in range(6):
            for one in some:
                one.far.send(b"y")
            loop.fire()
        once = [(2, 0), (2, 4), (4, 1), (4, 5), (6, 2), (8, 3)]
        assert read == [*once, (10, 0), (10, 4), (12, 1), (12, 5)]


def tell(some: list[Peer]) -> None:
    for one in some:
        one.far.send(b"y")


async def test_what_rests_alone_rests_for_a_whole_period_from_its_read_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with four(monkeypatch, Pace(busy=8), count=1) as (loop, some):
        for now in (50, 200):
            loop.now = now
            await _rested(some)
            assert (loop.due, loop.watched) == ([now + 8], set())
            some[0].got.clear()
            loop.fire()  # for nothing, and it is watched again


async def test_turns_that_are_late_are_made_up_for_and_then_apart_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with four(monkeypatch, Pace(busy=8)) as (loop, some):
        await _rested(some)
        loop.now = 3
        tell(some)
        loop.fire()
        assert loop.due == [4]
        loop.now = 100
        for _ in range(3):
            tell(some)
            loop.fire()
            assert loop.due[0] <= 100
        for due in (100, 102, 104, 106, 108):
            tell(some)
            loop.fire()
            assert (loop.now, loop.due) == (due - 2 if due > 100 else 100, [due])


async def test_none_rests_for_longer_because_others_have_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with four(monkeypatch, Pace(busy=8)) as (loop, some):
        await _rested(some)
        for _ in range(3):
            tell(some)
            loop.fire()
        assert loop.due == [8]
        for one in some[:3]:
            one.close()
            assert loop.due == [8]
        loop.fire()
        assert some[3].got == [b"x", b"yyy"]


async def test_a_poll_that_is_gone_has_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    with four(monkeypatch, Pace(busy=12)) as (loop, some):
        await _rested(some)
        assert loop.due == [3]
        some[0].close()
        assert loop.due == [4]
        tell(some[1:])
        loop.fire()
        assert some[1].got == [b"x", b"y"]


async def test_when_nobody_is_busy_any_more_each_is_watched_again_in_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pace = Pace(busy=8)
    with four(monkeypatch, pace) as (loop, some):
        await _rested(some)
        pace.busy = 0
        for count in (1, 2, 3, 4):
            tell(some)
            loop.fire()
            assert len(loop.watched) == count
        assert (loop.now, loop.timers) == (2, [])


@pytest.mark.parametrize("why", ["nothing came", "nobody says how busy it is", "a bug"])
async def test_who_does_not_rest_again_is_watched(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    with four(monkeypatch, Pace(busy=8)) as (loop, some):
        await _rested(some)
        match why:
            case "nothing came":
                loop.fire()
            case "nobody says how busy it is":
                some[0].bodies.pace = None
                tell(some[:1])
                loop.fire()
            case _:
                some[0].on_read = lambda: [][0]
                tell(some[:1])
                with pytest.raises(IndexError):
                    loop.fire()
                some[0].on_read = lambda: None
        assert len(loop.watched) == 1
        came = len(some[0].got)
        some[0].far.send(b"z")
        await some[0].has(came + 1)
        assert len(loop.timers) == 1


async def test_where_the_system_has_no_room_the_loop_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """An epoll of a system that has no room."""

        def __init__(self, inner: select.epoll) -> None:
            self.close, self.fileno, self.poll = inner.close, inner.fileno, inner.poll

        def register(self, fd: int, mask: int) -> None:
            raise OSError(28, "No space left on device")

    made = select.epoll
    monkeypatch.setattr(select, "epoll", lambda: Full(made()))
    bodies, loop = reading()
    one = Peer(bodies)
    assert not bodies.add(one.fd, one)
    assert not loop.watched

    def refuse() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(select, "epoll", refuse)
    bodies = reads.Reads()
    assert not bodies.add(one.fd, one)
    monkeypatch.undo()
    assert bodies.add(one.fd, one)
    one.close()


async def test_the_last_one_that_leaves_takes_the_poll_along_and_its_timer() -> None:
    bodies, loop = reading(Pace(busy=1.0))
    with peers(bodies) as (first, second):
        first.far.send(b"a")
        await first.has(1)
        bodies.drop(first.fd, first)
        assert loop.timers
        bodies.drop(second.fd, second)
        assert not loop.timers
        assert bodies.add(first.fd, first)
        first.far.send(b"b")
        await first.has(2)


async def test_who_left_is_not_read_even_in_the_same_round() -> None:
    bodies, loop = reading()
    with peers(bodies) as both:
        first, second = both
        read = asyncio.Event()

        def leave(other: Peer) -> None:
            bodies.drop(other.fd, other)
            read.set()

        first.on_read, second.on_read = lambda: leave(second), lambda: leave(first)
        for one in both:
            one.far.send(b"x")
        async with asyncio.timeout(10):
            await read.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        assert sorted([first.got, second.got]) == [[], [b"x"]]
    assert loop.failed == []


async def test_one_that_ends_all_in_its_read_ends_the_round() -> None:
    pace = Pace(busy=1.0)
    bodies, loop = reading(pace)
    with peers(bodies) as both:

        def leave() -> None:
            for one in both:
                bodies.drop(one.fd, one)

        for one in both:
            one.on_read = leave
        both[0].far.send(b"x")
        await both[0].has(1)
        await asyncio.sleep(0)
        assert (loop.timers, loop.watched, loop.failed) == ([], set(), [])


@pytest.mark.parametrize("room", [1, reads.ROOM])
async def test_a_number_that_another_one_has_by_now_stays_its(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """The event loop closes a socket before it tells of the loss."""
    monkeypatch.setattr(reads, "ROOM", room)
    bodies, loop = reading()
    with peers(bodies) as (old, other):
        old.near.close()
        young = Peer(bodies)
        assert young.fd == old.fd or young.far.fileno() == old.fd
        if young.fd != old.fd:
            young.near, young.far = young.far, young.near
            young.near.setblocking(False)
            young.fd = young.near.fileno()
        assert bodies.add(young.fd, young)
        bodies.drop(old.fd, old)
        young.far.send(b"x")
        await young.has(1)
        other.far.send(b"y")
        await other.has(1)
        young.close()
    assert (loop.watched, loop.failed) == (set(), [])


async def test_a_socket_that_is_closed_already_can_leave() -> None:
    bodies, loop = reading()
    with peers(bodies, 1) as (one,):
        one.near.close()
        bodies.drop(one.fd, one)
        assert not loop.watched


async def test_a_loop_that_watches_no_descriptors_reads_by_itself() -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError

    loop = asyncio.get_running_loop()
    before, loop.add_reader = loop.add_reader, refuse  # type: ignore[assignment,method-assign]
    try:
        bodies = reads.Reads()
        one = Peer(bodies)
        assert not bodies.add(one.fd, one)
        one.close()
    finally:
        loop.add_reader = before  # type: ignore[method-assign]


async def test_a_system_without_epoll_reads_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    bodies = reads.Reads()
    one = Peer(bodies)
    assert not bodies.add(one.fd, one)
    one.close()


async def test_in_the_loop_that_runs_it_reads_without_more() -> None:
    bodies = reads.Reads()
    with peers(bodies) as (first, _):
        first.far.send(b"x")
        await first.has(1)
