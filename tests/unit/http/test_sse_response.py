"""One response: what lies in memory is written from the hint, and all else is done by its own loop.

Strategy: the shipped response on a real service in simulated time; the other end of its line notes
what is written, and when.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from holdfast import connections, errors, events, service, settings
from holdfast.dialects import native
from holdfast.eventlog import base, memory, reader
from holdfast.http import feed, sse_response
from holdfast.providers import registry
from holdfast.testing import simulated
from holdfast.testing.eventlog import parts
from holdfast.testing.simulation import line


class Client:
    """The other end. `said` is what came by ASGI, `written` what came without."""

    def __init__(self) -> None:
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.busy = self.ended = False
        self.said, self.written = bytearray(), bytearray()

    def take(self, body: bytes) -> None:
        self.written += body

    async def receive(self) -> MutableMapping[str, Any]:
        raise AssertionError("our server tells of the loss by itself")

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            self.said += message["body"]
            self.ended = not message.get("more_body", False)

    def kinds(self, body: bytes | bytearray) -> list[str]:
        return [one[7:].decode() for one in body.split(b"\n") if one.startswith(b"event: ")]


class Log(memory.MemoryLog):
    """`broken`: what is stored cannot be read. `deaf`: nobody is told of what is new."""

    broken = deaf = False

    def watch(self, stream: events.StreamId, wake: base.Wake) -> base.Undo:
        return super().watch(stream, lambda: None if self.deaf else wake())

    def glance(self, stream: events.StreamId, after: events.Position) -> base.Page | None:
        if self.broken:
            raise errors.LogCorrupt("page 7")
        return super().glance(stream, after)

    async def read(
        self, stream: events.StreamId, after: events.Position, limit: int = base.PAGE_EVENTS
    ) -> base.Page:
        if self.broken:
            raise errors.LogCorrupt("page 7")
        return await super().read(stream, after, limit)


class Reading:
    """A reader that has the stream's first event, and waits."""

    def __init__(self, node: service.Service, log: Log) -> None:
        self.log, self._node = log, node
        self.client, self.flag = Client(), reader.Flag()

    async def begin(self, *, at_head: bool = False) -> None:
        """`at_head`: it has come back with the first event, and gets no other one yet."""
        self.pen = await parts.begin(self.log)
        after = events.Position(self.pen.epoch, 1) if at_head else events.BEGIN
        options = connections.Options(8192, 0, False, False, 15.0)
        peer, now = connections.Peer(), simulated.now()
        self.connection = connections.Connection(
            self.pen.stream, "demo", "m", peer, options, self.flag.set, now
        )
        feeds = feed.Feeds(self.log, self._node.watch)
        dialect = native.Native()
        source = feeds.shared(self.pen.stream, dialect, self.flag)
        response = sse_response.SseResponse(
            self._node, source, dialect, self.connection, self.flag, after
        )
        self._line = line.Line(self.client)
        answering = response(self._line.scope(), self.client.receive, self.client.send)
        self.task = asyncio.ensure_future(answering)
        await simulated.idle()
        assert self.client.kinds(self.client.written) == ([] if at_head else ["start"])
        self.client.written.clear()


@contextlib.asynccontextmanager
async def reading(*, at_head: bool = False) -> AsyncIterator[Reading]:
    log = Log()
    async with service.Service(log, registry.Registry(), settings.Settings()) as node:
        made = Reading(node, log)
        await made.begin(at_head=at_head)
        try:
            yield made
        finally:
            if not made.client.left.done():
                made.client.left.set_result(None)
            await made.task


@simulated.timed
async def test_what_comes_is_written_before_the_hint_returns() -> None:
    async with reading() as one:
        for word in "ab":
            await one.pen.write(parts.chunk(word))
            # No task has had its turn yet but this one.
            assert one.client.kinds(one.client.written)[-1] == "chunk"
        assert one.client.kinds(one.client.written) == ["chunk", "chunk"]
        assert one.connection.chunks_sent == 2
        assert not one.client.said


@simulated.timed
async def test_the_end_is_the_loop_s_and_comes_once() -> None:
    async with reading() as one:
        await one.pen.write(parts.chunk("a"), parts.COMPLETE)
        await one.task
        assert one.client.kinds(one.client.written) == ["chunk", "complete"]
        assert one.client.ended
        assert one.connection.status == "completed"


@simulated.timed
async def test_who_is_to_come_back_later_goes_although_there_is_something_to_write() -> None:
    async with reading() as one:
        one.connection.farewell = "draining"  # and nobody has woken it yet
        now = simulated.now()
        await one.pen.write(parts.chunk("a"))
        await one.task
        assert simulated.now() == now
        assert one.client.kinds(one.client.written) == ["chunk"]
        assert one.client.kinds(one.client.said) == ["reconnect"]
        assert not one.client.ended


@simulated.timed
async def test_a_heartbeat_that_is_due_is_the_loop_s() -> None:
    async with reading() as one:
        await asyncio.sleep(20)
        assert one.client.kinds(one.client.said) == ["heartbeat"]
        one.connection.silent = True
        await one.pen.write(parts.chunk("a"))
        await simulated.idle()
        assert not one.connection.silent
        assert one.client.kinds(one.client.written) == ["chunk"]


@simulated.timed
async def test_a_client_that_takes_nothing_is_waited_for() -> None:
    async with reading() as one:
        one.client.busy = True
        await one.pen.write(parts.chunk("a"))
        await simulated.idle()
        one.client.busy = False
        await one.pen.write(parts.chunk("b"))
        assert one.client.kinds(one.client.said) == ["chunk"]
        assert one.client.kinds(one.client.written) == ["chunk"]


@simulated.timed
async def test_to_who_has_gone_nothing_is_written() -> None:
    async with reading() as one:
        one.log.deaf = True  # what comes now is found by whoever looks, and nobody is told
        await one.pen.write(parts.chunk("a"))
        now = simulated.now()
        one.client.left.set_result(None)
        await one.task
        assert simulated.now() == now
        assert not one.client.written
        assert one.connection.status == "disconnected"


@simulated.timed
async def test_what_cannot_be_read_at_a_glance_is_told_by_the_loop() -> None:
    async with reading() as one:
        one.log.broken = True
        await one.pen.write(parts.chunk("a"))
        await one.task
        assert not one.client.written
        assert one.client.kinds(one.client.said) == ["error"]
        assert one.connection.status == "error"


@simulated.timed
async def test_who_came_back_to_the_head_streams_from_its_first_piece_on() -> None:
    async with reading(at_head=True) as one:
        statuses = [str(one.connection.status)]
        await one.pen.write(parts.chunk("a"))
        await simulated.idle()
        assert [*statuses, one.connection.status] == ["connected", "streaming"]
        await one.pen.write(parts.chunk("b"))
        assert one.client.kinds(one.client.written) == ["chunk", "chunk"]
