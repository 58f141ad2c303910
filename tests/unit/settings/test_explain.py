"""What each setting is, and where it is from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.settings import Loaded, Price, Provider, Usual, explain, tables

SECRET = "sk-very-secret"
USUAL = {"openai": Usual(("OPENAI_API_KEY", "OPENAI_KEY"), "OPENAI_BASE_URL")}

Load = Callable[..., Loaded]


def told(made: Loaded, *, everything: bool = False) -> dict[str, tuple[str, str]]:
    rows = explain.rows(made, everything=everything)
    assert len({row.name for row in rows}) == len(rows)
    return {row.name: (row.value, row.source) for row in rows}


def test_without_any_source_nothing_differs(loaded: Load) -> None:
    assert explain.rows(loaded()) == []


def test_what_differs_is_told_with_its_source(loaded: Load) -> None:
    toml = (
        '[server]\nport = 9000\nhost = "::"\ncors_origins = ["https://a.example"]\n'
        '[streaming]\nbuffer_size = 16384\n[log]\nretention = "48h"\n'
        '[providers.mine]\nkind = "openai"\nmodels = ["a*", "b"]\n'
        # Its own default, written out, is no difference.
        "[network]\nkeep_alive = 15\n"
        '[routes.smart]\ntargets = ["mine/a", "demo/*"]\n[routes.b]\ntargets = ["demo/*"]\n'
        "[quota]\nstreams = 5\ntokens_per_day = 100_000_000\ncost_per_day = 0\n"
        '[plans.free]\ntenants = ["a", "b"]\ntokens_per_day = 100_000_000\nstreams = 0\n'
        '[prices.gpt]\nmodels = ["gpt-*"]\ninput = 1.250\noutput = 0\n'
        '[jwt]\nalgorithms = ["RS256", "ES256"]\ntenant_claim = ""\n[archive]\nurl = ""\n'
    )
    environ = {
        "HOLDFAST_SERVER__HOST": "127.0.0.2",
        "HOLDFAST_ROUTES__SMART__MODELS": "smart-*,a",
        "HOLDFAST_PLANS__FREE__COST_PER_DAY": "2.50",
        "HOLDFAST_JWT__SCOPES": "read",
        "HTTPS_PROXY": f"http://u:{SECRET}@proxy:1",
        "NO_PROXY": "a,b",
        "OPENAI_API_KEY": SECRET,
        "OPENAI_BASE_URL": "http://usual",
    }
    made = loaded(toml, environ, {"server.port": 1}, usual=USUAL)
    assert told(made) == {
        "server.port": ("1", "command line"),
        "server.host": ("127.0.0.2", "HOLDFAST_SERVER__HOST"),
        "server.cors_origins": ("https://a.example", "mine.toml"),
        "log.retention": ("2d", "mine.toml"),
        "streaming.buffer_size": ("16KiB", "mine.toml"),
        "network.https_proxy": ("set", "HTTPS_PROXY"),
        "network.no_proxy": ("a, b", "NO_PROXY"),
        "providers.mine.kind": ("openai", "mine.toml"),
        "providers.mine.models": ("a*, b", "mine.toml"),
        "providers.mine.api_key": ("set", "OPENAI_API_KEY"),
        "providers.mine.base_url": ("http://usual", "OPENAI_BASE_URL"),
        "routes.smart.models": ("smart-*, a", "HOLDFAST_ROUTES__SMART__MODELS"),
        "routes.smart.targets": ("mine/a, demo/*", "mine.toml"),
        "routes.b.targets": ("demo/*", "mine.toml"),
        "jwt.scopes": ("read", "HOLDFAST_JWT__SCOPES"),
        "quota.streams": ("5", "mine.toml"),
        "plans.free.tenants": ("a, b", "mine.toml"),
        "plans.free.tokens_per_day": ("100000000", "mine.toml"),
        "plans.free.cost_per_day": ("2.5", "HOLDFAST_PLANS__FREE__COST_PER_DAY"),
        "prices.gpt.models": ("gpt-*", "mine.toml"),
        "prices.gpt.input": ("1.25", "mine.toml"),
    }


def test_everything_is_every_setting_of_every_provider(loaded: Load) -> None:
    toml = (
        '[providers.x]\nkind = "openai"\napi_key = ""\nprefill = true\n[routes.r]\n'
        'targets = ["x/m"]\n[plans.p]\ntenants = ["a"]\n[prices.q]\nmodels = ["m"]\n'
    )
    made = loaded(toml, usual=USUAL)
    found = told(made, everything=True)
    wanted = {name for name in tables.KNOWN if "*" not in name}
    wanted |= {f"providers.{name}.{key}" for name in ("x", "demo") for key in provider_keys()}
    wanted |= {"routes.r.models", "routes.r.targets"}
    wanted |= {f"plans.p.{key}" for key in tables.MODELS["quota"].model_fields}
    wanted |= {"plans.p.tenants", *(f"prices.q.{key}" for key in Price.model_fields)}
    assert set(found) == wanted
    assert found["server.connection_timeout"] == ("5m", "default")
    assert found["network.https_proxy"] == ("none", "default")
    assert found["fallback.instruction"] == ("…", "default")
    assert found["providers.x.prefill"] == ("true", "mine.toml")
    assert found["routes.r.models"] == ("none", "default")
    assert found["providers.x.api_key"] == ("none", "mine.toml")
    assert found["providers.demo.models"] == ("demo, demo-*", "default")
    assert found["quota.tokens_per_day"] == ("100000000", "default")
    assert found["plans.p.tokens_per_day"] == ("0", "default")
    assert found["prices.q.cached"] == ("0", "default")
    assert found["archive.url"] == found["jwt.issuer"] == ("none", "default")


def provider_keys() -> list[str]:
    return list(Provider.model_fields)


def test_a_demo_of_ones_own_is_told(loaded: Load) -> None:
    found = told(loaded('[providers.demo]\nkind = "demo"\nmodels = ["x"]\n'))
    assert found == {
        "providers.demo.kind": ("demo", "mine.toml"),
        "providers.demo.models": ("x", "mine.toml"),
    }


def test_a_key_from_a_named_variable_is_from_that_variable(loaded: Load) -> None:
    toml = '[providers.x]\nkind = "openai"\napi_key_env = "MY_KEY"\n'
    found = told(loaded(toml, {"MY_KEY": SECRET}))
    assert found["providers.x.api_key"] == ("set", "MY_KEY")
    assert found["providers.x.api_key_env"] == ("MY_KEY", "mine.toml")


@pytest.mark.parametrize(
    ("line", "environ", "key", "wanted"),
    [
        ("", {"OPENAI_API_KEY": SECRET}, "OPENAI_API_KEY", ()),
        ("", {"OPENAI_KEY": SECRET}, "OPENAI_KEY", ()),
        ("", {}, None, ("OPENAI_API_KEY", "OPENAI_KEY")),
        (f"api_key = '{SECRET}'", {}, "mine.toml", ()),
        ("", {"HOLDFAST_PROVIDERS__X__API_KEY": SECRET}, "HOLDFAST_PROVIDERS__X__API_KEY", ()),
        ("api_key_env = 'K'", {"K": SECRET}, "K", ()),
        ("api_key_env = 'K'", {"OPENAI_API_KEY": SECRET}, None, ("K",)),
        # Nothing is looked for, so nothing is named.
        ("base_url = 'http://own'", {"OPENAI_API_KEY": SECRET}, None, ()),
        ("api_key = ''", {"OPENAI_API_KEY": SECRET}, None, ()),
        # The usual address alone does not keep the usual key away.
        ("", {"OPENAI_BASE_URL": "http://usual"}, None, ("OPENAI_API_KEY", "OPENAI_KEY")),
    ],
)
def test_a_provider_tells_where_its_key_is_from(
    loaded: Load, line: str, environ: dict[str, str], key: str | None, wanted: tuple[str, ...]
) -> None:
    made = loaded(f'[providers.x]\nkind = "openai"\n{line}\n', environ, usual=USUAL)
    first, demo = explain.providers(made, USUAL)
    assert first == explain.Provider("x", "openai", key, wanted)
    assert demo == explain.Provider("demo", "demo", None, ())
    assert SECRET not in repr((first, explain.rows(made, everything=True)))


def test_settings_made_by_hand_may_hold_a_key(loaded: Load) -> None:
    made = loaded()
    by_hand = tables.Settings(
        providers={"x": Provider.model_validate({"kind": "openai", "api_key": SECRET})}
    )
    first, _ = explain.providers(Loaded(by_hand, None, made.sources), USUAL)
    assert (first.key, first.wanted) == (explain.DEFAULT, ())
