"""A stream's events as one reader's response.

Strategy: one response is the reader loop with a socket at its end. A clean end of the body
means one thing, that the reader has everything; so whenever the response ends before the
stream's terminal event, the connection is closed without the last chunk. What is stored and cannot
be read is no passing reason to be sent away (`sse_body`): before the first byte it is a status,
afterwards an error and the end. All that is said goes through the response's coding, whose own end
stands at a clean end alone. The slot is taken as the first act of the response and given back in
its `finally`, so no path can keep it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from holdfast import connections, endings, errors, events
from holdfast.dialects import base as dialect_base
from holdfast.eventlog import reader
from holdfast.http import access_log, coding, feed, problems, sockets, sse_body, views
from holdfast.service import Service
from holdfast.telemetry import tracing

Refuse = Callable[[errors.HoldfastError], Response]
"""The answer to a call that failed, in the form of its route."""

_log = structlog.get_logger("holdfast")


class SseResponse:
    """An ASGI application for one connection's response; it reads `source` while it is open.
    `trace` is what the stream's header keeps."""

    __slots__ = (
        "_after",
        "_coder",
        "_connection",
        "_dialect",
        "_flag",
        "_gone",
        "_headers",
        "_loop",
        "_refuse",
        "_service",
        "_socket",
        "_source",
        "_trace",
    )

    def __init__(
        self,
        service: Service,
        source: contextlib.AbstractContextManager[feed.Source],
        dialect: dialect_base.Dialect,
        connection: connections.Connection,
        flag: reader.Flag,
        after: events.Position,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        trace: str = "",
        refuse: Refuse = problems.response,
    ) -> None:
        self._service, self._source, self._dialect = service, source, dialect
        self._trace, self._refuse = trace, refuse
        self._connection, self._flag, self._after = connection, flag, after
        self._headers, self._gone = headers, False
        self._loop = asyncio.get_running_loop()
        self._socket: sockets.Socket | None = None
        self._coder: coding.Coder | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection, service = self._connection, self._service
        try:
            service.admit(connection)
        except (errors.CapacityError, errors.QuotaError, errors.LogUnavailable) as error:
            await sse_body.SentAway(self._dialect, error.code, self._headers)(scope, receive, send)
            return
        service.observers.tell("connection_opened", connection)
        if connection.resumed:
            parent = tracing.parent(Headers(scope=scope))
            service.tracer.resumes(connection.stream, connection.id, self._trace, parent)
        outcome: connections.Status = "disconnected"
        listener = None
        try:
            listener = self._listen(scope, receive)
            # A task of its own: a wake-up then resumes this loop, and not every coroutine that
            # the server and the middleware have awaited above it.
            work = self._deliver(scope, send)
            outcome = await service.supervisor.job(work, f"deliver {connection.id}")
        except errors.LogCorrupt as error:  # before the first byte
            outcome = "error"
            await self._refuse(type(error)())(scope, receive, send)
        finally:
            if listener is not None:
                listener.cancel()
            access_log.name(scope, connection.peer.request_id)
            access_log.sent(scope, connection.bytes_sent)
            service.connections.leave(connection, outcome)
            service.keeper.reporter.connection(views.kept_row(connection))
            service.observers.tell("connection_closed", connection)

    def _listen(self, scope: Scope, receive: Receive) -> asyncio.Task[None] | None:
        """Learns of the client's going: from our own server by a callback, else by a task."""
        socket = sockets.socket_of(scope)
        if socket is not None:
            socket.on_lost(self._lost)
            self._connection.unsent = socket.unsent
            self._connection.cut = socket.cut
            self._connection.measure = socket.tcp
            self._service.connections.look(self._connection)
            return None

        response = asyncio.current_task()
        assert response is not None

        def cut() -> None:
            # It may wait in `send` for a reader that takes nothing, where no flag is heard.
            response.cancel()

        self._connection.cut = cut
        return self._service.supervisor.job(
            sse_body.disconnected(receive, self._lost), f"listen {self._connection.id}"
        )

    def _lost(self) -> None:
        self._gone = True
        self._connection.ends(endings.CLIENT_GONE)
        self._service.connections.look(self._connection)  # for the last time that it can be
        self._flag.set()

    async def _deliver(self, scope: Scope, send: Send) -> connections.Status:
        """Writes until the stream's end, the reader's going or a goodbye."""
        with self._source as source:
            return await self._follow(source, scope, send)

    async def _begin(self, send: Send) -> None:
        """Once the log has answered, as what it says first decides on the status."""
        encoding = self._connection.encoding
        self._coder = coding.coder(encoding, self._service.config.compression.level)
        await sse_body.begin(send, self._headers, encoding)
        self._connection.to("connected")

    def ready(self) -> bool:
        """See `reader.Taker`: all that is to be done is to write, and the socket takes it."""
        connection, socket = self._connection, self._socket
        return (
            socket is not None
            and connection.status == "streaming"
            and connection.farewell is None
            and not connection.silent
            and socket.is_open
        )

    def take(self, piece: feed.Piece) -> None:
        """See `reader.Taker`."""
        self._after = piece.position
        if piece.data:
            assert self._socket is not None
            data = sse_body.coded(piece.data, self._coder)
            self._socket.write(data)
            now, saved = self._loop.time(), len(piece.data) - len(data)
            self._connection.wrote(len(data), piece.chunks, piece.ts, now, saved)

    async def _follow(self, source: feed.Source, scope: Scope, send: Send) -> connections.Status:
        connection, loop = self._connection, self._loop
        socket = self._socket = sockets.socket_of(scope)
        follow = reader.follow(source, self._after, self._flag, self)
        try:
            async with contextlib.aclosing(follow) as pieces:
                async for piece in pieces:
                    if connection.status == "connecting":
                        await self._begin(send)
                    if self._gone:
                        return "disconnected"
                    self._after = piece.position
                    if piece.data:
                        if connection.status == "connected":
                            connection.to("streaming")
                            connection.continued = connection.resumed and not piece.rewound
                        data = sse_body.coded(piece.data, self._coder)
                        if socket is not None and socket.is_open:
                            socket.write(data)
                        else:
                            await send(sse_body.piece(data))
                            if self._gone:
                                return "disconnected"  # while it waited for the reader
                        saved = len(piece.data) - len(data)
                        connection.wrote(len(data), piece.chunks, piece.ts, loop.time(), saved)
                    if piece.rewound:
                        connection.missed = True
                    if piece.closed:
                        await self._end(send)
                        # Another server says so of a reader that has everything, too.
                        if self._gone and socket is not None:
                            return "disconnected"
                        if piece.failed:
                            connection.reason = endings.ERROR  # whatever else was about to end it
                        return "error" if piece.failed else "completed"
                    if connection.farewell is not None:
                        await self._send_away(scope, send, connection.farewell)
                        return "disconnected"
                    if connection.silent:
                        await self._heartbeat(send, loop.time())
        except errors.HoldfastError as error:
            return await self._failed(source, error, scope, send)
        return "disconnected"

    async def _failed(
        self,
        source: feed.Source,
        error: errors.HoldfastError,
        scope: Scope,
        send: Send,
    ) -> connections.Status:
        """The log could not be read on. Raises `errors.LogCorrupt` where nothing was sent yet."""
        connection = self._connection
        _log.warning(
            "reader_failed",
            stream=connection.stream,
            connection=connection.id,
            request_id=connection.peer.request_id,
            code=error.code,
            error=error.message,
        )
        connection.ends(error.code)
        if not isinstance(error, errors.LogCorrupt):
            if connection.status == "connecting":
                await self._begin(send)
            await self._send_away(scope, send, error.code)
            return "error"
        self._service.unreadable(connection.stream, error)
        if connection.status == "connecting":
            raise error
        # Where it lies and what is wrong with it is for the operator.
        said = source.broken(self._after, type(error)()).data
        await send(sse_body.piece(sse_body.coded(said, self._coder)))
        await self._end(send)
        return "error"

    async def _end(self, send: Send) -> None:
        """The clean one."""
        last = b"" if self._coder is None else self._coder.end()
        await send({"type": "http.response.body", "body": last})
        if last:
            self._connection.wrote(len(last), 0, 0, self._loop.time(), -len(last))

    async def _send_away(self, scope: Scope, send: Send, reason: str) -> None:
        await sse_body.send_away(self._dialect, scope, send, reason, self._coder)

    async def _heartbeat(self, send: Send, now: float) -> None:
        connection = self._connection
        connection.silent = False
        if now - connection.said_at < connection.options.heartbeat_interval:
            return
        said = self._dialect.heartbeat(events.rfc3339(events.now_ms()))
        data = sse_body.coded(said, self._coder)
        await send(sse_body.piece(data))
        connection.wrote(len(data), 0, 0, now, len(said) - len(data))
