"""The tables of who may ask: what they say together, and what of it is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast import app, errors
from holdfast.settings import Plan, Quota, Settings, tables

Read = Callable[..., Settings]

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "settings.md"

ISSUER = {
    "issuer": "https://login.example/",
    "audience": "holdfast",
    "keys_url": "https://login.example/keys",
}
PRICED = '[prices.all]\nmodels = ["*"]\n'


def refusal(read: Read, toml: str) -> list[str]:
    with pytest.raises(errors.SettingsError) as caught:
        read(toml)
    return caught.value.message.split("\n")


# Tokens


def jwt(*names: str, **more: str) -> str:
    given = {name: ISSUER[name] for name in names} | more
    return "[jwt]\n" + "".join(f'{name} = "{value}"\n' for name, value in given.items())


TOGETHER = "issuer, audience and keys_url must be given together"


@pytest.mark.parametrize(
    ("toml", "missing"),
    [
        (jwt("issuer"), "audience, keys_url are"),
        (jwt("audience"), "issuer, keys_url are"),
        (jwt("keys_url"), "issuer, audience are"),
        (jwt("issuer", "keys_url"), "audience is"),
        (jwt("audience", "keys_url"), "issuer is"),
        (jwt("issuer", "audience"), "keys_url is"),
        # An empty one is none.
        (jwt("issuer", "keys_url", audience=""), "audience is"),
        # It would be without effect.
        (jwt(tenant_claim="org"), "issuer, audience, keys_url are"),
    ],
)
def test_an_issuer_needs_all_three(read: Read, toml: str, missing: str) -> None:
    assert refusal(read, toml) == [f"jwt: {missing} missing: {TOGETHER}"]


def test_an_issuer_may_be_put_together_from_all_sources(read: Read) -> None:
    environ = {"HOLDFAST_JWT__AUDIENCE": "holdfast"}
    made = read(jwt("issuer"), environ, {"jwt.keys_url": ISSUER["keys_url"]}).jwt
    assert (made.issuer, made.audience, made.keys_url) == tuple(ISSUER.values())


def test_no_issuer_takes_no_tokens(read: Read) -> None:
    empty = jwt(issuer="", audience="", keys_url="", tenant_claim="")
    assert read(empty) == Settings()
    # What may stand there all the same: it says no more than the defaults do.
    assert read('[jwt]\nscopes = ["read"]\n').jwt.issuer is None


# Pages of other origins


@pytest.mark.parametrize("origins", ["", "*", "https://a.example, *"])
def test_cookies_are_for_origins_that_are_named(read: Read, origins: str) -> None:
    toml = f'[server]\ncors_credentials = true\ncors_origins = "{origins}"\n'
    line = "server: cors_credentials needs cors_origins to be named, without *"
    assert refusal(read, toml) == [line]
    assert read(toml.replace("true", "false")).server.cors_credentials is False
    assert read(toml.replace(f'"{origins}"', '"https://a.example"')).server.cors_credentials


# Costs


UNPRICED = (
    ".cost_per_day: no model has a price, so each would be refused; "
    "say what tokens cost in a table [prices.NAME]"
)


@pytest.mark.parametrize(
    ("toml", "place"),
    [
        ("[quota]\ncost_per_day = 0.000001\n", "quota"),
        ('[plans.free]\ntenants = ["a"]\ncost_per_day = 5\n', "plans.free"),
        (
            '[plans.a]\ntenants = ["a"]\n[plans.b]\ntenants = ["b"]\ncost_per_day = 1\n',
            "plans.b",
        ),
    ],
)
def test_a_limit_of_costs_needs_a_price(read: Read, toml: str, place: str) -> None:
    assert refusal(read, toml) == [f"{place}{UNPRICED}"]
    assert read(toml + PRICED).prices["all"].input == 0.0


def test_a_price_needs_no_limit(read: Read) -> None:
    assert read(PRICED).quota.cost_per_day == 0.0


@pytest.mark.parametrize(
    ("table", "key", "high"),
    [
        ("quota", "cost_per_day", 10**12),
        *(("prices", key, 10**6) for key in ("input", "cached", "output")),
    ],
)
def test_an_amount_has_edges(read: Read, table: str, key: str, high: int) -> None:
    def toml(value: object) -> str:
        if table == "prices":
            return f"{PRICED}{key} = {value}\n"
        return f"[quota]\n{key} = {value}\n{PRICED}"

    for value in (0, 0.25, high):
        made = read(toml(value))
        row = made.prices["all"] if table == "prices" else made.quota
        assert getattr(row, key) == value
    for wrong in ("-0.25", "-1", f"{high}.25", "true", "nan"):
        (line,) = refusal(read, toml(wrong))
        assert "is not accepted; accepted is an amount from 0 to" in line


# What a quota and a plan have in common


def test_what_is_inherited_is_a_setting_of_both() -> None:
    common = list(Quota.model_fields)
    assert common == [name for name in Plan.model_fields if name != "tenants"]
    for name in common:
        ours, theirs = tables.KNOWN[f"quota.{name}"], tables.KNOWN[f"plans.*.{name}"]
        assert (ours.default == theirs.default) == (name != "tokens_per_day")
    assert not any(name.startswith("_") for name in tables.MODELS)


def test_the_first_plan_and_price_stand_first(read: Read) -> None:
    toml = "".join(f'[plans.{name}]\ntenants = ["*"]\n' for name in ("c", "a", "b"))
    assert list(read(toml).plans) == ["c", "a", "b"]
    toml = "".join(f'[prices.{name}]\nmodels = ["*"]\n' for name in ("c", "a", "b"))
    assert list(read(toml).prices) == ["c", "a", "b"]


# The document


def test_the_example_of_the_document_builds_a_node(read: Read) -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    made = read(text)
    assert app.asgi(made).service.config is made
    assert made.plans["trial"].tenants == ("trial-*",)
    assert made.jwt.tenant_claim == "org_id"


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (jwt("issuer", "audience", keys_url="http://login.example/keys"), "https://"),
        (jwt("issuer", "audience", keys_url="https://login.example:99999/keys"), "key set"),
        ('[archive]\nurl = "redis://keys"\n', "An archive reads sqlite:///"),
        ('[archive]\nurl = "sqlite:///"\n', "An archive reads sqlite:///"),
        ('[archive]\nurl = "sqlite:///folder/"\n', "An archive reads sqlite:///"),
    ],
)
def test_what_only_building_a_node_finds(read: Read, toml: str, said: str) -> None:
    made = read(toml)
    with pytest.raises(errors.SettingsError, match=re.escape(said)):
        app.asgi(made)
