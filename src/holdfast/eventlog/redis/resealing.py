"""Sealing what lies here plain, and wrapping data keys by another key of the ring.

Strategy: the index names every stream, and a call looks at some. A wrapped key is put in the place
of just the one that it was made from. The entries of a stream that has ended are sealed aside,
where readers do not look, and put in their place in one step, if the stream is still the same; what
a death leaves aside expires. An append-only file still has what was plain, which is cleaned up at
the end of a pass (`cleaning`).
"""

from __future__ import annotations

import secrets

from holdfast import errors, events
from holdfast.eventlog.redis import blocks, cleaning, index, keys, known, lines, scripts, seals
from holdfast.sealing import codec, stores

ASIDE_MS = 3_600_000
"""How long sealed entries lie aside at most; a stream of 16 MiB is sealed within a second."""

ENTRIES, BYTES = 256, 128 * 1024
"""That are sealed at a time."""

LOOK = 512
"""Streams whose keys are looked at together."""

Fields = known.Fields


class Resealing:
    """Between a start and a close of the engine."""

    def __init__(
        self,
        wires: lines.Lines,
        about: known.Known,
        sealed: seals.Seals,
        tidy: cleaning.Cleaning,
    ) -> None:
        self._lines, self._known, self._seals, self._tidy = wires, about, sealed, tidy

    async def reseal(self, after: str, limit: int, *, plain_only: bool) -> stores.Resealed:
        """See `stores.SealedStore`."""
        if not self._seals.sealer.on:
            return stores.Resealed()
        if limit <= 0:
            return stores.Resealed(after=after)
        wanted, onward = await index.page(self._lines, after, limit)
        looked = await self._known.outlines(wanted)
        plain = any(_is_plain(fields) and b"ended" in fields for _, fields in looked)
        done = left = unreadable = 0
        async with self._tidy.soiled(plain=plain):
            for stream, fields in looked:
                try:
                    changed = await self._one(stream, fields, plain_only=plain_only)
                except errors.LogCorrupt:
                    unreadable += 1
                    continue
                done += changed is True
                left += changed is None
        over = len(wanted) < limit
        if over:
            await self._tidy.clean()
        return stores.Resealed(done, left, unreadable, None if over else onward)

    async def _one(
        self, stream: events.StreamId, fields: Fields, *, plain_only: bool
    ) -> bool | None:
        """Whether it was changed; None where it is plain, and open. Raises `errors.LogCorrupt`."""
        if _is_plain(fields):
            return await self._seal(stream, fields) if b"ended" in fields else None
        if plain_only or b"key" not in fields:
            return False  # not there yet, or no more
        owner = fields.get(b"owner", b"").decode(errors="replace")
        return await self._rewrap(stream, owner, fields[b"key"])

    async def _rewrap(self, stream: events.StreamId, owner: str, wrapped: bytes) -> bool:
        sealer, by = self._seals.sealer, self._seals.sealer.current(owner)
        if codec.key_id(wrapped) == by:
            return False
        await self._seals.guard(by)
        key, again = keys.stream(stream), sealer.rewrapped(stream, owner, wrapped, by)
        call = scripts.REWRAP.call((key,), wrapped, again)
        try:
            (done,) = await self._lines.ask([lines.Keyed(key, call)])
        finally:
            self._seals.used(again)
        return bool(done)

    async def _seal(self, stream: events.StreamId, fields: Fields) -> bool:
        header = blocks.unpack_header(codec.PLAIN, stream, fields[b"header"], b"")
        how = await self._seals.new(stream, header.owner)
        aside = keys.sealing(stream, secrets.token_hex(8))
        try:
            await self._put_aside(stream, how, aside)
        except errors.LogCorrupt:
            await self._lines.ask([lines.Keyed(aside, ("DEL", aside))])
            raise
        place = (keys.stream(stream), keys.entries(stream), aside)
        bare, _ = blocks.pack_header(how, stream, header)
        was = (fields[b"epoch"], fields[b"seq"])
        said = (bare, header.owner, header.created_at, how.wrapped or b"")
        await self._lines.ask(self._seals.put(how))
        try:
            (done,) = await self._lines.ask(
                [lines.Keyed(place[0], scripts.SEAL.call(place, *was, *said))]
            )
        finally:
            self._seals.used(how.wrapped)
        return bool(done)

    async def _put_aside(self, stream: events.StreamId, how: codec.Codec, aside: bytes) -> None:
        place, begin = (keys.stream(stream), keys.entries(stream)), "-"
        while True:
            call = scripts.READ.call(place, begin, ENTRIES, BYTES)
            (reply,) = await self._lines.ask([lines.Keyed(place[0], call)], lines.READ)
            _, _, _, _, wrapped, *entries = reply or 5 * (b"",)
            if wrapped or (begin == f"({entries[0].decode()}" if entries else begin != "-"):
                return  # it was the last one; or somebody else has sealed it meanwhile
            if not entries:
                raise errors.LogCorrupt(f"Stream {stream} lacks all of its events in Redis.")
            words: list[bytes | int] = [ASIDE_MS]
            for entry, block in zip(entries[::2], entries[1::2], strict=True):
                words += (entry, blocks.repack(codec.PLAIN, how, stream, entry, block))
            await self._lines.ask([lines.Keyed(aside, scripts.STAGE.call((aside,), *words))])
            begin = f"({entries[-2].decode()}"

    async def wrapped_by(self) -> dict[str, int]:
        """See `stores.SealedStore`."""
        counts: dict[str, int] = {}
        after, more = "", True
        while more:
            wanted, after = await index.page(self._lines, after, LOOK)
            more = len(wanted) == LOOK
            places = [keys.stream(stream) for stream in wanted]
            asked = [lines.Keyed(key, ("HMGET", key, "epoch", "key")) for key in places]
            for epoch, wrapped in await self._lines.ask(asked, lines.READ) if asked else ():
                by = _key_id(wrapped) if epoch is not None else None
                if by is not None:
                    counts[by] = counts.get(by, 0) + 1
        return counts


def _is_plain(fields: Fields) -> bool:
    return b"header" in fields and b"key" not in fields


def _key_id(wrapped: bytes | None) -> str | None:
    """ "" for a plain one. None for what is no key: none of the ring is needed for that."""
    try:
        return codec.key_id(wrapped) if wrapped else ""
    except errors.LogCorrupt:
        return None
