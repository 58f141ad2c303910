"""How a call of another API is answered: a stream is made, and read in that API's dialect.

Strategy: the status waits until the provider's first word or error, `HOLD_SECONDS` at most, so that
clients see a 429 as a 429; from then on it is 200, and what fails is an error in the stream. Who
wants the answer whole has a connection like any reader, which bounds them all and lets a drain wait
for them; nothing is gathered for them until the answer is whole, and then a few at a time. However
many wait for their turn then, nobody who has made a stream is sent away: such a client would ask
for a second one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from holdfast import connections as book
from holdfast import endings, errors, events
from holdfast.dialects import base
from holdfast.eventlog import base as log_base
from holdfast.eventlog import reader
from holdfast.http import (
    access_log,
    calls,
    connections,
    limits,
    problems,
    quotas,
    sockets,
    sse_response,
    views,
)
from holdfast.metering import account
from holdfast.producing.opening import Origin
from holdfast.service import Service
from holdfast.telemetry import tracing

HOLD_SECONDS = 2.0
"""How long the status waits for the provider's first word."""


async def create(call: calls.Call, told: tuple[type[errors.HoldfastError], ...] = ()) -> ASGIApp:
    """A new answer, as the body in the route's dialect asks for it. With one of `told` for its end,
    be it ever so soon, it is a stream."""
    request, service, dialect = call.request, call.node.service, call.spoken
    if request.headers.get("last-event-id"):
        raise errors.InvalidField("`Last-Event-ID`: events have no ids here; leave it out.")
    await service.surveyed(call.accounts)
    max_body, tenant = service.config.server.max_body, call.principal.tenant
    asked = dialect.parse(await limits.body(request, max_body, call.node.bodies, tenant))
    service.check_place(call.accounts, asked.request.metadata.priority)
    origin = Origin(
        owner=call.principal.owner,
        key=call.principal.key,
        request_id=limits.token(request, "x-request-id"),
        client_id=limits.token(request, "x-client-id"),
        idempotency_key=limits.key(request, "idempotency-key"),
        parent=tracing.parent(request.headers),
        dialect=dialect.name,
        terms=asked.terms,
    )
    if asked.detached:
        return await so_far(call, await _made(call, asked, origin), owed=True)
    with account.place(call.accounts):
        info = await _made(call, asked, origin)
        failed = await _failed_at_once(service, info.stream)
    if failed is not None and not (asked.stream and isinstance(failed, told)):
        return _refused(call, info, failed)
    if asked.stream:
        return streaming(call, info, dialect.fold(info.stream, info.header))
    return _Waiting(call, info)


async def _made(call: calls.Call, asked: base.Asked, origin: Origin) -> log_base.Info:
    made = await call.node.service.create(asked.request, origin, call.accounts)
    access_log.name(call.request.scope, made.header.request_id)
    return log_base.Info(made.stream, made.header, log_base.Head(0, 0, False), "pending")


async def _failed_at_once(service: Service, stream: events.StreamId) -> errors.HoldfastError | None:
    """What the stream ends with before its first word, where that comes soon."""
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(HOLD_SECONDS),
            contextlib.aclosing(service.events(stream)) as found,  # type: ignore[type-var]
        ):
            async for event in found:
                if event.kind in ("chunk", "complete"):
                    return None
                body = event.body if event.kind == "error" else None
                if isinstance(body, events.Error):
                    return _failure(body)
    return None


def streaming(
    call: calls.Call,
    info: log_base.Info,
    fold: base.ForeignFold,
    after: events.Position = events.BEGIN,
    *,
    resumed: bool = False,
) -> ASGIApp:
    """The answer as it comes, through this fold, which has taken all events up to `after`."""
    node, flag = call.node, reader.Flag()
    encoding = calls.encoding(call, padded=fold.padded)
    connection = connections.connection(call, info, flag, resumed=resumed, encoding=encoding)
    named = {**_headers(call, info), "X-Connection-Id": connection.id}
    raw = tuple((name.lower().encode(), value.encode()) for name, value in named.items())
    return sse_response.SseResponse(
        node.service,
        node.feeds.alone(info.stream, fold, flag),
        call.spoken,
        connection,
        flag,
        after,
        (*call.spoken.headers, *raw),
        info.header.trace,
        functools.partial(_refused, call, info),
    )


async def so_far(call: calls.Call, info: log_base.Info, *, owed: bool = False) -> Response:
    """The answer as far as it is written, as one value. `owed`: this call has made the stream."""
    whole, tenant = call.spoken.whole(info.stream, info.header), call.principal.tenant
    await call.node.service.tell(info.stream, whole.add, tenant, owed=owed)
    return Response(whole.body(), 200, _headers(call, info), media_type="application/json")


def _headers(call: calls.Call, info: log_base.Info) -> dict[str, str]:
    return {
        "X-Stream-Id": info.stream,
        **calls.identified(info.header.request_id),
        **quotas.headers(call.accounts),
    }


def _refused(call: calls.Call, info: log_base.Info, error: errors.HoldfastError) -> Response:
    """The answer of a stream that fails before its first word, or whose end is not waited for."""
    id = info.header.request_id
    told = problems.told(error, id)
    return calls.refused(call.spoken, told, _headers(call, info), id)


def _failure(event: events.Error) -> errors.HoldfastError:
    """The error of our tree that a stream has ended with."""
    after = None if event.retry_after_ms is None else event.retry_after_ms / 1000
    error = errors.named(event.code)(event.message, retry_after=after)
    error.retryable = event.retryable
    return error


class _Waiting:
    """An ASGI application that answers once the answer is whole."""

    def __init__(self, call: calls.Call, info: log_base.Info) -> None:
        self._call, self._info = call, info
        self._service = call.node.service
        self._flag = reader.Flag()
        self._gone = False
        self._connection = connections.connection(call, info, self._flag, resumed=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, connection = self._service, self._connection
        outcome: book.Status = "disconnected"
        try:
            service.admit(connection)
        except errors.HoldfastError as error:
            await _refused(self._call, self._info, error)(scope, receive, send)
            return
        service.observers.tell("connection_opened", connection)
        listener = None
        try:
            connection.to("connected")
            listener = self._listen(scope, receive)
            try:
                await self._until_whole()
                answer = await so_far(self._call, self._info, owed=True)
                outcome = "completed"
            except errors.HoldfastError as error:
                connection.ends(error.code)
                if isinstance(error, errors.LogCorrupt):
                    service.unreadable(self._info.stream, error)
                answer, outcome = _refused(self._call, self._info, error), "error"
            if not self._gone:
                await answer(scope, receive, send)
        finally:
            if listener is not None:
                listener.cancel()
            service.connections.leave(connection, "disconnected" if self._gone else outcome)
            service.keeper.reporter.connection(views.kept_row(connection))
            service.observers.tell("connection_closed", connection)

    def _listen(self, scope: Scope, receive: Receive) -> asyncio.Task[None] | None:
        """Learns of the client's going: from our own server by a callback, else by a task."""
        if socket := sockets.socket_of(scope):
            socket.on_lost(self._lost)
            self._connection.measure = socket.tcp
            self._service.connections.look(self._connection)
            return None

        async def disconnected() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self._lost()

        return self._service.supervisor.job(disconnected(), f"listen {self._connection.id}")

    def _lost(self) -> None:
        self._gone = True
        self._connection.ends(endings.CLIENT_GONE)
        self._service.connections.look(self._connection)  # for the last time that it can be
        self._flag.set()

    async def _until_whole(self) -> None:
        """Returns at the answer's end, or when nobody waits for it any more. Raises what it ended
        with, and `errors.Draining`, `LogUnavailable` or `Unauthorized` where whoever waits is sent
        away."""
        service, stream, connection = self._service, self._info.stream, self._connection
        loop = asyncio.get_running_loop()
        undo = service.watch.add(stream, self._flag.set)
        try:
            source = reader.LogSource(service.log, stream)
            async with contextlib.aclosing(
                reader.follow(source, events.BEGIN, self._flag)
            ) as pages:
                async for page in pages:
                    connection.silent = False
                    connection.wrote(0, 0, 0, loop.time())
                    connection.last_activity = loop.time()  # there is nothing to take yet
                    last = page.events[-1].body if page.events and page.closed else None
                    if isinstance(last, events.Error):
                        connection.reason = endings.ERROR
                        raise _failure(last)
                    if self._gone or page.closed:
                        return
                    if connection.farewell is not None:
                        raise _sent_away(connection.farewell)
        finally:
            undo()


def _sent_away(farewell: str) -> errors.HoldfastError:
    """Why somebody is not let wait any longer."""
    if farewell == endings.ACCESS_ENDED:
        return errors.Unauthorized()
    if farewell in (errors.Draining.code, errors.LogUnavailable.code):
        return errors.named(farewell)()
    return errors.Draining(f"The connection ends before the answer: {farewell}.")
