"""The schema takes what `load` takes, and refuses what an editor should mark."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import errors
from holdfast.settings import Settings, fields, schema, tables

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "examples" / "holdfast.toml"

WORDS = {
    *("type", "enum", "pattern", "minimum", "maximum", "maxLength"),
    *(
        "items",
        "minItems",
        "maxItems",
        "properties",
        "patternProperties",
        "additionalProperties",
        "required",
    ),
}
"""The words of the schema that check; each is in drafts 4 to 2020-12, and means the same."""

SAYING = {"$schema", "title", "description", "default"}
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def complaints(shape: dict[str, Any], value: Any, place: str = "") -> list[str]:
    """What JSON Schema says against a value, for the words that the schema uses."""
    types = shape["type"] if isinstance(shape["type"], list) else [shape["type"]]
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    known = [one for one in types if isinstance(value, TYPES[one])]
    if not known or (isinstance(value, bool) and "boolean" not in types):
        return [f"{place}: type"]
    found = []
    if value not in shape.get("enum", [value]):
        found.append(f"{place}: enum")
    if numeric and not shape.get("minimum", value) <= value <= shape.get("maximum", value):
        found.append(f"{place}: limits")
    if isinstance(value, str):
        # Patterns search, they do not match; ECMA's $ is the end of the text alone.
        pattern = shape.get("pattern", "").replace("$", r"\Z")
        if not re.search(pattern, value) or len(value) > shape.get("maxLength", len(value)):
            found.append(f"{place}: text")
    if isinstance(value, list):
        enough = shape.get("minItems", 0) <= len(value) <= shape.get("maxItems", len(value))
        found += [] if enough else [f"{place}: items"]
        found += [line for item in value for line in complaints(shape["items"], item, place)]
    if isinstance(value, dict):
        found += [f"{place}: required" for key in shape.get("required", ()) if key not in value]
        for key, inner in value.items():
            below = shapes(shape, key)
            found += [] if below else [f"{place}.{key}: unknown"]
            found += [line for one in below for line in complaints(one, inner, f"{place}.{key}")]
    return found


def shapes(shape: dict[str, Any], key: str) -> list[dict[str, Any]]:
    named = [shape["properties"][key]] if key in shape.get("properties", {}) else []
    patterns = shape.get("patternProperties", {})
    return named + [below for one, below in patterns.items() if re.search(one, key)]


def nodes(shape: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema and every schema in it."""
    yield shape
    below = [*shape.get("properties", {}).values(), *shape.get("patternProperties", {}).values()]
    for one in below + ([shape["items"]] if "items" in shape else []):
        yield from nodes(one)


def test_it_is_json_and_speaks_the_common_words_alone() -> None:
    made = schema.schema()
    assert json.loads(json.dumps(made)) == made
    assert made["$schema"] == schema.DRAFT
    for node in nodes(made):
        assert set(node) <= WORDS | SAYING, node
        types = node["type"] if isinstance(node["type"], list) else [node["type"]]
        assert set(types) <= set(TYPES)
        assert not isinstance(node.get("additionalProperties"), dict)
        re.compile(node.get("pattern", ""))
        assert ("additionalProperties" in node) == (node["type"] == "object")


def test_every_setting_is_there_with_its_meaning() -> None:
    made = schema.schema()["properties"]
    drawn = {table: shape for table, shape in made.items() if table not in tables.NAMED}
    for kind in tables.NAMED:
        (drawn[f"{kind}.*"],) = made[kind]["patternProperties"].values()
    meanings = schema.meanings()
    for name, field in tables.KNOWN.items():
        table, _, key = name.rpartition(".")
        shape = drawn[table]["properties"][key]
        assert meanings[name], f"{name} has no text below it"
        assert shape["description"].startswith(meanings[name])
        assert fields.accepted(field) in shape["description"]
    assert {key for table in made.values() for key in table.get("properties", {})} >= {"port"}
    assert set(made) == set(tables.Settings.model_fields)
    assert drawn["providers.*"]["required"] == ["kind"]
    assert drawn["routes.*"]["required"] == ["targets"]
    assert drawn["plans.*"]["required"] == ["tenants"]
    assert drawn["prices.*"]["required"] == ["models"]
    # What two tables have in common is in both.
    common = set(drawn["quota"]["properties"])
    assert common == set(drawn["plans.*"]["properties"]) - {"tenants"}
    assert drawn["quota"]["properties"]["tokens_per_day"]["default"] == 100_000_000
    assert drawn["plans.*"]["properties"]["tokens_per_day"]["default"] == 0


def test_the_defaults_are_taken_by_the_schema_and_by_load() -> None:
    made = schema.schema()
    tree = {
        table: {
            key: shape["default"]
            for key, shape in below["properties"].items()
            if "default" in shape
        }
        for table, below in made["properties"].items()
        if table not in tables.NAMED
    }
    assert tree["server"]["connection_timeout"] == "5m"
    assert complaints(made, tree) == []
    assert tables.Settings.model_validate(tree) == tables.Settings()


# What `load` takes, as people write it.
GOOD = [
    '[server]\nport = 9000\nheartbeat_interval = "500ms"\nconnection_timeout = 60\n',
    '[server]\nport = "9000"\nmax_body = 1048576\ncors_origins = ["*", "https://a.example"]\n',
    '[server]\nconnection_timeout = "1.5 H"\nmax_body = "512kib"\ncors_origins = "*"\n',
    '[streaming]\nflush_interval = 0.05\nbuffer_size = "64KiB"\n',
    "[deadlines]\nconnect = 0.05\ntotal = 86400\n",
    '[monitoring]\nerror_rate = "5%"\nlog_level = "debug"\n',
    "[monitoring]\nerror_rate = 0.05\n[compression]\nenabled = false\nlevel = 6\n",
    '[network]\nca_file = ""\nhttps_proxy = ""\nhttp_proxy = "http://u:p@h:1"\n',
    '[network]\nca_file = "/etc/ca.pem"\nno_proxy = ["*", "10.0.0.0/8", "[::1]"]\nkeep_alive = 0\n',
    '[providers.my-own_1]\nkind = "openai_chat"\nbase_url = "http://h:1/v1"\napi_key = "k"\n',
    '[providers.a]\nkind = "demo"\napi_key_env = "K"\nmodels = ["a*", "b/c:d"]\n[providers.b]\n'
    'kind = "demo"\n',
    '[fallback]\nmode = "none"\notherwise = "error"\nattempts = 1\ndelay = "0"\ncalls = "1"\n',
    '[fallback]\ninstruction = "Weiter, bitte."\nbreaker_pause = "5m"\n[providers.a]\n'
    'kind = "openai"\nprefill = false\n',
    '[routes.my-own_1]\nmodels = ["a*", "b"]\ntargets = ["demo/*", "demo/meta/llama:70b"]\n'
    '[routes.b]\ntargets = "demo/x,demo/y"\n',
    '[sealing]\nkeys = "/run/ring"\non = false\nrotate_every = 0\n',
    '[log]\nurl = "memory://"\ndurability = "power"\n',
    '[archive]\nurl = ""\n[jwt]\nissuer = ""\naudience = ""\nkeys_url = ""\ntenant_claim = ""\n',
    '[archive]\nurl = "sqlite:////var/lib/keys.db"\n[jwt]\nissuer = "https://login.example/"\n'
    'audience = "holdfast"\nkeys_url = "https://login.example/keys"\nscopes = "read,admin"\n'
    'tenant_claim = "https://app.example/org"\nalgorithms = ["EdDSA", "PS512"]\n',
    '[quota]\nstreams = "5"\nconnections = 0\ntokens_per_day = 1000000000000\n',
    '[quota]\ncost_per_day = "2.50"\n[prices.my-own_1]\nmodels = "a*,b/c"\ninput = 0.000001\n',
    '[plans.my-own_1]\ntenants = ["trial-*", "a?@b.example"]\nstreams = 1\n[plans.b]\n'
    'tenants = "x,y"\n',
    '[server]\ncors_origins = ["https://a.example"]\ncors_credentials = true\n',
    "",
]

# What `load` refuses, and an editor marks: all but the limits of texts, and what two settings
# say together.
BAD = [
    ("[server]\nport = 65536\n", ".server.port: limits"),
    ('[server]\nport = "eighty"\n', ".server.port: text"),
    ("[server]\nport = true\n", ".server.port: type"),
    ("[server]\nport = []\n", ".server.port: type"),
    ("[server]\nport = 1.5\n", ".server.port: type"),
    ('[server]\nmax_body = "4MB"\n', ".server.max_body: text"),
    ("[server]\nprot = 1\n", ".server.prot: unknown"),
    ("[srever]\nport = 1\n", ".srever: unknown"),
    ("[server]\nconnection_timeout = '5 minutes'\n", ".server.connection_timeout: text"),
    ("[server]\ncors_origins = ['x']\n", ".server.cors_origins: text"),
    ("server = 1\n", ".server: type"),
    ("[log]\ndurability = 'disk'\n", ".log.durability: enum"),
    ("[network]\nkeep_alive = 3601\n", ".network.keep_alive: limits"),
    (f"[network]\nno_proxy = {['a'] * 1001}\n", ".network.no_proxy: items"),
    (f"[network]\nca_file = '{'a' * 4097}'\n", ".network.ca_file: text"),
    ("[network]\nhttps_proxy = 1\n", ".network.https_proxy: type"),
    ("[network]\nhttps_proxy = 'socks5://h'\n", ".network.https_proxy: text"),
    ("[providers.x]\n", ".providers.x: required"),
    ("[providers.X]\nkind = 'demo'\n", ".providers.X: unknown"),
    ("[providers.x]\nkind = 'demo'\nkey = 'k'\n", ".providers.x.key: unknown"),
    ("[providers.x]\nkind = 'demo'\napi_key_env = 'k'\n", ".providers.x.api_key_env: text"),
    ("[providers.x]\nkind = 'demo'\nprefill = 'perhaps'\n", ".providers.x.prefill: type"),
    ("[fallback]\nmode = 'never'\n", ".fallback.mode: enum"),
    ("[fallback]\nattempts = 11\n", ".fallback.attempts: limits"),
    ("[fallback]\ninstruction = ' '\n", ".fallback.instruction: text"),
    ("[fallback]\nproviders = ['a']\n", ".fallback.providers: unknown"),
    ("[routes.x]\n", ".routes.x: required"),
    ("[routes.x]\ntargets = []\n", ".routes.x.targets: items"),
    (f"[routes.x]\ntargets = {['a/m'] * 9}\n", ".routes.x.targets: items"),
    ("[routes.x]\ntargets = ['gpt-5']\n", ".routes.x.targets: text"),
    ("[routes.X]\ntargets = ['a/m']\n", ".routes.X: unknown"),
    ("[routes.x]\ntarget = 'a/m'\ntargets = ['a/m']\n", ".routes.x.target: unknown"),
    ("[archive]\nurl = 'keys.db'\n", ".archive.url: text"),
    ("[archive]\nurl = 'redis://u:p@h'\n", ".archive.url: text"),
    ("[jwt]\nissuer = 'two words'\n", ".jwt.issuer: text"),
    ("[jwt]\nkeys_url = 'https://h/?k=v'\n", ".jwt.keys_url: text"),
    ("[jwt]\nalgorithms = []\n", ".jwt.algorithms: items"),
    ("[jwt]\nalgorithms = ['none']\n", ".jwt.algorithms: text"),
    ("[jwt]\nalgorithms = ['HS256']\n", ".jwt.algorithms: text"),
    ("[jwt]\nscopes = ['write']\n", ".jwt.scopes: text"),
    ("[jwt]\ntenant_claim = 'a b'\n", ".jwt.tenant_claim: text"),
    ("[jwt]\nsecret = 'x'\n", ".jwt.secret: unknown"),
    ("[quota]\nstreams = -1\n", ".quota.streams: limits"),
    ("[quota]\nstreams = 1.5\n", ".quota.streams: type"),
    ("[quota]\ntokens_per_day = 1000000000001\n", ".quota.tokens_per_day: limits"),
    ("[quota]\ncost_per_day = -0.5\n", ".quota.cost_per_day: limits"),
    ("[quota]\ncost_per_day = '5 USD'\n", ".quota.cost_per_day: text"),
    ("[quota]\ntenants = ['a']\n", ".quota.tenants: unknown"),
    ("[plans.x]\nstreams = 1\n", ".plans.x: required"),
    ("[plans.x]\ntenants = []\n", ".plans.x.tenants: items"),
    ("[plans.x]\ntenants = ['a/b']\n", ".plans.x.tenants: text"),
    ("[plans.X]\ntenants = ['a']\n", ".plans.X: unknown"),
    ("[plans.x]\ntenants = ['a']\nstreams = -1\n", ".plans.x.streams: limits"),
    ("[prices.x]\ninput = 1\n", ".prices.x: required"),
    ("[prices.x]\nmodels = []\n", ".prices.x.models: items"),
    ("[prices.x]\nmodels = ['a']\noutput = -1\n", ".prices.x.output: limits"),
    ("[prices.x]\nmodels = ['a']\ncached = 1000001\n", ".prices.x.cached: limits"),
    ("[prices.X]\nmodels = ['a']\n", ".prices.X: unknown"),
    ("[server]\ncors_credentials = 'perhaps'\n", ".server.cors_credentials: type"),
    ("[compression]\nenabled = 'maybe'\n", ".compression.enabled: type"),
    ("[sealing]\nrotate_every = -1\n", ".sealing.rotate_every: limits"),
]


@pytest.mark.parametrize("toml", [*GOOD, SAMPLE.read_text(encoding="utf-8")])
def test_what_load_takes_the_schema_takes(read: Callable[..., Settings], toml: str) -> None:
    read(toml)
    assert complaints(schema.schema(), tomllib.loads(toml)) == []


@pytest.mark.parametrize(("toml", "complaint"), BAD)
def test_what_the_schema_refuses_load_refuses(
    read: Callable[..., Settings], toml: str, complaint: str
) -> None:
    assert complaints(schema.schema(), tomllib.loads(toml)) == [complaint]
    with pytest.raises(errors.SettingsError):
        read(toml)


def test_who_changes_what_was_made_changes_no_other() -> None:
    first = schema.schema()
    kept = copy.deepcopy(first)
    first["properties"]["server"]["properties"]["port"].clear()
    assert schema.schema() == kept
