"""The configured providers, and which of them answers a request.

Strategy: the registry is built once from plain values and never changes. A request names
`provider` and `model`; or writes `model` as `provider/model`, where a provider has that name;
or names a model that a provider's patterns claim, the first in the order of configuration.
The provider `demo` is always there, last, unless the configuration has one of that name.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import msgspec

from holdfast import errors, request, transport
from holdfast.providers import base, playback, remote, vendors

KINDS = ("demo", *vendors.VENDORS)
"""Kinds that there are."""

DEMO_MODELS = ("demo", "demo-*")


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One provider as configured. `models` are the patterns (`fnmatch`) that it claims.

    Without `base_url` or `models` the kind's own are used. `api_key` is the key itself.
    `background`: the provider is asked to keep its answers.
    """

    name: str
    kind: str
    base_url: str | None = None
    api_key: str | None = None
    models: tuple[str, ...] = ()
    background: bool = False

    def __repr__(self) -> str:
        """Without the key."""
        return f"ProviderConfig({self.name!r}, kind={self.kind!r})"


class Registry:
    """The providers of a node.

    Raises `SettingsError` for a kind that there is not, for a name given twice, for a URL that is
    missing, for a URL or key that cannot be sent, and for `background` where the kind has no such
    thing.
    """

    def __init__(
        self,
        configs: Sequence[ProviderConfig] = (),
        carrier: transport.Transport | None = None,
    ) -> None:
        """`carrier` takes the calls to the providers, and is closed with the registry."""
        self._transport = carrier or transport.Transport()
        self._providers: dict[str, base.Provider] = {}
        self._claims: list[tuple[str, str]] = []
        for config in configs:
            self._add(config)
        if "demo" not in self._providers:
            self._add(ProviderConfig(name="demo", kind="demo"))

    @property
    def names(self) -> tuple[str, ...]:
        """The providers' names, in the order of configuration."""
        return tuple(self._providers)

    def get(self, name: str) -> base.Provider:
        """The provider of this name. Raises `UnknownProvider`."""
        provider = self._providers.get(name)
        if provider is None:
            raise errors.UnknownProvider(
                f"There is no provider {_quoted(name)}; there are {', '.join(self._providers)}."
            )
        return provider

    def resolve(self, wanted: request.Request) -> tuple[base.Provider, str]:
        """Who answers, and the model's name as the provider knows it.

        Raises `UnknownProvider` and `UnknownModel`, which list what there is.
        """
        if wanted.provider is not None:
            provider = self.get(wanted.provider)
            if wanted.model:
                return provider, wanted.model
        name, _, model = wanted.model.partition("/")
        if name in self._providers and model:
            return self._providers[name], model
        for name, pattern in self._claims:
            if fnmatch.fnmatchcase(wanted.model, pattern):
                return self._providers[name], wanted.model
        claims = ", ".join(f"{pattern} ({name})" for name, pattern in self._claims)
        raise errors.UnknownModel(
            f"No provider claims the model {_quoted(wanted.model)}; there are {claims}. "
            f"Or name one as provider/model, of {', '.join(self._providers)}."
        )

    async def close(self) -> None:
        """Breaks off every call under way. Idempotent."""
        await self._transport.close()

    def _add(self, config: ProviderConfig) -> None:
        if config.name in self._providers:
            raise errors.SettingsError(f"Two providers are called {config.name}.")
        models = config.models
        if config.kind == "demo":
            if config.background:
                raise _no_background(config)
            provider: base.Provider = playback.Demo(config.name)
            models = models or DEMO_MODELS
        else:
            vendor = _vendor(config)
            provider = self._remote(config, vendor)
            models = models or vendor.models
        self._providers[config.name] = provider
        self._claims += [(config.name, pattern) for pattern in models]

    def _remote(self, config: ProviderConfig, vendor: vendors.Vendor) -> remote.Provider:
        base_url = config.base_url or vendor.base_url
        if base_url is None:
            raise errors.SettingsError(
                f"providers.{config.name}.base_url: the kind {config.kind} needs one."
            )
        format = vendors.in_background(vendor) if config.background else vendor.format
        if format is None:
            raise _no_background(config)
        own = base_url == vendor.base_url
        return remote.Provider(
            config.name,
            format,
            transport_=self._transport,
            base_url=base_url,
            api_key=config.api_key,
            key_needed=vendor.api_key_env[0] if own and vendor.api_key_env else None,
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
