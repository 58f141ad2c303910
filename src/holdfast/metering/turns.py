"""Turns at what a node does for few at a time, so that no tenant makes the others wait.

Strategy: a tenant's wishes stand in a queue of its own, and only the first of each queue, or the
first few, stand in the common one; so whoever asks once waits for so many of each other tenant. A
queue is bounded, as nobody would wait for what is far behind in it; only who has waited for long
already, and is counted elsewhere, is never sent away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from holdfast import errors

MAX_WAITING = 256
"""Wishes of one tenant that wait or have their turn."""


class Turns:
    """`at_once` have their turn at a time, `each` of one tenant."""

    def __init__(self, at_once: int, each: int = 1) -> None:
        self._at_once, self._each = asyncio.Semaphore(at_once), each
        self._queues: dict[str, asyncio.Semaphore] = {}
        self._waiting = Counter[str]()

    @contextlib.asynccontextmanager
    async def one(self, tenant: str | None, *, counted: bool = False) -> AsyncIterator[None]:
        """Lets the block run when it is this tenant's turn; at once for None, who is the embedder.
        Raises `errors.Overloaded` where too many of its wishes wait, unless something else bounds
        these (`counted`)."""
        if tenant is None:
            yield
            return
        if self._waiting[tenant] >= MAX_WAITING and not counted:
            raise errors.Overloaded("Too many of your requests wait for whole answers.")
        self._waiting[tenant] += 1
        try:
            mine = self._queues.setdefault(tenant, asyncio.Semaphore(self._each))
            async with mine, self._at_once:
                yield
        finally:
            self._waiting[tenant] -= 1
            if not self._waiting[tenant]:
                del self._waiting[tenant], self._queues[tenant]
