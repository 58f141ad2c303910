"""A link: one connection to one server, for all who ask it anything.

Strategy: who asks leaves commands and gets a future; one task takes all that has gathered, sends
it as one write, and reads as many replies. So what is asked together goes together, and nobody but
that task touches the connection: a caller that goes away leaves no reply unread behind. Whatever
goes wrong closes the connection and fails all that was under way, whose fate is then unknown; the
next commands open a new one. What the server has not got by then it never gets: a network that is
back would bring it behind what was asked since.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import hiredis
from redis import exceptions
from redis.asyncio import connection as driver

from holdfast import errors
from holdfast.eventlog import reader
from holdfast.eventlog.redis import scripts

PATIENCE = 5.0
"""Seconds that commands may take, the connection included."""

PAUSE = 0.05
"""Seconds after a failure before the next try to connect."""

WAITING = 64 * 1024 * 1024
"""Bytes of commands that may wait; those of one call may be more."""

MAX_COMMANDS = 1_000
"""Commands that are sent before their replies are read."""

Command = tuple[bytes | str | int, ...]
"""Its words: bytes, text or numbers."""

Dial = Callable[[], Awaitable[driver.AbstractConnection]]

_BROKEN = (exceptions.RedisError, OSError, TimeoutError)
_OTHER_SERVER = (
    exceptions.ReadOnlyError,
    exceptions.BusyLoadingError,
    exceptions.MasterDownError,
    exceptions.NoScriptError,
)
_DEMOTED = (exceptions.ReadOnlyError, exceptions.MasterDownError)

_pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]


class _Asked:
    """What one caller wants, and its answer to come."""

    __slots__ = ("count", "future", "packed")

    def __init__(self, packed: bytes, count: int, future: asyncio.Future[list[Any]]) -> None:
        self.packed, self.count, self.future = packed, count, future


class Link:
    """`dial` gives a connection that is open; `demoted` is called when the server says that it is
    no primary. `run` is the one task."""

    def __init__(self, name: str, dial: Dial, demoted: Callable[[], None] = lambda: None) -> None:
        self.name, self._dial, self._demoted = name, dial, demoted
        self._connection: driver.AbstractConnection | None = None
        self._wire: asyncio.WriteTransport | None = None
        self._asked: deque[_Asked] = deque()
        self._waiting = 0  # bytes
        self._flag = reader.Flag()
        self._closed = self._left = False
        self.broken = 0
        """How many connections have been given up."""

    def ask(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Their replies, in order; one that the server refused is a `ResponseError` among them.
        Raises `errors.LogUnavailable`, now or then: what was asked may have been done."""
        if self._closed:
            raise errors.LogUnavailable(f"Redis at {self.name}: the log is not open.")
        packed = b"".join(map(_pack, commands))
        if self._waiting and self._waiting + len(packed) > WAITING:
            raise errors.LogUnavailable(f"Redis at {self.name}: {self._waiting} bytes wait for it.")
        future = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(packed, len(commands), future))
        self._waiting += len(packed)
        self._flag.set()
        return future

    def leave(self) -> None:
        """What is asked from now on needs a new connection."""
        self._left = True

    async def run(self) -> None:
        """Never returns."""
        try:
            while True:
                self._flag.clear()
                if not self._asked:
                    await self._flag.wait()
                    continue
                some = self._take()
                try:
                    async with asyncio.timeout(PATIENCE):
                        await self._exchange(some)
                except _BROKEN as error:
                    await self._broken(some, error)
                    await asyncio.sleep(PAUSE)
                except BaseException:  # the end, or a bug: nobody is to wait for ever
                    self._fail(some, "the log is closed")
                    raise
        finally:
            self._closed = True
            self._fail(self._asked, "the log is closed")
            await self._hang_up()

    def _take(self) -> list[_Asked]:
        """The next calls, which go out together."""
        some, count = [], 0
        while self._asked and count < MAX_COMMANDS:
            asked = self._asked.popleft()
            self._waiting -= len(asked.packed)
            some.append(asked)
            count += asked.count
        return some

    async def _exchange(self, some: Sequence[_Asked]) -> None:
        if self._left:
            await self._hang_up()
        connection = self._connection or await self._connect()
        await connection.send_packed_command([asked.packed for asked in some])
        moved = False
        for asked in some:
            replies = [await _reply(connection) for _ in range(asked.count)]
            moved = moved or any(map(_elsewhere, replies))
            if moved and any(isinstance(reply, _DEMOTED) for reply in replies):
                self._demoted()
            if not asked.future.done():
                asked.future.set_result(replies)
        if moved:
            await self._hang_up()

    async def _connect(self) -> driver.AbstractConnection:
        connection = await self._dial()
        try:
            self._wire = wire(connection)
            # One after the other: a server that lacks one of them says which.
            for script in scripts.ALL:
                await connection.send_packed_command(_pack(("SCRIPT", "LOAD", script.text)))
                await connection.read_response()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        return connection

    async def _broken(self, some: Iterable[_Asked], error: BaseException) -> None:
        why = f"no answer for {PATIENCE:g} s" if isinstance(error, TimeoutError) else str(error)
        self._cut()  # before anybody asks anew
        self._fail(some, why)
        await self._hang_up()

    def _fail(self, some: Iterable[_Asked], why: str) -> None:
        for asked in some:
            if not asked.future.done():
                error = errors.LogUnavailable(f"Redis at {self.name}: {why.rstrip('.')}.")
                asked.future.set_exception(error)
                asked.future.exception()  # who asked may be gone

    def _cut(self) -> None:
        """The connection alone would send what it has before it closes."""
        if self._wire is not None:
            self._wire.abort()
            self._wire = None

    async def _hang_up(self) -> None:
        self._cut()
        self._left = False
        connection, self._connection = self._connection, None
        if connection is not None:
            self.broken += 1
            await connection.disconnect(nowait=True)


def wire(connection: driver.AbstractConnection) -> asyncio.WriteTransport:
    """What is under an open connection; the kernel sends nothing more of it once it is closed.
    Raises redis-py's errors and OSError."""
    writer = connection._writer
    if writer is None:
        raise exceptions.ConnectionError("the connection was closed at once")
    at_once = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    return writer.transport


async def _reply(connection: driver.AbstractConnection) -> Any:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except exceptions.ResponseError as error:
        return error


def _elsewhere(reply: object) -> bool:
    """Whether another connection may lead to a server that can do it."""
    return isinstance(reply, _OTHER_SERVER)
