"""The yardstick for one stream with many readers: a uvloop server that does nothing but write.

Run as `python -m bench.bare PORT RATE BYTES`: answers each request with a head, and then writes the
same BYTES, RATE times a second, to all who have asked.

Strategy: one loop over `transport.write` is the least that any server in Python pays which has a
socket a reader. The bytes have the provider's stamp, so that the same client counts them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import uvloop

from bench import wires

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
BACKLOG = 4096


class Reader(asyncio.Protocol):
    """One who has connected; among the others once he has asked."""

    def __init__(self, everyone: set[asyncio.Transport]) -> None:
        self._everyone = everyone
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has no class in common

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(HEAD)
        self._everyone.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._everyone.discard(self._transport)


def event(number: int, micros: int, size: int) -> bytes:
    """So many bytes with this token's stamp in them."""
    return wires.stamp(number, micros).encode().ljust(size - 1) + b"\n"


async def serve(port: int, rate: float, size: int) -> None:
    """Writes until it is cancelled."""
    everyone: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    made = await loop.create_server(lambda: Reader(everyone), "127.0.0.1", port, backlog=BACKLOG)
    begun, number = loop.time(), 0
    async with made:
        while True:
            await asyncio.sleep(begun + number / rate - loop.time())
            data = event(number, time.monotonic_ns() // 1000, size)
            for one in everyone:
                one.write(data)
            number += 1


def main() -> None:
    """What the command line says."""
    port, rate, size = sys.argv[1:]
    uvloop.run(serve(int(port), float(rate), int(size)))


if __name__ == "__main__":
    main()
