"""The only place that builds things: from settings to a running application.

Strategy: every part is made here and handed to who needs it; nothing is built at import and
nothing looks for its parts itself. The application's lifespan starts the service and closes
it, so it may run under any ASGI server.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
from starlette.applications import Starlette

from holdfast import service, settings
from holdfast.dialects import native
from holdfast.eventlog import url
from holdfast.http import calls, feed, limits, routes
from holdfast.producing import opening
from holdfast.providers import registry


class App(msgspec.Struct, frozen=True):
    """A node: its ASGI application, and the service inside."""

    asgi: Starlette
    service: service.Service


def providers(config: settings.Settings) -> registry.Registry:
    """The configured providers; `demo` is always among them."""
    rows = [
        registry.ProviderConfig(
            name=name,
            kind=row.kind,
            base_url=row.base_url,
            api_key=row.api_key.get_secret_value() if row.api_key else None,
            models=tuple(row.models),
        )
        for name, row in config.providers.items()
    ]
    return registry.Registry(rows, connect_timeout=config.deadlines.connect)


def build(
    config: settings.Settings,
    *,
    prepare: opening.Prepare = opening.expand_context,
    observers: Sequence[object] = (),
    fatal: Callable[[str], None] = lambda why: None,
) -> App:
    """Makes a node from settings; nothing is opened before it starts."""
    limit = limits.connection_limit(config.server.max_connections)
    log = url.open_log(config.log.url, durability=config.log.durability)
    node_service = service.Service(
        log,
        providers(config),
        config,
        connection_limit=limit,
        prepare=prepare,
        observers=observers,
        fatal=fatal,
    )
    node = calls.Node(node_service, feed.Feeds(log, node_service.watch), native.Native())

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with node_service:
            yield

    return App(routes.application(node, config.server.cors_origins, lifespan), node_service)
