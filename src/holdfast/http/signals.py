"""Word of a server's end, for an application that hears of it too late.

Strategy: a server runs an application's shutdown when its last response has ended, and an event
stream ends when the application says so: each would wait for the other. What both hear in time is
the signal. While the block lasts it is told here first, and then goes to the handler that the
server had set, whatever that does with it; signals that nobody handles are left alone. Off the main
thread, where no handler can be set, nothing is heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)
"""What servers are stopped by."""

Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def heard(tell: Callable[[], None]) -> Iterator[None]:
    """Calls `tell` in the running loop for each signal that the server is about to handle."""
    loop, before, over = asyncio.get_running_loop(), _handlers(), False

    def handle(number: int, frame: FrameType | None) -> None:
        if not over:
            loop.call_soon_threadsafe(tell)
        before[number](number, frame)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        # Somebody who has put a handler over this one may go on calling it.
        over = True
        for number, handler in before.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)


def _handlers() -> dict[int, Handler]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in ENDING}
    return {number: handler for number, handler in found.items() if callable(handler)}
