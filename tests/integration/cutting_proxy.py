"""A TCP proxy that breaks connections off, anywhere, the same way for the same seed.

Strategy: it forwards bytes and knows nothing of HTTP. For each connection a `Plan` says after how
many bytes of which direction it ends, and whether with a FIN or a reset. Where it leads may
change, so a server can move to another port behind it; without a server it resets at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Literal

import msgspec

SLICE = 4096
"""Bytes that are forwarded at once."""


class Plan(msgspec.Struct, frozen=True):
    """How one connection ends: after these bytes of the request, or of the answer; None lets
    that side through."""

    asked: int | None = None
    answered: int | None = None
    ending: Literal["fin", "rst"] = "rst"


WHOLE = Plan()


def dice(seed: int, longest: int, cuts: int) -> Callable[[], Plan]:
    """Plans that cut so many connections, most in the answer, within `longest` bytes of it."""
    roll = random.Random(seed)
    left = iter(range(cuts))

    def plan() -> Plan:
        if next(left, None) is None:
            return WHOLE
        ending: Literal["fin", "rst"] = roll.choice(("fin", "rst"))
        if roll.random() < 0.1:
            return Plan(asked=roll.randrange(300), ending=ending)
        return Plan(answered=roll.randrange(longest), ending=ending)

    return plan


class Proxy:
    """`target` is the port that it leads to; None resets whoever comes. `taken` counts."""

    def __init__(self, target: int | None, plan: Callable[[], Plan]) -> None:
        self.target, self._plan = target, plan
        self.port = self.taken = self.cut = 0
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.taken += 1
        try:
            if self.target is not None:
                await self._lead(reader, writer, self._plan(), self.target)
            else:
                _end(writer, "rst")
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _lead(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        plan: Plan,
        target: int,
    ) -> None:
        far, onward = await asyncio.open_connection("127.0.0.1", target)
        asking = asyncio.create_task(_pump(reader, onward, plan.asked))
        answering = asyncio.create_task(_pump(far, writer, plan.answered))
        try:
            # Who asks says nothing more: the answer's end, or a cut, is the end.
            done, _ = await asyncio.wait((asking, answering), return_when=asyncio.FIRST_COMPLETED)
            if any(task.exception() is None and task.result() for task in done):
                self.cut += 1
                _end(writer, plan.ending)
                _end(onward, plan.ending)
            elif answering in done:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
        finally:
            for task in (asking, answering):
                task.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
            onward.transport.abort()

    async def close(self) -> None:
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None
) -> bool:
    """Forwards up to the limit, which is True, or the end."""
    while limit is None or limit > 0:
        piece = await reader.read(SLICE if limit is None else min(SLICE, limit))
        if not piece:
            return False
        writer.write(piece)
        await writer.drain()
        if limit is not None:
            limit -= len(piece)
    return True


def _end(writer: asyncio.StreamWriter, how: Literal["fin", "rst"]) -> None:
    if how == "rst":
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


@contextlib.asynccontextmanager
async def cutting(target: int | None, plan: Callable[[], Plan]) -> AsyncIterator[Proxy]:
    """A proxy on a free port."""
    proxy = Proxy(target, plan)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
