"""The SQLite engine between a start and a close: what waits, what is written, what is seen.

Strategy: `submit` gives an operation to the writer's thread and a future to the caller. When
the thread hands it back, durable, it is applied to the streams in memory, a batch at a time with
the hints of its stream, and its caller gets the verdict, all in the order in which the file has the
operations. A stream that one of them closed becomes a job of the writer's; once its record is
written it moves from memory to the cache of finished streams.

The codecs of sealed streams lie beside the streams, from before the operation that makes one. Two
callers may make one stream: the second waits for the first, as one stream has one key.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from holdfast import errors, events
from holdfast.eventlog import base, counters, memory, streams
from holdfast.eventlog.sqlite import checkpoints, file, records, redo, replay, schema, seals, writer
from holdfast.sealing import codec, sealer, stores

WAITING_BYTES = 64 * 1024 * 1024
"""Operations that may wait for the file; one alone may be larger."""

VACUUM_BYTES = 64 * 1024 * 1024
"""A file of at most so many is vacuumed when its last plain stream is sealed: appends wait for it.
A larger one is at its next start."""

TRIES, PAUSE = 40, 0.05
"""How often, and every how many seconds, the write-ahead log is tried to be truncated."""

WAITING_CHANGES = 20 * counters.MAX_CHANGES
"""Changes of counters that may wait for the file, beside the operations."""

_log = structlog.get_logger("holdfast")


class Session:
    """Opened once and closed once. `held` are the streams in memory, `finished` the others;
    `orphans` were open when the file was opened, and nobody has claimed them since."""

    held: streams.Streams
    finished: records.Records
    _checkpoints: checkpoints.Checkpoints

    def __init__(
        self,
        path: Path,
        durability: schema.Durability,
        hints: memory.Hints,
        by: sealer.Sealer = sealer.OFF,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.secret = b""
        self.orphans: dict[events.StreamId, None] = {}
        self._path, self._hints, self._sealer = path, hints, by
        self._codecs: dict[events.StreamId, codec.Codec] = {}
        self._making: dict[events.StreamId, asyncio.Future[None]] = {}
        self._opened: asyncio.Future[replay.Loaded] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._waiters: set[asyncio.Future[Any]] = set()
        self._waiting = 0  # bytes
        self._counting = 0  # changes
        self._complained = False
        self._to_truncate = False
        self._writer = writer.Writer(path, durability, self, loop, by)

    async def open(self, checkpoint_bytes: int, cache_bytes: int) -> None:
        """Raises `errors.LogLocked`, `LogCorrupt`, `LogUnavailable`, `SettingsError`."""
        self._writer.start()
        try:
            found = await self._opened
            self.finished = records.Records(self._path, cache_bytes, self._sealer)
        except BaseException:
            self._writer.stop()
            self._writer.join()
            raise
        self.secret, self.held, self._codecs = found.secret, found.streams, found.codecs
        self._checkpoints = checkpoints.Checkpoints(checkpoint_bytes, found, self._writer.put)
        self.orphans = {stream.id: None for stream in self.held if stream.ended_at is None}
        self._settle()

    async def close(self) -> None:
        """What waits for the file is written still, or refused."""
        self._writer.stop()
        try:
            await asyncio.shield(self._ended)
        finally:
            self._writer.join()
            self.finished.close()

    async def until_ended(self) -> None:
        """Waits for the end of the writer's thread; raises `errors.LogUnavailable`."""
        await asyncio.shield(self._ended)
        raise errors.LogUnavailable(f"{self._path}: the thread that writes it has ended.")

    def submit(self, operation: redo.Operation) -> asyncio.Future[Any]:
        """Its verdict, once it is durable; raises `errors.LogUnavailable`, now or then."""
        entry = writer.Entry(operation, self._future(), self._codecs)
        if self._waiting and self._waiting + entry.cost > WAITING_BYTES:
            raise errors.LogUnavailable(f"{self._path}: {self._waiting} bytes wait to be written.")
        self._waiting += entry.cost
        self._waiters.add(entry.future)
        self._writer.put(entry)
        return entry.future

    async def create(self, made: redo.Create) -> base.Life | base.Exists:
        """Raises what `submit` raises, and `errors.StreamExpired`."""
        stream = made.stream
        while (making := self._making.get(stream)) is not None:
            await asyncio.wait([making])
        known = self.held.get(stream)
        if known is not None:
            return base.Exists(known.header)
        owner = made.header.owner
        by = self._sealer.new(stream, owner, self._sealer.current(owner))
        if by.wrapped is not None:
            self._codecs[stream] = by
        try:
            future = self.submit(made)
        except errors.LogUnavailable:
            self._codecs.pop(stream, None)
            raise
        self._making[stream] = asyncio.get_running_loop().create_future()
        outcome: base.Life | base.Exists = await future
        return outcome

    def _made(self, entry: writer.Entry) -> None:
        """The fate of a stream that was to be made is known."""
        if isinstance(entry.operation, redo.Create):
            stream = entry.operation.stream
            if self.held.get(stream) is None:
                self._codecs.pop(stream, None)
            making = self._making.pop(stream, None)
            if making is not None:
                making.set_result(None)

    def expire(self, before: int, limit: int, now: int) -> asyncio.Future[int]:
        """How many streams are gone."""
        future = self._future()
        self._waiters.add(future)
        self._writer.put(
            writer.Job(
                lambda opened: opened.expire(before, limit, now),
                functools.partial(self._expired, future),
                failed=functools.partial(self._reject, future),
            )
        )
        return future

    def _expired(
        self, future: asyncio.Future[int], found: tuple[list[events.StreamId], bool]
    ) -> None:
        gone, still_in_redo = found
        self.finished.expired(gone)
        if still_in_redo:
            self._checkpoints.begin()
        self._resolve(future, len(gone))

    async def shred(self, stream: events.StreamId, now: int) -> bool:
        """The contract's: returns once no byte of it can be read in the file."""
        found = self.held.get(stream)
        if found is not None and found.ended_at is None:
            return False
        done: seals.Shredded = await self._job(lambda opened: opened.seals.shred(stream, now))
        if done.gone:
            self._to_truncate = True
            self.finished.expired([stream])
            self._hints.wake(stream)
        if done.plain and done.in_redo:
            await self._checkpoint()
        elif done.in_redo:
            self._checkpoints.begin()
        await self._truncate()
        return done.gone

    async def reseal(self, after: str, limit: int, plain_only: bool) -> stores.Resealed:
        still = self._plain()
        step: seals.Step = await self._job(
            lambda opened: opened.seals.reseal(after, limit, still, plain_only=plain_only)
        )
        if step.in_redo:
            await self._checkpoint()
        if self._sealer.on and step.resealed.after is None:
            with contextlib.suppress(errors.LogUnavailable):  # the next one, or a start, has it
                await self._clean()
        return step.resealed

    async def wrapped_by(self) -> dict[str, int]:
        return await self.finished.wrapped_by(self._plain())

    async def drop_guard(self, key_id: str) -> None:
        if not await self._job(lambda opened: opened.seals.drop_guard(key_id)):
            raise errors.SettingsError(
                f"New streams are sealed by the key {key_id}: rotate before it is destroyed."
            )

    def _plain(self) -> list[str]:
        return [stream.id for stream in self.held if stream.id not in self._codecs]

    async def _checkpoint(self) -> None:
        """Until the redo log has nothing of what it had."""
        future = self._future()
        self._waiters.add(future)
        self._checkpoints.whole(functools.partial(self._resolve, future, None))
        await future

    async def _clean(self) -> None:
        """Behind a pass: nothing of what it has replaced is there any more."""
        vacuumed = await self._job(lambda opened: opened.vacuum(VACUUM_BYTES), bare=True)
        self._to_truncate = True
        await self._truncate()
        if vacuumed:
            await self._job(lambda opened: opened.seals.cleaned())

    async def _truncate(self) -> None:
        """Raises `errors.LogUnavailable` where somebody reads for too long; the next one tries
        again."""
        for _ in range(TRIES):
            if not self._to_truncate:
                return
            if await self._job(file.File.truncate, bare=True):
                self._to_truncate = False
                return
            await asyncio.sleep(PAUSE)
        error = schema.is_read(self._path)
        _log.error("log_housekeeping_failed", path=str(self._path), error=error)
        raise errors.LogUnavailable(error)

    def _job(self, work: Callable[[file.File], Any], *, bare: bool = False) -> asyncio.Future[Any]:
        """What it gave; raises `errors.LogUnavailable`, now or then."""
        future = self._future()
        self._waiters.add(future)
        told = functools.partial(self._resolve, future), functools.partial(self._reject, future)
        self._writer.put(writer.Job(work, told[0], failed=told[1], bare=bare))
        return future

    def count(
        self, changes: Sequence[counters.Change], now: int
    ) -> asyncio.Future[list[Mapping[int, int]]]:
        """What `counters.Counters.add` answers, once it is durable; raises
        `errors.LogUnavailable`, now or then."""
        future, size = self._future(), len(changes)
        if self._counting + size > WAITING_CHANGES:
            raise errors.LogUnavailable(
                f"{self._path}: {self._counting} changes of counters wait to be written."
            )

        def ended(tell: Callable[[asyncio.Future[Any], Any], None], what: Any) -> None:
            self._counting -= size
            tell(future, what)

        self._counting += size
        self._waiters.add(future)
        self._writer.put(
            writer.Job(
                lambda opened: opened.count(changes, now),
                functools.partial(ended, self._resolve),
                failed=functools.partial(ended, self._reject),
            )
        )
        return future

    def _future(self) -> asyncio.Future[Any]:
        if self._ended.done():
            raise errors.LogUnavailable(f"{self._path} is not open.")
        return self._ended.get_loop().create_future()

    def _resolve(self, future: asyncio.Future[Any], result: object) -> None:
        self._waiters.discard(future)
        if not future.done():
            future.set_result(result)

    def _reject(self, future: asyncio.Future[Any], error: errors.HoldfastError) -> None:
        self._waiters.discard(future)
        if not future.done():
            future.set_exception(error)

    # What the writer's thread tells, on the event loop.

    def loaded(self, found: replay.Loaded) -> None:
        if not self._opened.done():
            self._opened.set_result(found)

    def committed(self, entries: Sequence[writer.Entry], row: int, size: int) -> None:
        for entry in entries:
            self._waiting -= entry.cost
            self._show(entry)
        self._settle()
        if size:
            self._checkpoints.wrote(row, size)

    def _show(self, entry: writer.Entry) -> None:
        """Applies what is durable now, and tells its caller."""
        if isinstance(entry.known, errors.LogCorrupt):
            self._reject(entry.future, entry.known)
        elif isinstance(entry.known, base.Tombstone):
            self._reject(entry.future, errors.StreamExpired())
        elif entry.known is not None:
            self._resolve(entry.future, base.Exists(entry.known))
        elif isinstance(entry.operation, redo.Append):
            verdicts = memory.append(self.held, self._hints, entry.operation.tick)
            self._resolve(entry.future, verdicts)
        else:
            outcome = redo.apply(self.held, entry.operation)
            if isinstance(entry.operation, redo.Claim) and outcome is not None:
                self.orphans.pop(entry.operation.stream, None)
            self._hints.wake(entry.operation.stream)
            self._resolve(entry.future, outcome)
        self._made(entry)

    def _settle(self) -> None:
        """Has the records written of the streams that were closed."""
        for stream in self.held.ended:
            self.orphans.pop(stream.id, None)
            keep = functools.partial(_keep_record, stream, self._codecs.get(stream.id, codec.PLAIN))
            self._writer.put(writer.Job(keep, self._recorded, stream.size))
        self.held.ended.clear()

    def _recorded(self, stream: streams.Stream) -> None:
        self.held.drop(stream.id)
        self._codecs.pop(stream.id, None)
        self._checkpoints.forget(stream.id)
        self.finished.cache.put(stream)

    def refused(self, entries: Sequence[writer.Entry], error: errors.LogError) -> None:
        for entry in entries:
            self._waiting -= entry.cost
            self._reject(entry.future, type(error)(error.message))
            self._made(entry)

    def kept(self, done: Sequence[tuple[writer.Job, Any]]) -> None:
        self._complained = False
        for job, result in done:
            job.done(result)

    def not_kept(
        self, given_up: Sequence[Callable[[errors.LogError], None]], error: errors.LogError
    ) -> None:
        if not self._complained:
            self._complained = True
            _log.error("log_housekeeping_failed", path=str(self._path), error=error.message)
        for failed in given_up:
            failed(type(error)(error.message))

    def ended(self, failure: BaseException | None) -> None:
        why = f"{self._path} is closed." if failure is None else f"{self._path}: {failure}"
        if not self._opened.done():
            ours = isinstance(failure, errors.HoldfastError)
            error = failure if ours and failure else errors.LogUnavailable(why)
            self._opened.set_exception(error)
        elif failure is not None:
            _log.critical("log_writer_ended", path=str(self._path), trace=errors.trace(failure))
        self._ended.set_result(None)
        for making in self._making.values():
            making.set_result(None)
        self._making.clear()
        for future in list(self._waiters):
            self._reject(future, errors.LogUnavailable(why))


def _keep_record(stream: streams.Stream, by: codec.Codec, opened: file.File) -> streams.Stream:
    opened.keep_record(stream, by)
    return stream
