"""Streams that were found without a writer.

Strategy: claim the stream, ask the pure policy what is to become of it, and write what it
says in the new life. With the first cases of the policy every orphan ends; a claim that
finds the stream closed or gone has nothing to do.
"""

from __future__ import annotations

import asyncio

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.producing import fallback, ticker


class Ending:
    """A `ticker.Writer` of one terminal event."""

    due = 0.0

    def __init__(self, stream: events.StreamId, life: base.Life, terminal: events.Error) -> None:
        self._stream, self._life = stream, life
        self._draft = events.draft(terminal)
        self.settling: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, now_ms: int) -> base.Batch | None:
        last = self._life.last + 1
        return base.Batch(self._stream, self._life.epoch, last, now_ms, (self._draft,))

    def settled(self, result: base.Result) -> None:
        if not self.settling.done():
            self.settling.set_result(None)

    def stranded(self) -> None:
        """The terminal event is all there is to write; it waits for the log."""

    def failed(self, error: Exception) -> None:
        """Nothing can be written for this stream; the next start finds it again."""
        if not self.settling.done():
            self.settling.set_exception(error)


async def adopt(
    log: base.EventLog,
    tick: ticker.Ticker,
    stream: events.StreamId,
    now_ms: int,
    cause: errors.HoldfastError,
) -> bool:
    """Gives the stream a writer and an end. `cause` is why it has none. False: it needed
    none. Raises what `claim` raises."""
    life = await log.claim(stream, now_ms)
    if life is None:
        return False
    step = fallback.adopt(fallback.Written(), cause)
    ending = Ending(stream, life, events.failure(step.error))
    tick.touch(ending, urgent=True)
    await ending.settling
    return True
