"""What every route's code gets: the node's parts, the caller, and the stream it is about.

Strategy: a route is written as a function of a `Call`. `guarded` makes the call: it finds out who
asks, counts the request, decides whether they may do such a thing at all, and loads the stream
that the path names, so that no route can forget to. A stream that may not be seen is answered
exactly like one that never was. Who reads a stream's events is never refused by status for a
passing reason; in another API's dialect everybody is, as its clients ask again by themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import quote

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from holdfast import errors, events
from holdfast.access import principal
from holdfast.dialects import base as dialect_base
from holdfast.dialects import native
from holdfast.eventlog import base
from holdfast.http import (
    access_log,
    auth,
    coding,
    feed,
    limits,
    live,
    problems,
    quotas,
    shared,
    sockets,
    sse_body,
)
from holdfast.metering import account
from holdfast.service import Service
from holdfast.telemetry.alerts import rounds

_log = structlog.get_logger("holdfast")

PASSING = (errors.LogUnavailable, errors.KeysUnavailable, errors.QuotaError)
"""For these a reader is asked to come back, and not refused."""


SCRAPER = (
    "`holdfast keys create prometheus --scope metrics` makes one; Prometheus sends it where its "
    "scrape_config has `authorization: {credentials_file: FILE}`."
)
"""What the operator of Prometheus reads there of why a node refuses to be scraped."""


class Node(msgspec.Struct, frozen=True):
    """The parts of a running node that routes use. `codings` are those of event streams, the
    preferred one first; there are none where nothing is compressed."""

    service: Service
    feeds: feed.Feeds
    bodies: shared.Shared[limits.Body]
    native: native.Native
    foreign: Mapping[str, dialect_base.Foreign]
    live: live.Live
    alerts: rounds.Alerts
    codings: tuple[coding.Name, ...] = ()


class Call(msgspec.Struct, frozen=True):
    """One request, and the accounts that it counts in. `stream` is there where the path names
    one, `dialect` on the routes of another API."""

    node: Node
    request: Request
    principal: principal.Principal
    accounts: tuple[account.Account, ...] = ()
    stream: base.Info | None = None
    dialect: dialect_base.Foreign | None = None

    @property
    def spoken(self) -> dialect_base.Foreign:
        """The dialect of a route of another API."""
        if self.dialect is None:
            raise TypeError("this route is our own")
        return self.dialect

    @property
    def root(self) -> str:
        """What stands before these routes in the paths that the caller asks for: nothing, unless
        they are mounted in another application."""
        # A server gives it decoded, with whatever a caller wrote where a parameter stands.
        return quote(self.request.scope.get("root_path", ""), safe="/:@!$&'()*+,;=~")

    @property
    def info(self) -> base.Info:
        """The stream of a route whose path names one."""
        if self.stream is None:
            raise TypeError("this route's path names no stream")
        return self.stream


def encoding(call: Call, *, padded: bool = False) -> coding.Name:
    """That of an event stream for this caller. What is padded stays as it is: how well a token can
    be compressed tells which one it is. Raises `errors.InvalidField`, on our own routes."""
    # A browser sends its own `Accept-Encoding`, whatever a page says.
    said = call.request.query_params.get("compression") if call.dialect is None else None
    if said not in (None, "off"):
        raise errors.InvalidField("`compression` takes only `off`.")
    if padded or said or not call.node.codings:
        return "identity"
    accepted = call.request.headers.getlist("accept-encoding")
    return coding.negotiated(accepted, call.node.codings)


Handler = Callable[[Call], Awaitable[ASGIApp]]
Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(
    node: Node,
    action: principal.Action,
    handler: Handler,
    dialect: dialect_base.Foreign | None = None,
) -> Endpoint:
    """The endpoint for a handler, which does not run before `may` has agreed."""

    async def endpoint(request: Request) -> Response:
        reads = dialect is None and (
            action == "follow" or (action == "create" and _resumes(request))
        )
        wanted: principal.Action = "follow" if reads else action
        try:
            call = await _called(node, wanted, request, dialect)
            if action != "public":
                access_log.name(request.scope, _named(request))
            if line := sockets.socket_of(request.scope):
                line.serves(call.principal.tenant)
            try:
                call = await _admitted(call, wanted)
                return await handler(call)  # type: ignore[return-value]  # any ASGI app will do
            except errors.MissingKey as error:
                if not call.principal.tenant:
                    raise
                # Which variable holds it is for the operator.
                said, id = error.message, access_log.named(request.scope)
                _log.warning("key_missing", error=said, request_id=id)
                raise errors.MissingKey from None
            except errors.QuotaError as error:
                if reads:
                    raise
                return refused(dialect, error, quotas.refusal(call.accounts), _named(request))
        except errors.LogCorrupt as error:
            node.service.unreadable(request.path_params.get("stream_id", ""), error)
            raise
        except PASSING as error:
            if not reads:
                raise
            return sse_body.SentAway(node.native, error.code)  # type: ignore[return-value]

    return endpoint if dialect is None else _enveloped(dialect, endpoint)


def _enveloped(dialect: dialect_base.Foreign, endpoint: Endpoint) -> Endpoint:
    """The endpoint, whose errors are told as this API tells errors."""

    async def enveloped(request: Request) -> Response:
        try:
            return await endpoint(request)
        except errors.HoldfastError as error:
            told = problems.told(error, access_log.named(request.scope))
            return refused(dialect, told, request_id=_named(request))
        except ClientDisconnect:
            raise
        except Exception as error:
            return refused(dialect, problems.bug(request, error), request_id=_named(request))

    return enveloped


LONGEST_WAIT = 120
"""Seconds of `Retry-After` that a client may wait by itself, as OpenAI's for Python has it.
Anthropic's would sit out a day's limit, and OpenAI's for Node asks again at once."""


def refused(
    dialect: dialect_base.Foreign | None,
    error: errors.HoldfastError,
    headers: Mapping[str, str] = problems.NO_HEADERS,
    request_id: str | None = None,
) -> Response:
    """The answer to a call that failed, in the form that its clients know. Theirs also obey
    `X-Should-Retry`: whether asking again helps is known here better than by the status. A wait of
    more than `LONGEST_WAIT` is for who called to decide."""
    if dialect is None:
        return problems.response(error, headers)
    again = error.retryable and (error.retry_after or 0) <= LONGEST_WAIT
    request_id = request_id or events.new_stream_id()
    status, body = dialect.refusal(error, request_id)
    return problems.made(
        error,
        body,
        "application/json",
        {
            **headers,
            **identified(request_id),
            "X-Should-Retry": "true" if again else "false",
        },
        status,
    )


def _named(request: Request) -> str | None:
    """The id that the caller gave the request, if it is one."""
    try:
        return limits.token(request, "x-request-id")
    except errors.InvalidField:
        return None


def identified(request_id: str) -> dict[str, str]:
    """A request's id where OpenAI's clients look for it, and where Anthropic's do."""
    return {"X-Request-Id": request_id, "Request-Id": request_id}


async def _called(
    node: Node,
    action: principal.Action,
    request: Request,
    dialect: dialect_base.Foreign | None,
) -> Call:
    """The call of a request: who asks, and where that counts; nothing is counted or decided yet.
    Raises what `auth.principal_of` does."""
    if action == "public":
        return Call(node, request, principal.ANYBODY, dialect=dialect)
    service = node.service
    signed = request.path_params.get("stream_id") if action == "follow" else None
    origins = service.config.server.cors_origins
    stock = dialect is not None
    try:
        asker = await auth.principal_of(service.access, request, origins, signed, any_key=stock)
    except errors.Unauthorized as error:
        if action != "scrape":
            raise
        raise errors.Unauthorized(f"{error.message} {SCRAPER}") from None
    accounts = await service.accounts.of(asker.owner, asker.key)
    return Call(node, request, asker, accounts, dialect=dialect)


async def _admitted(call: Call, action: principal.Action) -> Call:
    """The call, counted, of who may make it; with its stream, where the path names one. Raises
    `errors.RequestLimit`, `Forbidden`, `StreamNotFound`, `StreamExpired`."""
    _count(call.accounts)
    service, asker, accounts = call.node.service, call.principal, call.accounts
    if not principal.may(asker, action):
        raise errors.Forbidden(_forbidden(asker, action))
    name, dialect = call.request.path_params.get("stream_id"), call.dialect
    if name is None:
        return call
    if dialect is not None:
        name = dialect.stream_of(name)
    try:
        found = await service.stat(events.stream_id(name), asker)
    except errors.LogCorrupt:
        # Of a tenant's the id has told already whose it is; to be destroyed it need not be read.
        if action == "destroy" and asker.tenant:
            return call
        raise
    if dialect is not None and found.header.dialect != dialect.name:
        raise errors.StreamNotFound
    if asker.stream is not None and not accounts:
        # Nobody knows who made this link: what is read by it counts where the stream does.
        accounts = await service.accounts.of(found.header.owner, asker.key)
        _count(accounts)
    return msgspec.structs.replace(call, stream=found, accounts=accounts)


def _forbidden(asker: principal.Principal, action: principal.Action) -> str:
    if asker.stream is not None:
        return "A signed URL is for the events of its stream, and for nothing else."
    has = f"only {', '.join(sorted(asker.scopes))}" if asker.scopes else "none that is known here"
    return f"This call needs the scope {principal.NEEDS[action]}; this key or token has {has}."


def _count(accounts: Sequence[account.Account]) -> None:
    """Counts a request in all of these, or in none."""
    for one in accounts:
        one.check_requests()
    for one in accounts:
        one.request()


def _resumes(request: Request) -> bool:
    """Whether a POST wants events of a stream that is there already."""
    return bool(request.headers.get("last-event-id"))
