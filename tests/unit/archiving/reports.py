"""An archive that is away at times, a clock, and what a node has counted: for the reporter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from holdfast import errors
from holdfast.archive import memory, rows
from holdfast.archiving import reporter
from holdfast.telemetry import counts
from holdfast.testing import simulated

BEGIN_MS = 1_700_000_040_000
"""A whole minute, in ms since 1970."""


class Archive(memory.MemoryArchive):
    """`down`: no call is carried out; `unheard`: each is, and fails all the same; with `hang` it
    waits for ever. `calls` are the sizes of those that came."""

    def __init__(self) -> None:
        super().__init__()
        self.lasting = True  # as one that nodes share
        self.down = self.unheard = self.hang = False
        self.calls: list[int] = []

    async def _meet(self, size: int) -> None:
        self.calls.append(size)
        if self.hang:
            await asyncio.Event().wait()
        if self.down:
            raise errors.ArchiveUnavailable("away")

    def _answer(self) -> None:
        if self.unheard:
            raise errors.ArchiveUnavailable("away")

    async def keep_connections(self, connections: Sequence[rows.Connection]) -> None:
        await self._meet(len(connections))
        await super().keep_connections(connections)
        self._answer()

    async def keep_minutes(self, minutes: Sequence[rows.Minute]) -> None:
        await self._meet(len(minutes))
        await super().keep_minutes(minutes)
        self._answer()


class Node:
    """What reports: `total` is what it has counted, `skew` what its clock is ahead, in ms."""

    def __init__(self, archive: Archive, name: str = "a") -> None:
        self.total, self.skew, self.name = counts.NOTHING, 0, name
        self.reporter = reporter.Reporter(archive, lambda: self.total, lambda: name, self.now)

    def now(self) -> int:
        return BEGIN_MS + int((simulated.now() - simulated.BEGIN) * 1000) + self.skew

    def counts(self, streams: int) -> None:
        """It starts so many streams; one is active."""
        started = self.total.streams_started + streams
        self.total = counts.Counts(streams_started=started, streams_active=1)


def closed(number: int, updated_at: int = BEGIN_MS) -> rows.Connection:
    id = f"{number:026}"
    return rows.Connection(id, "s" * 26, "acme/ann", 1, updated_at, b"{}", updated_at)


async def started(archive: Archive) -> list[tuple[int, str, int]]:
    """What the archive has of minutes: (minutes since the begin, node, streams)."""
    found = await archive.minutes(0, 2**52, rows.MAX_ROWS)
    return [
        (
            (one.at - BEGIN_MS) // counts.MINUTE_MS,
            one.node,
            msgspec.json.decode(one.data, type=counts.Counts).streams_started,
        )
        for one in found
    ]
