"""A line between a server and a client that loses packets, and knows which.

Strategy: two network namespaces of this process, each with a TUN device. This process reads
what one side sends and gives it to the other: so every packet passes here whole, and what was lost
or sent twice is known exactly, by what TCP says in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from tests import conftest
from tests.faults import cable, namespaces

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_MOST = 65_536
"""Bytes of a packet."""


class Line:
    """Of what the server sends, the segments of these numbers (from 0, of those that are new) are
    held back; `sent_again` counts those that it sent once more, `twice` what the client has had
    before. `listener` is the server's end."""

    def __init__(self, held_back: Sequence[int]) -> None:
        """Raises `OSError` where namespaces, `ip` or TUN are not to be had."""
        self._held_back = frozenset(held_back)
        self._seen, self._given = set[tuple[int, int]](), set[tuple[int, int]]()
        self.held, self.sent_again, self.twice = list[bytes](), 0, 0
        with contextlib.ExitStack() as opened:
            self._namespaces = [namespaces.new() for _ in range(2)]
            for one in self._namespaces:
                opened.callback(os.close, one)
            far = self._namespaces[1]
            self._server = namespaces.within(self.server, lambda: _tun(cable.SERVER))
            opened.callback(os.close, self._server)
            self._client = namespaces.within(far, lambda: _tun(cable.CLIENT))
            opened.callback(os.close, self._client)
            self.listener = namespaces.within(self.server, cable.listen)
            opened.pop_all()

    async def connect(self) -> socket.socket:
        """A new connection, as a socket that does not block."""
        made = namespaces.within(self._namespaces[1], socket.socket)
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, self.listener.getsockname())
        return made

    @property
    def server(self) -> int:
        """The server's namespace."""
        return self._namespaces[0]

    def begin(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._server, self._from_server)
        loop.add_reader(self._client, self._from_client)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for device in (self._server, self._client):
            loop.remove_reader(device)
            os.close(device)
        self.listener.close()
        for one in self._namespaces:
            os.close(one)

    def deliver(self) -> None:
        """What was held back comes after all."""
        for packet in self.held:
            self._give(packet, _data(packet))

    def _from_client(self) -> None:
        os.write(self._server, os.read(self._client, _MOST))

    def _from_server(self) -> None:
        packet = os.read(self._server, _MOST)
        segment = _data(packet)
        if segment in self._seen:
            self.sent_again += 1
        elif segment is not None:
            self._seen.add(segment)
            if len(self._seen) - 1 in self._held_back:
                self.held.append(packet)
                return
        self._give(packet, segment)

    def _give(self, packet: bytes, segment: tuple[int, int] | None) -> None:
        if segment in self._given:
            self.twice += 1
        elif segment is not None:
            self._given.add(segment)
        os.write(self._client, packet)


def _data(packet: bytes) -> tuple[int, int] | None:
    """The port and the sequence number that a TCP segment goes to; None without data in it."""
    head = 4 * (packet[0] & 15)
    if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
        return None
    port, seq = struct.unpack_from("!2xHI", packet, head)
    size = len(packet) - head - 4 * (packet[head + 12] >> 4)
    return (port, seq) if size else None


def _tun(address: str) -> int:
    """The descriptor of a device with this address, in this thread's namespace."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"line", _IFF_TUN | _IFF_NO_PI))
        namespaces.ip(f"addr add {address}/24 dev line")
        namespaces.ip("link set line up")
    except OSError:
        os.close(device)
        raise
    return device


@contextlib.contextmanager
def line(held_back: Sequence[int]) -> Iterator[Line]:
    """A line for a test, which is skipped where there can be none."""
    try:
        made = Line(held_back)
    except OSError as error:
        conftest.missing("namespaces", f"no TUN in a namespace can be made ({error.strerror})")
    made.begin()
    try:
        yield made
    finally:
        made.close()
