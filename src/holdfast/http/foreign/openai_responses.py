"""Responses that are there already: read, read on, cancelled.

Strategy: whoever reads on says which frame it has. The log is folded up to it before the answer
begins, so that a frame that this stream never had is refused by status, and never guessed at; from
there on it is read like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import re

from starlette.types import ASGIApp

from holdfast import errors, events
from holdfast.dialects.openai_responses import fold, places
from holdfast.eventlog import base as log_base
from holdfast.http import calls, sse_body
from holdfast.http.foreign import answering

CANCEL_SECONDS = 2.0
"""How long a cancelled answer's end is waited for; without it the response is still in progress."""

_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


async def read(call: calls.Call) -> ASGIApp:
    """`GET /v1/responses/{id}`: the response so far; with `stream` its frames, behind the one that
    `starting_after` names."""
    query, info = call.request.query_params, call.info
    number = query.get("starting_after")
    if query.get("stream", "false") != "true":
        if query.get("stream", "false") != "false":
            raise errors.InvalidField("`stream` takes true or false.")
        if number is not None:
            raise errors.InvalidField("`starting_after` needs `stream=true`.")
        return await answering.so_far(call, info)
    if number is not None and _NUMBER.fullmatch(number) is None:
        raise errors.MalformedPosition("`starting_after` takes the `sequence_number` of an event.")
    call.node.service.check_ready()
    call.node.service.check_place(call.accounts)
    if call.request.method == "HEAD":
        spoken = call.spoken.fold(info.stream, info.header)
        encoding = calls.encoding(call, padded=spoken.padded)
        return sse_body.head(encoding, **{"X-Stream-Id": info.stream})
    if number is None:
        return answering.streaming(call, info, call.spoken.fold(info.stream, info.header))
    return await _behind(call, info, int(number))


async def _behind(call: calls.Call, info: log_base.Info, number: int) -> ASGIApp:
    service = call.node.service
    spoken = fold.Fold(info.stream, info.header)
    position, more = events.BEGIN, True
    while more:
        page = await service.page(info.stream, position, log_base.PAGE_EVENTS)
        for event in page.events:
            rest = places.behind(spoken, event, number)
            if rest is not None:
                resumed = places.Resumed(spoken, rest)
                return answering.streaming(call, info, resumed, position, resumed=True)
            position = event.position
        more = page.more
        await asyncio.sleep(0)  # a long answer must not hold up the others
    raise errors.UnknownPosition(
        f"`starting_after`: this response has no event {number}; what was read of it may not be "
        "what it says now. Read it again without `starting_after`."
    )


async def cancel(call: calls.Call) -> ASGIApp:
    """`POST /v1/responses/{id}/cancel`: the response, as it has ended."""
    service, info = call.node.service, call.info
    await service.cancel(info.stream)
    head = events.Position(info.head.epoch, info.head.seq)
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(CANCEL_SECONDS),
            contextlib.aclosing(service.events(info.stream, head)) as found,  # type: ignore[type-var]
        ):
            async for _ in found:
                pass  # the last one is the end
    return await answering.so_far(call, info)
