"""What somebody sees who watches: frames that replace each other, as an event stream.

Strategy: the latest frame once, whenever there is one, and a patience for who takes none. There is
always more, so it ends uncleanly, and it takes no reader's place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from starlette.types import Receive, Scope, Send

from holdfast import endings
from holdfast.dialects import base as dialect_base
from holdfast.eventlog import reader
from holdfast.http import coding, sockets, sse_body
from holdfast.service import Service


class Frames(Protocol):
    """What a watcher is shown: the latest, once."""

    def take(self) -> bytes: ...


class LiveResponse:
    """An ASGI application for one who watches; `watched` gives the frames, and wakes. It takes no
    reader's place and ends uncleanly, as there is always more. `may` says whether the watcher still
    may."""

    def __init__(
        self,
        service: Service,
        watched: Callable[[Callable[[], None]], contextlib.AbstractContextManager[Frames]],
        dialect: dialect_base.Dialect,
        may: Callable[[], bool],
        encoding: coding.Name = "identity",
    ) -> None:
        self._service, self._watched, self._dialect, self._may = service, watched, dialect, may
        self._flag, self._gone, self._encoding = reader.Flag(), False, encoding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket, listener = sockets.socket_of(scope), None
        try:
            with self._watched(self._flag.set) as found:
                if socket is not None:
                    socket.on_lost(self._lost)
                else:
                    listening = sse_body.disconnected(receive, self._lost)
                    listener = self._service.supervisor.job(listening, "listen to a watcher")
                work = self._show(found, scope, send)
                await self._service.supervisor.job(work, "show")
        finally:
            if listener is not None:
                listener.cancel()

    def _lost(self) -> None:
        self._gone = True
        self._flag.set()

    async def _show(self, found: Frames, scope: Scope, send: Send) -> None:
        config = self._service.config
        coder = coding.coder(self._encoding, config.compression.level)
        await sse_body.begin(send, (), self._encoding)
        patience = config.server.write_timeout
        while not self._gone:
            self._flag.clear()
            if self._service.draining or not self._may():
                why = "draining" if self._service.draining else endings.ACCESS_ENDED
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(patience):
                        return await sse_body.send_away(self._dialect, scope, send, why, coder)
                break
            data = found.take()
            if data:
                try:
                    async with asyncio.timeout(patience):
                        await send(sse_body.piece(sse_body.coded(data, coder)))
                except TimeoutError:  # takes nothing
                    break
            await self._flag.wait()
        sockets.end_unclean(scope)
        return None
