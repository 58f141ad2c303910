"""The Redis engine: one log for all nodes.

Strategy: a stream lies in Redis alone, so any node may read it and the next one write it; what a
node has in memory is its lease, its hints and the tails of what it writes. `writer` has the verbs
that change streams; here are opening and closing, and the verbs that look.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence

import structlog

from holdfast import errors, events, supervisor
from holdfast.eventlog import base, counters, memory, streams
from holdfast.eventlog.redis import (
    address,
    asking,
    blocks,
    counting,
    hints,
    index,
    keys,
    lease,
    lines,
    scripts,
    tails,
    writer,
)
from holdfast.sealing import sealer as sealing

VERSION = 1
"""Of the layout in Redis."""

READ_BYTES = 2 * base.PAGE_BYTES
"""Of entries that are asked for at once, a page of small events and what goes with them."""

OTHERS_MS = 60_000
"""What ended so long ago, and is not archived, its own node will not archive any more."""

_log = structlog.get_logger("holdfast")


class _Session:
    """What an open log has. `over` is done when a task has ended unasked."""

    def __init__(self, where: address.Address, seconds: float) -> None:
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.tasks = supervisor.Supervisor(self._fail)
        self.lines = lines.Lines(where, self.tasks)
        self.lease = lease.Lease(self.lines, seconds)
        self.asking: asking.Asking | None = None

    def _fail(self, why: str) -> None:
        if not self.over.done():
            self.over.set_result(why)


class RedisLog:
    """The contract on Redis 7 or Valkey, and its `endings` where streams are `archived`. `seconds`
    are those of the lease. May be started again after a close, as another
    life."""

    def __init__(
        self,
        where: address.Address,
        *,
        archived: bool = False,
        seconds: float = base.LEASE_SECONDS,
        sealer: sealing.Sealer = sealing.OFF,
    ) -> None:
        self.secret = b""
        self.counters: counters.Counters = counting.RedisCounters(lambda: self._session.lines)
        self.endings: base.Endings | None = self if archived else None
        self.nodes: base.Nodes | None = self
        self._answer: Callable[[bytes], bytes] = lambda question: b""
        self._where, self._seconds, self._sealer = where, seconds, sealer
        self._ended = keys.ENDED if archived else keys.ARCHIVED
        self._hints, self._tails = memory.Hints(), tails.Tails()
        self._door = asyncio.Lock()
        self._opened: _Session | None = None
        self._writing: writer.Writer | None = None

    async def start(self) -> None:
        async with self._door:
            if self._opened is not None:
                return
            session = _Session(self._where, self._seconds)
            try:
                await self._begin(session)
            except BaseException:
                await session.tasks.close()
                raise
            self._opened = session

    async def _begin(self, session: _Session) -> None:
        wires = session.lines
        await wires.start()
        *_, (version, secret) = await wires.ask(
            [
                lines.Keyed(keys.STORE, ("HSETNX", keys.STORE, "version", VERSION)),
                lines.Keyed(keys.STORE, ("HSETNX", keys.STORE, "secret", secrets.token_bytes(32))),
                lines.Keyed(keys.STORE, ("HMGET", keys.STORE, "version", "secret")),
            ]
        )
        if int(version) > VERSION:
            raise errors.SettingsError(
                f"The log at {self._where!r} was made by a newer version of Holdfast."
            )
        self.secret = secret
        await session.lease.start()
        self._writing = writer.Writer(wires, session.lease, self._hints, self._tails, self._ended)
        session.tasks.service(session.lease.run(), "lease")
        session.asking = asking.Asking(
            wires, session.lease, session.tasks, lambda question: self._answer(question)
        )
        listening = hints.listen(
            wires.listener, session.lease.life, self._hints, self._tails.drop, session.asking.take
        )
        session.tasks.service(listening, "hints")

    async def close(self) -> None:
        async with self._door:
            session, self._opened, self._writing = self._opened, None, None
            if session is not None:
                await session.lease.give_back()
                await session.tasks.close()

    async def until_ended(self) -> None:
        raise errors.LogUnavailable(await asyncio.shield(self._session.over))

    @property
    def _session(self) -> _Session:
        if self._opened is None:
            raise errors.LogUnavailable(f"The log at {self._where!r} is not open.")
        return self._opened

    @property
    def _writer(self) -> writer.Writer:
        if self._writing is None:
            raise errors.LogUnavailable(f"The log at {self._where!r} is not open.")
        return self._writing

    async def create(
        self,
        stream: events.StreamId,
        header: base.Header,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> base.Life | base.Exists:
        streams.check(drafts, ts)
        return await self._writer.create(stream, header, drafts, ts)

    async def append(self, tick: base.Tick) -> list[base.Result]:
        for batch in tick:
            streams.check(batch.drafts, batch.ts)
        return await self._writer.append(tick) if tick else []

    async def claim(self, stream: events.StreamId, ts: int) -> base.Life | None:
        streams.check((), ts)
        return await self._writer.claim(stream, ts)

    async def orphans(self, limit: int) -> list[events.StreamId]:
        return await self._writer.orphans(limit)

    async def request_cancel(self, stream: events.StreamId) -> bool:
        return await self._writer.request_cancel(stream)

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        wires = self._session.lines
        page = self._tails.page(stream, after, limit)
        if page is not None:
            return page
        place = (keys.stream(stream), keys.entries(stream))
        wanted = max(1, min(limit, base.PAGE_EVENTS))
        found: list[events.Event] = []
        size, position = 0, after
        while True:
            begin = f"({position}" if position.seq else "-"
            call = scripts.READ.call(place, begin, wanted, READ_BYTES)
            (reply,) = await wires.ask([lines.Keyed(place[0], call)], lines.READ)
            if reply is None:
                raise errors.StreamNotFound
            runs, last, ended, *entries = reply
            if not found and not _holds(runs, int(last), after):
                self._tails.drop(stream)  # what led there may be what Redis has lost
                raise errors.UnknownPosition(f"Stream {stream} holds no event at {after}.")
            some = _after(stream, position, entries, int(last))
            found += some
            size += sum([len(event.data) for event in some])
            full = len(found) >= wanted or size >= base.PAGE_BYTES
            if full or not found or found[-1].seq >= int(last):
                return base.cut(found, after, limit, int(last), ended=bool(ended))
            position = found[-1].position

    async def heads(self, wanted: Sequence[events.StreamId]) -> list[base.Head | None]:
        asked = [
            lines.Keyed(key, ("HMGET", key, "epoch", "seq", "ended"))
            for key in map(keys.stream, wanted)
        ]
        found = await self._session.lines.ask(asked, lines.READ)
        return [
            None if epoch is None else base.Head(int(epoch), int(seq), ended is not None)
            for epoch, seq, ended in found
        ]

    async def stat(self, stream: events.StreamId) -> base.Info | base.Tombstone | None:
        (found,) = await self._stats([stream])
        return found

    async def _stats(
        self, wanted: Sequence[events.StreamId]
    ) -> list[base.Info | base.Tombstone | None]:
        asked = [lines.Keyed(key, ("HGETALL", key)) for key in map(keys.stream, wanted)]
        found = await self._session.lines.ask(asked, lines.READ)
        return [
            _known(stream, dict(zip(pairs[::2], pairs[1::2], strict=True)))
            for stream, pairs in zip(wanted, found, strict=True)
        ]

    async def find(self, query: base.Query) -> list[base.Info]:
        return await index.find(self._session.lines, query, self._stats)

    @property
    def name(self) -> str:
        """See `base.Nodes`."""
        return self._session.lease.life.decode()

    def answer(self, by: Callable[[bytes], bytes]) -> None:
        """See `base.Nodes`."""
        self._answer = by

    async def ask(self, question: bytes, seconds: float) -> Mapping[str, bytes | None]:
        """See `base.Nodes`."""
        asking = self._session.asking
        return {} if asking is None else await asking.ask(question, seconds)

    async def ended(self, limit: int) -> list[base.Ended]:
        """See `base.Endings`."""
        mine = self._writer.ended(limit)
        edge = events.now_ms() - OTHERS_MS
        words = ("ZRANGEBYSCORE", keys.ENDED, "-inf", edge, "WITHSCORES", "LIMIT", 0, limit)
        (found,) = await self._session.lines.ask([lines.Keyed(keys.ENDED, words)])
        for id, at in zip(found[::2], found[1::2], strict=True):
            mine.setdefault(events.StreamId(id.decode()), int(float(at)))
        oldest = sorted(mine.items(), key=lambda one: one[1])[: max(0, limit)]
        return [base.Ended(stream, at) for stream, at in oldest]

    async def acknowledge(self, streams: Sequence[events.StreamId]) -> None:
        """See `base.Endings`."""
        if streams:
            place = (keys.ENDED, keys.ARCHIVED)
            call = scripts.ACKNOWLEDGE.call(place, events.now_ms(), *streams)
            await self._session.lines.ask([lines.Keyed(keys.ENDED, call)])
            self._writer.acknowledged(streams)

    async def expire(self, before: int, limit: int) -> int:
        wires, count, archived = self._session.lines, 0, keys.ARCHIVED
        words = ("ZRANGEBYSCORE", archived, "-inf", f"({before}", "LIMIT", 0, max(0, limit))
        (ids,) = await wires.ask([lines.Keyed(archived, words)])
        later: list[bytes | str | int] = []
        for stream in [events.StreamId(id.decode()) for id in ids]:
            try:
                info = await self.stat(stream)
            except errors.LogCorrupt as error:  # it stays, and holds up no other
                _log.error("stream_not_expired", stream=stream, error=error.message)
                later += (events.now_ms(), stream)
                continue
            if isinstance(info, base.Info):
                if not await self._expire(stream, info, before):
                    # A failover has opened it again, or it ended again since: not yet, but in time.
                    later += (events.now_ms() if info.ended_at is None else info.ended_at, stream)
                    continue
                count += 1
            elif info is not None:  # who let it go may have died before the rest
                await wires.ask(index.take(stream, base.Header(info.owner, 0, "", "")))
            await wires.ask([lines.Keyed(archived, ("ZREM", archived, stream))])
        if later:  # at last: a server without room refuses this
            await wires.ask([lines.Keyed(archived, ("ZADD", archived, "XX", *later))])
        return count

    async def _expire(self, stream: events.StreamId, info: base.Info, before: int) -> bool:
        """Whether it is gone by this call."""
        place = (keys.stream(stream), keys.entries(stream))
        values = (before, events.now_ms(), info.header.owner, base.TOMBSTONE_MS)
        wires = self._session.lines
        (gone,) = await wires.ask([lines.Keyed(place[0], scripts.EXPIRE.call(place, *values))])
        self._tails.drop(stream)
        if gone:
            await wires.ask(index.take(stream, info.header))
        return bool(gone)

    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        undo = self._hints.watch(stream, wake)

        def undone() -> None:
            undo()
            if not self._hints.watches(stream):
                self._tails.drop(stream)

        return undone

    def watch_cancels(self, hint: base.CancelHint) -> base.Undo:
        return self._hints.watch_cancels(hint)


def _holds(runs: bytes, last: int, position: events.Position) -> bool:
    """Whether a stream with these runs and this last seq has an event at the position."""
    if position.seq == 0:
        return True
    if position.seq > last:
        return False
    for run in reversed(runs.split(b",")):
        epoch, _, first = run.partition(b":")
        if position.seq >= int(first):
            return int(epoch) == position.epoch
    return False


def _after(
    stream: events.StreamId, position: events.Position, entries: Sequence[bytes], last: int
) -> list[events.Event]:
    """The events that entries hold after a position, which are all that follow it or the next of
    them. Raises `errors.LogCorrupt` where there is a gap: an entry was evicted, or removed."""
    found = [
        event
        for entry, block in zip(entries[::2], entries[1::2], strict=True)
        for event in blocks.unpack(stream, entry, block)
        if event.seq > position.seq
    ]
    wanted = range(position.seq + 1, position.seq + 1 + max(len(found), position.seq < last))
    if [event.seq for event in found] != list(wanted):
        raise errors.LogCorrupt(f"Stream {stream} lacks events after {position} in Redis.")
    return found


def _known(
    stream: events.StreamId, fields: dict[bytes, bytes]
) -> base.Info | base.Tombstone | None:
    """From a stream's hash. Raises `errors.LogCorrupt`."""
    if b"expired" in fields:
        return base.Tombstone(fields[b"owner"].decode(), int(fields[b"expired"]))
    if b"header" not in fields:
        return None
    ended = fields.get(b"ended")
    status = fields.get(b"status", b"streaming" if b"said" in fields else b"pending").decode()
    return base.Info(
        stream,
        blocks.unpack_header(stream, fields[b"header"], fields.get(b"request", b"")),
        base.Head(int(fields[b"epoch"]), int(fields[b"seq"]), ended is not None),
        status,  # type: ignore[arg-type]
        b"cancelled" in fields,
        None if ended is None else int(ended),
    )
