"""The only place that builds things: from settings to a running application.

Strategy: every part is made here and handed to who needs it; nothing is built at import and
nothing looks for its parts itself. The application's lifespan starts the service and closes
it, so it may run under any ASGI server.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
from starlette.applications import Starlette

from holdfast import service, settings, transport
from holdfast.dialects import native
from holdfast.eventlog import url
from holdfast.http import calls, feed, limits, routes
from holdfast.producing import opening
from holdfast.providers import registry


class App(msgspec.Struct, frozen=True):
    """A node: its ASGI application, and the service inside."""

    asgi: Starlette
    service: service.Service

    async def drain(self) -> None:
        """To be awaited before the server is told to stop, where the application runs under one
        that is not ours: streams go on for their readers, `server.drain_timeout` at most, then
        the readers that are left are asked to come back. Idempotent."""
        await self.service.drain()


def carrier(config: settings.Settings) -> transport.Transport:
    """What takes calls to providers. Raises `errors.SettingsError` for certificates that cannot
    be read."""
    network = config.network
    ca_file = Path(network.ca_file) if network.ca_file else None
    urls = [row.base_url for row in config.providers.values() if row.kind != "demo"]
    secure = ca_file is not None or not all(url and url.startswith("http://") for url in urls)
    https, http = network.https_proxy, network.http_proxy
    return transport.Transport(
        connect_timeout=config.deadlines.connect,
        # 40 ms that a test with a plain provider need not wait, and a first call must not.
        tls=transport.tls_context(ca_file) if secure else None,
        proxies=transport.Proxies(
            http=http.get_secret_value() if http else None,
            https=https.get_secret_value() if https else None,
            no=tuple(network.no_proxy),
        ),
        keep_alive=network.keep_alive,
    )


def providers(config: settings.Settings) -> registry.Registry:
    """The configured providers, and the routes to them; `demo` is always among them. Raises
    `errors.SettingsError`."""
    rows = [
        registry.ProviderConfig(
            name=name,
            kind=row.kind,
            base_url=row.base_url,
            api_key=row.api_key.get_secret_value() if row.api_key else None,
            models=tuple(row.models),
            background=row.background,
            prefill=row.prefill,
        )
        for name, row in config.providers.items()
    ]
    ways = [
        registry.RouteConfig(name=name, models=tuple(row.models), targets=tuple(row.targets))
        for name, row in config.routes.items()
    ]
    return registry.Registry(rows, carrier(config), ways)


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
