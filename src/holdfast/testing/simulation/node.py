"""One life of a node: it starts, it serves, and it closes or dies.

Strategy: a node is the service and its feeds on a log of its own. Whatever runs because of a
request runs in a task that belongs to the node, as a server would have it. A node that dies is
cut off from the log first, and then all its tasks are cancelled: what they would do while they end
reaches nobody, as if they had simply stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from holdfast import service, settings
from holdfast.dialects import native
from holdfast.http import feed
from holdfast.providers import base as provider_base
from holdfast.providers import registry
from holdfast.testing.simulation import determined, faulty

T = TypeVar("T")


class Cut(Exception):
    """The node died, and with it what was asked of it."""


class Providers(registry.Registry):
    """A registry of providers that were made elsewhere."""

    def __init__(self, providers: Sequence[provider_base.Provider]) -> None:
        super().__init__()
        self._providers |= {provider.name: provider for provider in providers}


class Node:
    """`up` while it takes requests."""

    def __init__(
        self,
        shared: faulty.Shared,
        providers: Sequence[provider_base.Provider],
        config: settings.Settings,
        *,
        service_class: type[service.Service] = service.Service,
        feeds_class: type[feed.Feeds] = feed.Feeds,
        busy: float = 0.0,
    ) -> None:
        self.log = faulty.FaultyLog(shared)
        self.failures: list[str] = []
        self.service = service_class(self.log, Providers(providers), config, fatal=self._fail)
        # The wall clock and the load of the machine, which the ticker keeps for itself.
        self.service._ticker._load = determined.Load(shared.chance, busy)  # type: ignore[assignment]
        self.service._ticker._clock = determined.Clock().time
        self.feeds = feeds_class(self.log, self.service.watch)
        self.service.seal.gone.insert(0, self.feeds.forget)
        self.dialect = native.Native()
        self.up = False
        self._requests: dict[asyncio.Task[Any], None] = {}

    def _fail(self, why: str) -> None:
        if self.up:
            self.failures.append(why)

    async def start(self) -> None:
        await self.service.start()
        self.up = True

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns or raises, in a task of the node. Raises `Cut`."""
        if not self.up:
            work.close()
            raise Cut
        task = asyncio.get_running_loop().create_task(work)
        self._requests[task] = None
        try:
            await asyncio.wait((task,))
        finally:
            self._requests.pop(task, None)
            task.cancel()
        if task.cancelled():
            raise Cut
        return task.result()

    async def die(self) -> None:
        """The process ends between two steps."""
        self.up, self.log.dead = False, True
        tasks = [*self._requests, *self.service.supervisor._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.service.close()

    async def close(self, *, drain: bool = False) -> list[str]:
        """An orderly end; what the node did not give back. With `drain` what is under way has
        time to end."""
        self.up = False
        if drain:
            await self.service.drain()
        await self.service.close()
        for task in tuple(self._requests):
            await asyncio.wait((task,))
        served = self.service
        return _left(
            {
                "connections": len(served.connections),
                "feeds": len(self.feeds),
                "watched streams": len(served.watch._watched),
                "producers": len(served._writers),
                "tasks": len(served.supervisor.names),
            }
        )

    def unsaved(self) -> list[str]:
        """What is still accounted for when every stream has ended."""
        return _left({"unsaved bytes": self.service._writers.unsaved})


def _left(held: dict[str, int]) -> list[str]:
    return [f"{count} {what} not given back" for what, count in held.items() if count]
