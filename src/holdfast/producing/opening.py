"""How a stream begins: who asks for it, its id, its header and its first event.

Strategy: values and pure functions; who carries them out is the service. What was asked and
what the provider gets are two things: a prompt service may stand between them (`Prepare`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from holdfast import errors, events, request
from holdfast.access import ids
from holdfast.eventlog import base
from holdfast.telemetry import tracing

Prepare = Callable[[request.Request], Awaitable[request.Request]]


class Origin(msgspec.Struct, frozen=True):
    """Who asks for a stream, and as what it is to be known. `owner` and `key` are those of the
    principal, `TENANT/USER` and what let them in; both are empty where everybody is the same.
    `terms` is what a foreign `dialect` keeps of the request; `parent` is the trace that the caller
    is in."""

    owner: str = ""
    request_id: str | None = None
    client_id: str | None = None
    idempotency_key: str | None = None
    dialect: str = "native"
    key: str = ""
    terms: bytes = b""
    parent: tracing.Parent = tracing.NOBODY


NOBODY = Origin()


class Created(msgspec.Struct, frozen=True):
    """`fresh` is false where an Idempotency-Key led to a stream that was there already."""

    stream: events.StreamId
    header: base.Header
    fresh: bool


async def expand_context(wanted: request.Request) -> request.Request:
    """The prompt service that is built in: `context.system` becomes the system message.

    Raises `errors.InvalidField` on anything else in `context`.
    """
    if wanted.context is None:
        return wanted
    system = wanted.context.get("system")
    if set(wanted.context) != {"system"} or not isinstance(system, str):
        raise errors.InvalidField(
            "`context` takes only `system`, a text; anything else needs a prepare hook."
        )
    messages = [request.Message("system", system), *wanted.messages]
    return msgspec.structs.replace(wanted, messages=messages, context=None)


def stream_id(origin: Origin, secret: bytes) -> events.StreamId:
    """A new id; with an Idempotency-Key the one that this owner and key have in this log."""
    if origin.idempotency_key is None:
        return ids.new(secret, origin.owner)
    return ids.derived(secret, origin.owner, origin.idempotency_key)


def header(
    wanted: request.Request,
    prepared: request.Request,
    origin: Origin,
    provider: str,
    model: str,
    now_ms: int,
) -> base.Header:
    """The header of a new stream. `fingerprint` is of what was asked, `request` what the
    provider got: a second answer from the prompt service may differ."""
    return base.Header(
        owner=origin.owner,
        created_at=now_ms,
        provider=provider,
        model=model,
        request_id=origin.request_id or events.new_stream_id(),
        dialect=origin.dialect,
        terms=origin.terms,
        fingerprint=request.fingerprint(wanted),
        request=request.pack(prepared),
        client_id=origin.client_id,
        session_id=wanted.metadata.session_id,
        user_id=wanted.metadata.user_id,
        key=origin.key,
        buffer_size=wanted.buffer_size,
        flush_interval_ms=wanted.flush_interval_ms,
    )


def start(stream: events.StreamId, header: base.Header) -> events.Draft:
    """The first event."""
    created_at = events.rfc3339(header.created_at)
    return events.draft(
        events.Start(stream, header.request_id, header.provider, header.model, created_at)
    )


def attach(stream: events.StreamId, asked: base.Header, found: base.Header) -> Created:
    """What a caller gets whose stream was there; raises `errors.IdempotencyMismatch`. It is read as
    it was asked for at first: in no other dialect, and not on other terms."""
    same = (asked.fingerprint, asked.dialect, asked.terms)
    if (found.fingerprint, found.dialect, found.terms) != same:
        raise errors.IdempotencyMismatch(
            "This Idempotency-Key was used with another body; use a new key, or the same body."
        )
    return Created(stream, found, fresh=False)
