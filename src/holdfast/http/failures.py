"""The route of errors: what failed on all nodes, by code and provider, with examples.

Strategy: each node tells what it has noted since it began, and who is asked adds it up. Streams are
named by their ids, so this is for who sees everybody's.
"""

from __future__ import annotations

import msgspec
from starlette.types import ASGIApp

from holdfast import events
from holdfast.http import calls, neighbours, views
from holdfast.telemetry import failures


class ExampleView(msgspec.Struct, frozen=True):
    """One failure."""

    stream_id: str
    at: str
    message: str


class FailureView(msgspec.Struct, frozen=True):
    """With a `provider` calls to it that failed, without one streams that ended with this code."""

    code: str
    provider: str | None
    count: int
    first_at: str
    last_at: str
    examples: list[ExampleView]


class ErrorsView(msgspec.Struct, frozen=True):
    """`GET /v1/errors`."""

    errors: list[FailureView]
    nodes: list[views.NodeView]


async def show(call: calls.Call) -> ASGIApp:
    """`GET /v1/errors`: what has failed on all nodes since each began, the latest first."""
    found, nodes = await neighbours.failed_of_all(call.node.service)
    told = [_view(one) for one in found[: failures.MAX_KINDS]]
    return views.response(ErrorsView(told, nodes))


def _view(one: failures.Failure) -> FailureView:
    return FailureView(
        one.code,
        one.provider,
        one.count,
        events.rfc3339(one.first_at),
        events.rfc3339(one.last_at),
        [
            ExampleView(example.stream, events.rfc3339(example.at), example.message)
            for example in one.examples
        ],
    )
