"""Streams that were found without a writer.

Strategy: claim the stream, read what is written, ask the pure policy what is to become of it,
and hand out the work of a producer in the new life. From the claim on this node alone is
answerable for the stream: a log that cannot be reached for a while is asked again, and a stream
that cannot be read, or that meets a bug here, gets its end. A claim that finds the stream closed
or gone has nothing to do.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from holdfast import errors, events, request, transport
from holdfast.eventlog import base, reader
from holdfast.producing import fallback, producer, replay, tally
from holdfast.providers import base as provider_base
from holdfast.providers import registry

AGAIN = 1.0
"""Seconds before a log is asked again that could not be reached."""

_log = structlog.get_logger("holdfast")


async def adopt(
    log: base.EventLog, providers: registry.Registry, stream: events.StreamId, now_ms: int
) -> producer.Work | None:
    """What a producer has to do for this stream; None where it needs none."""
    life = await _claim(log, stream, now_ms)
    if life is None:
        return None
    while True:
        try:
            return await _work(log, providers, stream, life, now_ms)
        except errors.LogUnavailable:
            await asyncio.sleep(AGAIN)
        except Exception as error:
            _log.error("adoption_failed", stream=stream, trace=errors.trace(error))
            return _ending(stream, life, errors.HoldfastError("This stream cannot be taken over."))


async def end(
    log: base.EventLog, stream: events.StreamId, cause: errors.HoldfastError, now_ms: int
) -> producer.Work | None:
    """The work of ending this stream, whatever is in it; None where it has an end."""
    life = await _claim(log, stream, now_ms)
    return None if life is None else _ending(stream, life, cause)


async def _claim(log: base.EventLog, stream: events.StreamId, now_ms: int) -> base.Life | None:
    while True:
        try:
            return await log.claim(stream, now_ms)
        except errors.LogUnavailable:
            await asyncio.sleep(AGAIN)


def _ending(stream: events.StreamId, life: base.Life, cause: errors.HoldfastError) -> producer.Work:
    nothing = request.Request("", [])
    return producer.Work(stream, life, nothing, fallback.GiveUp(cause), tally.Tally())


async def _work(
    log: base.EventLog,
    providers: registry.Registry,
    stream: events.StreamId,
    life: base.Life,
    now_ms: int,
) -> producer.Work | None:
    info = await log.stat(stream)
    if not isinstance(info, base.Info):
        return None
    so_far, written = await _read(log, stream)
    wanted = _wanted(info.header)
    call = None if wanted is None else _replay(providers, info.header, wanted, so_far, written)
    orphan = fallback.Orphan(
        barren=so_far.barren,
        cancelled=info.cancelled,
        finished=wanted is not None and so_far.finished(wanted.n),
        replayable=call is not None,
    )
    step = fallback.adopt(orphan)
    first = call if call is not None and isinstance(step, fallback.Replay) else step
    assert not isinstance(first, fallback.Replay)  # only what is replayable is replayed
    age_ms = max(0, now_ms - info.header.created_at)
    asked = wanted or request.Request(info.header.model, [])
    return producer.Work(stream, life, asked, first, so_far, age_ms, info.header.provider)


async def _read(log: base.EventLog, stream: events.StreamId) -> tuple[tally.Tally, replay.Written]:
    so_far, reading = tally.Tally(), replay.Reading()
    source, position, more = reader.LogSource(log, stream), events.BEGIN, True
    while more:
        page = await source.read(position)
        for event in page.events:
            body = event.body
            so_far.add(body)
            so_far.stored += len(event.data)
            reading.add(body)
        position, more = page.position, page.more
        await asyncio.sleep(0)  # a long answer must not hold up the others
    return so_far, reading.written


def _wanted(header: base.Header) -> request.Request | None:
    """What was asked for; None where it cannot be read, by this version at least."""
    try:
        return request.unpack(header.request)
    except msgspec.DecodeError:
        return None


def _replay(
    providers: registry.Registry,
    header: base.Header,
    wanted: request.Request,
    so_far: tally.Tally,
    written: replay.Written,
) -> producer.Call | None:
    """The call that tells the same answer again; None where there is none."""
    try:
        provider: provider_base.Provider = providers.get(header.provider)
        asked: transport.Request | None = provider.replay(
            wanted, header.model, so_far.kept, written.characters
        )
    except errors.HoldfastError:  # the configuration is another one now
        return None
    if asked is None:
        return None
    return producer.Call(provider, header.model, asked, written)
