"""What is written of a stream, read back from the log.

Strategy: one pass over the pages from the first event, for who takes a stream over and for who
continues an answer. Only what is in the log counts: it is what readers have. The text is kept as
pieces until it is asked for.
"""

from __future__ import annotations

import asyncio

from holdfast import events
from holdfast.eventlog import base, reader
from holdfast.producing import replay, tally


class Reread:
    """`tally` is the sum of all events; `text` and `told` are of what came since the last rewind:
    the content of choice 0, and what an answer that is told again must begin with."""

    def __init__(self) -> None:
        self.tally = tally.Tally()
        self._forget()

    def _forget(self) -> None:
        self._telling = replay.Reading()
        self._pieces: list[str] = []

    def add(self, event: events.Event) -> None:
        body = event.body
        self.tally.add(body)
        self.tally.stored += len(event.data)
        if isinstance(body, events.Rewind):
            self._forget()
            return
        self._telling.add(body)
        if isinstance(body, events.Chunk) and body.type == "content" and not body.choice:
            self._pieces.append(body.delta)

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def told(self) -> replay.Written:
        return self._telling.written


async def reread(log: base.EventLog, stream: events.StreamId) -> Reread:
    """Raises what the log's `read` raises."""
    found = Reread()
    source, position, more = reader.LogSource(log, stream), events.BEGIN, True
    while more:
        page = await source.read(position)
        for event in page.events:
            found.add(event)
        position, more = page.position, page.more
        await asyncio.sleep(0)  # a long answer must not hold up the others
    return found
