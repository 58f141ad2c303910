"""An event loop in a thread of its own, for callers that have none.

Strategy: each call becomes one step, a task in that loop, and the caller sleeps until it is
over. The loop ends with `close`, which also whoever owns this calls at the interpreter's exit:
the thread is a daemon, so that an exit never waits for it, and the loop closes itself in its
thread, so that nothing is left to be warned of.

An interrupted wait (Ctrl-C, or what the handler of another signal raises) cancels its step and
waits until that is over, so that the next one finds nothing under way. A step that was done by
then is not lost: it stays with who started it. Which of the two it was is settled in the loop's
thread alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent import futures
from typing import Any, Generic, TypeVar

from holdfast import errors

T = TypeVar("T")

AWAKE_EVERY = 1.0
"""Seconds between two moments in which a thread that waits can be interrupted for sure: a signal
that comes as it falls asleep wakes nobody."""

CLOSE_TIMEOUT = 5.0
"""Seconds that closing waits for the thread; a name look-up of the system cannot be stopped."""


class Step(Generic[T]):
    """One coroutine on its way in the loop's thread."""

    def __init__(self, work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False
        self._future = asyncio.run_coroutine_threadsafe(self._run(work), loop)

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._cancelled:
            work.close()
            raise asyncio.CancelledError
        self._task = asyncio.current_task()
        return await work

    def wait(self) -> None:
        """Returns when it is over; raises nothing but what interrupts the wait."""
        while not futures.wait([self._future], AWAKE_EVERY).done:
            pass

    def result(self) -> T:
        """What it gave, or raises what it raised; ClientError where the loop was closed."""
        try:
            return self._future.result()
        except futures.CancelledError:
            raise errors.ClientError("The client was closed while it was in use.") from None

    def stop(self) -> bool:
        """Cancels it and waits until it is over; true where it had a result all the same."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the step over
            self._loop.call_soon_threadsafe(self._cancel)
        self.wait()
        return not self._future.cancelled()

    def _cancel(self) -> None:
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()


class Background:
    """The loop and its thread. Any thread may call; `close` is idempotent."""

    def __init__(self, at_close: Callable[[], Awaitable[None]]) -> None:
        """`at_close` is awaited in the loop as the last. Raises ClientError where the system
        gives no thread, or nothing to make a loop of."""
        self._at_close = at_close
        self._closed = False
        # Whatever was started before the loop was asked to close comes to it before that.
        self._order = threading.RLock()
        self._ready: futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]
        self._ready = futures.Future()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._live, name="holdfast client", daemon=True)
        try:
            self._thread.start()
            self._loop, self._asked_to_close = self._ready.result()
        except (OSError, RuntimeError) as error:
            raise errors.ClientError(f"The client cannot start its event loop: {error}.") from error

    def _live(self) -> None:
        """The thread's whole life."""
        try:
            runner = asyncio.Runner()
            runner.get_loop()
        except Exception as error:
            self._ready.set_exception(error)
            return
        with runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        asked_to_close = asyncio.Event()
        self._ready.set_result((asyncio.get_running_loop(), asked_to_close))
        await asked_to_close.wait()
        await self._at_close()

    def start(self, make: Callable[[], Coroutine[Any, Any, T]]) -> Step[T]:
        """A step that runs what `make` gives. Raises ClientError where this is closed, or of
        the process that this one was forked from."""
        # A fork of the process has no thread, and maybe a lock that nobody gives back.
        if self._process != os.getpid():
            raise errors.ClientError(
                "The client belongs to another process: make one after the fork."
            )
        if self._thread.is_alive():
            with self._order:
                if not self._closed:
                    return Step(make(), self._loop)
        raise errors.ClientError("The client is closed.")

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the coroutine gives; raises what it raises, and what `start` raises."""
        step = self.start(make)
        try:
            step.wait()
        except BaseException:
            step.stop()
            raise
        return step.result()

    def close(self) -> None:
        """Ends the loop, with all that is under way, and waits for its thread."""
        if not self._thread.is_alive():
            return
        with self._order, contextlib.suppress(RuntimeError):  # the loop is closed already
            self._closed = True
            self._loop.call_soon_threadsafe(self._asked_to_close.set)
        # A client that nobody holds any more may be collected in this very thread.
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_TIMEOUT)
