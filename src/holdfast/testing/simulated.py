"""Simulated time: an event loop on which a minute passes as soon as nothing else is left to do.

Strategy: the loop's clock is a number, and its selector never waits. When no callback is ready
and no socket has anything, the clock jumps to the next timer. So a test of a deadline of an hour
is exact and takes a millisecond, and a test that waits for what never comes fails at once
(`Stuck`) and does not hang. What asyncio would only log, a failed callback or a task whose error
nobody took, fails the test too (`Fault`). It is for code in one thread: what another thread or
process does takes no simulated time. `time.time()` is not touched; who needs it takes a clock.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
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


class Loop(asyncio.SelectorEventLoop):
    """`time()` is simulated; everything else is asyncio's own. `faults` is what its exception
    handler was told."""

    def __init__(self) -> None:
        self.faults: list[dict[str, Any]] = []
        self._now = BEGIN
        self._idle: list[asyncio.Future[None]] = []
        selector = _Selector()
        selector.jump = self._jump
        super().__init__(selector)
        self.set_exception_handler(lambda loop, context: self.faults.append(context))

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

    async def idle(self) -> None:
        """Returns when nothing but timers is left to do; no time passes."""
        waiter = self.create_future()
        self._idle.append(waiter)
        await waiter


def run(work: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns or raises, on a simulated loop of its own. Raises `Fault`."""
    loop = Loop()
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
