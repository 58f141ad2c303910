"""The calls of a stream, told by its events: what goes with it into the archive.

Strategy: a fold over the events that are kept anyway, as they pass; so the rows and the events
cannot say different things. Of what providers said in words nothing is taken over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from holdfast import events
from holdfast.archive import rows


class Attempts:
    """`found` is filled while `pages` are read: both are for one `keep`."""

    def __init__(self) -> None:
        self.found: list[rows.Attempt] = []
        self._usage: events.Tokens | None = None

    async def pages(
        self, source: AsyncIterator[Sequence[events.Event]]
    ) -> AsyncIterator[Sequence[events.Event]]:
        """The same pages."""
        async for page in source:
            for event in page:
                self.add(event)
            yield page

    def add(self, event: events.Event) -> None:
        if event.kind in ("chunk", "rewind"):  # most, and they say nothing of calls
            return
        match event.body:
            case events.Start(provider=provider, model=model):
                self._begin(rows.Attempt(1, provider, model, event.ts))
            case events.Attempt() as told if told.error:
                self._end(told, event.ts)
            case events.Attempt(number=number, provider=provider, model=model, how=how):
                self._begin(rows.Attempt(number, provider, model, event.ts, how))
            case events.Usage() as usage:
                self._usage = usage.tokens
            case events.Complete():
                self._close("", event.ts)
            case events.Error(code=code):
                self._close(code, event.ts)

    def _begin(self, attempt: rows.Attempt) -> None:
        self.found.append(attempt)
        self._usage = None

    def _end(self, told: events.Attempt, ts: int) -> None:
        """One ended without the whole answer; also one whose beginning was not told."""
        last = self.found[-1] if self.found else None
        if last is None or last.number != told.number:
            begun_at = ts - told.duration_ms
            self._begin(rows.Attempt(told.number, told.provider, told.model, begun_at, told.how))
        usage = told.usage or self._usage
        self._replace(error=told.error, duration_ms=told.duration_ms, usage=usage)

    def _close(self, error: str, ts: int) -> None:
        """The stream has ended, and with it a call that is still under way."""
        if self.found and not self.found[-1].error:
            duration = max(0, ts - self.found[-1].begun_at)
            self._replace(error=error, duration_ms=duration, usage=self._usage)

    def _replace(self, **said: object) -> None:
        self.found[-1] = msgspec.structs.replace(self.found[-1], **said)
