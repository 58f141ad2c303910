"""Feeds: what a stream's readers on this node read, rendered once.

Strategy: a feed is a cache of the log and never a channel. It reads pages from the log, has
the dialect render them, and keeps the newest pieces while more than one reader is attached,
each under the position that it follows. `_head` is where the newest piece leads, and `_stale`
says that there may be more, as does a read at the head that is under way (`_leading`): so a
reader that finds a piece knows whether to look again. A reader whose position has no piece reads
the log itself; at the head, or beyond it where whoever led has stopped, it leads. Whoever wants the
same meanwhile waits for that read, as it may have a way to go: readers cost the log nothing. A log
may lose its last events in a failover; then what is kept of them goes too, as they would lead each
reader again to where the log sends it back. So does what is kept of a stream that is destroyed: a
hint behind its end is no news of more. One feed serves one stream in one dialect; it ends with
its last reader. In a dialect whose folds hold state each reader reads the log through its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

import msgspec

from holdfast import errors, events, sse
from holdfast.dialects import base as dialect_base
from holdfast.eventlog import base, reader, watch

CACHE_BYTES = 64 * 1024
"""Rendered bytes that a feed keeps for its readers."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Rendered events and where they lead; `chunks` of them are chunks. `ts` in ms is the last
    event's, `failed`: the last one is an `error`, `rewound`: it sends the reader back to the
    stream's begin."""

    data: bytes
    position: events.Position
    closed: bool
    more: bool
    chunks: int = 0
    ts: int = 0
    failed: bool = False
    rewound: bool = False


class Source(reader.Source[Piece], Protocol):
    """What a response reads."""

    def broken(self, after: events.Position, error: errors.LogCorrupt) -> Piece:
        """The last word to a reader at this position: what follows it cannot be read."""


_encode = msgspec.json.Encoder().encode

_Waiting = list[asyncio.Future[Piece | Exception | None]]
"""Who waits for a read, which may be given up: then None."""


class Feed:
    """A `reader.Source` of pieces for any number of readers."""

    __slots__ = (
        "_asked",
        "_head",
        "_held",
        "_leading",
        "_log",
        "_over",
        "_pieces",
        "_stale",
        "_stream",
        "fold",
        "readers",
        "undo",
    )

    def __init__(
        self, log: base.EventLog, stream: events.StreamId, fold: dialect_base.Fold
    ) -> None:
        self._log, self._stream, self.fold = log, stream, fold
        self._pieces: OrderedDict[events.Position, Piece] = OrderedDict()
        self._asked: dict[events.Position, _Waiting] = {}
        self._held = 0
        self._head: events.Position | None = None
        self._stale = True
        self._over = False
        self._leading = 0
        self.readers: dict[reader.Flag, None] = {}
        self.undo: base.Undo = lambda: None

    def wake(self) -> None:
        if self._over:
            self.clear()
        self._stale = True
        for flag in tuple(self.readers):
            flag.set()

    async def read(self, after: events.Position) -> Piece:
        """Raises what the log's `read` raises."""
        piece = self._pieces.get(after) if self._pieces else None
        while piece is None:
            leads = self._head is None or after.seq >= self._head.seq
            waiting = self._asked.get(after)
            # Behind a hint, what is on its way may be too old.
            if waiting is None or (leads and self._stale):
                return await self._ask(after, leads)
            piece = await _joined(waiting)
        return self._told(piece)

    def _told(self, piece: Piece) -> Piece:
        """A piece that is kept, to somebody who has to know whether there is more by now."""
        at_end = piece.position == self._head and not self._stale and not self._leading
        return piece if piece.closed or at_end else msgspec.structs.replace(piece, more=True)

    def glance(self, after: events.Position) -> Piece | None:
        """May raise what the log's `read` raises."""
        piece = self._pieces.get(after) if self._pieces else None
        if piece is not None:
            return self._told(piece)
        if self._asked:
            return None
        page = self._log.glance(self._stream, after)
        if page is None:
            return None
        if self._head is None or after.seq >= self._head.seq:
            self._stale = False
            return self._led(after, page)
        return _rendered(self.fold, page)

    async def _ask(self, after: events.Position, leads: bool) -> Piece:
        """Reads the log, for all who want the same meanwhile."""
        waiting: _Waiting = []
        self._asked[after] = waiting
        found: Piece | Exception | None = None
        try:
            if leads:
                found = await self._lead(after)
            else:
                found = _rendered(self.fold, await self._log.read(self._stream, after))
            return found
        except Exception as error:
            found = error
            if isinstance(error, errors.UnknownPosition):
                self._forget(after)
            raise
        finally:
            if self._asked.get(after) is waiting:
                del self._asked[after]
            for one in waiting:
                if not one.done():
                    one.set_result(found)

    async def _lead(self, after: events.Position) -> Piece:
        """Reads at the head, for all who come after."""
        self._stale = False  # before the read: a hint that comes during it counts
        self._leading += 1
        try:
            page = await self._log.read(self._stream, after)
        except BaseException:
            self._stale = True  # the hint that led here is not yet answered
            raise
        finally:
            self._leading -= 1
        return self._led(after, page)

    def _led(self, after: events.Position, page: base.Page) -> Piece:
        """What was read at the head, for all who come after."""
        piece = _rendered(self.fold, page)
        # Another read at the head may have come back first, and seen more.
        if self._head is None or page.position.seq >= self._head.seq:
            self._head, self._over = page.position, page.closed
            self._stale = self._stale or page.more
        if len(self.readers) > 1 and piece.data:
            self._keep(after, piece)
        return piece

    def _forget(self, lost: events.Position) -> None:
        """The log does not hold what was read from it: what else was may be lost too."""
        if lost == self._head or any(piece.position == lost for piece in self._pieces.values()):
            self.clear()

    def clear(self) -> None:
        """Nothing is known of the log any more."""
        self._pieces.clear()
        self._held, self._head, self._stale, self._over = 0, None, True, False

    def _keep(self, after: events.Position, piece: Piece) -> None:
        old = self._pieces.pop(after, None)  # two readers may have missed it together
        self._pieces[after] = piece
        self._held += len(piece.data) - (len(old.data) if old is not None else 0)
        while self._held > CACHE_BYTES:
            _, old = self._pieces.popitem(last=False)
            self._held -= len(old.data)

    def rewind(self) -> Piece:
        data = self.fold.rewind("unknown_position")
        return Piece(data, events.BEGIN, closed=False, more=True, rewound=True)

    def broken(self, after: events.Position, error: errors.LogCorrupt) -> Piece:
        """An `error` without an id, as it is in no log."""
        data = sse.encode(_encode(events.failure(error)), event="error")
        return Piece(data, after, closed=True, more=False, failed=True)


class Alone:
    """A `reader.Source` for one reader in a foreign dialect, with a fold of its own."""

    __slots__ = (
        "_fold",
        "_log",
        "_stream",
    )

    def __init__(
        self, log: base.EventLog, stream: events.StreamId, fold: dialect_base.ForeignFold
    ) -> None:
        self._log, self._stream, self._fold = log, stream, fold

    async def read(self, after: events.Position) -> Piece:
        """Raises what the log's `read` raises."""
        page = await self._log.read(self._stream, after)
        return self._spoken(page)

    def glance(self, after: events.Position) -> Piece | None:
        """May raise what the log's `read` raises."""
        page = self._log.glance(self._stream, after)
        return None if page is None else self._spoken(page)

    def _spoken(self, page: base.Page) -> Piece:
        piece = _rendered(self._fold, page)
        if not self._fold.ended:
            return piece
        failed = piece.failed or self._fold.failed
        return msgspec.structs.replace(piece, closed=True, failed=failed)

    def rewind(self) -> Piece:
        """The dialect's error, and the end: its readers cannot begin anew."""
        data = self._fold.rewind("unknown_position")
        return Piece(data, events.BEGIN, closed=True, more=False, failed=True, rewound=True)

    def broken(self, after: events.Position, error: errors.LogCorrupt) -> Piece:
        """As if the stream had ended so."""
        said = events.draft(events.failure(error))
        event = events.Event(said.kind, said.data, after.epoch, after.seq + 1, events.now_ms())
        return Piece(self._fold.render(event), after, closed=True, more=False, failed=True)


def _rendered(fold: dialect_base.Fold, page: base.Page) -> Piece:
    if not page.events:
        return Piece(b"", page.position, page.closed, page.more)
    render, last = fold.render, page.events[-1]
    chunks = int(last.kind == "chunk")
    if len(page.events) == 1:
        data = render(last)
    else:
        data = b"".join([render(event) for event in page.events])
        chunks = sum([event.kind == "chunk" for event in page.events])
    return Piece(
        data,
        page.position,
        page.closed,
        page.more,
        chunks,
        last.ts,
        last.kind == "error",
    )


async def _joined(waiting: _Waiting) -> Piece | None:
    """What a read under way brings; raises what it raises."""
    # Each has a future of its own: who goes away takes nothing from the others.
    mine = asyncio.get_running_loop().create_future()
    waiting.append(mine)
    found: Piece | Exception | None = await mine
    if isinstance(found, Exception):
        raise found.with_traceback(None)
    return found


class Feeds:
    """All feeds of a node, by stream and dialect."""

    def __init__(self, log: base.EventLog, hints: watch.Watch) -> None:
        self._log, self._hints = log, hints
        self._feeds: dict[tuple[events.StreamId, str], Feed] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    def join(
        self, stream: events.StreamId, dialect: dialect_base.Shared, flag: reader.Flag
    ) -> Feed:
        """The stream's feed, with this reader attached."""
        key = (stream, dialect.name)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(self._log, stream, dialect.fold(stream))
            feed.undo = self._hints.add(stream, feed.wake)
        feed.readers[flag] = None
        return feed

    def part(
        self, stream: events.StreamId, dialect: dialect_base.Shared, flag: reader.Flag
    ) -> None:
        """Detaches a reader; the feed ends with the last one. Idempotent."""
        key = (stream, dialect.name)
        feed = self._feeds.get(key)
        if feed is None:
            return
        feed.readers.pop(flag, None)
        if not feed.readers:
            feed.undo()
            del self._feeds[key]

    def forget(self, stream: events.StreamId) -> None:
        """This stream was destroyed: nothing of it is kept."""
        for (of, _), feed in self._feeds.items():
            if of == stream:
                feed.clear()

    @contextlib.contextmanager
    def shared(
        self, stream: events.StreamId, dialect: dialect_base.Shared, flag: reader.Flag
    ) -> Iterator[Feed]:
        """Reads with all other readers, who wake each other."""
        try:
            yield self.join(stream, dialect, flag)
        finally:
            self.part(stream, dialect, flag)

    @contextlib.contextmanager
    def alone(
        self, stream: events.StreamId, fold: dialect_base.ForeignFold, flag: reader.Flag
    ) -> Iterator[Alone]:
        """Reads for one reader, through this fold."""
        undo = self._hints.add(stream, flag.set)
        try:
            yield Alone(self._log, stream, fold)
        finally:
            undo()
