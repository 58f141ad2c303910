"""An attempt whose provider is played by the test, on simulated time."""

from __future__ import annotations

import asyncio

from tests.unit.producing import scripted

from holdfast import errors, events
from holdfast.producing import attempt
from holdfast.testing import simulated

CUT = errors.Truncated("The connection closed in the middle of the response's body.")
STREAM = events.StreamId("s" * 26)
HELLO = scripted.content("Hello")


class Call:
    """An attempt under way."""

    def __init__(self, provider: scripted.Provider | None = None) -> None:
        self.provider = provider or scripted.Provider()
        self.said: list[list[events.Body]] = []
        self.attempt = attempt.Attempt(
            self.provider,
            scripted.WANTED,
            scripted.CALL,
            scripted.DEADLINES,
            self.said.append,
            STREAM,
        )
        self.task: asyncio.Task[errors.HoldfastError | None] | None = None

    async def begin(self) -> scripted.Exchange:
        """Runs it until it waits."""
        self.task = asyncio.create_task(self.attempt.run())
        await simulated.idle()
        return self.provider.exchange

    async def outcome(self) -> errors.HoldfastError | None:
        """How it ended; fails where it has not."""
        await simulated.idle()
        assert self.task is not None
        assert self.task.done(), "the attempt goes on"
        return await self.task

    async def failure(self) -> tuple[type[errors.HoldfastError], str]:
        error = await self.outcome()
        assert error is not None
        return type(error), error.message

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()

    async def sweep(self, after: float) -> None:
        """Lets so many seconds pass and looks at the deadlines."""
        await asyncio.sleep(after)
        self.attempt.sweep(simulated.now())
        await simulated.idle()
