"""A log that fails, or takes its time, when a test says so.

Strategy: the memory log, with what it is to raise set from outside, for reading and for writing
apart, and a gate that holds up what it makes. Nothing of what was acknowledged is lost meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast import errors, events
from holdfast.eventlog import base, memory


class FailingLog(memory.MemoryLog):
    """A log that fails: `writing` and `reading` are what it fails with. It makes no stream while
    `gate` is there and not set; `asked` counts those that it was to make."""

    writing: errors.HoldfastError | None = None
    reading: errors.HoldfastError | None = None
    gate: asyncio.Event | None = None
    asked = 0

    def _refuse_if(self, failure: errors.HoldfastError | None) -> None:
        if failure is not None:
            raise type(failure)(failure.message)

    async def create(self, *made: Any, **of: Any) -> base.Life | base.Exists:
        self._refuse_if(self.writing)
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        return await super().create(*made, **of)

    async def append(self, tick: base.Tick) -> list[base.Result]:
        self._refuse_if(self.writing)
        return await super().append(tick)

    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        self._refuse_if(self.reading)
        return await super().stat(stream)

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        self._refuse_if(self.reading)
        return await super().read(stream, after, limit)
