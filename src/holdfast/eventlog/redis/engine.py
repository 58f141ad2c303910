"""The Redis engine: one log for all nodes.

Strategy: a stream lies in Redis alone, so any node may read it and the next one write it; what a
node has in memory is its lease, its hints and the tails of what it writes. `writer` has the verbs
that change streams; here are opening and closing, and the verbs that look.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from holdfast import errors, events, supervisor
from holdfast.eventlog import base, counters, memory, streams
from holdfast.eventlog.redis import (
    address,
    asking,
    cleaning,
    counting,
    hints,
    index,
    keys,
    known,
    lease,
    letting,
    lines,
    pages,
    resealing,
    scripts,
    seals,
    tails,
    writer,
)
from holdfast.sealing import codec, stores
from holdfast.sealing import sealer as sealing

READ_BYTES = 2 * base.PAGE_BYTES
"""Of entries that are asked for at once, a page of small events and what goes with them."""

OTHERS_MS = 60_000
"""What ended so long ago, and is not archived, its own node will not archive any more."""


class _Session:
    """What an open log has. `over` is done when a task has ended unasked."""

    def __init__(
        self,
        where: address.Address,
        seconds: float,
        sealer: sealing.Sealer,
        local: memory.Hints,
        recent: tails.Tails,
    ) -> None:
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.tasks = supervisor.Supervisor(self._fail)
        self.lines = lines.Lines(where, self.tasks)
        self.lease = lease.Lease(self.lines, seconds)
        self.asking: asking.Asking | None = None
        self.seals = seals.Seals(self.lines, sealer, repr(where))
        self.known = known.Known(self.lines, self.seals)
        tidy = cleaning.Cleaning(self.lines)
        self.resealing = resealing.Resealing(self.lines, self.known, self.seals, tidy)
        self.letting = letting.Letting(
            self.lines, self.known, self.seals, tidy, local, recent, self.lease.life
        )

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
        self.forgets = True
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
            session = self._new_session()
            try:
                await self._begin(session)
            except BaseException:
                await session.tasks.close()
                raise
            self._opened = session

    async def _begin(self, session: _Session) -> None:
        wires = session.lines
        await wires.start()
        self.secret = await session.seals.open()
        await session.lease.start()
        self._writing = writer.Writer(
            wires, session.lease, self._hints, self._tails, self._ended, session.seals
        )
        session.tasks.service(session.lease.run(), "lease")
        session.asking = asking.Asking(
            wires, session.lease, session.tasks, lambda question: self._answer(question)
        )
        listening = hints.listen(
            wires.listener, session.lease.life, self._hints, self._tails.drop, session.asking.take
        )
        session.tasks.service(listening, "hints")

    def _new_session(self) -> _Session:
        return _Session(self._where, self._seconds, self._sealer, self._hints, self._tails)

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
        session = self._session
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
            (reply,) = await session.lines.ask([lines.Keyed(place[0], call)], lines.READ)
            if reply is None:
                raise errors.StreamNotFound
            runs, seq, ended, owner, wrapped, *entries = reply
            lives, last = pages.said(stream, runs, seq)
            if not found and not pages.holds(lives, last, after):
                self._tails.drop(stream)  # what led there may be what Redis has lost
                raise errors.UnknownPosition(f"Stream {stream} holds no event at {after}.")
            how = session.seals.of(stream, owner, wrapped) if entries else codec.PLAIN
            some = pages.after(stream, how, lives, position, entries, last, ended=bool(ended))
            found += some
            size += sum([len(event.data) for event in some])
            full = len(found) >= wanted or size >= base.PAGE_BYTES
            if full or not found or found[-1].seq >= last:
                return base.cut(found, after, limit, last, ended=bool(ended))
            position = found[-1].position

    def glance(self, stream: events.StreamId, after: events.Position) -> base.Page | None:
        return self._tails.page(stream, after, base.PAGE_EVENTS)

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
        (found,) = await self._session.known.stats([stream])
        return found

    async def find(self, query: base.Query) -> list[base.Info]:
        return await index.find(self._session.lines, query, self._session.known.listed)

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
        return await self._session.letting.expire(before, limit)

    async def reseal(self, after: str, limit: int, *, plain_only: bool = False) -> stores.Resealed:
        return await self._session.resealing.reseal(after, limit, plain_only=plain_only)

    async def wrapped_by(self) -> Mapping[str, int]:
        return await self._session.resealing.wrapped_by()

    async def guards(self) -> tuple[str, ...]:
        """Also before a start, which may need a key that is lost."""
        async with self._reaching() as session:
            return tuple(await session.seals.guards())

    async def drop_guard(self, key_id: str) -> None:
        """Also before a start."""
        async with self._reaching() as session:
            await session.seals.drop(key_id)

    async def shred(self, stream: events.StreamId) -> bool:
        gone = await self._session.letting.shred(stream)
        if gone:
            self._writer.acknowledged([stream])
        return gone

    @contextlib.asynccontextmanager
    async def _reaching(self) -> AsyncIterator[_Session]:
        """The session that is open, or one for this once, which has no life."""
        if self._opened is not None:
            yield self._opened
            return
        session = self._new_session()
        try:
            await session.lines.start()
            yield session
        finally:
            await session.tasks.close()

    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        undo = self._hints.watch(stream, wake)

        def undone() -> None:
            undo()
            if not self._hints.watches(stream):
                self._tails.drop(stream)

        return undone

    def watch_cancels(self, hint: base.CancelHint) -> base.Undo:
        return self._hints.watch_cancels(hint)
