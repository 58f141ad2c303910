"""The loop in its thread: what it gives, how a wait is interrupted, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import threading
import warnings
from collections.abc import Iterator

import pytest
from tests.unit.client import interrupting

from holdfast import errors
from holdfast.client import background


class Closed:
    """Counts how often the end was awaited, and in which thread."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.threads.append(threading.current_thread().name)


@pytest.fixture
def closed() -> Closed:
    return Closed()


@pytest.fixture
def loop(closed: Closed) -> Iterator[background.Background]:
    made = background.Background(closed.close)
    yield made
    made.close()
    assert closed.threads == ["holdfast client"]
    assert "holdfast client" not in [thread.name for thread in threading.enumerate()]


async def for_ever() -> int:
    await asyncio.Event().wait()
    raise AssertionError


def test_a_step_gives_and_raises(loop: background.Background) -> None:
    async def give() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    async def fail() -> None:
        raise errors.GaveUp("no")

    assert loop.run(give) == "holdfast client"
    with pytest.raises(errors.GaveUp, match="no"):
        loop.run(fail)


async def test_it_works_where_a_loop_runs(loop: background.Background) -> None:
    async def other() -> int:
        return id(asyncio.get_running_loop())

    assert loop.run(other) != id(asyncio.get_running_loop())


def test_threads_do_not_disturb_each_other(loop: background.Background) -> None:
    both = asyncio.Barrier(4)

    async def meet() -> int:
        return await both.wait()

    met: list[int] = []
    threads = [threading.Thread(target=lambda: met.append(loop.run(meet))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(met) == [0, 1, 2, 3]


def test_an_interrupted_wait_is_over_with_its_step(loop: background.Background) -> None:
    seen: list[str] = []
    begun = threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # to be over takes more than one turn of the loop
            seen.append("over")

    with interrupting.interrupted(begun), pytest.raises(KeyboardInterrupt):
        loop.run(wait)
    assert seen == ["over"]


def test_a_signal_of_the_program_s_own_interrupts_too(loop: background.Background) -> None:
    def out_of_time(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGUSR1, out_of_time)
    try:
        with interrupting.interrupted(by=signal.SIGUSR1), pytest.raises(TimeoutError):
            loop.run(for_ever)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_closing_in_the_midst_of_calls_leaves_nobody_waiting() -> None:
    for _ in range(20):
        made = background.Background(Closed().close)
        told: list[str] = []

        def hammer(made: background.Background = made, told: list[str] = told) -> None:
            try:
                while True:
                    made.run(lambda: asyncio.sleep(0))
            except errors.ClientError as error:
                told.append(error.message)

        threads = [threading.Thread(target=hammer, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        made.run(lambda: asyncio.sleep(0))
        made.close()
        for thread in threads:
            thread.join(30)
        assert len(told) == 2


def test_a_step_is_stopped_before_it_began(loop: background.Background) -> None:
    """Both calls come to the loop in one turn: it is held until they are there."""
    held, go = threading.Event(), threading.Event()
    begun: list[int] = []

    async def hold() -> None:
        held.set()
        go.wait(30)

    async def begin() -> None:
        begun.append(1)

    holding = loop.start(hold)
    held.wait(30)
    step = loop.start(begin)
    step._loop.call_soon_threadsafe(step._cancel)
    go.set()
    assert step.stop() is False
    assert begun == []
    holding.result()


def test_stop_says_what_was_done_all_the_same(loop: background.Background) -> None:
    async def stubborn() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 7
        raise AssertionError

    step = loop.start(stubborn)
    loop.run(lambda: asyncio.sleep(0))
    assert step.stop() is True
    assert step.result() == 7
    waiting = loop.start(for_ever)
    loop.run(lambda: asyncio.sleep(0))
    assert waiting.stop() is False


def test_closing_ends_what_is_under_way(loop: background.Background) -> None:
    step = loop.start(for_ever)
    loop.close()
    with pytest.raises(errors.ClientError, match="closed while"):
        step.result()
    assert step.stop() is False  # the loop is no more
    loop.close()
    with pytest.raises(errors.ClientError, match="The client is closed"):
        loop.run(for_ever)


def test_it_may_be_closed_in_its_own_thread(closed: Closed) -> None:
    """As where the last holder is collected there."""
    made = background.Background(closed.close)

    async def collected() -> None:
        made.close()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.run(collected)
        made._thread.join(30)
    assert closed.threads == ["holdfast client"]


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """In this block the process can open nothing."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# Python 3.11 complains of the loop that it could not make whole.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
def test_a_loop_that_cannot_be_made_is_an_error(closed: Closed) -> None:
    with no_descriptor_left(), pytest.raises(errors.ClientError, match="Too many open files"):
        background.Background(closed.close)
    gc.collect()
    assert closed.threads == []


def test_a_thread_that_cannot_be_started_is_an_error(
    closed: Closed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(errors.ClientError, match="can't start new thread"):
        background.Background(closed.close)


def test_a_loop_of_another_process_is_named_so(
    loop: background.Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: -1)
        with pytest.raises(errors.ClientError, match="belongs to another process"):
            loop.run(for_ever)
