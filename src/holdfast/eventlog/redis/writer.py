"""The verbs that change streams: create, append, claim, and what is to be done around them.

Strategy: every change is a script (`scripts`), so Redis judges it in one step; this file makes
their calls and turns replies into verdicts. A tick is one call, or in a cluster one pipeline a
primary. What a stream needs beside itself (the index, the lease's set, the list of what has ended)
lies elsewhere in a cluster, so it is written in an order in which a death in between leaves nothing
that is not found again: held and indexed first, then made; ended, then listed, then let go.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from holdfast import errors, events
from holdfast.eventlog import base, memory
from holdfast.eventlog.redis import (
    blocks,
    hints,
    index,
    keys,
    lease,
    lines,
    link,
    scripts,
    seals,
    strays,
    tails,
)
from holdfast.sealing import codec

TAKE_AT_ONCE = 100
"""Streams of dead nodes that one node takes before others have their turn."""

MAX_UNARCHIVED = 100_000
"""Streams that ended here of which this node itself remembers that they are to be archived."""

_CLAIMED = ("epoch", "seq", "ended", "holder", "owner", "key", "created")

_OK, _CANCELLED, _FENCED = base.Ok(), base.Ok(cancelled=True), base.Fenced()


class _Writing(NamedTuple):
    """A stream in this node's hands: its life, the seq of the first event of that, and how it is
    packed, which never changes while it is open."""

    epoch: int
    begun: int
    how: codec.Codec


class Writer:
    """Between a start and a close of the engine. `ended` is the list for what has ended."""

    def __init__(
        self,
        wires: lines.Lines,
        held: lease.Lease,
        local: memory.Hints,
        recent: tails.Tails,
        ended: bytes,
        sealed: seals.Seals,
    ) -> None:
        self._seals = sealed
        self._lines, self._lease, self._hints, self._tails = wires, held, local, recent
        self._ended = ended
        self._begun: dict[events.StreamId, _Writing] = {}
        """What this node writes."""
        self._taken: dict[events.StreamId, None] = {}
        """What has no writer, as its node died or for another reason (`strays`), and nobody has
        claimed since it was taken."""
        self._strays = strays.Strays(wires, held, sealed, self._begun, self._has_none, self._file)
        self._unarchived: dict[events.StreamId, int] = {}
        """What has ended here and is to be archived, with the time of its end, the oldest first."""

    async def create(
        self,
        stream: events.StreamId,
        header: base.Header,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> base.Life | base.Exists:
        epoch = events.new_epoch(0)
        doubt = self._strays.no_doubt(stream)
        await self._lease.hold(stream)
        try:
            reply, how = await self._create(stream, header, epoch, drafts, ts)
        except BaseException:
            # Who asked for it begins to write nothing; but it may be there.
            self._strays.doubt(stream, lease.LOOKS)
            raise
        if reply[0] == 1:
            self._begun[stream] = _Writing(epoch, 1, how)
            self._taken.pop(stream, None)  # from a node that died before it made this one
            if _ends(drafts):
                await self._file([(stream, ts)])
            return base.Life(epoch, len(drafts))
        if reply[0] == -1:
            await self._lines.ask(index.take(stream, header.owner))
            await self._lease.release([stream])
            raise errors.StreamExpired
        _, bare, request, holder, ended, owner, wrapped = reply
        is_ours = holder == self._lease.life
        if stream not in self._begun and not ended and (doubt or is_ours):
            # A call that broke came through very late; or it was refused here just now.
            self._strays.doubt(stream, doubt or lease.LOOKS)
        elif not is_ours or (ended and stream not in self._begun):
            await self._lease.release([stream])
        known = self._seals.of(stream, owner, wrapped)
        return base.Exists(blocks.unpack_header(known, stream, bare, request))

    async def _create(
        self,
        stream: events.StreamId,
        header: base.Header,
        epoch: int,
        drafts: tuple[events.Draft, ...],
        ts: int,
    ) -> tuple[list[Any], codec.Codec]:
        """What the script answers, and how a new one is packed; the stream is in the index before
        it is there."""
        last, broken = len(drafts), self._lines.broken
        how = await self._seals.new(stream, header.owner)
        named = index.put(stream, header.owner, header.created_at) + self._seals.put(how)
        await self._lines.ask(named)
        bare, request = blocks.pack_header(how, stream, header)
        block = blocks.pack(how, stream, epoch, last, drafts, ts) if drafts else b""
        said, status = _flags(drafts)
        place = (keys.stream(stream), keys.entries(stream))
        values = (epoch, last, ts, said, status, block, bare, request, self._lease.life)
        known = (header.owner, header.created_at, how.wrapped or b"")
        try:
            (reply,) = await self._ask(stream, scripts.CREATE.call(place, *values, *known))
        finally:
            self._seals.used(how.wrapped)
        if broken != self._lines.broken:  # a replica that took over in between may lack the name
            await self._lines.ask(named)
        return list(reply), how

    async def append(self, tick: base.Tick) -> list[base.Result]:
        verdicts = await self._append(tick)
        results: list[base.Result] = []
        closed = []
        for batch, verdict in zip(tick, verdicts, strict=True):
            result = self._result(batch, verdict)
            results.append(result)
            if isinstance(result, base.Fenced):
                self._give_up(batch)
            elif isinstance(result, base.Ok) and _ends(batch.drafts):
                closed.append((batch.stream, batch.ts))
        if closed:
            await self._file(closed)
        for batch in tick:
            self._hints.wake(batch.stream)
        return results

    def _give_up(self, batch: base.Batch) -> None:
        """After it was fenced: nobody writes its stream here, unless a later life is this node's,
        too. It stays held until it is seen who does."""
        stream = batch.stream
        writing = self._begun.get(stream)
        if writing is not None and writing.epoch != batch.epoch:
            return
        self._begun.pop(stream, None)
        if stream not in self._taken:
            self._strays.doubt(stream)
            self._strays.is_over(stream)

    async def _append(self, tick: base.Tick) -> list[int]:
        """A verdict of the script's for each batch."""
        told = hints.message(self._lease.life, hints.MORE, [batch.stream for batch in tick])
        hows = await self._hows(tick)
        if not self._lines.spread:
            places: list[bytes] = []
            values: list[Any] = []
            for batch, how in zip(tick, hows, strict=True):
                places += (keys.stream(batch.stream), keys.entries(batch.stream))
                values += _values(batch, how)
            call = scripts.APPEND.call(places, *values, keys.HINTS, told)
            (reply,) = await self._lines.ask([lines.Keyed(places[0], call)])
            return list(reply)
        calls = []
        for batch, how in zip(tick, hows, strict=True):
            place = (keys.stream(batch.stream), keys.entries(batch.stream))
            calls.append(lines.Keyed(place[0], scripts.APPEND.call(place, *_values(batch, how))))
        replies = await self._lines.ask(calls)
        await self._lines.ask([lines.Keyed(keys.HINTS, ("PUBLISH", keys.HINTS, told))])
        return [reply[0] for reply in replies]

    async def _hows(self, tick: base.Tick) -> list[codec.Codec | None]:
        """How each batch is packed; None where its stream's key cannot be opened. What this node
        does not write (any more) is looked up: nothing plain gets into a sealed stream."""
        hows: list[codec.Codec | None] = []
        for batch in tick:
            writing = self._begun.get(batch.stream)
            if writing is not None:
                hows.append(writing.how)
                continue
            words = ("HMGET", keys.stream(batch.stream), "owner", "key")
            ((owner, wrapped),) = await self._ask(batch.stream, words)
            try:
                hows.append(self._seals.of(batch.stream, owner or b"", wrapped or b""))
            except errors.LogCorrupt:
                hows.append(None)
        return hows

    def _result(self, batch: base.Batch, verdict: int) -> base.Result:
        stream = batch.stream
        if verdict in (scripts.OK, scripts.OK_CANCELLED):
            writing = self._begun.get(stream)
            if writing is not None and self._hints.watches(stream):
                self._tails.add(batch, writing.begun)
            else:
                self._tails.drop(stream)
            return _OK if verdict == scripts.OK else _CANCELLED
        self._tails.drop(stream)
        if verdict == scripts.NOT_THERE:
            # Redis forgot all of it, if this node wrote it a moment ago.
            return base.Lost(0) if stream in self._begun else _FENCED
        return _FENCED if verdict == scripts.FENCED else base.Lost(verdict)

    async def _file(self, closed: Sequence[tuple[events.StreamId, int]]) -> None:
        """Lists streams among those that have ended, and lets go of them."""
        listed = [word for stream, ended_at in closed for word in (ended_at, stream)]
        await self._lines.ask([lines.Keyed(self._ended, ("ZADD", self._ended, "NX", *listed))])
        for stream, ended_at in closed:
            self._strays.is_over(stream)
            if self._ended == keys.ENDED and len(self._unarchived) < MAX_UNARCHIVED:
                self._unarchived[stream] = ended_at
            self._begun.pop(stream, None)
            self._taken.pop(stream, None)
        await self._lease.release([stream for stream, _ in closed])

    def ended(self, limit: int) -> dict[events.StreamId, int]:
        """What has ended here and is not acknowledged, with the times, the oldest first."""
        return dict(itertools.islice(self._unarchived.items(), max(0, limit)))

    def acknowledged(self, streams: Iterable[events.StreamId]) -> None:
        for stream in streams:
            self._unarchived.pop(stream, None)

    async def claim(self, stream: events.StreamId, ts: int) -> base.Life | None:
        place = (keys.stream(stream), keys.entries(stream))
        while True:
            words = ("HMGET", place[0], *_CLAIMED)
            ((epoch, seq, ended, holder, owner, wrapped, created),) = await self._ask(stream, words)
            if epoch is None or ended is not None or await self._is_anothers(stream, holder):
                await self._let_go(stream, ended)
                return None
            how = self._seals.of(stream, owner or b"", wrapped or b"")
            await self._lease.hold(stream)
            await self._lines.ask(index.put_again(stream, owner, created))
            new, last = events.new_epoch(int(epoch)), int(seq) + 1
            adopted = (events.draft(events.Adopted(new)),)
            told = hints.message(self._lease.life, hints.MORE, [stream])
            block = blocks.pack(how, stream, new, last, adopted, ts)
            values = (epoch, seq, new, ts, block, self._lease.life, keys.HINTS, told)
            (done,) = await self._ask(stream, scripts.CLAIM.call(place, *values))
            if done == 1:
                self._begun[stream] = _Writing(new, last, how)
                self._seals.used(wrapped)  # who made it may have died before its last look
                self._taken.pop(stream, None)
                self._tails.drop(stream)
                self._hints.wake(stream)
                return base.Life(new, last)

    async def _is_anothers(self, stream: events.StreamId, holder: bytes) -> bool:
        """Whether what was taken from a dead node has been claimed by a living one since."""
        return (
            stream in self._taken
            and holder != self._lease.life
            and await self._lease.is_held(holder)
        )

    async def _let_go(self, stream: events.StreamId, ended: bytes | None) -> None:
        """Of a stream that nobody has to write here."""
        if ended is not None:
            await self._file([(stream, int(ended))])
        else:
            await self._lease.release([stream])
        self._taken.pop(stream, None)
        self._begun.pop(stream, None)

    def _has_none(self, stream: events.StreamId) -> None:
        self._taken[stream] = None

    async def orphans(self, limit: int) -> list[events.StreamId]:
        await self._strays.look()
        await self._seals.look()
        for stream in await self._lease.take(min(limit, TAKE_AT_ONCE) - len(self._taken)):
            if stream not in self._begun:  # what a dead node wanted to make may be made here since
                self._taken[stream] = None
        return list(self._taken)[: max(0, limit)]

    async def request_cancel(self, stream: events.StreamId) -> bool:
        told = hints.message(self._lease.life, hints.CANCEL, [stream])
        call = scripts.CANCEL.call((keys.stream(stream),), keys.HINTS, told)
        (done,) = await self._ask(stream, call)
        if done:
            self._hints.cancelled(stream)
        return bool(done)

    async def _ask(self, stream: events.StreamId, *commands: link.Command) -> list[Any]:
        key = keys.stream(stream)
        return await self._lines.ask([lines.Keyed(key, words) for words in commands])


def _values(batch: base.Batch, how: codec.Codec | None) -> tuple[Any, ...]:
    """What `scripts.APPEND` is told of a batch; that it is of no life where it cannot be packed,
    so that it is fenced."""
    said, status = _flags(batch.drafts)
    epoch, block = batch.epoch, b""
    if how is None:
        epoch = -1
    else:
        block = blocks.pack(how, batch.stream, batch.epoch, batch.last, batch.drafts, batch.ts)
    return (epoch, batch.last, len(batch.drafts), batch.ts, said, status, block)


def _flags(drafts: Sequence[events.Draft]) -> tuple[str, str]:
    """Whether there is a chunk among them, and with which status they end a stream."""
    said = "1" if any(draft.kind == "chunk" for draft in drafts) else ""
    return said, events.advance("pending", drafts[-1]) if _ends(drafts) else ""


def _ends(drafts: Sequence[events.Draft]) -> bool:
    return bool(drafts) and drafts[-1].kind in events.TERMINAL
