"""A provider that writes whatever bytes a test says, its head included.

Strategy: `holdfast.testing.provider` keeps to HTTP, and here nothing has to: each connection is
answered with the same pieces, as they are, until they are all written or the other side has gone.
What a test asks afterwards is how much was taken, and that the connection was closed by us.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Literal

import msgspec
from tests.integration import asking, harness

from holdfast.testing import listening

Ending = Literal["stall", "fin"]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a body, framed."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Account(msgspec.Struct):
    """What became of one connection. `written` counts bytes, head included; `gone` is set when
    the other side has closed it, or all is over."""

    gone: asyncio.Event
    written: int = 0
    closed_by_us: bool = False


class RawProvider(listening.Listener):
    """Answers every request with `pieces()`, then ends so. With `stall` it waits for the other
    side to go."""

    def __init__(self, pieces: Callable[[], Iterable[bytes]], ending: Ending) -> None:
        super().__init__()
        self.accounts: list[Account] = []
        self._pieces, self._ending = pieces, ending

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        account = Account(asyncio.Event())
        self.accounts.append(account)
        try:
            await self._answer(account, reader, writer)
        except ConnectionError:
            account.closed_by_us = True
        finally:
            account.gone.set()

    async def _answer(
        self, account: Account, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in self._pieces():
            writer.write(piece)
            await writer.drain()
            account.written += len(piece)
        if self._ending == "stall":
            while await reader.read(harness.READ):
                pass
            account.closed_by_us = True
        writer.close()
        await writer.wait_closed()


class Stage(msgspec.Struct, frozen=True):
    """A running server whose one provider, `vendor`, is a `RawProvider`."""

    server: harness.Running
    provider: RawProvider

    async def ask(self) -> harness.Response:
        """One answer, from its first event to its end; heartbeats put no wait off."""
        reader = await harness.begin(self.server.port, harness.wanted("vendor/m"))
        try:
            async with asyncio.timeout(harness.PATIENCE):
                return await reader.rest()
        finally:
            await reader.close()


@contextlib.asynccontextmanager
async def vendor(
    pieces: Callable[[], Iterable[bytes]], ending: Ending = "stall", **tables: Any
) -> AsyncIterator[Stage]:
    """Both servers; every wait for the provider ends soon unless `deadlines` say more."""
    async with RawProvider(pieces, ending) as provider:
        url = f"http://127.0.0.1:{provider.port}/v1"
        row = {"kind": "openai", "base_url": url, "api_key": asking.KEY}
        config = harness.configured(providers={"vendor": row}, **tables)
        async with harness.running(config) as server:
            yield Stage(server, provider)
