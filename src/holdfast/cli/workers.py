"""Several processes that serve one port: their parent, which does nothing else.

Strategy: the parent has the listening socket, and every worker is a fork of it, made before there
is an event loop or a thread. The first worker starts alone, so that what keeps a node from starting
is said once. A worker that dies is replaced; the others go on with its streams. Signals go to the
parent, which passes them on: workers are in groups of their own, so that Ctrl-C reaches each once.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

import structlog

QUICK_SECONDS = 5.0
"""A worker that ends sooner has not served; the next one waits for a second."""

QUICK_ENDS = 5
"""So many in a row, and the parent gives up."""

_PR_SET_PDEATHSIG = 1  # prctl(2)

Work = Callable[[Callable[[], None] | None], int]
"""What a worker does; its exit code. The first one gets what it is to call once it serves."""

_log = structlog.get_logger("holdfast")


def die_with_parent() -> None:
    """Has the kernel end this process when the one that started it is gone. Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Workers:
    """`run` returns when all have ended, with the exit code."""

    def __init__(self, count: int, work: Work) -> None:
        self._count, self._work = count, work
        self._running: dict[int, tuple[int, float]] = {}  # by pid: number, since when
        self._stopping = False
        self._quick = 0

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        code = self._first()
        while not self._stopping and len(self._running) < self._count:
            self._start(len(self._running))
        while self._running:
            pid, status = os.wait()
            code = self._ended(pid, os.waitstatus_to_exitcode(status)) or code
        return code

    def _first(self) -> int:
        """Starts the first, and waits until it serves or has ended."""
        reading, writing = os.pipe()
        self._start(0, lambda: _tell(writing))
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            serves = told.read(1)
        if not serves:
            self._stopping = True
        return 0

    def _start(self, number: int, serves: Callable[[], None] | None = None) -> None:
        pid = os.fork()
        if pid:
            self._running[pid] = (number, time.monotonic())
            if self._stopping:  # the signal came before it was there
                os.kill(pid, signal.SIGTERM)
            return
        code = 1
        try:
            os.setpgid(0, 0)
            for signal_number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signal_number, signal.SIG_DFL)
            die_with_parent()
            code = self._work(serves)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _ended(self, pid: int, code: int) -> int:
        """One is gone; the exit code that follows from it, 0 where it is replaced."""
        number, since = self._running.pop(pid, (0, 0.0))
        if self._stopping:
            return code
        _log.error("worker_ended", worker=number, pid=pid, code=code)
        quick = time.monotonic() - since < QUICK_SECONDS
        self._quick = self._quick + 1 if quick else 0
        if self._quick >= QUICK_ENDS:
            self._stop(signal.SIGTERM, None)
            return code or 1
        if quick:
            time.sleep(1.0)
        self._start(number)
        return 0

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Passes a signal on; a second one reaches them too, and hurries them."""
        self._stopping = True
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)


def _tell(pipe: int) -> None:
    os.write(pipe, b"1")
    os.close(pipe)
