"""Which models may be asked for, as clients of OpenAI and of Anthropic look it up.

Strategy: both ask the same path and look at fields that the other does not have, so one answer has
the fields of both. Listed is what has a name: routes, and models that a provider is configured for
by name; a pattern names none. Whether a provider still has the model is not known here, and nobody
is asked.

Format: https://platform.openai.com/docs/api-reference/models and
https://docs.anthropic.com/en/api/models-list
"""

from __future__ import annotations

from urllib import parse

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp

from holdfast import request
from holdfast.http import calls

_encode = msgspec.json.Encoder().encode


class Model(msgspec.Struct, frozen=True):
    """One model. Since when there is such a one nobody said: it is the year 1970."""

    id: str
    owned_by: str
    display_name: str
    object: str = "model"
    type: str = "model"
    created: int = 0
    created_at: str = "1970-01-01T00:00:00Z"
    lifecycle: str = "active"


class Models(msgspec.Struct, frozen=True):
    """All of them, at once."""

    data: list[Model]
    first_id: str | None
    last_id: str | None
    object: str = "list"
    has_more: bool = False


async def list_all(call: calls.Call) -> ASGIApp:
    """`GET /v1/models`."""
    named = call.node.service.providers.models.items()
    data = [Model(name, owner, name) for name, owner in named]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return Response(_encode(Models(data, first, last)), media_type="application/json")


async def show(call: calls.Call) -> ASGIApp:
    """`GET /v1/models/{model}`: any that may be asked for, also by a pattern."""
    # The path comes as it was sent, and clients encode the slashes of a name.
    name = parse.unquote(call.request.path_params["model"])
    wanted = request.Request(name, [])
    providers = call.node.service.providers
    owner = providers.models.get(name) or providers.targets(wanted)[0].provider.name
    return Response(_encode(Model(name, owner, name)), media_type="application/json")
