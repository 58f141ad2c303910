"""Ctrl-C at the moment when the main thread waits for a step.

Strategy: nobody sleeps for a guessed time. A thread looks at the main thread's stack until it
stands in the wait, and sends the signal then, to the process, as a terminal does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


def _waits() -> bool:
    """Whether the main thread stands in a lock's wait below `Step.wait`."""
    frame: FrameType | None = sys._current_frames()[threading.main_thread().ident or 0]
    names = []
    while frame is not None:
        names.append((os.path.basename(frame.f_code.co_filename), frame.f_code.co_name))
        frame = frame.f_back
    return names[0] == ("threading.py", "wait") and ("background.py", "wait") in names


@contextlib.contextmanager
def interrupted(
    begun: threading.Event | None = None, by: signal.Signals = signal.SIGINT
) -> Iterator[None]:
    """The first wait for a step in this block is interrupted, once `begun` is set."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.001):
            if (begun is None or begun.is_set()) and _waits():
                os.kill(os.getpid(), by)
                return

    thread = threading.Thread(target=send, name="interrupting")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
