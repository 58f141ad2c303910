"""Streams that were found without a writer.

Strategy: claim the stream, read what is written, ask the pure policy what is to become of it,
and hand out the work of a producer in the new life. From the claim on this node alone is
answerable for the stream, so a log that cannot be read for a while is asked again. A claim that
finds the stream closed or gone has nothing to do.
"""

from __future__ import annotations

import asyncio

import msgspec

from holdfast import errors, events, request, transport
from holdfast.eventlog import base, reader
from holdfast.producing import fallback, producer, replay, tally
from holdfast.providers import base as provider_base
from holdfast.providers import registry

READ_AGAIN = 1.0
"""Seconds before a log is asked again that could not be read."""


async def adopt(
    log: base.EventLog,
    providers: registry.Registry,
    stream: events.StreamId,
    now_ms: int,
    cause: errors.HoldfastError | None = None,
) -> producer.Work | None:
    """What a producer has to do for this stream; None where it needs none. With `cause` the
    stream only gets this end. Raises what `claim` raises."""
    life = await log.claim(stream, now_ms)
    if life is None:
        return None
    while True:
        try:
            return await _work(log, providers, stream, life, now_ms, cause)
        except errors.LogUnavailable:
            await asyncio.sleep(READ_AGAIN)


async def _work(
    log: base.EventLog,
    providers: registry.Registry,
    stream: events.StreamId,
    life: base.Life,
    now_ms: int,
    cause: errors.HoldfastError | None,
) -> producer.Work | None:
    info = await log.stat(stream)
    if not isinstance(info, base.Info):
        return None
    so_far, written = await _read(log, stream)
    wanted = _wanted(info.header)
    call = None
    if wanted is not None and cause is None:
        call = _replay(providers, info.header, wanted, so_far, written)
    orphan = fallback.Orphan(
        lives=life.epoch >> 16,
        cancelled=info.cancelled,
        finished=wanted is not None and so_far.finished(wanted.n),
        replayable=call is not None,
    )
    step = fallback.GiveUp(cause) if cause is not None else fallback.adopt(orphan)
    first = call if call is not None and isinstance(step, fallback.Replay) else step
    assert not isinstance(first, fallback.Replay)  # only what is replayable is replayed
    age_ms = max(0, now_ms - info.header.created_at)
    unread = request.Request(info.header.model, [])
    return producer.Work(stream, life, wanted or unread, first, so_far, age_ms)


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
    return producer.Call(provider, header.model, asked, replay.Replay(written))
