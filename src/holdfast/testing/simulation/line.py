"""The end of a connection that our own server has, for readers in simulated time.

Strategy: a response that finds it in its scope writes to it without waiting, as to a socket; what
is written is unframed and given to the client at once. A client that is slow takes nothing for a
while, and is written to by way of ASGI meanwhile, as by our server.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from holdfast.http import sockets


class Client(Protocol):
    """Who is at the other end."""

    left: asyncio.Future[None]
    busy: bool
    """It takes nothing now."""

    def take(self, body: bytes) -> None:
        """More of the response's body."""


class Line:
    """Our server's connection, its transport, and its flow, as `sockets.Socket` sees them."""

    tenant = ""
    client = server = None
    disconnected = False
    chunked_encoding = True

    def __init__(self, client: Client) -> None:
        self._client = client
        self.transport: Any = self
        self.flow: Any = self

    def scope(self) -> dict[str, Any]:
        """What a request that came over this line has in its scope; weak, as our server's is."""
        mine = weakref.ref(self)
        return {"type": "http", "extensions": {sockets.EXTENSION: (mine, mine)}}

    @property
    def write_paused(self) -> bool:
        return self._client.busy

    def write(self, data: bytes) -> None:
        size, _, rest = data.partition(b"\r\n")
        body, end = rest[:-2], rest[-2:]
        assert (len(body), end) == (int(size, 16), b"\r\n")
        self._client.take(body)

    def tell_of_loss(self, lost: Callable[[], None]) -> None:
        self._client.left.add_done_callback(lambda _: lost())

    def is_closing(self) -> bool:
        return self._client.left.done()

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> None:
        """It is no real one."""

    def close(self) -> None:
        """What is said is said."""

    abort = flush = reads = linger = close
