"""The one thread that writes the log file.

Strategy: the event loop puts entries and jobs into a queue and goes on. The thread takes all
that waits, makes the operations durable as one row, and hands them back to the loop with one
call, in the order in which they became durable; only there they change what can be seen. Jobs
are all else: records, checkpoints, expiry, counters. They run in their order, a slice between
two rows, each slice in one transaction, so that they neither delay nor endanger an append.

A stream's codec packs what an entry says, on the loop, as the entry is made.

What fails is handed back too and changes nothing. A job that must be done is tried again
after the next entry or job; one that somebody waits for is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from holdfast import errors, events
from holdfast.eventlog import base
from holdfast.eventlog.sqlite import file, redo, replay, schema, seals
from holdfast.sealing import sealer

ENTRY_BYTES = 1024
"""What an entry counts beside its data, so that the number of those that wait is bounded."""

SLICE_BYTES = 256 * 1024
"""Jobs go into one transaction until their cost reaches this many bytes."""


class Entry:
    """An operation on its way. `cost` in bytes; `seal` is the key of a stream that is to be
    created, and `known` what the file has of it already, or why nobody can tell."""

    __slots__ = ("cost", "data", "future", "known", "operation", "seal")

    def __init__(
        self,
        operation: redo.Operation,
        future: asyncio.Future[Any],
        codecs: redo.Codecs = redo.NONE,
    ) -> None:
        self.operation = operation
        self.data = redo.encode(operation, codecs)
        self.cost = len(self.data) + ENTRY_BYTES
        self.future = future
        self.known: base.Header | base.Tombstone | errors.LogCorrupt | None = None
        self.seal = _seal(operation, codecs) if isinstance(operation, redo.Create) else None


def _seal(made: redo.Create, codecs: redo.Codecs) -> seals.Seal | None:
    by = codecs.get(made.stream)
    if by is None or by.wrapped is None:
        return None
    return seals.Seal(made.stream, made.header.owner, made.header.created_at, by.wrapped)


Failed = Callable[[errors.LogError], None]


class Job(msgspec.Struct, frozen=True, eq=False):
    """Housekeeping: `work` runs in the thread, `done` takes what it gave on the loop. `cost`
    in bytes. With `failed`, somebody waits for it; one that is `bare` has it, and is outside of
    any transaction."""

    work: Callable[[file.File], Any]
    done: Callable[[Any], None]
    cost: int = 0
    failed: Failed | None = None
    bare: bool = False


class Owner(Protocol):
    """Whom the thread tells what happened; all of it is called on the event loop."""

    def loaded(self, loaded: replay.Loaded) -> None: ...
    def committed(self, entries: Sequence[Entry], row: int, size: int) -> None: ...
    def refused(self, entries: Sequence[Entry], error: errors.LogError) -> None: ...
    def kept(self, done: Sequence[tuple[Job, Any]]) -> None: ...
    def not_kept(self, given_up: Sequence[Failed], error: errors.LogError) -> None: ...
    def ended(self, failure: BaseException | None) -> None: ...


class Writer(threading.Thread):
    """Opens the file, works until `stop`, and closes it."""

    def __init__(
        self,
        path: Path,
        durability: schema.Durability,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        by: sealer.Sealer = sealer.OFF,
    ) -> None:
        super().__init__(name="holdfast-log-writer", daemon=True)
        self._path, self._durability, self._sealer = path, durability, by
        self._owner, self._loop = owner, loop
        self._queue: queue.SimpleQueue[Entry | Job | None] = queue.SimpleQueue()
        self._jobs: deque[Job] = deque()
        self._stopping = self._stuck = False

    def put(self, item: Entry | Job) -> None:
        """From the event loop; the owner bounds what waits."""
        self._queue.put(item)

    def stop(self) -> None:
        """Entries that wait become durable still; jobs do not, a start makes them anew."""
        self._queue.put(None)

    def run(self) -> None:
        failure: BaseException | None = None
        try:
            made = file.File(self._path, self._durability, self._sealer)
            with contextlib.closing(made) as opened:
                self._tell(self._owner.loaded, opened.load())
                while not self._stopping:
                    self._turn(opened)
        except BaseException as error:
            failure = error
        self._tell(self._owner.ended, failure)

    def _turn(self, opened: file.File) -> None:
        entries = self._take()
        if entries:
            self._commit(opened, entries)
        if self._jobs and not self._stopping:
            self._keep(opened)

    def _take(self) -> list[Entry]:
        """All that waits; waits itself where there is nothing else to do."""
        entries: list[Entry] = []
        try:
            item = self._queue.get(block=not self._jobs or self._stuck)
            self._stuck = False
            while True:
                if isinstance(item, Entry):
                    entries.append(item)
                elif item is None:
                    self._stopping = True
                else:
                    self._jobs.append(item)
                item = self._queue.get_nowait()
        except queue.Empty:
            return entries

    def _commit(self, opened: file.File, entries: list[Entry]) -> None:
        row = size = 0
        try:
            for entry in entries:
                if isinstance(entry.operation, redo.Create):
                    entry.known = _known(opened, entry.operation.stream, entry.seal)
            fresh = [entry for entry in entries if entry.known is None]
            if fresh:
                made = [entry.seal for entry in fresh if entry.seal is not None]
                row, size = opened.commit([entry.data for entry in fresh], made)
        except errors.LogError as error:
            self._tell(self._owner.refused, entries, error)
        else:
            self._tell(self._owner.committed, entries, row, size)

    def _keep(self, opened: file.File) -> None:
        """Does the jobs of one slice, or a single one that somebody waits for."""
        part: list[Job] = []
        cost = 0
        while len(part) < len(self._jobs) and cost < SLICE_BYTES:
            job = self._jobs[len(part)]
            if job.failed is not None and part:
                break
            part.append(job)
            cost += SLICE_BYTES if job.failed is not None else job.cost
        bare = part[0].bare  # somebody waits for it, so it is alone
        try:
            with contextlib.nullcontext() if bare else opened.transaction():
                done = [(job, job.work(opened)) for job in part]
        except errors.LogError as error:
            if bare:  # it says nothing of what the others would meet
                self._tell(self._owner.not_kept, [self._jobs.popleft().failed], error)
                return
            self._stuck = True
            given_up = [job.failed for job in self._jobs if job.failed is not None]
            self._jobs = deque(job for job in self._jobs if job.failed is None)
            self._tell(self._owner.not_kept, given_up, error)
        else:
            for _ in part:
                self._jobs.popleft()
            self._tell(self._owner.kept, done)

    def _tell(self, call: Callable[..., None], *said: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *said)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._stopping = True


def _known(
    opened: file.File, stream: events.StreamId, seal: seals.Seal | None
) -> base.Header | base.Tombstone | errors.LogCorrupt | None:
    """One that cannot be made is refused alone, and not with all that goes into its row."""
    try:
        if seal is not None:
            opened.seals.check(seal)
        return opened.known(stream)
    except errors.LogCorrupt as error:
        return error
