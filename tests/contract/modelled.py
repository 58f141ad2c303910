"""What a log holds, as a plain list of events for each stream.

Strategy: the contract's verdicts in their simplest form, without an engine's care for space or
speed: every stream keeps its events in a Python list, and a verdict is read off that list. What
an engine chooses itself (the random part of an epoch, which of several old streams expire
first) is told to the model, which says whether the engine was free to choose so.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast import events
from holdfast.eventlog import base


class Stream:
    """One stream. `life` is the seq of the first event of its newest life."""

    def __init__(self, stream: events.StreamId, header: base.Header, life: base.Life) -> None:
        self.id, self.header, self.epoch, self.life = stream, header, life.epoch, 1
        self.events: list[events.Event] = []
        self.cancelled = False
        self.ended_at: int | None = None

    @property
    def head(self) -> base.Head:
        return base.Head(self.epoch, len(self.events), self.ended_at is not None)

    @property
    def info(self) -> base.Info:
        return base.Info(
            self.id,
            self.header,
            self.head,
            events.status_of(self.events),
            self.cancelled,
            self.ended_at,
        )

    def write(self, drafts: Sequence[events.Draft], ts: int) -> None:
        for draft in drafts:
            seq = len(self.events) + 1
            self.events.append(events.Event(draft.kind, draft.data, self.epoch, seq, ts))
            if draft.kind in events.TERMINAL:
                self.ended_at = ts
                self.header = msgspec.structs.replace(self.header, request=b"")

    def append(self, batch: base.Batch) -> base.Result:
        last, first = len(self.events), batch.last - len(batch.drafts) + 1
        if batch.epoch != self.epoch:
            return base.Fenced()
        if self.ended_at is None and first == last + 1:
            self.write(batch.drafts, batch.ts)
        elif batch.last > last:
            return base.Lost(last) if self.ended_at is None else base.Fenced()
        elif first < self.life:
            return base.Fenced()
        return base.Ok(self.cancelled)

    def claimed(self, life: base.Life, ts: int) -> None:
        """The engine began a new life; it must be the next, with its event."""
        assert life.epoch >> 16 == (self.epoch >> 16) + 1
        self.epoch, self.life = life.epoch, len(self.events) + 1
        self.write([events.draft(events.Adopted(life.epoch))], ts)
        assert life.last == len(self.events)

    def holds(self, position: events.Position) -> bool:
        return position.seq == 0 or any(event.position == position for event in self.events)


class Model:
    """All streams: those that are there, and the owners of those that have expired."""

    def __init__(self) -> None:
        self.streams: dict[events.StreamId, Stream] = {}
        self.expired: dict[events.StreamId, str] = {}
        self.orphans: set[events.StreamId] = set()

    def append(self, batch: base.Batch) -> base.Result:
        found = self.streams.get(batch.stream)
        result = base.Fenced() if found is None else found.append(batch)
        self._settle()
        return result

    def claimed(self, stream: events.StreamId, life: base.Life, ts: int) -> None:
        self.streams[stream].claimed(life, ts)
        self.orphans.discard(stream)

    def open(self, stream: events.StreamId) -> bool:
        found = self.streams.get(stream)
        return found is not None and found.ended_at is None

    def old(self, before: int) -> set[events.StreamId]:
        """Streams that ended before a time."""
        return {
            stream.id
            for stream in self.streams.values()
            if stream.ended_at is not None and stream.ended_at < before
        }

    def expire(self, stream: events.StreamId) -> None:
        self.expired[stream] = self.streams.pop(stream).header.owner

    def restarted(self) -> None:
        """A process has opened the store anew."""
        self.orphans = {stream for stream in self.streams if self.open(stream)}

    def _settle(self) -> None:
        self.orphans = {stream for stream in self.orphans if self.open(stream)}

    @property
    def newest_first(self) -> list[base.Info]:
        infos = [stream.info for stream in self.streams.values()]
        return sorted(infos, key=lambda info: (info.header.created_at, info.stream), reverse=True)

    def check_page(
        self, stream: events.StreamId, after: events.Position, limit: int, page: base.Page
    ) -> None:
        """What the engine gave after a good position: as much as it liked, up to the limit."""
        found = self.streams[stream]
        behind = found.events[after.seq :]
        count = len(page.events)
        assert list(page.events) == behind[:count]
        assert min(1, len(behind)) <= count <= limit
        assert page.position == (behind[count - 1].position if count else after)
        assert page.more == (count < len(behind))
        assert page.closed == (found.ended_at is not None and not page.more)
