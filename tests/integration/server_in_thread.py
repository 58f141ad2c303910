"""A server in a thread of its own, for tests that block: the synchronous client, the commands.

Strategy: the harness's server, in a loop that the test does not wait in. It has ended, and its
thread too, when the block ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent import futures

import uvloop
from tests.integration import harness

from holdfast import settings


@contextlib.contextmanager
def running(config: settings.Settings | None = None) -> Iterator[harness.Running]:
    """A server that answers until the block ends."""
    ready: futures.Future[tuple[harness.Running, asyncio.AbstractEventLoop, asyncio.Event]]
    ready = futures.Future()

    async def serve() -> None:
        over = asyncio.Event()
        async with harness.running(config or harness.configured()) as found:
            ready.set_result((found, asyncio.get_running_loop(), over))
            await over.wait()

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=work, name="server under test", daemon=True)
    thread.start()
    found, loop, over = ready.result(harness.PATIENCE)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(harness.PATIENCE)
        assert not thread.is_alive()
