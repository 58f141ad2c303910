"""The chats of the AI SDK: a page that comes back, and one that stops.

Strategy: a page knows its chat's id and no stream's, so the newest stream of that chat is found, of
this caller and born in this dialect: whoever else calls their chat so has no part in it, and cannot
tell that there is one. Coming back is reading the log from its start; nobody is asked again.
"""

from __future__ import annotations

from urllib import parse

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from holdfast import errors
from holdfast.eventlog import base
from holdfast.http import calls
from holdfast.http.foreign import answering

LOOKED_AT = 50
"""The newest streams of a session among which the newest of a chat is looked for: a session may
have streams of other dialects."""

_UNDER_WAY = ("pending", "streaming")


async def create(call: calls.Call) -> ASGIApp:
    """`POST /api/chat`: a new answer. One that was stopped is no failure, before its first word
    neither."""
    return await answering.create(call, told=(errors.Cancelled,))


async def resume(call: calls.Call) -> ASGIApp:
    """`GET /api/chat/{id}/stream`: the answer that is under way, from its start; with
    `?finished=true` also one that has ended. 204 where there is none."""
    service = call.node.service
    info = await _newest(call)
    finished = call.request.query_params.get("finished") == "true"
    if info is None or not (finished or info.status in _UNDER_WAY):
        return Response(status_code=204)
    service.check_ready()
    service.check_place(call.accounts)
    if call.request.method == "HEAD":
        return Response(status_code=200, headers={"X-Stream-Id": info.stream})
    return answering.streaming(call, info, call.spoken.fold(info.stream, info.header))


async def stop(call: calls.Call) -> ASGIApp:
    """`POST /api/chat/{id}/stop`: 202 where the answer that is under way is to end, 204 where none
    is."""
    info = await _newest(call)
    if info is None or info.status not in _UNDER_WAY:
        return Response(status_code=204)
    await call.node.service.cancel(info.stream)
    return Response(status_code=202, headers={"X-Stream-Id": info.stream})


def _chat(request: Request) -> str:
    """The id in the path. Our own server hands on a path as it came, others decode it; an id may
    hold anything, a percent sign too."""
    named: str = request.path_params["chat_id"]
    raw = request.scope.get("raw_path") or b""
    return parse.unquote(named) if request.scope["path"].encode() == raw else named


async def _newest(call: calls.Call) -> base.Info | None:
    """The caller's newest stream of the chat that the path names."""
    chat = _chat(call.request)
    asked = base.Query(owner=call.principal.owner, session_id=chat, limit=LOOKED_AT)
    found = await call.node.service.find(asked)
    own = (info for info in found if info.header.dialect == call.spoken.name)
    return next(own, None)
