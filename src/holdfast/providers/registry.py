"""The configured providers, and which of them are asked for an answer, in which order.

Strategy: the registry is built once from plain values and never changes. A request names
`provider` and `model`; or writes `model` as `provider/model`, where a provider has that name;
or names a model that leads to a route, the first in the order of configuration; or one that a
provider's patterns claim, the first again. A route has several targets, each of the others is one
alone: nobody else gets a conversation unless somebody wrote so. What a request lists in
`fallback` takes the place of all but the first.
The provider `demo` is always there, last, unless the configuration has one of that name.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

import msgspec

from holdfast import errors, request, transport
from holdfast.providers import base, playback, remote, vendors

KINDS = ("demo", *vendors.VENDORS)
"""Kinds that there are."""

DEMO_MODELS = ("demo", "demo-*")

OTHER = "other"
"""What models are called together that no setting has a name or a pattern for."""

_PATTERN = re.compile(r"[*?[]")


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One provider as configured. `models` are the patterns (`fnmatch`) that it claims.

    Without `base_url` or `models` the kind's own are used. `api_key` is the key itself.
    `background`: the provider is asked to keep its answers. `prefill`: whether it takes the
    beginning of its answer as the last message; None is what its kind is known for. `padded`: it
    is to hide how long the pieces of its answers are, where it can.
    """

    name: str
    kind: str
    base_url: str | None = None
    api_key: str | None = None
    models: tuple[str, ...] = ()
    background: bool = False
    prefill: bool | None = None
    padded: bool = False

    def __repr__(self) -> str:
        """Without the key."""
        return f"ProviderConfig({self.name!r}, kind={self.kind!r})"


class RouteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One route as configured: the models that lead there besides its name, as patterns
    (`fnmatch`), and its `targets`, each `provider/model`, or `provider/*` for the model that was
    asked for."""

    name: str
    targets: tuple[str, ...]
    models: tuple[str, ...] = ()


class Target(msgspec.Struct, frozen=True):
    """Who is asked, and for which model, as that provider calls it."""

    provider: base.Provider
    model: str

    @property
    def name(self) -> str:
        """`provider/model`."""
        return f"{self.provider.name}/{self.model}"


class Registry:
    """The providers of a node.

    Raises `SettingsError` for a kind that there is not, for a name given twice, for a URL that is
    missing, for a URL or key that cannot be sent, for `background` and `prefill` where the kind
    has no such thing, and for a route without targets or to a provider that there is not.
    """

    def __init__(
        self,
        configs: Sequence[ProviderConfig] = (),
        carrier: transport.Transport | None = None,
        routes: Sequence[RouteConfig] = (),
    ) -> None:
        """`carrier` takes the calls to the providers, and is closed with the registry."""
        self._transport = carrier or transport.Transport()
        self._providers: dict[str, base.Provider] = {}
        self._claims: list[tuple[str, str]] = []
        for config in configs:
            self._add(config)
        if "demo" not in self._providers:
            self._add(ProviderConfig(name="demo", kind="demo"))
        self._routes = tuple(routes)
        for route in routes:
            self._check(route)

    @property
    def names(self) -> tuple[str, ...]:
        """The providers' names, in the order of configuration."""
        return tuple(self._providers)

    @property
    def kinds(self) -> dict[str, str]:
        """The wire format of each provider, by its name."""
        return {name: one.kind for name, one in self._providers.items()}

    @property
    def models(self) -> dict[str, str]:
        """What may be asked for by a name in full, no pattern, with whose it is: a provider's, or
        for a route `holdfast`."""
        routed = [
            (name, "holdfast") for route in self._routes for name in (route.name, *route.models)
        ]
        claimed = [(pattern, name) for name, pattern in self._claims]
        found: dict[str, str] = {}
        for name, owner in (*routed, *claimed):
            if not _PATTERN.search(name):
                found.setdefault(name, owner)
        return found

    def label(self, provider: str, model: str) -> str:
        """What this model is called where names are counted: by its own name where the settings
        have it, else by the pattern that claims it. So there are no more than the settings name."""
        targets = {target for route in self._routes for target in route.targets}
        claims = [pattern for name, pattern in self._claims if name == provider]
        if f"{provider}/{model}" in targets or model in claims:
            return model
        fitting = (one for one in claims if fnmatch.fnmatchcase(model, one))
        return next(fitting, OTHER)

    def get(self, name: str) -> base.Provider:
        """The provider of this name. Raises `UnknownProvider`."""
        provider = self._providers.get(name)
        if provider is None:
            raise errors.UnknownProvider(
                f"There is no provider {_quoted(name)}; there are {', '.join(self._providers)}."
            )
        return provider

    def targets(self, wanted: request.Request) -> tuple[Target, ...]:
        """Who is asked, in this order: one at least, and none twice.

        Raises `UnknownProvider` and `UnknownModel`, which list what there is, and `InvalidField`
        for an item of `fallback.providers` that is not `provider/model`.
        """
        found = self._named(wanted) or self._routed(wanted.model) or self._claimed(wanted.model)
        if wanted.fallback is not None and wanted.fallback.providers is not None:
            found = [found[0], *map(self._next, wanted.fallback.providers)]
        return tuple({(target.provider.name, target.model): target for target in found}.values())

    def _named(self, wanted: request.Request) -> list[Target]:
        """The one that the request itself names."""
        if wanted.provider is not None:
            provider = self.get(wanted.provider)
            if not wanted.model:
                raise self._unknown(wanted.model)
            return [Target(provider, wanted.model)]
        name, _, model = wanted.model.partition("/")
        if name in self._providers and model:
            return [Target(self._providers[name], model)]
        return []

    def _routed(self, model: str) -> list[Target]:
        """Those of the first route that the model leads to."""
        for route in self._routes:
            if route.name == model or any(fnmatch.fnmatchcase(model, one) for one in route.models):
                pairs = (target.partition("/") for target in route.targets)
                return [
                    Target(self._providers[name], model if asked == "*" else asked)
                    for name, _, asked in pairs
                ]
        return []

    def _claimed(self, model: str) -> list[Target]:
        """The first provider that claims the model. Raises `UnknownModel`."""
        for name, pattern in self._claims:
            if fnmatch.fnmatchcase(model, pattern):
                return [Target(self._providers[name], model)]
        raise self._unknown(model)

    def _next(self, target: str) -> Target:
        """One that the request lists as a next one."""
        name, _, model = target.partition("/")
        if not name or not model:
            raise errors.InvalidField(
                f"`fallback.providers`: {_quoted(target)} is not of the form provider/model."
            )
        return Target(self.get(name), model)

    def _unknown(self, model: str) -> errors.UnknownModel:
        claims = ", ".join(f"{pattern} ({name})" for name, pattern in self._claims)
        routes = ", ".join(
            f"{pattern} (route {route.name})"
            for route in self._routes
            for pattern in (route.name, *route.models)
        )
        return errors.UnknownModel(
            f"No provider claims the model {_quoted(model)}; there are "
            f"{', '.join(filter(None, (routes, claims)))}. "
            f"Or name one as provider/model, of {', '.join(self._providers)}."
        )

    async def close(self) -> None:
        """Breaks off every call under way. Idempotent."""
        await self._transport.close()

    def gather(self, pace: transport.Pace) -> None:
        """What providers say is read at this pace in the running loop."""
        self._transport.gather(pace)

    def _add(self, config: ProviderConfig) -> None:
        if config.name in self._providers:
            raise errors.SettingsError(f"Two providers are called {config.name}.")
        models = config.models
        if config.kind == "demo":
            if config.background:
                raise _no_background(config)
            if config.prefill:
                raise errors.SettingsError(
                    f"providers.{config.name}.prefill: the kind demo takes none; leave it out."
                )
            provider: base.Provider = playback.Demo(config.name)
            models = models or DEMO_MODELS
        else:
            vendor = _vendor(config)
            provider = self._remote(config, vendor)
            models = models or vendor.models
        self._providers[config.name] = provider
        self._claims += [(config.name, pattern) for pattern in models]

    def _check(self, route: RouteConfig) -> None:
        """Raises `SettingsError` for a route that leads nowhere."""
        place = f"routes.{route.name}.targets"
        if not route.targets:
            raise errors.SettingsError(f"{place}: nothing is given; give one provider/model.")
        for target in route.targets:
            name, _, model = target.partition("/")
            if not model:
                raise errors.SettingsError(f"{place}: {_quoted(target)} is not provider/model.")
            if name not in self._providers:
                raise errors.SettingsError(
                    f"{place}: {_quoted(target)} names no provider that there is; there are "
                    f"{', '.join(self._providers)}."
                )

    def _remote(self, config: ProviderConfig, vendor: vendors.Vendor) -> remote.Provider:
        base_url = config.base_url or vendor.base_url
        if base_url is None:
            raise errors.SettingsError(
                f"providers.{config.name}.base_url: the kind {config.kind} needs one."
            )
        format = vendors.in_background(vendor) if config.background else vendor.format
        if format is None:
            raise _no_background(config)
        if config.padded:
            format = vendors.padded(format)
        own = base_url == vendor.base_url
        return remote.Provider(
            config.name,
            format,
            transport_=self._transport,
            base_url=base_url,
            api_key=config.api_key,
            key_needed=vendor.api_key_env[0] if own and vendor.api_key_env else None,
            prefill=config.prefill,
        )


def _vendor(config: ProviderConfig) -> vendors.Vendor:
    vendor = vendors.VENDORS.get(config.kind)
    if vendor is None:
        raise errors.SettingsError(
            f"providers.{config.name}.kind: there is no {_quoted(config.kind)}; there are "
            f"{', '.join(KINDS)}."
        )
    return vendor


def _no_background(config: ProviderConfig) -> errors.SettingsError:
    able = (name for name, vendor in vendors.VENDORS.items() if vendors.in_background(vendor))
    return errors.SettingsError(
        f"providers.{config.name}.background: the kind {config.kind} keeps no answers; leave it "
        f"out, or take one of the kinds that do: {', '.join(able)}."
    )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:100] + "…")
