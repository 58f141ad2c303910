"""A log with an archive behind it: what has left the log is read from the archive.

Strategy: the log is asked first, and the archive only for what it does not have, so what is under
way never waits for it. Both answer with the same values and the same positions, so a reader notices
nothing; a log that has let a stream go says so, and the archive may know better. An archive that
cannot be reached is a log that cannot be read, for a while.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from holdfast import errors, events, storage
from holdfast.archive import base as archive_base
from holdfast.eventlog import base, counters


class ArchivedLog:
    """The contract of a log. What changes streams is the log's own, but for what destroys them; so
    is all about keys, as the archive has its own."""

    def __init__(self, log: base.EventLog, archive: archive_base.Archive) -> None:
        self._log, self._archive = log, archive
        self.append, self.claim, self.orphans = log.append, log.claim, log.orphans
        self.request_cancel, self.expire = log.request_cancel, log.expire
        self.watch, self.watch_cancels, self.glance = log.watch, log.watch_cancels, log.glance
        self.start, self.close, self.until_ended = log.start, log.close, log.until_ended
        self.reseal, self.wrapped_by = log.reseal, log.wrapped_by
        self.guards, self.drop_guard = log.guards, log.drop_guard

    @property
    def secret(self) -> bytes:
        """Ids tell by it whose they are: what is archived outlives a log that has lost all."""
        return self._archive.secret if self._archive.shared else self._log.secret

    @property
    def counters(self) -> counters.Counters | None:
        return self._log.counters

    @property
    def forgets(self) -> bool:
        return self._log.forgets

    @property
    def nodes(self) -> base.Nodes | None:
        return self._log.nodes

    @property
    def endings(self) -> base.Endings | None:
        return self._log.endings

    async def create(
        self,
        stream: events.StreamId,
        header: base.Header,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> base.Life | base.Exists:
        try:
            return await self._log.create(stream, header, drafts, ts)
        except errors.StreamExpired:
            with _readable():
                found = await self._archive.stat(stream)
            if isinstance(found, base.Info):
                return base.Exists(found.header)
            raise

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        try:
            return await self._log.read(stream, after, limit)
        except errors.StreamNotFound:
            with _readable():
                return await self._archive.read(stream, after, limit)

    async def heads(self, streams: Sequence[events.StreamId]) -> list[base.Head | None]:
        found = await self._log.heads(streams)
        missing = [one for one, head in zip(streams, found, strict=True) if head is None]
        if not missing:
            return found
        with _readable():
            there = iter(await self._archive.heads(missing))
        return [next(there) if head is None else head for head in found]

    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        found = await self._log.stat(stream)
        if isinstance(found, base.Info):
            return found
        with _readable():
            kept = await self._archive.stat(stream)
        return found if found and not isinstance(kept, base.Info) else kept

    async def shred(self, stream: events.StreamId) -> bool:
        with _readable():
            return await shred(self._log, self._archive, stream)

    async def find(self, query: base.Query) -> list[base.Info]:
        # In that order: what leaves the log meanwhile is found twice, and never missed.
        live = await self._log.find(query)
        with _readable():
            kept = await self._archive.find(query)
        return storage.newest((*kept, *live), query.limit)


async def shred(log: base.EventLog, archive: archive_base.Archive, stream: events.StreamId) -> bool:
    """In both; whether it was in one of them. The log comes first, as what it does not have any
    more nobody reads to archive it; and whoever has read it before finds that the archive does not
    take it any more. So it is also where an earlier call has failed in between. False too where the
    log has it again when the archive has answered, as a failover may give back what was destroyed:
    ask again."""
    gone = await log.shred(stream)
    gone_before = not gone and await tombstone(log, stream) is not None
    gone = await archive.shred(stream, keep_out=gone or gone_before) or gone
    (head,) = await log.heads([stream])
    return gone and head is None


async def tombstone(log: base.EventLog, stream: events.StreamId) -> base.Tombstone | None:
    """Of a stream that the log has let go. Opens no header of one that is there."""
    (head,) = await log.heads([stream])
    if head is not None:
        return None
    try:
        found = await log.stat(stream)
    except errors.LogCorrupt:
        return None  # it came back, or was never whole
    return found if isinstance(found, base.Tombstone) else None


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Around the archive's answers."""
    try:
        yield
    except errors.ArchiveUnavailable as error:
        raise errors.LogUnavailable(error.message) from error
