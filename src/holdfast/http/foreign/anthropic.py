"""Anthropic's Messages: what a call says beside its body.

Strategy: some fields of a body are only known to an API that is told of them by a header, so what
that says goes to a provider of this format along with them.
"""

from __future__ import annotations

import msgspec
from starlette.types import ASGIApp

from holdfast.dialects import anthropic
from holdfast.http import calls
from holdfast.http.foreign import answering


async def create(call: calls.Call) -> ASGIApp:
    """A new message."""
    betas = ",".join(call.request.headers.getlist("anthropic-beta"))
    if betas:
        padded = call.node.service.config.streaming.padding
        told = anthropic.Dialect(betas, padded=padded)
        call = msgspec.structs.replace(call, dialect=told)
    return await answering.create(call)
