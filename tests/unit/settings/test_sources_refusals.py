"""What each mistake in the settings is answered with."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import errors
from holdfast.settings import Settings, complaints, load, sources

Read = Callable[..., Settings]
SECRET = "sk-very-secret"


def refusal(read: Read, kind: type[errors.HoldfastError], *args: Any, **kwargs: Any) -> list[str]:
    """The lines of the error of exactly this class."""
    with pytest.raises(kind) as caught:
        read(*args, **kwargs)
    assert caught.type is kind
    return caught.value.message.split("\n")


# Unknown names


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        (
            "[server]\nheartbeat_intervall = 3\n",
            "server.heartbeat_intervall in mine.toml: no such setting; "
            "did you mean `server.heartbeat_interval`?",
        ),
        ("port = 3\n", "port in mine.toml: no such setting; did you mean `server.port`?"),
        (
            "[servr]\nport = 3\n",
            "servr.port in mine.toml: no such setting; did you mean `server.port`?",
        ),
        # The same key in another table is nearer than another key of the same table.
        (
            "[fallback]\nport = 3\n",
            "fallback.port in mine.toml: no such setting; did you mean `server.port`?",
        ),
        (
            "[log]\nbuffer_size = 3\n",
            "log.buffer_size in mine.toml: no such setting; did you mean `streaming.buffer_size`?",
        ),
        (
            '[providers.a]\nkind = "demo"\nmodel = "x"\n',
            "providers.a.model in mine.toml: no such setting; did you mean `providers.a.models`?",
        ),
        (
            '[routes.a]\nmodel = "x"\n',
            "routes.a.model in mine.toml: no such setting; did you mean `routes.a.models`?",
        ),
        (
            '[routes.a]\ntarget = ["x/y"]\n',
            "routes.a.target in mine.toml: no such setting; did you mean `routes.a.targets`?",
        ),
        (
            '[routes.a]\nbase_url = "x"\n',
            "routes.a.base_url in mine.toml: no such setting; did you mean "
            "`providers.NAME.base_url`?",
        ),
        (
            '[route.a]\ntargets = ["x/y"]\n',
            "route.a.targets in mine.toml: no such setting; did you mean `routes.NAME.targets`?",
        ),
        (
            "[quota]\ntoken_per_day = 1\n",
            "quota.token_per_day in mine.toml: no such setting; did you mean "
            "`quota.tokens_per_day`?",
        ),
        (
            '[plans.a]\ntenant = ["x"]\n',
            "plans.a.tenant in mine.toml: no such setting; did you mean `plans.a.tenants`?",
        ),
        (
            '[plan.a]\ntenants = ["x"]\n',
            "plan.a.tenants in mine.toml: no such setting; did you mean `plans.NAME.tenants`?",
        ),
        (
            "[prices.a]\nprompt = 1\n",
            "prices.a.prompt in mine.toml: no such setting",
        ),
        (
            '[jwt]\njwks_url = "https://h"\n',
            "jwt.jwks_url in mine.toml: no such setting; did you mean `jwt.keys_url`?",
        ),
        ('[keys]\nx = "y"\n', "keys.x in mine.toml: no such setting"),
        ("[kelp]\n", "kelp in mine.toml: no such setting"),
        ("[server.port]\nx = 1\n", "server.port.x in mine.toml: no such setting"),
        ('_env_file = "x"\n', "_env_file in mine.toml: no such setting"),
        ('"a\\nb" = 1\n', '"a\\nb" in mine.toml: no such setting'),
        ("a.b.c.d.e.f = 1\n", "a.b.c in mine.toml: no such setting"),
    ],
)
def test_an_unknown_key_of_the_file_is_refused(read: Read, toml: str, line: str) -> None:
    found = refusal(read, errors.UnknownSetting, toml)
    assert len(found) == 1
    assert found[0].startswith(line)


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        (
            "HOLDFAST_SERVER_PORT",
            "HOLDFAST_SERVER_PORT: no such setting; did you mean `HOLDFAST_SERVER__PORT`?",
        ),
        (
            "HOLDFAST_SERVER__PROT",
            "HOLDFAST_SERVER__PROT: no such setting; did you mean `HOLDFAST_SERVER__PORT`?",
        ),
        ("HOLDFAST_KELP", "HOLDFAST_KELP: no such setting"),
        ("HOLDFAST_", "HOLDFAST_: no such setting"),
        ("HOLDFAST_SERVER__PORT__X", "HOLDFAST_SERVER__PORT__X: no such setting"),
        # A whole table is no value.
        ("HOLDFAST_SERVER", "HOLDFAST_SERVER: no such setting"),
        ("HOLDFAST_PROVIDERS__OPENAI", "HOLDFAST_PROVIDERS__OPENAI: no such setting"),
        (
            "HOLDFAST_PROVIDERS__OPENAI__KEY",
            "HOLDFAST_PROVIDERS__OPENAI__KEY: no such setting; "
            "did you mean `HOLDFAST_PROVIDERS__OPENAI__API_KEY`?",
        ),
        ("HOLDFAST_PLANS__FREE", "HOLDFAST_PLANS__FREE: no such setting"),
        (
            "HOLDFAST_PLANS__FREE__TENANT",
            "HOLDFAST_PLANS__FREE__TENANT: no such setting; "
            "did you mean `HOLDFAST_PLANS__FREE__TENANTS`?",
        ),
        (
            "HOLDFAST_ARCHIVE_URL",
            "HOLDFAST_ARCHIVE_URL: no such setting; did you mean `HOLDFAST_ARCHIVE__URL`?",
        ),
        ("HOLDFAST_ROUTES__SMART", "HOLDFAST_ROUTES__SMART: no such setting"),
        (
            "HOLDFAST_ROUTES__SMART__TARGET",
            "HOLDFAST_ROUTES__SMART__TARGET: no such setting; "
            "did you mean `HOLDFAST_ROUTES__SMART__TARGETS`?",
        ),
    ],
)
@pytest.mark.parametrize("value", ['{"port": 1}', ""])
def test_an_unknown_variable_is_refused(read: Read, variable: str, line: str, value: str) -> None:
    found = refusal(read, errors.UnknownSetting, None, {variable: value})
    assert len(found) == 1
    assert found[0].startswith(line)


def test_an_unknown_option_is_refused(read: Read) -> None:
    found = refusal(read, errors.UnknownSetting, overrides={"server.hots": "x"})
    assert found == [
        "server.hots on the command line: no such setting; did you mean `server.host`?"
    ]


def test_many_complaints_are_cut(read: Read) -> None:
    toml = "".join(f"[kelp{number}]\n" for number in range(complaints.MAX_LINES + 3))
    found = refusal(read, errors.UnknownSetting, toml)
    assert len(found) == complaints.MAX_LINES + 1
    assert found[-1] == "and 3 more"
    exactly = "".join(f"[kelp{number}]\n" for number in range(complaints.MAX_LINES))
    assert len(refusal(read, errors.UnknownSetting, exactly)) == complaints.MAX_LINES


# Wrong values

ANY = "where * stands for any text and ? for any character"
TENANTS, MODELS = f"a list of 1 to 1000 tenants, {ANY}", f"a list of 1 to 100 model names, {ANY}"


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        (
            '[server]\nport = "eighty"\n',
            'server.port in mine.toml: "eighty" is not accepted; '
            "accepted is a whole number from 0 to 65535",
        ),
        (
            "[server]\nport = 65536\n",
            "server.port in mine.toml: 65536 is not accepted; "
            "accepted is a whole number from 0 to 65535",
        ),
        (
            '[server]\nheartbeat_interval = "10ms"\n',
            'server.heartbeat_interval in mine.toml: "10ms" is not accepted; accepted is a '
            "duration from 50ms to 5m, such as 100ms, 15s, 5m, 24h or 7d "
            "(a plain number is seconds)",
        ),
        (
            "[server]\nmax_body = 2099-01-01\n",
            'server.max_body in mine.toml: "2099-01-01" is not accepted; accepted is a size '
            "from 1KiB to 64MiB, such as 512B, 8KiB or 64MiB (a plain number is bytes)",
        ),
        (
            "[server]\nhost = [1]\n",
            "server.host in mine.toml: a list is not accepted; "
            "accepted is a host name or an address",
        ),
        (
            "[server]\nport = {}\n",
            "server.port in mine.toml: a table is not accepted; "
            "accepted is a whole number from 0 to 65535",
        ),
        (
            '[log]\ndurability = "disk"\n',
            'log.durability in mine.toml: "disk" is not accepted; accepted is process or power',
        ),
        (
            '[server]\ncors_origins = ["*", "x"]\n',
            'server.cors_origins in mine.toml: "x" is not accepted; accepted is a list of at '
            "most 100 origins such as https://app.example, or *",
        ),
        (
            "[server]\nheartbeat_interval = 20\nconnection_timeout = 10\n",
            "server: heartbeat_interval (20s) must be shorter than connection_timeout (10s)",
        ),
        ("server = 5\n", "server in mine.toml: must be a table"),
        ("[[server]]\nport = 1\n", "server in mine.toml: must be a table"),
        (
            "[providers.x]\n",
            "providers.x.kind: nothing is given; accepted is a kind such as openai, "
            "openai_chat or demo",
        ),
        (
            '[providers.OpenAI]\nkind = "demo"\n',
            "providers.OpenAI in mine.toml: a provider has a name of lower-case letters, digits, "
            "and single - or _",
        ),
        (
            '[routes."gpt-5.1"]\ntargets = ["a/m"]\n',
            'routes."gpt-5.1" in mine.toml: a route has a name of lower-case letters, digits, and '
            "single - or _",
        ),
        (
            "[routes.x]\n",
            "routes.x.targets: nothing is given; accepted is a list of 1 to 8 targets such as "
            "openai/gpt-5, or openai/* for the model that was asked for",
        ),
        (
            '[routes.x]\ntargets = ["a/m", "gpt-5"]\n',
            'routes.x.targets in mine.toml: "gpt-5" is not accepted; accepted is a list of 1 to 8 '
            "targets such as openai/gpt-5, or openai/* for the model that was asked for",
        ),
        (
            "[routes.x.targets]\na = 1\n",
            "routes.x.targets in mine.toml: a table is not accepted; accepted is a list of 1 to 8 "
            "targets such as openai/gpt-5, or openai/* for the model that was asked for",
        ),
        (
            "[routes.x]\ntargets = []\n",
            "routes.x.targets in mine.toml: an empty list is not accepted; accepted is a list of "
            "1 to 8 targets such as openai/gpt-5, or openai/* for the model that was asked for",
        ),
        (
            "[quota]\nstreams = -1\n",
            "quota.streams in mine.toml: -1 is not accepted; accepted is a whole number from 0 to "
            "1000000000000",
        ),
        (
            '[quota]\ncost_per_day = "5 USD"\n',
            'quota.cost_per_day in mine.toml: "5 USD" is not accepted; accepted is an amount from '
            "0 to 1000000000000, such as 2.5",
        ),
        (
            "[plans.free]\nstreams = 1\n",
            f"plans.free.tenants: nothing is given; accepted is {TENANTS}",
        ),
        (
            "[plans.free]\ntenants = []\n",
            "plans.free.tenants in mine.toml: an empty list is not accepted; "
            f"accepted is {TENANTS}",
        ),
        (
            '[plans.free]\ntenants = ["acme/alice"]\n',
            f'plans.free.tenants in mine.toml: "acme/alice" is not accepted; accepted is {TENANTS}',
        ),
        (
            '[plans.Free]\ntenants = ["a"]\n',
            "plans.Free in mine.toml: a plan has a name of lower-case letters, digits, and "
            "single - or _",
        ),
        (
            "[prices.x]\ninput = 1\n",
            f"prices.x.models: nothing is given; accepted is {MODELS}",
        ),
        (
            '[prices.x]\nmodels = ["m"]\noutput = -0.5\n',
            "prices.x.output in mine.toml: -0.5 is not accepted; accepted is an amount from 0 to "
            "1000000, such as 2.5",
        ),
        (
            '[prices."gpt-5.1"]\nmodels = ["m"]\n',
            'prices."gpt-5.1" in mine.toml: a price has a name of lower-case letters, digits, and '
            "single - or _",
        ),
        (
            '[jwt]\nalgorithms = ["HS256"]\n',
            'jwt.algorithms in mine.toml: "HS256" is not accepted; accepted is a list of RS256, '
            "RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA",
        ),
        (
            '[jwt]\nscopes = "all"\n',
            'jwt.scopes in mine.toml: "all" is not accepted; accepted is a list of generate, read, '
            "metrics and admin",
        ),
        ('[plans]\ntenants = ["a"]\n', "plans.tenants in mine.toml: must be a table"),
        ("prices = 5\n", "prices in mine.toml: must be a table"),
        ("routes = 5\n", "routes in mine.toml: must be a table"),
        ("[routes]\nx = 5\n", "routes.x in mine.toml: must be a table"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_accepted(read: Read, toml: str, line: str) -> None:
    assert refusal(read, errors.SettingsError, toml) == [line]


def test_each_wrong_value_has_its_line_and_its_place(read: Read) -> None:
    toml = '[server]\nport = "a"\nmax_connections = 0\n'
    found = refusal(
        read,
        errors.SettingsError,
        toml,
        {"HOLDFAST_SERVER__MAX_CONNECTIONS": "b"},
        {"server.host": "c d"},
    )
    assert [line.partition(" is not")[0] for line in found] == [
        'server.host on the command line: "c d"',
        'server.port in mine.toml: "a"',
        'HOLDFAST_SERVER__MAX_CONNECTIONS: "b"',
    ]


def test_a_table_that_is_none_is_refused_though_another_source_has_one(read: Read) -> None:
    found = refusal(read, errors.SettingsError, "server = 5\n", {"HOLDFAST_SERVER__PORT": "1"})
    assert found == ["server in mine.toml: must be a table"]


@pytest.mark.parametrize(
    ("toml", "environ"),
    [
        (f'[providers]\nx = "{SECRET}"\n', {}),
        (f'providers = "{SECRET}"\n', {}),
        (f'[providers.x]\nkind = "demo"\napi_key = "{SECRET} 2"\n', {}),
        (f'[providers.x]\nkind = "demo"\napi_key = ["{SECRET}"]\n', {}),
        (f'[providers.x]\nkind = "demo"\napi_key_env = "{SECRET}"\n', {}),
        (f'[providers.x]\nkind = "demo"\nbase_url = "https://u:{SECRET}@h"\n', {}),
        (f'[providers.x]\nkind = "demo"\nkey = "{SECRET}"\n', {}),
        (f'[log]\nurl = "redis://:{SECRET}@h?x"\n', {}),
        (f'[archive]\nurl = "postgres://:{SECRET}@h"\n', {}),
        (f'[jwt]\nkeys_url = "https://u:{SECRET}@h"\n', {}),
        (f'[jwt]\nkeys_url = "https://h/?key={SECRET}"\n', {}),
        (f'[monitoring]\nwebhook_url = "https://u:{SECRET}@h/x"\n', {}),
        (f'[monitoring]\nwebhook_secret = "{SECRET}"\n', {}),
        ('[providers.x]\nkind = "demo"\napi_key_env = "K"\n', {"K": f"{SECRET} 2"}),
        ("", {"HOLDFAST_PROVIDERS__X": SECRET}),
        ("", {"HOLDFAST_PROVIDERS__X__KEY": SECRET}),
        ("", {"HOLDFAST_PROVIDERS__X__API_KEY": f"{SECRET} 2"}),
    ],
)
def test_no_message_and_no_traceback_holds_a_secret(
    read: Read, toml: str, environ: dict[str, str]
) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        read(toml, environ)
    told = traceback.format_exception(caught.value)
    assert caught.value.__context__ is None
    assert SECRET not in "".join(told)


# Files


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("[server]\nport = \n", "mine.toml: Invalid value (at line 2, column 8)"),
        ("[server]\nport = [1,", "mine.toml: Invalid value (at line 2, the last)"),
        ("a = 1\n\na = 2", "mine.toml: Cannot overwrite a value (at line 3, the last)"),
        (b"a = 1\nb = '\xff'\n", "mine.toml: not UTF-8 at byte 11"),
        ("a = " + "[" * 20_000, "mine.toml: nested too deeply"),
        ("#" * (sources.MAX_FILE + 1), "mine.toml: over 1048576 bytes"),
    ],
    ids=["value", "end", "twice", "encoding", "nesting", "size"],
)
def test_a_file_that_is_no_toml_is_refused(read: Read, toml: str | bytes, line: str) -> None:
    assert refusal(read, errors.SettingsError, toml) == [line]


def test_a_file_of_the_largest_size_is_read(read: Read) -> None:
    assert read("#" * sources.MAX_FILE) == Settings()


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(errors.SettingsError, match="No such file or directory"):
        load(tmp_path / "none.toml", {}, {})
    with pytest.raises(errors.SettingsError, match="Is a directory"):
        load(tmp_path, {}, {})
