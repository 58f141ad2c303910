"""A log that fails when a test says so.

Strategy: the memory log, with what it is to raise set from outside, for reading and for writing
apart. Nothing of what was acknowledged is lost meanwhile.
"""

from __future__ import annotations

from holdfast import errors, events
from holdfast.eventlog import base, memory


class FailingLog(memory.MemoryLog):
    """A log that fails: `writing` and `reading` are what it fails with."""

    writing: errors.HoldfastError | None = None
    reading: errors.HoldfastError | None = None

    def _refuse_if(self, failure: errors.HoldfastError | None) -> None:
        if failure is not None:
            raise type(failure)(failure.message)

    async def create(
        self,
        stream: events.StreamId,
        header: base.Header,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> base.Life | base.Exists:
        self._refuse_if(self.writing)
        return await super().create(stream, header, drafts, ts)

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
