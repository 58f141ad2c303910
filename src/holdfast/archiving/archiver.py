"""Writes what has ended into the archive, and tells the log that it may let go.

Strategy: the log itself remembers what is to be archived, so nothing waits in this process but what
is being written: an archive that is away for an hour costs the log's memory, no node's. Each answer
of the log's and of the archive's takes a turn of a loop that may be busy, and where it is, many
streams end; so short ones, which most are, are read together and written together. A stream is
acknowledged once the archive has it whole; a node that dies in between leaves it to be written
again, by any node, which changes nothing. What is destroyed in the log while it is brought to the
archive is destroyed there too, before anything else is brought there. One whose end a failover lost
is left until it has ended again. An archive that fails is given less at once, and what fails alone
has its turn after all others. Of what has waited for long each node takes some at random, so that
many work off a backlog together. Nothing that is written or read waits for this.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence

import structlog

from holdfast import errors, events, supervisor
from holdfast.archive import attempts, records
from holdfast.archive import base as archive_base
from holdfast.archiving import behind
from holdfast.eventlog import base

AT_ONCE = 32
"""Streams that are asked for together; short ones are archived together too, others one after the
other."""

AMONG = 8 * AT_ONCE
"""The oldest streams, of which some are taken."""

SHORT_PAGES = 4
"""Pages of a short stream at most: 1,024 events, 256 KiB. All that are held at once are 8 MiB."""

EVERY = 1.0
"""Seconds between two looks, where the last one found no more."""

SETTLED_MS = 3_000
"""An end that is younger is left alone: a failover may lose it yet, and the archive never would."""

AGAIN_LAST = 5.0
"""Seconds after a failure before the next try: doubled from `EVERY` up to this. A try is one call,
and what ends meanwhile takes the longer to be written."""

MAX_KNOWN = 10_000
"""Streams that cannot be archived, or not yet, which are remembered so that each is told once and
none holds up others."""

UNREADABLE = (errors.LogCorrupt, errors.UnknownPosition, errors.StreamNotFound)
"""What a log says of a stream that is not whole, or not any more."""

_log = structlog.get_logger("holdfast")


class Archiver:
    """`run` is the one task. `kept` counts the streams that were archived by it."""

    def __init__(
        self, log: base.EventLog, endings: base.Endings, archive: archive_base.Archive
    ) -> None:
        self._log, self._endings, self._archive = log, endings, archive
        self._random = random.Random()
        self._refused: dict[events.StreamId, None] = {}
        self._open: dict[events.StreamId, None] = {}
        """What is said to have ended and is under way: a failover lost its end."""
        self._brought: dict[events.StreamId, int] = {}
        """What was new to the archive, of one round, and when it was there (ms), until it is known
        that nobody destroyed it meanwhile."""
        self._failed: dict[events.StreamId, None] = {}
        """What the archive did not take alone, who failed last at the end."""
        self._most = AT_ONCE
        """Streams that the archive is given together, by what it took lately."""
        self._tasks = supervisor.Supervisor(lambda why: None)  # jobs alone, each of them awaited
        self.kept = 0
        self.failure: str | None = None
        """Why the archive is behind; None while it takes what comes."""
        self.oldest: int | None = None
        """When what waits for the longest ended, in ms since 1970; None where nothing waits."""

    async def run(self) -> None:
        """Never returns."""
        try:
            await self._run()
        finally:
            await self._tasks.close()

    async def _run(self) -> None:
        pause = EVERY
        while True:
            try:
                more = await self.round()
            except (errors.LogError, errors.ArchiveUnavailable) as error:
                if self.failure is None:
                    _log.error("archive_behind", error=error.message)
                self.failure = error.message
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN_LAST)
                continue
            if self.failure is not None:
                self.failure, pause = None, EVERY
                _log.info("archive_recovered")
            if not more:
                await asyncio.sleep(EVERY)

    async def round(self) -> bool:
        """Archives some streams; whether there are more. Raises `errors.LogError`,
        `ArchiveUnavailable`."""
        await self._destroy()
        await self._look_at_open()
        known = self._refused | self._open
        found = await self._endings.ended(AMONG + len(known) + len(self._failed))
        some = [one for one in found if one.stream not in known]
        self.oldest = min((one.ended_at for one in some), default=None)
        now = events.now_ms()
        # A time to come is another clock's: it says nothing.
        settled = [one.stream for one in some if not 0 <= now - one.ended_at < SETTLED_MS]
        streams = self._chosen(settled)
        try:
            await self._archive_all(streams)
        except errors.ArchiveUnavailable:
            self._failed_at(streams)
            raise
        if streams and streams[0] in self._failed:
            self._failed.clear()  # the archive is back, and takes most of them together
        self._most = min(AT_ONCE, self._most + 1)
        return len(settled) > len(streams) or len(settled) >= AT_ONCE

    def _chosen(self, settled: Sequence[events.StreamId]) -> list[events.StreamId]:
        """What is to be archived together now."""
        fresh = [stream for stream in settled if stream not in self._failed]
        if fresh:
            return self._random.sample(fresh, min(len(fresh), self._most))
        some = set(settled)
        return [stream for stream in self._failed if stream in some][:1]

    async def _archive_all(self, streams: Sequence[events.StreamId]) -> None:
        short = await self._archive_short(streams)
        for stream in streams:
            if stream not in short:
                await self._archive_one(stream)

    def _failed_at(self, streams: Sequence[events.StreamId]) -> None:
        if len(streams) > 1:
            self._most = len(streams) // 2
            return
        for stream in streams:
            self._failed.pop(stream, None)
            _remember(self._failed, stream)

    async def _look_at_open(self) -> None:
        """Those that have ended by now, or are gone, have their turn again."""
        some = list(self._open)
        for stream, head in zip(some, await self._log.heads(some), strict=True):
            if head is None or head.closed:
                self._open.pop(stream)

    async def _archive_short(self, some: Sequence[events.StreamId]) -> set[events.StreamId]:
        """Archives those of them that are short, and as they should be; which these were."""
        jobs = [self._tasks.job(self._read(stream), f"archive {stream}") for stream in some]
        read = await asyncio.gather(*jobs, return_exceptions=True)
        for one in read:
            if isinstance(one, BaseException):
                raise one
        found = [one for one in read if isinstance(one, records.Finished)]
        streams = [one.info.stream for one in found]
        if found:
            try:
                new = await self._archive.keep_all(found)
            except ValueError:
                return set()  # each for itself tells which of them it is
            self.kept += len(new)
            await self._are_brought(new)
            await self._endings.acknowledge(streams)
        return set(streams)

    async def _read(self, stream: events.StreamId) -> records.Finished | None:
        """A short stream; None where there is more to it."""
        told, found = attempts.Attempts(), list[events.Event]()
        position, more = events.BEGIN, True
        try:
            info = await self._log.stat(stream)
            if not isinstance(info, base.Info) or not info.head.closed:
                return None
            for _ in range(SHORT_PAGES):
                page = await self._log.read(stream, position)
                found += page.events
                position, more = page.position, page.more
                if not more:
                    break
            else:
                return None
            for event in found:
                told.add(event)
            return records.finished(info, told.found, found)
        except (*UNREADABLE, ValueError):
            return None

    async def _archive_one(self, stream: events.StreamId) -> None:
        info = None
        try:
            info = await self._log.stat(stream)
            if isinstance(info, base.Info):
                if not info.head.closed:
                    _remember(self._open, stream)
                    return
                told = attempts.Attempts()
                pages = told.pages(self._pages(stream))
                if await self._archive.keep(info, told.found, pages):
                    self.kept += 1
                    await self._are_brought([stream])
        except (*UNREADABLE, ValueError) as error:
            if not await self._has_changed(stream, info):
                self._refuse(stream, error)
            return
        if info is None and not await self._is_kept(stream):
            _log.error("stream_lost", stream=stream)  # with all that the log had of it
        await self._endings.acknowledge([stream])

    async def _are_brought(self, streams: Iterable[events.StreamId]) -> None:
        self._brought.update(dict.fromkeys(streams, events.now_ms()))
        await self._destroy()

    async def _destroy(self) -> None:
        """What was destroyed in the log while it was brought to the archive. What the log has let
        go later is another's who keeps it: another node may have acknowledged it."""
        if not self._brought:
            return
        for stream, head in zip(
            list(self._brought), await self._log.heads(list(self._brought)), strict=True
        ):
            stone = await behind.tombstone(self._log, stream) if head is None else None
            if stone is not None and stone.expired_at <= self._brought[stream]:
                await self._archive.shred(stream)
            del self._brought[stream]

    async def _is_kept(self, stream: events.StreamId) -> bool:
        try:
            return await self._archive.stat(stream) is not None
        except errors.LogCorrupt:
            return True  # which cannot be read

    async def _has_changed(
        self, stream: events.StreamId, seen: base.Info | base.Tombstone | None
    ) -> bool:
        """As in a failover: then it is looked at again."""
        try:
            return await self._log.stat(stream) != seen
        except errors.LogCorrupt:
            return False

    async def _pages(self, stream: events.StreamId) -> AsyncIterator[Sequence[events.Event]]:
        position, more = events.BEGIN, True
        while more:
            page = await self._log.read(stream, position)
            yield page.events
            await asyncio.sleep(0)  # a long answer must not hold up the others
            position, more = page.position, page.more

    def _refuse(self, stream: events.StreamId, error: Exception) -> None:
        """It stays in the log, for people to look at."""
        _remember(self._refused, stream)
        said = error.message if isinstance(error, errors.HoldfastError) else type(error).__name__
        _log.error("stream_not_archived", stream=stream, error=said)


def _remember(table: dict[events.StreamId, None], stream: events.StreamId) -> None:
    table[stream] = None
    if len(table) > MAX_KNOWN:
        del table[next(iter(table))]
