"""Readers: they come, read, leave in the middle, come back where they were, and make things up.

Strategy: a `Client` is the other end of one SSE response, which the shipped `SseResponse` writes
as under any ASGI server, or to our own server's socket (`line`), by chance; it takes the bytes as
they come, slowly if it likes, and may leave after any byte. `Reader` comes back until it has the
end. A reader of `Service.events` is the same without HTTP. Where a reader of HTTP would get a
status, `_respond` does what the route does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import MutableMapping
from typing import Any

import msgspec

from holdfast import connections, errors, events, sse
from holdfast.eventlog import base, reader
from holdfast.http import sse_body, sse_response, streams
from holdfast.testing import history, simulated
from holdfast.testing.simulation import line, node, record

Message = MutableMapping[str, Any]


class Manner(msgspec.Struct, frozen=True):
    """How somebody reads. `leaves` is the share of pieces after which it goes away, `slowest`
    the seconds that a piece may take it; `again` the longest time until it comes back."""

    leaves: float = 0.0
    slowest: float = 0.0
    again: float = 0.2


SLOW = 15.0
"""Seconds for which a reader is slow, all its connections together."""

COMES_BACK = 20
"""Connections after which a reader stays."""


class Client:
    """One connection's other end."""

    def __init__(
        self, conn: str, seen: record.Record, chance: random.Random, manner: Manner
    ) -> None:
        self.conn, self._record, self._chance, self._manner = conn, seen, chance, manner
        self._parser = sse.Parser()
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.busy = False
        self._id = ""
        self.position: events.Position | None = None
        self.clean = False
        self.slow = 0.0
        """Seconds for which it has kept the node waiting."""

    @property
    def ours(self) -> bool:
        """It went away by itself."""
        return self.left.done()

    def leave(self) -> None:
        if not self.left.done():
            self.left.set_result(None)

    async def receive(self) -> Message:
        await asyncio.shield(self.left)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.ours:
            return
        if message["type"] == "http.response.start":
            self._record.add(history.Answered(simulated.now(), self.conn, message["status"]))
            return
        talks = self._took(message["body"])
        self.clean = not message.get("more_body", False)
        if talks and not self.ours:
            await self.linger()

    def take(self, body: bytes) -> None:
        """See `line.Client`."""
        if not self.ours and self._took(body) and not self.ours and self._chance.random() < 0.2:
            self.busy = True  # until it has been waited for

    def _took(self, body: bytes) -> bool:
        """Whether more was said than a goodbye; it may leave in the middle."""
        going = body and self._chance.random() < self._manner.leaves
        taken = body[: self._chance.randrange(len(body))] if going else body
        frames = self._parser.feed(taken)
        for frame in frames:
            self._take(frame)
        if going:
            self.leave()
        return any(frame.event != "reconnect" for frame in frames)

    async def linger(self) -> None:
        """A slow reader takes its time."""
        self.busy = False
        if self._manner.slowest and self.slow < SLOW:
            seconds = self._chance.random() * self._manner.slowest
            self.slow += seconds
            await asyncio.sleep(seconds)

    def _take(self, frame: sse.Frame) -> None:
        if frame.event == "rewind" and frame.id == self._id:  # a transient one: it has none
            self._reset()
        elif frame.event not in ("heartbeat", "reconnect"):
            stream, position = events.parse_event_id(frame.id)
            self._told(frame.event, frame.data, position, stream or "")

    def _reset(self) -> None:
        self.position = events.BEGIN
        self._record.add(history.Reset(simulated.now(), self.conn))

    def _told(self, kind: str, data: bytes, position: events.Position, tag: str) -> None:
        self._id = f"{tag}:{position}"
        self.position = position
        said, (epoch, seq) = history.digest(kind, data), (position.epoch, position.seq)
        self._record.positions.setdefault(tag, []).append(position)
        self._record.add(history.Delivered(simulated.now(), self.conn, epoch, seq, said, kind, tag))

    def take_event(self, event: events.Event, stream: str) -> None:
        """An event of `Service.events`."""
        if event.seq:
            self._told(event.kind, event.data, event.position, stream)
        else:
            self._reset()


class Reader:
    """Somebody who wants a stream. `direct`: by `Service.events`, without HTTP."""

    def __init__(
        self,
        name: str,
        stream: events.StreamId,
        seen: record.Record,
        chance: random.Random,
        manner: Manner,
        *,
        direct: bool = False,
    ) -> None:
        self._name, self._stream, self._record, self._chance = name, stream, seen, chance
        self._manner, self._direct = manner, direct
        self._position: events.Position | None = None
        self._came, self._slow = 0, 0.0

    async def read(
        self, served: node.Node, cursor: str | None = None, *, bad: bool = False
    ) -> bool:
        """One connection; true where the stream is read to its end. `cursor` stands for the
        position that the reader has; with `bad` it is made up."""
        if cursor is None:
            cursor = str(self._position) if self._position else ""
        conn, stream = self._record.name("conn-"), self._stream
        self._record.add(history.Connected(simulated.now(), self._name, conn, stream, cursor, bad))
        if not self._manner.slowest:
            self._record.quick.add(conn)
        client = Client(conn, self._record, self._chance, self._manner)
        impatience, gone = self._going(client), False
        respond = self._follow if self._direct else self._respond
        try:
            await served.run(respond(served, client, cursor))
        except node.Cut:
            pass
        except errors.HoldfastError as error:
            gone = isinstance(error, errors.StreamExpired) and stream in self._record.going
            if not client.ours:
                self._record.add(history.Answered(simulated.now(), conn, error.status))
        finally:
            if impatience is not None:
                impatience.cancel()
        end = history.Disconnected(simulated.now(), conn, client.clean, client.ours)
        self._record.add(end)
        self._came += 1
        self._slow += client.slow
        if self._came > COMES_BACK or self._slow > SLOW:
            self._manner = Manner()
        if client.position is not None:
            self._position = client.position
        return client.clean or gone

    def _going(self, client: Client) -> asyncio.TimerHandle | None:
        """Some go away after a time, whatever has come."""
        if self._chance.random() >= self._manner.leaves:
            return None
        seconds = self._chance.choice((0.0, 0.01, 0.5)) * self._chance.random()
        return asyncio.get_running_loop().call_later(seconds, client.leave)

    async def again(self) -> None:
        """The time until it comes back."""
        await asyncio.sleep(0.02 + self._chance.random() * self._manner.again)

    async def _respond(self, served: node.Node, client: Client, cursor: str) -> None:
        after = streams.place(self._stream, cursor or None, None)
        scope: Message = {"type": "http"}
        try:
            info = await served.service.stat(self._stream)
        except errors.LogUnavailable as error:
            away = sse_body.SentAway(served.dialect, error.code)
            await away(scope, client.receive, client.send)
            return
        head = info.head
        if head.closed and after == events.Position(head.epoch, head.seq):
            self._record.add(history.Answered(simulated.now(), client.conn, 204))
            client.clean = True
            return
        ours = line.Line(client)
        if self._chance.random() < 0.5:
            scope = ours.scope()
        flag = reader.Flag()
        connection = _connection(info, flag, served.service.config.server.heartbeat_interval)
        source = served.feeds.shared(self._stream, served.dialect, flag)
        response = sse_response.SseResponse(
            served.service, source, served.dialect, connection, flag, after
        )
        await response(scope, client.receive, client.send)

    async def _follow(self, served: node.Node, client: Client, cursor: str) -> None:
        after = streams.place(self._stream, cursor or None, None)
        pages = served.service.events(self._stream, after)
        self._record.add(history.Answered(simulated.now(), client.conn, 200))
        try:
            async with contextlib.aclosing(pages) as found:  # type: ignore[type-var]
                async for event in found:
                    client.take_event(event, self._stream)
                    if client.ours or self._chance.random() < self._manner.leaves:
                        client.leave()
                        return
                    await client.linger()
        except errors.StreamNotFound:
            self._direct = False  # to be told why
            return
        except errors.HoldfastError:
            return
        client.clean = True


def _connection(info: base.Info, flag: reader.Flag, heartbeat: float) -> connections.Connection:
    header = info.header
    options = connections.Options(8192, 0, False, False, heartbeat)
    return connections.Connection(
        info.stream,
        header.provider,
        header.model,
        connections.Peer(),
        options,
        flag.set,
        simulated.now(),
    )
