"""The routes of keys: what lies under which, what is brought under another, what is destroyed.

Strategy: keys are named by their ids; no answer has more of them. What takes a pass over all
streams is begun, and told as far as it is to whoever asks, who need not have them counted for that.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp

from holdfast import errors, events, resealing
from holdfast.dialects import bodies
from holdfast.http import calls, limits, views
from holdfast.service import Service


class KeyView(msgspec.Struct, frozen=True):
    """A key of the ring. `since` when it is used from, in ms since 1970; `tenant` whose alone it
    is, "" where it is for all others."""

    id: str
    since: int
    tenant: str


class SealView(msgspec.Struct, frozen=True, rename={"pass_": "pass"}):
    """`GET /v1/seal`. `on`: new streams are sealed."""

    on: bool
    keys: list[KeyView]
    log: resealing.StoreKeys
    archive: resealing.StoreKeys
    pass_: resealing.Pass | None


class ShredBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/seal/shred`: whose streams are destroyed."""

    tenant: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


_decode = msgspec.json.Decoder(ShredBody).decode

MAX_BODY = 4096
"""Bytes of that body."""


async def show(call: calls.Call) -> ASGIApp:
    """`GET /v1/seal`: which keys there are, and what lies under them."""
    counts = call.request.query_params.get("counts", "true")
    if counts not in ("true", "false"):
        raise errors.InvalidField("`counts` is true or false.")
    return views.response(await _view(call.node.service, counted=counts == "true"))


async def rewrap(call: calls.Call) -> ASGIApp:
    """`POST /v1/seal/rewrap`: begins to bring everything under the present keys."""
    service = call.node.service
    service.seal.rewrap()
    return views.response(await _view(service), 202)


async def shred(call: calls.Call) -> ASGIApp:
    """`POST /v1/seal/shred`: begins to destroy all streams of a tenant."""
    service, node = call.node.service, call.node
    body = await limits.body(call.request, MAX_BODY, node.bodies, call.principal.tenant)
    wanted = bodies.decoded(body, _decode)
    service.seal.shred_tenant(wanted.tenant)
    return views.response(await _view(service), 202)


async def destroy(call: calls.Call) -> ASGIApp:
    """`DELETE /v1/streams/{id}`: 204 once nothing of it can be read; 202 while its end is not
    visible yet, or the log has it again."""
    service, stream = call.node.service, events.stream_id(call.request.path_params["stream_id"])
    if await service.shred(stream):
        return Response(status_code=204)
    return views.response(views.row(await service.stat(stream)), 202)


async def _view(service: Service, *, counted: bool = False) -> SealView:
    by = service.seal
    last = by.last  # before the rest: of a pass that is over, what it came to is told
    found, ring = await by.keys(counted=counted), by.sealer.ring
    return SealView(
        by.sealer.on,
        [KeyView(key.id, key.since, key.tenant) for key in ring.keys] if ring is not None else [],
        found["log"],
        found["archive"],
        last,
    )
