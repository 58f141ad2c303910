"""The only place that builds things: from settings to a running application.

Strategy: every part is made here and handed to who needs it; nothing is built at import and
nothing looks for its parts itself. The application's lifespan starts the service and closes
it, so it may run under any ASGI server.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.routing import Route
from starlette.types import ASGIApp

from holdfast import environment, errors, service, settings, transport
from holdfast.access import gate, jwks, tokens
from holdfast.archive import base as archive_base
from holdfast.archive import url as archive_url
from holdfast.dashboard import routes as dashboard
from holdfast.dialects import ai_sdk, anthropic, native, openai_chat, openai_responses
from holdfast.dialects import base as dialect_base
from holdfast.eventlog import base, url
from holdfast.http import alerts as watching
from holdfast.http import (
    calls,
    coding,
    feed,
    included,
    limits,
    live,
    mounted,
    neighbours,
    routes,
    server,
    shared,
)
from holdfast.metering import ledger, prices
from holdfast.page import routes as pages
from holdfast.producing import opening
from holdfast.providers import registry
from holdfast.sealing import holder, sources
from holdfast.telemetry import otel, tracing, vitals
from holdfast.telemetry.alerts import rounds, rules, webhook

if TYPE_CHECKING:
    from holdfast.http.included import APIRouter

Given = settings.Settings | Path | str | None
"""Settings; or the file that they are in, with what the environment says; or nothing, and they are
those that `holdfast serve` would find: `holdfast.toml`, if it is there, and the environment."""


def carrier(config: settings.Settings, *urls: str | None) -> transport.Transport:
    """What takes calls to these addresses; one that is None is anywhere. Raises
    `errors.SettingsError` for certificates that cannot be read."""
    network = config.network
    ca_file = Path(network.ca_file) if network.ca_file else None
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
            padded=config.streaming.padding,
        )
        for name, row in config.providers.items()
    ]
    ways = [
        registry.RouteConfig(name=name, models=tuple(row.models), targets=tuple(row.targets))
        for name, row in config.routes.items()
    ]
    urls = [row.base_url for row in rows if row.kind != "demo"]
    return registry.Registry(rows, carrier(config, *urls), ways)


def access(
    config: settings.Settings, archive: archive_base.Archive, authorize: gate.Authorize | None
) -> gate.Gate:
    """What lets callers in, by the keys of this archive. Raises `errors.SettingsError`."""
    said = config.jwt
    issuer = None
    if said.issuer and said.audience and said.keys_url:
        rules = tokens.Rules(
            said.issuer, said.audience, said.algorithms, said.tenant_claim, said.scopes
        )
        issuer = jwks.Issuer(rules, jwks.KeySet(said.keys_url, carrier(config, said.keys_url)))
    refresh = min(gate.REFRESH_SECONDS, config.server.heartbeat_interval / 4)
    return gate.Gate(archive, issuer, authorize, refresh=refresh)


def accounts(
    config: settings.Settings, log: base.EventLog, own_of: Callable[[str], archive_base.Quota]
) -> ledger.Ledger:
    """What callers may use. `own_of` a key, by its id, is what it says of its own quota."""
    usual = _quota(config.quota)
    plans = [(plan.tenants, _quota(plan)) for plan in config.plans.values()]

    def quota_of(name: str) -> archive_base.Quota:
        kind, _, who = name.partition(":")
        if kind == "key":
            return own_of(who).over(usual)
        if kind == "user":
            return usual
        fitting = (quota for tenants, quota in plans if any(fnmatchcase(who, t) for t in tenants))
        return next(fitting, archive_base.Quota())

    rows = [
        prices.Row(row.models, prices.Price(row.input, row.cached, row.output))
        for row in config.prices.values()
    ]
    shared = log.nodes is not None
    return ledger.Ledger(log.counters, quota_of, prices.Prices(rows), shared=shared)


def _quota(said: settings.Quota | settings.Plan) -> archive_base.Quota:
    return archive_base.Quota(
        said.streams,
        said.connections,
        said.requests_per_minute,
        said.tokens_per_minute,
        said.tokens_per_day,
        prices.millionths(said.cost_per_day),
    )


def asgi(
    given: Given = None,
    /,
    *,
    log: base.EventLog | None = None,
    keys: sources.KeySource | None = None,
    prepare: opening.Prepare = opening.expand_context,
    authorize: gate.Authorize | None = None,
    observers: Sequence[object] = (),
    fatal: Callable[[str], None] = lambda why: None,
    page: bool = False,
    worker: vitals.Worker = vitals.ALONE,
) -> mounted.App:
    """A node as an ASGI application; nothing is opened before its lifespan begins. `log` stands for
    the one that the settings name, and `keys` for their key ring; `prepare` is where a prompt
    service plugs in, `authorize` an embedder's own way to know callers; `observers` have methods
    named like what they are told; `fatal` is told why the node cannot go on; with `page` there is
    one at `/` that asks and shows. `worker` says which of those that serve one port this is. Raises
    `errors.SettingsError`."""
    config = _settings(given)
    traced = _traced(config)

    def make() -> service.Service:
        held = holding(config, keys)
        archive = archive_url.open_archive(config.archive.url, config.log.url, held.sealer)
        said = config.log
        wanted = url.Wanted(said.durability, archive.lasting, said.lease, held.sealer)
        own = log or url.open_log(said.url, wanted)
        entrance = access(config, archive, authorize)
        made = service.Service(
            own,
            providers(config),
            config,
            connection_limit=server.connection_limit(config.server.max_connections),
            prepare=prepare,
            observers=observers,
            fatal=fatal,
            access=entrance,
            accounts=accounts(config, own, entrance.limits),
            archive=archive,
            keys=held,
            worker=worker,
            tracer=traced or tracing.UNTRACED,
        )
        if traced is not None:
            told = functools.partial(neighbours.node, made)
            made.beside(functools.partial(traced.watch, told), "opentelemetry")
        return made

    beside = (
        *(pages.routes() if page else ()),
        *(dashboard.routes() if config.monitoring.dashboard else ()),
    )
    return mounted.App(make, functools.partial(_surface, beside=beside))


def holding(config: settings.Settings, keys: sources.KeySource | None = None) -> holder.Holder:
    """What has a node's key ring: that of the settings, or `keys`; not read yet. Raises
    `errors.SettingsError`."""
    said = config.sealing
    return holder.Holder(
        keys or sources.named(said.keys, said.ring.get_secret_value() if said.ring else None),
        on=said.on,
        rotate_every=said.rotate_every,
    )


def _traced(config: settings.Settings) -> otel.Instrumentation | None:
    """Raises `errors.SettingsError`."""
    if not config.monitoring.opentelemetry:
        return None
    return otel.open_instrumentation({name: row.kind for name, row in config.providers.items()})


def router(given: Given | mounted.App = None, /) -> APIRouter:
    """A node as a router of FastAPI: `app.include_router(holdfast.router())`. It may be what `asgi`
    gave, which takes more than settings. Raises `errors.SettingsError`, also without FastAPI."""
    return included.router(given if isinstance(given, mounted.App) else asgi(given))


def _settings(given: Given) -> settings.Settings:
    if isinstance(given, settings.Settings):
        return given
    file = None if given is None else Path(given)
    return settings.load(file, {}, environment.variables(), environment.USUAL)


def foreign(config: settings.Settings, known: registry.Registry) -> dict[str, dialect_base.Foreign]:
    """The dialects of other APIs, by name."""
    spoken: tuple[dialect_base.Foreign, ...] = (
        openai_chat.Dialect(),
        openai_responses.Dialect(),
        anthropic.Dialect(padded=config.streaming.padding),
        ai_sdk.Dialect(_chat_model(config, known), padded=config.streaming.padding),
    )
    return {one.name: one for one in spoken}


def _chat_model(config: settings.Settings, known: registry.Registry) -> str | None:
    """The model for chats that name none: the settings' own, or else the first one that has a name
    there. `demo` answers only where nobody else could."""
    alone = known.names == ("demo",)
    named = (name for name, whose in known.models.items() if alone or whose != "demo")
    return config.dialects.chat_model or next(named, None)


def around(node_service: service.Service) -> mounted.App:
    """The application of a service, whatever it was made of."""
    return mounted.App(lambda: node_service, _surface)


def alerts(node_service: service.Service) -> rounds.Alerts:
    """What watches a node, and tells. Raises `errors.SettingsError`."""
    config = node_service.config
    said, hook = config.monitoring, None
    if said.webhook_url is not None:
        url, secret = said.webhook_url.get_secret_value(), said.webhook_secret
        key = webhook.key_of(secret.get_secret_value()) if secret else None
        try:
            hook = webhook.Webhook(url, key, carrier(config, url))
        except ValueError as error:
            raise errors.SettingsError(f"monitoring.webhook_url: {error}.") from None
    eyes = watching.Eyes(node_service)
    return rounds.Alerts(rules.rules(config), eyes, node_service.supervisor.job, hook)


def _surface(node_service: service.Service, beside: Sequence[Route] = ()) -> ASGIApp:
    """The calls of a service. For `beside` see `routes.application`."""
    feeds = feed.Feeds(node_service.log, node_service.watch)
    node_service.seal.gone.insert(0, feeds.forget)
    most = max(limits.BODIES, 2 * node_service.config.server.max_body)
    made = alerts(node_service)
    node_service.beside(made.run, "alerts")
    if node_service.log.nodes is not None:
        answer = functools.partial(neighbours.answer, node_service, made.told)
        node_service.log.nodes.answer(answer)
    spoken = foreign(node_service.config, node_service.providers)
    watched = live.Live(node_service, alerts=made.shown)
    bodies: shared.Shared[limits.Body] = shared.Shared(most)
    own = native.Native(padded=node_service.config.streaming.padding)
    chosen = node_service.config.compression
    codings = coding.offered(chosen.algorithm) if chosen.enabled else ()
    node = calls.Node(node_service, feeds, bodies, own, spoken, watched, made, codings)
    return routes.application(node, beside)
