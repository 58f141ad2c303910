"""Streams that were found without a writer.

Strategy: claim the stream, read what is written, ask the pure policy what is to become of it,
and hand out the work of a producer in the new life. From the claim on this node alone is
answerable for the stream: a log that cannot be reached for a while is asked again, and a stream
that cannot be read, or that meets a bug here, gets its end. A claim that finds the stream closed
or gone has nothing to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from holdfast import errors, events, request
from holdfast.eventlog import base
from holdfast.producing import course, fallback, opening, producer, rereading, routing, tally

AGAIN = 1.0
"""Seconds before a log is asked again that could not be reached."""

_log = structlog.get_logger("holdfast")

Metered = Callable[[producer.Work, base.Header], Awaitable[producer.Work]]
"""Gives the work of a stream with this header its meter."""


async def adopt(
    log: base.EventLog,
    routes: routing.Routing,
    stream: events.StreamId,
    now_ms: int,
    metered: Metered,
) -> producer.Work | None:
    """What a producer has to do for this stream; None where it needs none."""
    life = await claim(log, stream, now_ms)
    if life is None:
        return None
    while True:
        try:
            return await _work(log, routes, stream, life, now_ms, metered)
        except errors.LogUnavailable:
            await asyncio.sleep(AGAIN)
        except Exception as error:
            _log.error("adoption_failed", stream=stream, trace=errors.trace(error))
            cause = errors.HoldfastError("This stream cannot be taken over.")
            if isinstance(error, errors.LogCorrupt):
                cause = type(error)()  # where it lies is for the operator
            return _ending(stream, life, cause)


async def end(
    log: base.EventLog, stream: events.StreamId, cause: errors.HoldfastError, now_ms: int
) -> producer.Work | None:
    """The work of ending this stream, whatever is in it; None where it has an end."""
    life = await claim(log, stream, now_ms)
    return None if life is None else _ending(stream, life, cause)


async def claim(log: base.EventLog, stream: events.StreamId, now_ms: int) -> base.Life | None:
    """As the log's, once it can be reached."""
    while True:
        try:
            return await log.claim(stream, now_ms)
        except errors.LogUnavailable:
            await asyncio.sleep(AGAIN)


async def create(
    log: base.EventLog, stream: events.StreamId, header: base.Header
) -> base.Life | None:
    """A stream of which the log has forgotten that it was there, begun anew; None where somebody
    else has done that."""
    begin = opening.start(stream, header)
    while True:
        try:
            made = await log.create(stream, header, (begin,), header.created_at)
        except errors.LogUnavailable:
            await asyncio.sleep(AGAIN)
        except errors.StreamExpired:
            return None
        else:
            return made if isinstance(made, base.Life) else None


def _ending(stream: events.StreamId, life: base.Life, cause: errors.HoldfastError) -> producer.Work:
    nothing = request.Request("", [])
    return producer.Work(stream, life, nothing, fallback.GiveUp(cause), tally.Tally())


async def _work(
    log: base.EventLog,
    routes: routing.Routing,
    stream: events.StreamId,
    life: base.Life,
    now_ms: int,
    metered: Metered,
) -> producer.Work | None:
    info = await log.stat(stream)
    if not isinstance(info, base.Info):
        return None
    so_far, header = (await rereading.reread(log, stream)).tally, info.header
    wanted = _wanted(header)
    age_ms = max(0, now_ms - header.created_at)
    if wanted is None:
        step = fallback.adopt(fallback.Orphan(cancelled=info.cancelled), fallback.Policy())
        asked = request.Request(header.model, [])
        return producer.Work(stream, life, asked, step, so_far, age_ms=age_ms, header=header)
    first = f"{header.provider}/{header.model}"
    route, at = routes.again(wanted, first, so_far.asked or first)
    left_to = None if at is None else route.targets[at]
    orphan = fallback.Orphan(
        written=course.written(wanted, so_far, left_to, first),
        barren=so_far.barren,
        calls=so_far.calls,
        cancelled=info.cancelled,
        askable=at is not None,
        target=at or 0,
    )
    step = fallback.adopt(orphan, route.policy)
    size = len(header.request)
    work = producer.Work(
        stream, life, wanted, step, so_far, route, age_ms, size=size, header=header
    )
    return await metered(work, header) if isinstance(step, fallback.Ask) else work


def _wanted(header: base.Header) -> request.Request | None:
    """What was asked for; None where it cannot be read, by this version at least."""
    try:
        return request.unpack(header.request)
    except msgspec.DecodeError:
        return None
