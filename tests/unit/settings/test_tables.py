"""The defaults are those that were asked for, and the documents say the same."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from holdfast.settings import fields, providers, schema, tables

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "docs" / "settings.md"
SAMPLE = ROOT / "examples" / "holdfast.toml"

# The numbers that users were promised, as the promise writes them.
PROMISED = """
server.host                    127.0.0.1
server.port                    8080
server.max_connections         10000
server.max_lag                 500ms
server.connection_timeout      5m
server.heartbeat_interval      15s
log.url                        sqlite:///holdfast.db
log.max_stream_bytes           16MiB
streaming.buffer_size          8KiB
streaming.flush_interval       100ms
streaming.unsaved_per_stream   256KiB
streaming.unsaved_per_node     64MiB
streaming.requests_per_node    256MiB
streaming.log_patience         30s
compression.level              6
sealing.keys                   none
sealing.ring                   none
sealing.on                     true
sealing.rotate_every           24h
monitoring.log_level           info
monitoring.error_rate          5%
monitoring.latency             5s
monitoring.connection_drops    100
monitoring.log_append          250ms
monitoring.archive_lag         5m
monitoring.loop_lag            250ms
monitoring.resume_misses       5%
monitoring.webhook_url         none
fallback.mode                  continue
fallback.otherwise             restart
fallback.attempts              3
fallback.calls                 10
fallback.delay                 1s
fallback.longest_delay         30s
fallback.instruction           …
fallback.breaker_failures      5
fallback.breaker_pause         30s
server.cors_credentials        false
archive.url                    none
jwt.issuer                     none
jwt.algorithms                 RS256, ES256
jwt.tenant_claim               none
jwt.scopes                     generate, read
quota.streams                  0
quota.connections              0
quota.requests_per_minute      0
quota.tokens_per_minute        0
quota.tokens_per_day           100000000
quota.cost_per_day             0
"""


@pytest.mark.parametrize("line", PROMISED.strip().splitlines())
def test_the_defaults_are_the_promised_ones(line: str) -> None:
    name, text = line.split(maxsplit=1)
    table, key = name.split(".")
    quantity = fields.unit(tables.KNOWN[name])
    value = getattr(getattr(tables.Settings(), table), key)
    if quantity is None:
        assert fields.shown(tables.KNOWN[name], value) == text
    else:
        assert value == quantity.parse(text)


def test_every_default_passes_its_own_check() -> None:
    def raw(name: str) -> dict[str, object]:
        model = type(getattr(tables.Settings(), name))
        return {key: field.default for key, field in model.model_fields.items()}

    names = [name for name in tables.Settings.model_fields if name not in tables.NAMED]
    assert tables.Settings.model_validate({name: raw(name) for name in names}) == tables.Settings()


def test_every_number_has_a_lowest_and_a_highest_value() -> None:
    quantities = {name: field for name, field in tables.KNOWN.items() if fields.unit(field)}
    assert len(quantities) > 20
    for name, field in quantities.items():
        assert re.search(r" from \S+ to \S+$", fields.accepted(field)), name
    numbers = {n for n, field in tables.KNOWN.items() if field.annotation in (int, float)}
    assert numbers == set(quantities)


@pytest.mark.parametrize(
    ("table", "key", "low", "high"),
    [
        ("server", "heartbeat_interval", 0.05, 299),
        ("server", "port", 0, 65535),
        ("streaming", "buffer_size", 1, 64 * 1024),
        ("monitoring", "error_rate", 0, 1),
        ("fallback", "attempts", 1, 10),
        ("fallback", "calls", 1, 100),
        ("fallback", "delay", 0, 300),
        ("fallback", "longest_delay", 0, 3600),
        ("fallback", "breaker_failures", 1, 1000),
        ("fallback", "breaker_pause", 0.05, 300),
        ("quota", "streams", 0, 10**12),
        ("quota", "connections", 0, 10**12),
        ("quota", "requests_per_minute", 0, 10**12),
        ("quota", "tokens_per_minute", 0, 10**12),
        ("quota", "tokens_per_day", 0, 10**12),
    ],
)
def test_the_limits_hold_at_their_edges(table: str, key: str, low: float, high: float) -> None:
    for value in (low, high):
        made = tables.Settings.model_validate({table: {key: value}})
        assert getattr(getattr(made, table), key) == value
    step = 1 if isinstance(low, int) and high > 1 else 0.01
    for value in (low - step, high + (step if key != "heartbeat_interval" else 2)):
        with pytest.raises(ValidationError):
            tables.Settings.model_validate({table: {key: value}})


def test_a_heartbeat_comes_before_the_timeout() -> None:
    with pytest.raises(ValidationError, match=r"heartbeat_interval \(20s\) .* \(20s\)"):
        tables.Server(heartbeat_interval=20.0, connection_timeout=20.0)


def test_settings_cannot_be_changed() -> None:
    made = tables.Settings()
    with pytest.raises(ValidationError):
        made.server.port = 1
    with pytest.raises(ValidationError):
        made.server = tables.Server()
    with pytest.raises(TypeError):
        made.providers["x"] = providers.DEMO  # type: ignore[index]
    for named in (made.routes, made.plans, made.prices):
        with pytest.raises(TypeError):
            named["x"] = None  # type: ignore[index]


def test_settings_made_by_hand_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER__PORT", "1")
    monkeypatch.setenv("HOLDFAST_SERVER__PORT", "1")
    assert tables.Settings().server.port == 8080


def test_demo_is_always_there_unless_one_of_that_name_is() -> None:
    assert dict(tables.Settings().providers) == {"demo": providers.DEMO}
    other = providers.Provider(kind="openai_chat")
    assert set(tables.Settings(providers={"x": other}).providers) == {"x", "demo"}
    assert dict(tables.Settings(providers={"demo": other}).providers) == {"demo": other}
    assert providers.DEMO.kind == "demo"
    assert providers.DEMO.models == ("demo", "demo-*")


def test_a_key_is_shown_nowhere() -> None:
    key = "sk-very-secret"
    made = tables.Settings(
        providers={"x": providers.Provider(kind="openai_chat", api_key=SecretStr(key))}
    )
    shown = [repr(made), str(made), str(made.model_dump()), made.model_dump_json()]
    assert all(key not in text and "**" in text for text in shown)
    kept = made.providers["x"].api_key
    assert kept is not None
    assert kept.get_secret_value() == key


# The documents

MEANINGS = schema.meanings()


def row(name: str, field: FieldInfo) -> str:
    """The line of docs/settings.md for a setting."""
    default = "must be given" if field.is_required() else fields.shown(field, field.default)
    code = default if default in ("must be given", "none") else f"`{default}`"
    return f"| `{name}` | {code} | {fields.accepted(field)} | {MEANINGS[name]} |"


def sections(document: str) -> dict[str, set[str]]:
    """The rows below each heading of a table."""
    found: dict[str, set[str]] = {}
    for part in document.split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        table = re.search(r"\[(\S+)\]", heading)
        if table:
            found[table[1]] = {line for line in body.splitlines() if line.startswith("| `")}
    return found


def test_the_document_has_every_setting_as_it_is() -> None:
    wanted: dict[str, set[str]] = {}
    for name, field in tables.KNOWN.items():
        table = name.rpartition(".")[0].replace("*", "NAME")
        wanted.setdefault(table, set()).add(row(name, field))
    assert sections(DOCUMENT.read_text(encoding="utf-8")) == wanted


def test_the_rows_are_read_right() -> None:
    field = tables.KNOWN["server.port"]
    assert "| `8080` |" in row("server.port", field)
    field = copy.copy(field)
    field.default = 9000
    assert row("server.port", field).startswith("| `server.port` | `9000` | a whole number from ")
    assert sections("# A\n\n## `[a]`: x\n\n| `b` | 1 |\n\n## Other\n\n| `c` | 2 |\n") == {
        "a": {"| `b` | 1 |"}
    }


def uncommented(sample: str) -> Iterator[str]:
    """The sample with every setting that it only shows."""
    for line in sample.splitlines():
        yield re.sub(r"^# (?=\[[\w.]+\]|\w+ = )", "", line)


def test_the_sample_shows_every_setting_at_its_default() -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    assert tables.Settings.model_validate(tomllib.loads(text))
    shown = tomllib.loads("\n".join(uncommented(text)))
    named = {kind: shown.pop(kind) for kind in tables.NAMED}
    assert tables.Settings.model_validate(shown) == tables.Settings()
    names = {f"{table}.{key}" for table, keys in shown.items() for key in keys}
    for kind, rows in named.items():
        names |= {f"{kind}.*.{key}" for keys in rows.values() for key in keys}
    assert names == set(tables.KNOWN)
    made = tables.Settings.model_validate(named)
    targets = {target for route in made.routes.values() for target in route.targets}
    assert {target.partition("/")[0] for target in targets} <= set(made.providers)
