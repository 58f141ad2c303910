"""Simulated time: an event loop on which a minute passes as soon as nothing else is left to do.

Strategy: the loop's clock is a number, and its selector never waits. When no callback is ready
and no socket has anything, the clock jumps to the next timer. So a test of a deadline of an hour
is exact and takes a millisecond, and a test that waits for what never comes fails at once
(`Stuck`) and does not hang. What asyncio would only log, a failed callback or a task whose error
nobody took, fails the test too (`Fault`). It is for code in one thread: what another thread or
process does takes no simulated time. `time.time()` is not touched; who needs it takes a clock.

With a seed the order in which ready callbacks run is drawn, that of timers due at one time too:
a machine, a network and a scheduler would shuffle them so. Three things that asyncio promises
are kept: the steps of one task, the calls of one object's methods and those of plain functions
each come in the order in which they were asked for; nothing runs twice in a turn of the loop; and
all that was ready when a turn began has run when it ends. The same seed gives the same order
again, whatever `id` and `hash` give: the draw is over tasks in the order of their making.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

BEGIN = 1000.0
"""What the clock shows at first, in seconds: not 0, which would hide a forgotten time."""

P = ParamSpec("P")
T = TypeVar("T")


class Stuck(BaseException):
    """Nothing is ready, and no timer is set: what is awaited can never come.

    Not an `Exception`: no code under test is to take it for its own."""


class Fault(Exception):
    """The loop's exception handler was told of something."""


class _Selector(selectors.DefaultSelector):
    """Asks for what is ready now; where nothing is, tells the loop how long it would wait."""

    jump: Callable[[float | None], None]

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout != 0:
            self.jump(timeout)
        return ready


class _Shuffled:
    """What stands in the place of the loop's queue of ready callbacks. The loop takes in a turn
    as many as there were at its begin, so that the queue sees where a turn ends."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)
        self._turn: deque[asyncio.Handle] = deque()
        self._next: list[asyncio.Handle] = []
        self._count = itertools.count(1)
        self._numbers: dict[int, int] = {}  # by id; a task with an id that was used is newer
        self.append = self._next.append

    def number(self, task: asyncio.Task[Any]) -> None:
        self._numbers[id(task)] = next(self._count)

    def __len__(self) -> int:
        return len(self._turn) + len(self._next)

    def clear(self) -> None:
        self._turn.clear()
        self._next.clear()

    def popleft(self) -> asyncio.Handle:
        if not self._turn:
            self._turn.extend(self._next if len(self._next) == 1 else self._drawn())
            self._next.clear()
        return self._turn.popleft()

    def _drawn(self) -> list[asyncio.Handle]:
        lanes: dict[int, deque[asyncio.Handle]] = {}
        tasks: list[int] = []
        for handle in self._next:
            owner = _owner(handle)
            if id(owner) not in lanes:
                lanes[id(owner)] = deque()
                if isinstance(owner, asyncio.Task):
                    tasks.append(id(owner))
            lanes[id(owner)].append(handle)
        # Who wakes all of a set wakes them in the order of their addresses.
        tasks.sort(key=self._numbers.__getitem__)
        others = lanes.keys() - set(tasks) if len(tasks) < len(lanes) else ()
        order = tasks + [lane for lane in lanes if lane in others]
        turns = [lane for lane in order for _ in lanes[lane]]
        self._random.shuffle(turns)
        return [lanes[lane].popleft() for lane in turns]


def _owner(handle: asyncio.Handle) -> object:
    """The task or object whose call this is; None for a plain function."""
    callback: object = handle._callback  # type: ignore[attr-defined]
    while isinstance(callback, functools.partial):
        callback = callback.func
    return getattr(callback, "__self__", None)


class Loop(asyncio.SelectorEventLoop):
    """`time()` is simulated; with a seed so is the order of what is ready; everything else is
    asyncio's own. `faults` is what its exception handler was told."""

    def __init__(self, seed: int | str | None = None) -> None:
        self.faults: list[dict[str, Any]] = []
        self._now = BEGIN
        self._idle: list[asyncio.Future[None]] = []
        selector = _Selector()
        selector.jump = self._jump
        super().__init__(selector)
        self.set_exception_handler(lambda loop, context: self.faults.append(context))
        self._shuffled = None if seed is None else _Shuffled(seed)
        if self._shuffled is not None:
            self._ready = self._shuffled

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task = super().create_task(coro, **options)
        if self._shuffled is not None:
            self._shuffled.number(task)
        return task

    def time(self) -> float:
        return self._now

    def _jump(self, seconds: float | None) -> None:
        waiting, self._idle = self._idle, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
        if waiting:
            return
        if seconds is None:
            raise Stuck
        self._now += seconds

    def hold_up(self, seconds: float) -> None:
        """So much time passes at once, as in a call that computes."""
        self._now += seconds

    async def idle(self) -> None:
        """Returns when nothing but timers is left to do; no time passes."""
        waiter = self.create_future()
        self._idle.append(waiter)
        await waiter


def run(work: Coroutine[Any, Any, T], seed: int | str | None = None) -> T:
    """What the coroutine returns or raises, on a simulated loop of its own. Raises `Fault`."""
    loop = Loop(seed)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(work)
    for context in loop.faults:
        raise Fault(context["message"]) from context.get("exception")
    return result


def timed(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Makes a test out of a coroutine function; it runs on a simulated loop."""

    @functools.wraps(test)
    def sync(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return sync


def now() -> float:
    """What the running loop's clock shows."""
    return asyncio.get_running_loop().time()


async def idle() -> None:
    """Lets everything run that can run now; no time passes."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    await loop.idle()


def hold_up(seconds: float) -> None:
    """The running loop does nothing for so long, and is late for whatever was due."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    loop.hold_up(seconds)
