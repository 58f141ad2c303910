"""What a connection does when things come at the wrong moment; the socket is a stand-in.

Strategy: the calls of the event loop are made by the test itself, in orders that sockets
produce rarely. What needs no such order is tested over sockets, in test_transport*.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.transport.peers import FIVE, Recorder

from holdfast import errors, transport
from holdfast.transport import connection, reads
from holdfast.transport.connection import Connection


class Options:
    """Takes any socket option."""

    family = socket.AF_INET

    def __init__(self, fd: int = 7) -> None:
        self._fd = fd

    def setsockopt(self, *option: int) -> None: ...

    def fileno(self) -> int:
        return self._fd


class Bodies(reads.Reads):
    """Notes what it is to read; reads nothing."""

    def __init__(self, there: bool) -> None:
        super().__init__()
        self.read: list[int] = []
        self._can = there

    def add(self, fd: int, connection: reads.Readable) -> bool:
        if self._can:
            self.read.append(fd)
        return self._can

    def drop(self, fd: int, connection: reads.Readable) -> None:
        self.read.remove(fd)


class Wire:
    """Stands in for the event loop's transport."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.closing = False
        self.waiting = 0
        self.options = Options()

    def get_extra_info(self, name: str) -> Options:
        return self.options

    def write(self, data: bytes) -> None:
        self.calls.append("write")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def abort(self) -> None:
        self.calls.append("abort")
        self.closing = True

    close = abort

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.waiting


class Told:
    """A connection, and what it tells its owner."""

    def __init__(self, there: bool = False) -> None:
        """`there`: bodies can be read in a poll of ours."""
        self.calls: list[str] = []
        self.buffer = bytearray(1000)
        self.bodies = Bodies(there)
        self.connection = Connection(
            "origin",
            self.buffer,
            self.bodies,
            lambda idle: self.calls.append("idle"),
            lambda lost: self.calls.append("closed"),
        )

    def made(self) -> Wire:
        wire: Any = Wire()
        self.connection.connection_made(wire)
        assert isinstance(wire, Wire)
        return wire

    def begin(self) -> Recorder:
        sink = Recorder()
        self.connection.begin(transport.Exchange(sink, transport.MAX_HEAD), b"GET")
        return sink

    def read(self, data: bytes) -> None:
        """As asyncio reads."""
        self.connection.get_buffer(-1)[: len(data)] = data
        self.connection.buffer_updated(len(data))


async def test_both_ways_of_reading_are_the_same() -> None:
    for read in (Told.read, lambda told, data: told.connection.data_received(data)):
        told = Told()
        told.made()
        sink = told.begin()
        read(told, FIVE + b"he")
        read(told, b"llo")
        assert sink.received == b"hello"
        assert sink.calls == ["head", "body", "body", "end"]
        assert told.calls == ["idle"]


async def test_a_connection_that_comes_too_late_sends_no_request() -> None:
    told = Told()
    told.connection.abort()
    wire = told.made()
    assert wire.calls == ["abort"]
    sink = told.begin()
    assert isinstance(sink.error, errors.Truncated)
    assert wire.calls == ["abort"]
    told.connection.connection_lost(None)
    assert told.calls == ["closed"]


async def test_one_that_is_lost_before_it_is_used_tells_the_exchange() -> None:
    told = Told()
    wire = told.made()
    told.connection.eof_received()
    sink = told.begin()
    assert isinstance(sink.error, errors.Truncated)
    assert "write" not in wire.calls


async def test_steps_on_a_lost_connection_fail_at_once() -> None:
    told = Told()
    told.made()
    told.connection.connection_lost(ConnectionResetError())
    with pytest.raises(ConnectionAbortedError, match="closed"):
        await told.connection.tunnel(b"CONNECT", 100)
    with pytest.raises(ConnectionAbortedError, match="closed"):
        await told.connection.encrypt(transport.tls_context(), "h.test")


async def test_a_request_that_is_not_fully_sent_leaves_nothing_to_use() -> None:
    told = Told()
    wire = told.made()
    wire.waiting = 1
    sink = told.begin()
    told.read(FIVE + b"hello")
    assert sink.error is None
    assert told.calls == []
    assert wire.closing


async def test_two_exchanges_at_once_are_a_bug() -> None:
    told = Told()
    told.made()
    told.begin()
    with pytest.raises(RuntimeError, match="one exchange"):
        told.begin()


async def test_an_idle_connection_that_is_closed_or_spoken_to_is_of_no_use() -> None:
    for end in ("eof", "read", "lost"):
        told = Told()
        wire = told.made()
        told.begin()
        told.read(FIVE + b"hello")
        assert told.connection.usable
        if end == "eof":
            told.connection.eof_received()
        elif end == "read":
            told.read(b"x")
        else:
            told.connection.connection_lost(None)
        assert not told.connection.usable
        assert wire.closing


# Who reads


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
LONG = HEAD.replace(b"100", b"9999")


async def test_a_body_is_read_apart_from_its_begin_to_its_end() -> None:
    told = Told(there=True)
    wire = told.made()
    told.begin()
    told.read(HEAD[:20])
    assert (told.bodies.read, wire.calls) == ([], ["write"])
    told.read(HEAD[20:] + b"he")
    assert (told.bodies.read, wire.calls) == ([7], ["write", "pause"])
    told.read(98 * b"x")
    assert (told.bodies.read, wire.calls) == ([], ["write", "pause", "resume"])
    assert told.calls == ["idle"]


async def test_a_body_that_comes_with_its_head_is_read_by_the_event_loop() -> None:
    told = Told(there=True)
    wire = told.made()
    told.begin()
    told.read(FIVE + b"hello")
    assert (wire.calls, told.calls) == (["write"], ["idle"])


async def test_where_bodies_cannot_be_read_apart_the_event_loop_reads() -> None:
    told = Told()
    wire = told.made()
    told.begin()
    told.read(HEAD)
    told.read(100 * b"x")
    assert (wire.calls, told.calls) == (["write"], ["idle"])


async def test_who_pauses_is_read_nowhere_and_then_apart_again() -> None:
    told = Told(there=True)
    wire = told.made()
    told.begin()
    told.read(HEAD)
    exchange = told.connection._exchange
    assert exchange is not None
    for _ in range(2):
        exchange.pause()
        assert told.bodies.read == []
    for _ in range(2):
        exchange.resume()
        assert told.bodies.read == [7]
    assert wire.calls == ["write", "pause", "pause", "pause", "resume", "pause"]


async def test_a_pause_in_the_read_that_brings_the_head_holds() -> None:
    told = Told(there=True)
    wire = told.made()
    sink = told.begin()
    exchange = told.connection._exchange
    assert exchange is not None
    sink.on_call = lambda name: exchange.pause()
    told.read(HEAD)
    assert (told.bodies.read, wire.calls) == ([], ["write", "pause"])
    exchange.resume()
    assert told.bodies.read == [7]


@pytest.mark.parametrize("end", ["abort", "lost", "retire", "eof"])
async def test_whatever_ends_it_nothing_is_read_of_it_any_more(end: str) -> None:
    told = Told(there=True)
    told.made()
    told.begin()
    told.read(HEAD)
    match end:
        case "abort":
            told.connection.abort()
        case "lost":
            told.connection.connection_lost(ConnectionResetError())
        case "retire":
            told.connection.retire()
        case _:
            told.connection.eof_received()
    assert told.bodies.read == []


@contextlib.contextmanager
def apart(told: Told) -> Iterator[tuple[Recorder, socket.socket]]:
    """A long body whose head was read: its sink, and the other end of its socket."""
    wire, (near, far) = told.made(), socket.socketpair()
    with near, far:
        near.setblocking(False)
        wire.options = Options(near.fileno())
        sink = told.begin()
        told.read(LONG)
        yield sink, far
        told.connection.abort()


async def test_what_is_read_apart_is_what_came_and_then_the_end() -> None:
    told = Told(there=True)
    with apart(told) as (sink, far):
        told.connection.readable()  # for nothing
        assert sink.calls == ["head"]
        far.send(b"hello")
        told.connection.readable()
        assert sink.received == b"hello"
        far.close()
        told.connection.readable()
        assert isinstance(sink.error, errors.Truncated)
        assert not told.connection.usable


@pytest.mark.parametrize(("reads", "read"), [(1, 1), (2, 2), (8, 3)])
async def test_what_fills_the_buffer_is_read_on_but_not_without_end(
    monkeypatch: pytest.MonkeyPatch, reads: int, read: int
) -> None:
    monkeypatch.setattr(connection, "READS", reads)
    told = Told(there=True)
    with apart(told) as (sink, far):
        far.sendall(b"x" * 3 * len(told.buffer))
        told.connection.readable()
        assert len(sink.received) == read * len(told.buffer)


async def test_a_large_body_that_pauses_its_reading_is_read_no_further() -> None:
    told = Told(there=True)
    with apart(told) as (sink, far):
        exchange = told.connection._exchange
        assert exchange is not None
        sink.on_call = lambda name: exchange.pause()
        far.sendall(b"x" * 3 * len(told.buffer))
        told.connection.readable()
        assert len(sink.received) == len(told.buffer)


async def test_a_socket_that_fails_as_it_is_read_is_lost() -> None:
    told = Told(there=True)
    wire = told.made()
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        near = stack.enter_context(socket.create_connection(listening.getsockname()))
        far, _ = listening.accept()
        wire.options = Options(near.fileno())
        sink = told.begin()
        told.read(HEAD)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()  # a reset
        told.connection.readable()
    assert isinstance(sink.error, errors.Truncated)
    assert "was reset" in sink.error.message
    assert told.bodies.read == []
