"""The tables of who may ask, and how much: archive, tokens, quotas, plans and prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from holdfast.settings.fields import (
    Algorithms,
    ArchiveUrl,
    Claim,
    Cost,
    Count,
    KeysUrl,
    Scopes,
    SomeModels,
    Table,
    Tenants,
    Word,
)

MOST = 1_000_000_000_000
"""The highest limit that can be given."""


class Archive(Table):
    """The database of what outlives the log: API keys, finished streams, connections, metrics."""

    url: ArchiveUrl = None
    """Where it is: `sqlite:///FILE`, `postgresql://USER:PASSWORD@HOST/DATABASE`, which many nodes
    share, or `memory://`, in which no key can be made. The password is never shown. None: beside
    the log, `holdfast-archive.db` for `holdfast.db`, so that one folder is all there is to back
    up."""


class Jwt(Table):
    """Users that an identity provider vouches for, by signed tokens (JWT)."""

    issuer: Word = None
    """The `iss` that tokens have. None: no tokens are taken."""

    audience: Word = None
    """The `aud` that tokens have: this service's name at the issuer. Must be given with `issuer`,
    or a token for another service would open this one."""

    keys_url: KeysUrl = None
    """Where the issuer shows its public keys (JWKS), at `https://`, or `http://` on this machine.
    Must be given with `issuer`."""

    algorithms: Algorithms = ("RS256", "ES256")
    """Signatures that are taken; never what a token itself asks for. What issuers use mostly."""

    tenant_claim: Claim = None
    """The claim that names a user's tenant. None: all users are of the tenant `default`, each with
    streams of their own."""

    scopes: Scopes = ("generate", "read")
    """What a token may grant at most, and does where it has no `scope`; one whose `scope` has none
    of these words grants nothing. `admin` sees what is everybody's, so it has to be named."""

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        told = {"issuer": self.issuer, "audience": self.audience, "keys_url": self.keys_url}
        missing = [name for name, value in told.items() if value is None]
        if missing and (len(missing) < len(told) or self.tenant_claim is not None):
            which = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
            raise ValueError(f"{which}: issuer, audience and keys_url must be given together")
        return self


class _Limits(Table):
    """What a quota and a plan have in common."""

    streams: Count = Field(default=0, ge=0, le=MOST)
    """Answers under way at once; 0 is no limit but the node's."""

    connections: Count = Field(default=0, ge=0, le=MOST)
    """Open event streams at once; a reader beyond is told to come back. 0 is no limit but the
    node's."""

    requests_per_minute: Count = Field(default=0, ge=0, le=MOST)
    """Requests in any minute, of all kinds; 0 is no limit."""

    tokens_per_minute: Count = Field(default=0, ge=0, le=MOST)
    """Tokens in any minute, of prompts and answers, of every call that is made; an answer that
    reaches it is cut. 0 is no limit."""

    tokens_per_day: Count = Field(default=0, ge=0, le=MOST)
    """Tokens in any 24 hours, counted in the same way; 0 is no limit."""

    cost_per_day: Cost = Field(default=0.0, ge=0, le=MOST)
    """What these tokens may cost in any 24 hours, in the currency of `[prices]`; a model without a
    price is then refused. 0 is no limit."""


class Quota(_Limits):
    """What each key may use, or each user of a token; a key may have been made with its own."""

    tokens_per_day: Count = Field(default=100_000_000, ge=0, le=MOST)
    """Tokens in any 24 hours, of prompts and answers, of every call that is made; an answer that
    reaches it is cut. 0 is no limit. A hundred million is a busy product's day, and the end of what
    somebody can spend who has found a key."""


class Plan(_Limits):
    """What a tenant may use, with all of its keys and users together; the table's name is the
    plan's."""

    tenants: Tenants
    """Tenants that have this plan; `*` and `?` are wildcards, and of several plans the first that
    fits holds. Must be given: no guess may limit anybody."""


class Price(Table):
    """What tokens cost, for `cost_per_day`; the table's name does not matter."""

    models: SomeModels
    """Models that have this price, each by its name or as `provider/model`; `*` and `?` are
    wildcards, and the first price that fits holds. Must be given: no guess costs nothing."""

    input: Cost = Field(default=0.0, ge=0, le=1_000_000)
    """Of a million tokens that are asked, in any currency. 0: they are free."""

    cached: Cost = Field(default=0.0, ge=0, le=1_000_000)
    """Of a million tokens of a prompt that the provider had kept. 0: they are free."""

    output: Cost = Field(default=0.0, ge=0, le=1_000_000)
    """Of a million tokens that are answered. 0: they are free."""


def check_priced(quota: Quota, plans: Mapping[str, Plan], prices: Mapping[str, Price]) -> None:
    """Raises ValueError where a limit of costs would refuse every model, as none has a price."""
    limits = {"quota": quota, **{f"plans.{name}": plan for name, plan in plans.items()}}
    for place, limit in limits.items():
        if limit.cost_per_day and not prices:
            raise ValueError(
                f"{place}.cost_per_day: no model has a price, so each would be refused; "
                "say what tokens cost in a table [prices.NAME]"
            )
