"""A server on loopback whose connections are owned: when it closes, none is left.

Strategy: asyncio's own streams, one task a connection, and what a subclass says on it. A client
that goes or asks for nothing readable ends only its own connection, without a word.
"""

from __future__ import annotations

import abc
import asyncio
from types import TracebackType
from typing import Any, Self

MAX_HEAD = 64 << 10
"""Bytes that may be read in search of a separator."""


class Listener(abc.ABC):
    """Listens at `port` of `host` while its block runs, and calls `converse` for each client."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host, self.port = host, 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[Any]] = set()

    @abc.abstractmethod
    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, cut off when this returns, raises, or is cancelled by `close`."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0, limit=MAX_HEAD)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops listening and ends every connection. Idempotent."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self.converse(reader, writer)
        except (asyncio.CancelledError, OSError):
            pass  # `close` was called, or the client went
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # no request: it is closed without an answer
        finally:
            self._open.discard(task)
            writer.transport.abort()
