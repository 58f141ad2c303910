"""Which source wins, and where a provider's key comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.settings import Settings, load, sources

Read = Callable[..., Settings]
SECRET = "sk-very-secret"


# Which source wins


def test_load_and_read_give_the_same(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("[server]\nport = 1\n")
    assert load(config, {}, {}) == sources.read(config, {}, {}).settings
    assert load(config, {}, {}).server.port == 1


def test_without_any_source_there_are_the_defaults(read: Read) -> None:
    assert read() == Settings()


def test_the_command_line_wins_over_the_environment_over_the_file(read: Read) -> None:
    toml = '[server]\nport = 1\nhost = "file"\n[log]\nurl = "memory://file"\n'
    environ = {"HOLDFAST_SERVER__PORT": "2", "HOLDFAST_SERVER__HOST": "environment"}
    made = read(toml, environ, {"server.port": 3})
    assert (made.server.port, made.server.host, made.log.url) == (3, "environment", "memory://file")
    assert made.server.max_connections == 10_000


def test_an_option_that_was_not_given_overrides_nothing(read: Read) -> None:
    assert read("[server]\nport = 1\n", {}, {"server.port": None}).server.port == 1


def test_the_file_of_the_folder_is_read_unless_another_is_named(read: Read) -> None:
    Path("holdfast.toml").write_text("[server]\nport = 1\n")
    assert read().server.port == 1
    assert read("[log]\n").server.port == 8080


def test_values_may_be_written_as_people_write_them(read: Read) -> None:
    toml = '[server]\nheartbeat_interval = "500ms"\n[streaming]\nbuffer_size = "1KiB"\n'
    made = read(toml, {"HOLDFAST_SERVER__CONNECTION_TIMEOUT": "2m"})
    assert made.server.heartbeat_interval == 0.5
    assert made.server.connection_timeout == 120.0
    assert made.streaming.buffer_size == 1024


def test_a_list_in_the_environment_has_commas(read: Read) -> None:
    made = read(None, {"HOLDFAST_SERVER__CORS_ORIGINS": "https://a.example, https://b.example"})
    assert made.server.cors_origins == ("https://a.example", "https://b.example")


def test_an_empty_variable_is_not_set(read: Read) -> None:
    assert read("[server]\nport = 1\n", {"HOLDFAST_SERVER__PORT": ""}).server.port == 1


def test_variables_that_are_no_settings_are_left_alone(read: Read) -> None:
    environ = {
        **dict.fromkeys(sources.NOT_SETTINGS, "x"),
        # What Kubernetes sets for services named `holdfast` and `holdfast-server`.
        "HOLDFAST_SERVICE_HOST": "10.0.0.1",
        "HOLDFAST_SERVICE_PORT": "8080",
        "HOLDFAST_SERVICE_PORT_HTTP": "8080",
        "HOLDFAST_PORT": "tcp://10.0.0.1:8080",
        "HOLDFAST_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "HOLDFAST_PORT_8080_TCP_PROTO": "tcp",
        "HOLDFAST_SERVER_PORT": "tcp://10.0.0.1:8080",
        "HOLDFAST_SERVER_PORT_8080_TCP_ADDR": "10.0.0.1",
        "OTHER_SERVER__PORT": "1",
        "holdfast_server__port": "1",
    }
    assert read(None, environ) == Settings()


# Providers and their keys


def test_a_provider_comes_together_from_all_sources(read: Read) -> None:
    toml = '[providers.my_openai]\nkind = "openai_chat"\nmodels = ["gpt-*"]\n'
    environ = {
        "HOLDFAST_PROVIDERS__MY_OPENAI__API_KEY": SECRET,
        "HOLDFAST_PROVIDERS__MY_OPENAI__MODELS": "gpt-5,o*",
        "HOLDFAST_PROVIDERS__LOCAL__KIND": "ollama",
    }
    overrides = {"providers.my_openai.base_url": "http://127.0.0.1:1/v1/"}
    made = read(toml, environ, overrides)
    assert set(made.providers) == {"my_openai", "local", "demo"}
    provider = made.providers["my_openai"]
    assert provider.models == ("gpt-5", "o*")
    assert provider.base_url == "http://127.0.0.1:1/v1"
    assert provider.api_key is not None
    assert provider.api_key.get_secret_value() == SECRET


def test_the_file_decides_the_order_of_the_providers(read: Read) -> None:
    toml = "".join(f'[providers.{name}]\nkind = "demo"\n' for name in ("c", "a", "b"))
    environ = {
        "HOLDFAST_PROVIDERS__D__KIND": "demo",
        "HOLDFAST_PROVIDERS__B__API_KEY_ENV": "KEY",
        "KEY": SECRET,
    }
    made = read(toml, environ, {"providers.a.models": "x"})
    assert list(made.providers) == ["c", "a", "b", "d", "demo"]


def test_a_route_comes_together_from_all_sources(read: Read) -> None:
    toml = '[routes.smart]\nmodels = ["gpt-*"]\ntargets = ["a/m"]\n'
    environ = {
        "HOLDFAST_ROUTES__SMART__TARGETS": "b/meta/llama:70b, c/*",
        "HOLDFAST_ROUTES__MY_OWN__TARGETS": "demo/demo",
        "HOLDFAST_ROUTES__MY_OWN__MODELS": "",
    }
    made = read(toml, environ, {"routes.smart.models": "gpt-5*,o*"}).routes
    assert {name: (route.models, route.targets) for name, route in made.items()} == {
        "smart": (("gpt-5*", "o*"), ("b/meta/llama:70b", "c/*")),
        "my_own": ((), ("demo/demo",)),
    }


def test_the_file_decides_the_order_of_the_routes(read: Read) -> None:
    toml = "".join(f"[routes.{name}]\ntargets = ['demo/x']\n" for name in ("c", "a", "b"))
    environ = {
        "HOLDFAST_ROUTES__D__TARGETS": "demo/x",
        "HOLDFAST_ROUTES__B__MODELS": "b*",
    }
    made = read(toml, environ, {"routes.a.models": "x"})
    assert list(made.routes) == ["c", "a", "b", "d"]
    assert list(made.providers) == ["demo"]


def test_plans_and_prices_come_together_from_all_sources(read: Read) -> None:
    toml = (
        '[plans.free]\ntenants = ["a"]\nstreams = 1\n[plans.b]\ntenants = ["*"]\n'
        '[prices.z]\nmodels = ["m"]\ninput = 1\n[prices.a]\nmodels = ["*"]\n'
    )
    environ = {
        "HOLDFAST_PLANS__FREE__TENANTS": "a,b",
        "HOLDFAST_PLANS__MY_OWN__TENANTS": "c",
        "HOLDFAST_PLANS__MY_OWN__COST_PER_DAY": "2.50",
        "HOLDFAST_PLANS__B__CONNECTIONS": "",
        "HOLDFAST_PRICES__Z__OUTPUT": "0.5",
        "HOLDFAST_PRICES__Y__MODELS": "gpt-*, openai/*",
    }
    made = read(toml, environ, {"plans.free.tokens_per_minute": "7"})
    plans, prices = made.plans, made.prices
    # The first that fits holds: in the order of the file.
    assert list(plans) == ["free", "b", "my_own"]
    assert (plans["free"].tenants, plans["free"].streams) == (("a", "b"), 1)
    assert plans["free"].tokens_per_minute == 7
    assert plans["b"].connections == 0
    assert (plans["my_own"].tenants, plans["my_own"].cost_per_day) == (("c",), 2.5)
    assert list(prices) == ["z", "a", "y"]
    assert (prices["z"].models, prices["z"].input, prices["z"].output) == (("m",), 1.0, 0.5)
    assert prices["y"].models == ("gpt-*", "openai/*")


def test_who_may_ask_may_stand_in_the_environment_alone(read: Read) -> None:
    made = read(
        None,
        {
            "HOLDFAST_ARCHIVE__URL": "memory://",
            "HOLDFAST_JWT__ISSUER": "https://login.example/",
            "HOLDFAST_JWT__AUDIENCE": "holdfast",
            "HOLDFAST_JWT__KEYS_URL": "https://login.example/keys",
            "HOLDFAST_JWT__ALGORITHMS": "EdDSA, RS256",
            "HOLDFAST_JWT__SCOPES": "read,admin",
            "HOLDFAST_JWT__TENANT_CLAIM": "",
            "HOLDFAST_QUOTA__REQUESTS_PER_MINUTE": "60",
            "HOLDFAST_SERVER__CORS_ORIGINS": "https://a.example",
            "HOLDFAST_SERVER__CORS_CREDENTIALS": "true",
        },
    )
    assert made.archive.url == "memory://"
    assert (made.jwt.issuer, made.jwt.audience) == ("https://login.example/", "holdfast")
    assert made.jwt.keys_url == "https://login.example/keys"
    assert (made.jwt.algorithms, made.jwt.scopes) == (("EdDSA", "RS256"), ("read", "admin"))
    assert made.jwt.tenant_claim is None
    assert made.quota.requests_per_minute == 60
    assert made.quota.tokens_per_day == 100_000_000
    assert made.server.cors_credentials


@pytest.mark.parametrize(("text", "kept"), [("true", True), ("false", False), ("", None)])
def test_whether_a_provider_takes_a_prefill_may_be_left_open(
    read: Read, text: str, kept: bool | None
) -> None:
    environ = {"HOLDFAST_PROVIDERS__X__KIND": "groq", "HOLDFAST_PROVIDERS__X__PREFILL": text}
    assert read(None, environ).providers["x"].prefill is kept


OPENAI = '[providers.openai]\nkind = "openai_chat"\napi_key_env = "OPENAI_API_KEY"\n'


@pytest.mark.parametrize(
    ("toml", "environ", "key"),
    [
        (OPENAI, {"OPENAI_API_KEY": SECRET + "\n"}, SECRET),
        (OPENAI, {}, None),
        (OPENAI, {"OPENAI_API_KEY": ""}, None),
        (OPENAI + 'api_key = "own"\n', {"OPENAI_API_KEY": SECRET}, "own"),
        (
            OPENAI,
            {"HOLDFAST_PROVIDERS__OPENAI__API_KEY_ENV": "OTHER", "OTHER": "other"},
            "other",
        ),
        (
            OPENAI,
            {"HOLDFAST_PROVIDERS__OPENAI__API_KEY": "first", "OPENAI_API_KEY": "second"},
            "first",
        ),
    ],
)
def test_the_named_variable_holds_the_key(
    read: Read, toml: str, environ: dict[str, str], key: str | None
) -> None:
    kept = read(toml, environ).providers["openai"].api_key
    assert (kept.get_secret_value() if kept else None) == key
