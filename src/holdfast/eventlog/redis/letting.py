"""Letting streams go: what has been kept for long enough, and what is to be destroyed.

Strategy: the stream goes first, in one step that leaves its tombstone, and then what names it; who
dies in between leaves names of something that is not there, which the next call takes away. No
header is opened: the owner, whom the tombstone is for, lies in clear.
"""

from __future__ import annotations

import structlog

from holdfast import errors, events
from holdfast.eventlog import base, memory
from holdfast.eventlog.redis import (
    cleaning,
    hints,
    index,
    keys,
    known,
    lines,
    scripts,
    seals,
    tails,
)

EVER = 2**53
"""A time after all others, in ms, which Lua knows exactly."""

_log = structlog.get_logger("holdfast")


class Letting:
    """Between a start and a close of the engine, which has this `life`."""

    def __init__(
        self,
        wires: lines.Lines,
        about: known.Known,
        sealed: seals.Seals,
        tidy: cleaning.Cleaning,
        local: memory.Hints,
        recent: tails.Tails,
        life: bytes,
    ) -> None:
        self._lines, self._known, self._seals, self._tidy = wires, about, sealed, tidy
        self._hints, self._tails, self._life = local, recent, life

    async def expire(self, before: int, limit: int) -> int:
        """The contract's."""
        wires, count, archived = self._lines, 0, keys.ARCHIVED
        words = ("ZRANGEBYSCORE", archived, "-inf", f"({before}", "LIMIT", 0, max(0, limit))
        (ids,) = await wires.ask([lines.Keyed(archived, words)])
        later: list[bytes | str | int] = []
        for stream in [events.StreamId(id.decode()) for id in ids]:
            ((_, fields),) = await self._known.outlines([stream])
            told = known.outline(self._seals, stream, fields)
            if told is not None and told.owner is None:  # it stays, and holds up no other
                _log.error("stream_not_expired", stream=stream, error="its header is unreadable")
                later += (events.now_ms(), stream)
                continue
            if told is not None and told.owner is not None:
                if told.expired is None:
                    if not await self._go(stream, told.owner, before):
                        # A failover has opened it again, or it ended again since: not yet, but in
                        # time.
                        later += (events.now_ms() if told.ended is None else told.ended, stream)
                        continue
                    count += 1
                # Who let it go may have died before the rest.
                await wires.ask(index.take(stream, told.owner))
            await wires.ask([lines.Keyed(archived, ("ZREM", archived, stream))])
        if later:  # at last: a server without room refuses this
            await wires.ask([lines.Keyed(archived, ("ZADD", archived, "XX", *later))])
        return count

    async def shred(self, stream: events.StreamId) -> bool:
        """See `stores.SealedStore`."""
        ((_, fields),) = await self._known.outlines([stream])
        told = known.outline(self._seals, stream, fields)
        if told is None:
            return False
        is_open = told.ended is None and told.expired is None
        if is_open and not self._is_lost(stream, fields):
            return False
        # Whose header cannot be read, and says alone whose it is, is nobody's from now on.
        owner = told.owner or ""
        async with self._tidy.soiled(plain=told.expired is None and b"key" not in fields):
            gone = told.expired is None and await self._go(stream, owner, EVER, is_open)
        if told.expired is None and not gone:
            return False  # it is open again
        named = [
            lines.Keyed(keys.ENDED, ("ZREM", name, stream)) for name in (keys.ENDED, keys.ARCHIVED)
        ]
        await self._lines.ask([*index.take(stream, owner), *named])
        self._hints.wake(stream)
        said = hints.message(self._life, hints.MORE, [stream])
        await self._lines.ask([lines.Keyed(keys.HINTS, ("PUBLISH", keys.HINTS, said))])
        return gone

    def _is_lost(self, stream: events.StreamId, fields: known.Fields) -> bool:
        """Whether nobody can end it any more, as its key is destroyed."""
        try:
            self._seals.of(stream, fields.get(b"owner", b""), fields.get(b"key", b""))
        except errors.KeyMissing:
            return True
        except errors.LogCorrupt:
            pass
        return False

    async def _go(
        self, stream: events.StreamId, owner: str, before: int, is_open: bool = False
    ) -> bool:
        """Whether it is gone by this call; one that is open only where that is said."""
        place = (keys.stream(stream), keys.entries(stream))
        values = (before, events.now_ms(), owner, base.TOMBSTONE_MS, int(is_open))
        call = scripts.EXPIRE.call(place, *values)
        (gone,) = await self._lines.ask([lines.Keyed(place[0], call)])
        self._tails.drop(stream)
        return bool(gone)
