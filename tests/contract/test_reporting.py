"""What a node reports, on every archive: it comes back as it went, and once.

Strategy: the reporter's rounds are called by hand, so that a test says what is written when; its
timing is in `tests/unit/archiving`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from tests.contract import archives

from holdfast import connections, errors, events
from holdfast.archive import base, rows
from holdfast.archiving import reporter
from holdfast.http import views
from holdfast.telemetry import counts

OPTIONS = connections.Options(8192, 100, False, True, 15.0)
STREAM = events.new_stream_id()


def left(owner: str = "acme/ann", user_agent: str | None = None) -> connections.Connection:
    """A reader that is gone."""
    peer = connections.Peer("c", None, "ï\u2028", "r", user_agent, "::1")
    connection = connections.Connection(
        STREAM, "demo", "m", peer, OPTIONS, lambda: None, 1.0, owner=owner
    )
    book = connections.Book(1)
    book.enter(connection)
    connection.to("connected")
    connection.wrote(100, 3, connection.created_at, 2.0)
    book.leave(connection, "disconnected")
    return connection


class Node:
    """One that reports by hand; the time is a number."""

    def __init__(self, archive: base.Archive, name: str) -> None:
        self.now, self.total = 0, counts.NOTHING
        self.reporter = reporter.Reporter(
            archive, lambda: self.total, lambda: name, lambda: self.now
        )

    async def minute(self, **told: Any) -> None:
        """Another one is over, in which so much was counted."""
        self.total = counts.added((self.total, counts.Counts(**told)))
        self.now += counts.MINUTE_MS
        await self.reporter.round()


async def minutes(archive: base.Archive) -> dict[tuple[int, str], counts.Counts]:
    found = await archive.minutes(0, 2**52, rows.MAX_ROWS)
    return {(one.at, one.node): msgspec.json.decode(one.data, type=counts.Counts) for one in found}


async def test_a_connection_is_shown_as_it_was_when_it_closed(new: archives.NewArchive) -> None:
    archive = await new()
    node = Node(archive, "a")
    gone = [left(), left("acme/", "\x00\udcff".encode(errors="replace").decode()), left("", "ÿ")]
    for one in gone:
        node.reporter.connection(views.kept_row(one))
    await node.reporter.round()
    for one in gone:
        row = await archive.connection(one.id)
        assert row is not None
        assert views.kept_connection(row) == views.connection(one)
        assert (row.owner, row.closed_at) == (one.owner, one.updated_at)
    found = await archive.connections(rows.Sought(stream=STREAM))
    assert {row.id for row in found} == {one.id for one in gone}


async def test_nodes_tell_their_minutes_beside_each_other(join: archives.NewArchive) -> None:
    archive = await join()
    nodes = [Node(archive, name) for name in ("a", "b")]
    for number in range(3):
        for node in nodes:
            await node.minute(streams_started=number, sent_bytes=7)
    told = await minutes(archive)
    assert len(told) == 6
    assert counts.added(told.values()) == counts.Counts(streams_started=6, sent_bytes=42)
    assert told[counts.MINUTE_MS, "b"] == counts.Counts(streams_started=1, sent_bytes=7)


async def test_what_is_written_twice_is_there_once(new: archives.NewArchive) -> None:
    """The archive has taken it, and nobody has heard."""
    archive = await new()

    class Deaf:
        def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
            async def call(*values: object) -> None:
                await getattr(archive, name)(*values)
                raise errors.ArchiveUnavailable

            return call

    node, gone = Node(archive, "a"), left()
    node.reporter._archive = Deaf()  # type: ignore[assignment]
    node.reporter.connection(views.kept_row(gone))
    for _ in range(2):
        with pytest.raises(errors.ArchiveUnavailable):
            await node.minute(streams_started=1)
    node.reporter._archive = archive
    for _ in range(2):
        await node.minute(streams_started=1)
    assert len(await archive.connections(rows.Sought())) == 1
    told = await minutes(archive)
    assert [one.streams_started for one in told.values()] == [1, 1, 1, 1]


async def test_many_nodes_write_at_once(join: archives.NewArchive) -> None:
    opened = await join()
    nodes = [Node(opened, f"{number}") for number in range(4)]
    gone = [left() for _ in range(200)]
    for node in nodes:
        for one in gone:  # the same of all: as after an answer that was not heard
            node.reporter.connection(views.kept_row(one))
    await asyncio.gather(*(node.minute(streams_started=1) for node in nodes))
    assert all(node.reporter.waiting == 0 for node in nodes)
    assert len(await opened.connections(rows.Sought(limit=rows.MAX_ROWS))) == 200
    assert len(await minutes(opened)) == 4


async def test_what_is_damaged_is_told_and_not_shown(new: archives.NewArchive) -> None:
    archive = await new()
    row = views.kept_row(left())
    await archive.keep_connections([msgspec.structs.replace(row, data=row.data[:-1])])
    found = await archive.connection(row.id)
    assert found is not None
    with pytest.raises(errors.LogCorrupt):
        views.kept_connection(found)
