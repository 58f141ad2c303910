"""`http.signals`: a signal is heard beside the handler that a server has set, and only meanwhile.

Strategy: real signals to this process; the handler of the "server" is the test's, and what was
there before is put back.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from holdfast.http import signals

TERM = signal.SIGTERM


class Server:
    """Whoever has a handler for signals; it says how many came."""

    def __init__(self) -> None:
        self.came = 0

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.came += 1


@pytest.fixture
def server() -> Iterator[Server]:
    made, before = Server(), signal.getsignal(TERM)
    signal.signal(TERM, made.handle)
    yield made
    signal.signal(TERM, before)


async def test_it_is_told_and_the_server_is_too(server: Server) -> None:
    told = asyncio.Event()
    with signals.heard(told.set):
        signal.raise_signal(TERM)
        assert server.came == 1
        await told.wait()
    assert signal.getsignal(TERM) == server.handle


async def test_two_are_told_each() -> None:
    told: list[str] = []
    server = Server()
    before = signal.signal(TERM, server.handle)
    try:
        with signals.heard(lambda: told.append("a")), signals.heard(lambda: told.append("b")):
            signal.raise_signal(TERM)
            await asyncio.sleep(0)
        assert (sorted(told), server.came) == (["a", "b"], 1)
    finally:
        signal.signal(TERM, before)


async def test_what_was_put_over_it_stays_and_may_still_call_it(server: Server) -> None:
    told: list[str] = []
    with signals.heard(lambda: told.append("x")):
        below = signal.getsignal(TERM)
        assert callable(below)

        def over(number: int, frame: FrameType | None) -> None:
            below(number, frame)

        signal.signal(TERM, over)
    assert signal.getsignal(TERM) is over
    signal.raise_signal(TERM)
    await asyncio.sleep(0)
    assert (told, server.came) == ([], 1)


async def test_a_signal_that_nobody_handles_stays_so(server: Server) -> None:
    signal.signal(TERM, signal.SIG_DFL)
    with signals.heard(lambda: None):
        assert signal.getsignal(TERM) == signal.SIG_DFL


async def test_off_the_main_thread_nothing_is_heard(server: Server) -> None:
    async def elsewhere() -> object:
        with signals.heard(lambda: None):
            return signal.getsignal(TERM)

    assert await asyncio.to_thread(asyncio.run, elsewhere()) == server.handle
