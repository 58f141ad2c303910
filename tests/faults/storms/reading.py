"""Readers by the thousand, and an account of what each has.

Strategy: a reader takes the bytes off its socket in the call that the event loop makes and keeps
none of them. All readers of a stream share one copy of its events (`Stream`): whoever comes to
a place first puts the block there, and everybody else must find the same bytes in it. A reader's
next event must have the next number. So a gap, a repeat and a changed byte show at once, and a
thousand readers cost little more than their sockets. The text is proved once a stream, by the
length and the SHA-256 in its `complete`. Nothing of our client is used.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import struct

import msgspec

from holdfast import events

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close that resets the connection."""

LARGEST_HEAD = 64 << 10


class Wrong(AssertionError):
    """A reader got what no reader may get."""


class Stream:
    """What the readers of one stream have seen: block by block, from the first event."""

    def __init__(self, stream: str) -> None:
        self.id = stream
        self.blocks: list[bytes] = []
        self.ended = False
        self._text = hashlib.sha256()
        self._length = 0
        self._epoch = 0

    def take(self, seq: int, epoch: int, block: bytes) -> None:
        """An event came to a reader that has all before it. Raises `Wrong`."""
        if seq <= len(self.blocks):
            if self.blocks[seq - 1] != block:
                raise Wrong(f"{self.id}: event {seq} is not what another reader got")
            return
        if self.ended or epoch < self._epoch:
            raise Wrong(f"{self.id}: event {seq} of life {epoch} has no place here")
        self._epoch = epoch
        self.blocks.append(block)
        kind, data = _said(block)
        body = events.decode(kind, data)
        if isinstance(body, events.Chunk) and body.type == "content" and not body.choice:
            said = body.delta.encode()
            self._text.update(said)
            self._length += len(said)
        elif isinstance(body, events.Complete):
            if (body.length, body.sha256) != (self._length, self._text.hexdigest()):
                raise Wrong(f"{self.id}: the text is not the one that `complete` tells of")
            self.ended = True
        elif isinstance(body, events.Error | events.Rewind):
            raise Wrong(f"{self.id}: {data!r}")


def _said(block: bytes) -> tuple[str, bytes]:
    kind, data, *_ = block.split(b"\n")
    return kind.removeprefix(b"event: ").decode(), data.removeprefix(b"data: ")


class Reader:
    """Somebody who reads a stream to its end, over as many responses as it takes."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.seq = self.cuts = self.sent_away = self.responses = 0
        self.ended = False
        self.wrong: Wrong | None = None
        self._id = ""

    def request(self) -> bytes:
        after = f"Last-Event-ID: {self._id}\r\n" if self._id else ""
        return (
            f"GET /v1/streams/{self.stream.id}/events HTTP/1.1\r\nHost: x\r\n{after}\r\n".encode()
        )

    def take(self, block: bytes) -> None:
        """One whole block. Raises `Wrong`."""
        last = block.rpartition(b"\n")[2]
        if not last.startswith(b"id: "):
            kind, data = _said(block)
            if kind == "reconnect":
                self.sent_away += 1
            elif kind != "heartbeat":
                raise Wrong(f"{self.stream.id}: {kind} {data!r} after event {self.seq}")
            return
        stream, _, place = last[4:].decode().partition(":")
        epoch, _, seq = place.partition("-")
        if self.ended or stream != self.stream.id or int(seq) != self.seq + 1:
            raise Wrong(f"{self.stream.id}: {last!r} came after event {self.seq}")
        self.stream.take(self.seq + 1, int(epoch), block)
        self.seq, self._id = self.seq + 1, last[4:].decode()
        self.ended = block.startswith((b"event: complete", b"event: error"))


class Response(asyncio.Protocol):
    """One response to a reader. `over` is done when its socket is lost; `clean` tells whether
    its last chunk was there. With `stops` it reads nothing after its first event."""

    def __init__(self, reader: Reader, stops: bool = False) -> None:
        self.clean = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reader = reader
        self._stops = stops
        self._raw = bytearray()
        self._body = bytearray()
        self._in_head = True
        reader.responses += 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.reader.request())

    def data_received(self, data: bytes) -> None:
        self._raw += data
        try:
            if not self._in_head or self._head():
                self._chunks()
            if self._stops and self.reader.seq:
                self.transport.pause_reading()
        except (Wrong, ValueError, msgspec.MsgspecError) as error:
            self.reader.wrong = error if isinstance(error, Wrong) else Wrong(repr(error))
            self.transport.abort()

    def _head(self) -> bool:
        head, found, rest = self._raw.partition(b"\r\n\r\n")
        if not found:
            if len(head) > LARGEST_HEAD:
                raise Wrong("the head of a response does not end")
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            raise Wrong(f"{self.reader.stream.id}: {bytes(head[:60])!r}")
        self._in_head, self._raw = False, rest
        return True

    def _chunks(self) -> None:
        at, raw = 0, self._raw
        while (line := raw.find(b"\r\n", at)) > 0:
            size = int(raw[at:line], 16)
            if len(raw) < line + 2 + size + 2:
                break
            self._body += raw[line + 2 : line + 2 + size]
            at = line + 2 + size + 2
            if not size:
                self.clean = True
                self.transport.close()
        del raw[:at]
        *whole, rest = bytes(self._body).split(b"\n\n")
        if whole:
            self._body = bytearray(rest)
        for block in whole:
            self.reader.take(block)
        if self.clean and not self.reader.ended:
            raise Wrong(f"{self.reader.stream.id}: a clean end after event {self.reader.seq}")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def go_on(self) -> None:
        """Reads again what it stopped reading."""
        self._stops = False
        self.transport.resume_reading()

    def cut(self, hard: bool) -> None:
        """The client goes away, with a reset or without."""
        if hard and not self.transport.is_closing():
            found = self.transport.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()


async def respond(
    reader: Reader, port: int, stops: bool = False, rcvbuf: int | None = None
) -> Response:
    """Connects and asks; the request is on its way. Raises OSError."""
    loop = asyncio.get_running_loop()
    opened = socket.socket()
    opened.setblocking(False)
    if rcvbuf is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    try:
        await loop.sock_connect(opened, ("127.0.0.1", port))
        _, response = await loop.create_connection(lambda: Response(reader, stops), sock=opened)
    except BaseException:
        opened.close()
        raise
    return response


class Where:
    """Where the server is, and whether readers are to be cut: both change while they read."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cut_after: tuple[float, float] | None = None
        """Seconds from a connection to its cut, at least and at most; None: it may stay."""


async def follow(reader: Reader, where: Where, dice: random.Random) -> None:
    """Reads until the stream's terminal event, coming back as often as it is cut off. Raises
    `Wrong`."""
    while not reader.ended:
        try:
            response = await respond(reader, where.port)
        except OSError:
            await asyncio.sleep(dice.uniform(0.02, 0.2))
            continue
        patience = dice.uniform(*where.cut_after) if where.cut_after else None
        try:
            done, _ = await asyncio.wait([response.over], timeout=patience)
            if not done:
                reader.cuts += 1
                response.cut(dice.random() < 0.5)
                await response.over
        finally:
            response.transport.abort()
        if reader.wrong is not None:
            raise reader.wrong
        if not done or response.clean:
            continue
        await asyncio.sleep(dice.uniform(0.02, 0.2))
