"""What is known of a stream, from its hash.

Strategy: the header says who may read a stream and what it is, so who asks for one stream is told
what the header says, or that it cannot be read. A list does not fail for one such stream: it has
what lies in clear. Nobody opens a header to let a stream go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog

from holdfast import errors, events, told
from holdfast.eventlog import base
from holdfast.eventlog.redis import blocks, keys, lines, seals

MAX_TOLD = 1_000
"""Streams that cannot be read of which is remembered that this has been told."""

_BARE = tuple(b"header epoch seq said ended status cancelled expired owner key".split())

_log = structlog.get_logger("holdfast")

Fields = Mapping[bytes, bytes]


class Outline(NamedTuple):
    """What lies in clear, or did when it was made by a version before. `owner` None: it says so in
    its header alone, which cannot be read. Times in ms; `expired` of a tombstone."""

    owner: str | None
    ended: int | None
    expired: int | None


class Known:
    """Between a start and a close of the engine."""

    def __init__(self, wires: lines.Lines, sealed: seals.Seals) -> None:
        self._lines, self._seals = wires, sealed
        self._told = told.Told(MAX_TOLD)

    async def stats(
        self, wanted: Sequence[events.StreamId]
    ) -> list[base.Info | base.Tombstone | None]:
        """Raises `errors.LogCorrupt`."""
        found = await self.fields(wanted)
        return [info(self._seals, stream, some) for stream, some in found]

    async def listed(
        self, wanted: Sequence[events.StreamId]
    ) -> list[base.Info | base.Tombstone | None]:
        """The same for lists."""
        return [self._listed(stream, some) for stream, some in await self.fields(wanted)]

    async def fields(
        self, wanted: Sequence[events.StreamId]
    ) -> list[tuple[events.StreamId, dict[bytes, bytes]]]:
        """Their hashes; an empty one for what is not there."""
        asked = [lines.Keyed(key, ("HGETALL", key)) for key in map(keys.stream, wanted)]
        found = await self._lines.ask(asked, lines.READ)
        return [
            (stream, dict(zip(pairs[::2], pairs[1::2], strict=True)))
            for stream, pairs in zip(wanted, found, strict=True)
        ]

    async def outlines(
        self, wanted: Sequence[events.StreamId]
    ) -> list[tuple[events.StreamId, dict[bytes, bytes]]]:
        """The same without their requests, which may be large."""
        asked = [lines.Keyed(key, ("HMGET", key, *_BARE)) for key in map(keys.stream, wanted)]
        found = await self._lines.ask(asked, lines.READ) if asked else []
        return [
            (stream, {name: value for name, value in pairs if value is not None})
            for stream, pairs in zip(
                wanted, (zip(_BARE, values, strict=True) for values in found), strict=True
            )
        ]

    def _listed(self, stream: events.StreamId, fields: Fields) -> base.Info | base.Tombstone | None:
        try:
            return info(self._seals, stream, fields)
        except errors.LogCorrupt as error:
            self._tell(stream, error)
        try:
            owner, created = fields[b"owner"].decode(), int(fields[b"created"])
            return _info(stream, base.Header(owner, created, "", ""), fields)
        except (KeyError, ValueError):
            return None  # made by a version before, or of no sense: nobody knows whose it is

    def _tell(self, stream: events.StreamId, error: errors.LogCorrupt) -> None:
        if self._told.first(stream):
            _log.error("stream_unreadable", stream=stream, error=error.message)


def info(
    sealed: seals.Seals, stream: events.StreamId, fields: Fields
) -> base.Info | base.Tombstone | None:
    """Raises `errors.LogCorrupt`."""
    if b"expired" in fields:
        return base.Tombstone(fields[b"owner"].decode(), int(fields[b"expired"]))
    if b"header" not in fields:
        return None
    how = sealed.of(stream, fields.get(b"owner", b""), fields.get(b"key", b""))
    request = fields.get(b"request", b"")
    header = blocks.unpack_header(how, stream, fields[b"header"], request)
    try:
        return _info(stream, header, fields)
    except (KeyError, ValueError) as error:
        raise errors.LogCorrupt(f"What Redis says of stream {stream} is no sense.") from error


def _info(stream: events.StreamId, header: base.Header, fields: Fields) -> base.Info:
    """Raises KeyError, ValueError."""
    ended = fields.get(b"ended")
    status = fields.get(b"status", b"streaming" if b"said" in fields else b"pending").decode()
    return base.Info(
        stream,
        header,
        base.Head(int(fields[b"epoch"]), int(fields[b"seq"]), ended is not None),
        status,  # type: ignore[arg-type]
        b"cancelled" in fields,
        None if ended is None else int(ended),
    )


def outline(sealed: seals.Seals, stream: events.StreamId, fields: Fields) -> Outline | None:
    """None where there is no stream."""
    if b"expired" not in fields and b"epoch" not in fields:
        return None
    owner = fields.get(b"owner")
    said = None if owner is None else owner.decode(errors="replace")
    if said is None:  # made by a version before, and plain
        try:
            found = info(sealed, stream, fields)
            said = found.header.owner if isinstance(found, base.Info) else None
        except errors.LogCorrupt:
            said = None
    ended, expired = fields.get(b"ended"), fields.get(b"expired")
    return Outline(
        said,
        None if ended is None else int(ended),
        None if expired is None else int(expired),
    )
