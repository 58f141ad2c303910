"""`config check`, `config show` and `config schema`, as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from holdfast import settings
from holdfast.cli import config, keys
from holdfast.sealing import sources
from holdfast.settings import Provider, schema, tables

SECRET = "sk-very-secret"
USUAL = {
    "openai": settings.Usual(("OPENAI_API_KEY",), "OPENAI_BASE_URL"),
    "groq": settings.Usual(("GROQ_API_KEY", "GROQ_KEY")),
}
Run = Callable[..., Result]
UNSEALED = "  sealing: off, as there is no key ring"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("check", "--json", KEY="x", toml="...")` in a folder and an environment of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {})

    def make(*args: str, toml: str | None = None, **environ: str) -> Result:
        if toml is not None:
            Path("holdfast.toml").write_text(toml)
        return CliRunner().invoke(
            config.commands(USUAL), args, env=environ, prog_name="holdfast config"
        )

    return make


def lines(result: Result) -> list[str]:
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


# check


def test_a_check_without_a_file_tells_the_providers(run: Run) -> None:
    assert lines(run("check")) == ["no file: fine", "  demo  demo  no key", UNSEALED]


def test_a_check_tells_where_each_key_is_from(run: Run) -> None:
    toml = (
        '[providers.named]\nkind = "openai"\napi_key_env = "MY_KEY"\n'
        f'[providers.filed]\nkind = "openai"\napi_key = "{SECRET}"\n'
        '[providers.mine]\nkind = "groq"\n'
    )
    result = run("check", toml=toml, OPENAI_API_KEY=SECRET, GROQ_KEY=SECRET)
    assert lines(result) == [
        "holdfast.toml: fine",
        "  named  openai  no key (MY_KEY not set)",
        "  filed  openai  key from holdfast.toml",
        "  mine   groq    key from GROQ_KEY",
        "  demo   demo    no key",
        UNSEALED,
    ]
    assert lines(run("check", toml='[providers.x]\nkind = "groq"\n'))[1:] == [
        "  x     groq  no key (GROQ_API_KEY and GROQ_KEY not set)",
        "  demo  demo  no key",
        UNSEALED,
    ]


def test_a_check_in_json(run: Run) -> None:
    result = run("check", "--json", OPENAI_API_KEY=SECRET)
    assert json.loads(result.stdout) == {
        "file": None,
        "providers": [
            {"name": "openai", "kind": "openai", "key": "OPENAI_API_KEY", "wanted": []},
            {"name": "demo", "kind": "demo", "key": None, "wanted": []},
        ],
        "routes": {},
        "sealing": {"on": False, "ring": None},
    }
    result = run("check", "--json", toml='[providers.x]\nkind = "groq"\n')
    found = json.loads(result.stdout)
    assert found["file"] == "holdfast.toml"
    assert found["providers"][0]["wanted"] == ["GROQ_API_KEY", "GROQ_KEY"]
    assert result.stdout.count("\n") == 1


def test_a_check_tells_whom_conversations_go_to(run: Run) -> None:
    toml = (
        '[routes.fast]\ntargets = ["demo/demo-fast"]\n'
        '[routes.safe]\nmodels = ["gpt-*"]\ntargets = ["demo/*", "demo/demo-slow"]\n'
    )
    assert lines(run("check", toml=toml))[2:] == [
        "  fast: first demo/demo-fast",
        "  safe, gpt-*: first demo/*, then demo/demo-slow",
        UNSEALED,
    ]
    found = json.loads(run("check", "--json", toml=toml).stdout)["routes"]
    assert found["safe"] == {"models": ["gpt-*"], "targets": ["demo/*", "demo/demo-slow"]}


def test_a_check_tells_whether_what_is_kept_is_sealed(run: Run, tmp_path: Path) -> None:
    """Nor what the ring holds, where the settings have the ring itself."""
    file = sources.File(tmp_path / "my.keys")
    file.make(0)
    toml = '[sealing]\nkeys = "my.keys"\n'
    where = f"the key ring in {file.path}"
    assert lines(run("check", toml=toml))[-1] == f"  sealing: on, by {where}"
    off = run("check", HOLDFAST_SEALING__ON="false")
    assert lines(off)[-1] == f"  sealing: off; what is sealed is read, by {where}"
    given = run("check", "--json", toml="", HOLDFAST_SEALING__RING=file.path.read_text())
    found = json.loads(given.stdout)["sealing"]
    assert found == {"on": True, "ring": "HOLDFAST_SEALING__RING"}


def test_another_file_can_be_named(run: Run) -> None:
    Path("other.toml").write_text("[server]\nport = 1\n")
    toml = "[server]\nport = 2\n"
    assert lines(run("check", "--config", "other.toml", toml=toml))[0] == "other.toml: fine"
    assert lines(run("show", "--config", "other.toml")) == ["server.port  1  other.toml"]
    result = run("check", "--config", "none.toml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "none.toml: cannot be read: No such file or directory" in result.stderr


@pytest.mark.parametrize("command", [("check",), ("check", "--json"), ("show",)])
def test_each_mistake_is_a_line_and_holds_no_secret(run: Run, command: tuple[str, ...]) -> None:
    toml = f'[server]\nport = "eighty"\n[providers.x]\nkind = "openai"\napi_key = "{SECRET} 2"\n'
    result = run(
        *command,
        toml=toml,
        HTTPS_PROXY=f"socks5://u:{SECRET}@h",
        GROQ_API_KEY=f"{SECRET} 2",
    )
    assert result.exit_code == 1
    told = result.stderr.splitlines()
    problems = json.loads(result.stdout)["problems"] if "--json" in command else []
    again = [f"holdfast: {one['message']} [{one['code']}]" for one in problems]
    assert again == (told if "--json" in command else [])
    assert result.stdout.count("\n") == len(command) - 1
    assert [line.partition(" is not")[0] for line in told] == [
        'holdfast: server.port in holdfast.toml: "eighty"',
        "holdfast: HTTPS_PROXY: a SOCKS proxy",
        "holdfast: providers.x.api_key in holdfast.toml: the value",
        "holdfast: GROQ_API_KEY: the value",
    ]
    assert SECRET not in result.output


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        # What only building a node finds.
        ('[providers.x]\nkind = "nobody"\n', "nobody"),
        ('[log]\nurl = "nowhere://x"\n', "nowhere"),
        ('[network]\nca_file = "none.pem"\n', "none.pem"),
        ('[archive]\nurl = "redis://x"\n', "An archive reads sqlite:///"),
        (
            '[jwt]\nissuer = "i"\naudience = "a"\nkeys_url = "http://login.example/keys"\n',
            "The address of a key set is https://",
        ),
        # What only several settings together say.
        ('[jwt]\nissuer = "i"\n', "jwt: audience, keys_url are missing"),
        ("[quota]\ncost_per_day = 5\n", "quota.cost_per_day: no model has a price"),
        ('[server]\ncors_origins = "*"\ncors_credentials = true\n', "server: cors_credentials"),
    ],
)
def test_a_check_finds_what_would_keep_a_node_from_starting(run: Run, toml: str, said: str) -> None:
    result = run("check", toml=toml)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    found = json.loads(run("check", "--json", toml=toml).stdout)
    assert [said in one["message"] for one in found["problems"]] == [True]


def test_a_check_finds_that_everybody_would_be_let_in(run: Run, tmp_path: Path) -> None:
    toml = '[server]\nhost = "0.0.0.0"\n[log]\nurl = "sqlite:///a.db"\n'
    result = run("check", toml=toml)
    assert (result.exit_code, result.stdout) == (1, "")
    file = tmp_path / "a-archive.db"
    assert f"There is no key in {file} yet, so 0.0.0.0 would be open to everybody." in result.stderr
    assert not file.exists()
    created = CliRunner().invoke(keys.commands(USUAL), ("create", "web"))
    assert created.exit_code == 0
    assert lines(run("check"))[0] == "holdfast.toml: fine"
    file.unlink()
    jwt = 'issuer = "https://i.example"\naudience = "a"\nkeys_url = "https://i.example/keys"\n'
    assert lines(run("check", toml=f"{toml}[jwt]\n{jwt}"))[0] == "holdfast.toml: fine"
    memory = toml.replace("sqlite:///a.db", "memory://")
    assert "There is no key yet, so 0.0.0.0" in run("check", toml=memory).stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "no-such-host.invalid"])
def test_a_check_asks_for_no_key_where_only_this_machine_can_ask(run: Run, host: str) -> None:
    assert run("check", toml=f'[server]\nhost = "{host}"\n').exit_code == 0


def test_a_check_opens_nothing(run: Run, tmp_path: Path) -> None:
    assert run("check").exit_code == 0
    assert list(tmp_path.iterdir()) == []


# show


def test_show_tells_what_differs_and_its_source(run: Run) -> None:
    result = run(
        "show",
        toml='[server]\nport = 9000\nheartbeat_interval = "20s"\n',
        HOLDFAST_LOG__URL="memory://",
        ALL_PROXY=f"http://u:{SECRET}@proxy",
        OPENAI_API_KEY=SECRET,
    )
    assert lines(result) == [
        "server.port                9000       holdfast.toml",
        "server.heartbeat_interval  20s        holdfast.toml",
        "log.url                    memory://  HOLDFAST_LOG__URL",
        "network.https_proxy        set        ALL_PROXY",
        "network.http_proxy         set        ALL_PROXY",
        "providers.openai.kind      openai     OPENAI_API_KEY",
        "providers.openai.api_key   set        OPENAI_API_KEY",
    ]


def test_show_in_json(run: Run) -> None:
    result = run("show", "--json", toml="[server]\nport = 9000\n")
    assert json.loads(result.stdout) == [
        {"name": "server.port", "value": "9000", "source": "holdfast.toml"}
    ]
    assert json.loads(run("show", "--json", toml="").stdout) == []


def test_show_of_the_defaults_says_so(run: Run) -> None:
    result = run("show")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "Every setting has its default; --all shows them.\n"


def test_show_all_shows_every_setting(run: Run) -> None:
    environ: Mapping[str, str] = {"OPENAI_API_KEY": SECRET, "https_proxy": f"http://{SECRET}@h"}
    rows = json.loads(run("show", "--all", "--json", **environ).stdout)
    assert {"name": "server.port", "value": "8080", "source": "default"} in rows
    named = [name for name in tables.KNOWN if "*" in name]  # of these there is none, but two
    providers = 2 * len(Provider.model_fields)
    assert len(rows) == len(tables.KNOWN) - len(named) + providers
    table = run("show", "--all", **environ)
    assert len(lines(table)) == len(rows)
    assert SECRET not in table.output + json.dumps(rows)


# schema


def test_the_schema_is_json(run: Run) -> None:
    assert json.loads(run("schema").stdout) == schema.schema()


def test_help_has_examples(run: Run) -> None:
    for command in ("check", "show", "schema"):
        result = run(command, "--help")
        assert result.exit_code == 0
        assert "Examples:\n" in result.stdout
        assert f"  holdfast config {command}" in result.stdout
        assert command in run("--help").stdout
