"""Several processes that serve one port: their parent, which does nothing else.

Strategy: the parent has the listening socket, and every worker is a fork of it, made before there
is an event loop or a thread. The first worker starts alone, so that what keeps a node from starting
is said once. A worker that dies is replaced; the others go on with its streams. Signals go to the
parent, which passes them on: workers are in sessions of their own, so that Ctrl-C reaches each
once, and a terminal that is closed stops none. A worker never comes back out of `Workers`: what is
around it is the parent's to undo.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import structlog

from holdfast import errors

QUICK_SECONDS = 5.0
"""A worker that ends sooner has not served; the next one waits for `PAUSE_SECONDS`."""

LOOK_SECONDS = 0.05
"""Between two looks for workers that have ended; a signal waits as long at most."""

PAUSE_SECONDS = 1.0

QUICK_ENDS = 5
"""So many in a row, and the parent gives up."""

FAILED = 1
"""The exit code of a worker that has told why, and of the parent."""

_PR_SET_PDEATHSIG = 1  # prctl(2)

Work = Callable[[int, Callable[[], None] | None], int]
"""What the worker of this number does; its exit code. The first one gets what it is to call once it
serves."""

_log = structlog.get_logger("holdfast")


def die_with_parent(parent: int) -> None:
    """Has the kernel end this process when the one that started it is gone. Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it went before it was asked for
            os._exit(FAILED)


def unwind_at_signals() -> None:
    """Until `Workers.run` takes them, a signal that would end this process undoes first what it
    has begun. And children can be waited for, whatever who started it thinks of his own."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in _stopping():
        signal.signal(number, _unwind)


def _ended_child() -> tuple[int, int]:
    """The next that has ended, and how. It is looked for again and again: a signal that comes just
    before a wait without end would be handled after it."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            return pid, status
        time.sleep(LOOK_SECONDS)


def _unwind(number: int, frame: FrameType | None) -> None:
    for one in _stopping():
        signal.signal(one, signal.SIG_IGN)  # to undo takes a moment, and is not to be cut short
    raise SystemExit(128 + number)  # what shells give for it


def _stopping() -> list[signal.Signals]:
    """The signals that end a server. `nohup` has one of them ignored, and that holds."""
    held = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if held else [signal.SIGHUP])]


class Workers:
    """`run` returns when all have ended, with the exit code. `needed` is a process of the parent's
    without which they are of no use; `lost` is how it ended, if it did. `stopping` is called when a
    signal comes that ends them."""

    def __init__(
        self,
        count: int,
        work: Work,
        *,
        needed: int | None = None,
        stopping: Callable[[], None] = lambda: None,
    ) -> None:
        self._count, self._work, self._needed = count, work, needed
        self._running: dict[int, tuple[int, float]] = {}  # by pid: number, since when
        self._on_stop = stopping
        self._signals = _stopping()
        self._stopping = False
        self._quick = self._code = 0
        self._why: str | None = None
        self.lost: int | None = None

    def run(self) -> int:
        """Raises `errors.HoldfastError` where workers cannot be kept running."""
        for number in self._signals:
            signal.signal(number, self._stop)
        self._first()
        while not self._stopping and len(self._running) < self._count:
            self._start(len(self._running))
        while self._running:
            pid, status = _ended_child()
            code = os.waitstatus_to_exitcode(status)
            if pid in self._running:
                self._ended(pid, code)
            elif pid == self._needed:
                self.lost, self._code = code, FAILED
                self._stop_all(signal.SIGTERM, signal.SIGINT)  # two hurry: nothing can be finished
        if self._why is not None:
            raise errors.HoldfastError(self._why)
        return self._code

    def _first(self) -> None:
        """Starts the first, and waits until it serves or has ended."""
        reading, writing = os.pipe()

        def serves() -> None:
            os.write(writing, b"1")
            os.close(writing)
            os.close(reading)

        self._start(0, serves)
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            if not told.read(1) and not self._stopping:
                self._stopping, self._code = True, FAILED

    def _start(self, number: int, serves: Callable[[], None] | None = None) -> None:
        parent = os.getpid()
        # A signal is for the parent when it knows its child, and for a child that is none any more.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        try:
            if self._stopping:
                return
            pid = os.fork()
            if not pid:
                self._be_worker(parent, before, number, serves)
            self._running[pid] = (number, time.monotonic())
        except OSError as error:
            self._give_up(f"A worker cannot be started: {error.strerror}.")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _be_worker(
        self,
        parent: int,
        mask: set[int | signal.Signals],
        number: int,
        serves: Callable[[], None] | None,
    ) -> NoReturn:
        code: object = FAILED
        try:
            os.setsid()
            for one in self._signals:
                signal.signal(one, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            die_with_parent(parent)
            code = self._work(number, serves)
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            _log.critical("worker_failed", trace=errors.trace(error))
        finally:
            os._exit(code if isinstance(code, int) else FAILED)

    def _ended(self, pid: int, code: int) -> None:
        """One is gone; another takes its place, unless all are to go."""
        number, since = self._running.pop(pid)
        if self._stopping and code in (0, -signal.SIGTERM, -signal.SIGINT):
            return  # the signal may come before it serves, or after
        if not self._stopping or code != FAILED:
            with contextlib.suppress(OSError):  # nobody reads it, which is no reason to end
                _log.error("worker_ended", worker=number, pid=pid, code=code)
        if self._stopping:
            self._code = FAILED
            return
        quick = time.monotonic() - since < QUICK_SECONDS
        self._quick = self._quick + 1 if quick else 0
        if self._quick >= QUICK_ENDS:
            self._give_up(f"Workers end as soon as they begin, the last one with code {code}.")
            return
        if quick:
            time.sleep(PAUSE_SECONDS)
        self._start(number)

    def _give_up(self, why: str) -> None:
        self._why = why
        self._stop_all(signal.SIGTERM)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Passes a signal on; a second one reaches them too, and hurries them."""
        self._stop_all(signal.SIGTERM)

    def _stop_all(self, *how: signal.Signals) -> None:
        self._stopping = True
        self._on_stop()
        for pid in self._running:
            for number in how:
                with contextlib.suppress(ProcessLookupError):  # it was waited for a moment ago
                    os.kill(pid, number)
