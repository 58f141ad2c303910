"""Quantities as people write them, and what a field says of itself."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from holdfast import transport
from holdfast.settings import Provider, fields, tables


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        (fields.DURATION, "100ms", 0.1),
        (fields.DURATION, "15s", 15.0),
        (fields.DURATION, "5m", 300.0),
        (fields.DURATION, "24h", 86400.0),
        (fields.DURATION, "7d", 604800.0),
        (fields.DURATION, "1.5 s", 1.5),
        (fields.DURATION, " 2H ", 7200.0),
        (fields.DURATION, "15", 15.0),
        (fields.DURATION, 15, 15.0),
        (fields.DURATION, 0.05, 0.05),
        (fields.DURATION, 0, 0.0),
        (fields.SIZE, "512B", 512),
        (fields.SIZE, "8KiB", 8192),
        (fields.SIZE, "1.5kib", 1536),
        (fields.SIZE, "64MiB", 67108864),
        (fields.SIZE, "1GiB", 1073741824),
        (fields.SIZE, 8192, 8192),
        (fields.SIZE, 8192.0, 8192),
        (fields.SHARE, "5%", 0.05),
        (fields.SHARE, 0.05, 0.05),
        (fields.COUNT, "100", 100),
        (fields.AMOUNT, "2.50", 2.5),
        (fields.AMOUNT, 3, 3.0),
        (fields.AMOUNT, 0.000001, 0.000001),
        (fields.AMOUNT, "0.000001", 0.000001),
    ],
)
def test_a_quantity_is_read_as_people_write_it(
    unit: fields.Unit, text: object, value: float
) -> None:
    parsed = unit.parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (fields.DURATION, "soon"),
        (fields.DURATION, ""),
        (fields.DURATION, "-1s"),
        (fields.DURATION, "1h30m"),
        (fields.DURATION, "15kib"),
        (fields.DURATION, "1" * 16),
        (fields.DURATION, True),
        (fields.DURATION, None),
        (fields.DURATION, float("nan")),
        (fields.DURATION, float("inf")),
        (fields.DURATION, ["15s"]),
        (fields.SIZE, "8KB"),
        (fields.SIZE, "0.3B"),
        (fields.SIZE, 1.5),
        (fields.COUNT, "8k"),
        (fields.COUNT, False),
        (fields.SHARE, "5 percent"),
        (fields.AMOUNT, "5 USD"),
        (fields.AMOUNT, "$5"),
        (fields.AMOUNT, "2,5"),
        (fields.AMOUNT, "1e6"),
        (fields.AMOUNT, -1.0),
        (fields.AMOUNT, float("nan")),
        (fields.AMOUNT, float("-inf")),
    ],
)
def test_anything_else_is_refused(unit: fields.Unit, text: object) -> None:
    with pytest.raises(ValueError, match=unit.what):
        unit.parse(text)


@given(st.integers(0, 10**9))
@settings(max_examples=100)
def test_what_is_shown_is_read_back(number: int) -> None:
    assert fields.SIZE.parse(fields.SIZE.show(number)) == number
    assert fields.COUNT.parse(fields.COUNT.show(number)) == number
    assert fields.DURATION.parse(fields.DURATION.show(number / 1000)) == number / 1000
    assert fields.AMOUNT.parse(fields.AMOUNT.show(number / 10**6)) == number / 10**6


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (fields.DURATION, 0.1, "100ms"),
        (fields.DURATION, 300.0, "5m"),
        (fields.DURATION, 86400.0, "1d"),
        (fields.DURATION, 0.0, "0"),
        (fields.SIZE, 8192, "8KiB"),
        (fields.SIZE, 1500, "1500B"),
        (fields.SHARE, 0.05, "5%"),
        (fields.COUNT, 10_000, "10000"),
        (fields.COUNT, 10**12, "1000000000000"),
        (fields.AMOUNT, 0.0, "0"),
        (fields.AMOUNT, 1_000_000.0, "1000000"),
        (fields.AMOUNT, 1234567.89, "1234567.89"),
        (fields.AMOUNT, 0.0000001, "0.0000001"),
    ],
)
def test_a_quantity_is_shown_short(unit: fields.Unit, value: float, text: str) -> None:
    assert unit.show(value) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("server.port", "a whole number from 0 to 65535"),
        ("server.heartbeat_interval", "a duration from 50ms to 5m"),
        ("streaming.buffer_size", "a size from 1B to 64KiB"),
        ("monitoring.error_rate", "a share from 0 to 100%"),
        ("compression.enabled", "true or false"),
        ("compression.algorithm", "gzip or deflate or br or zstd"),
        ("providers.*.api_key_env", "the name of an environment variable, in upper case"),
        ("providers.*.prefill", "true or false"),
        ("fallback.otherwise", "restart or error"),
        ("quota.streams", "a whole number from 0 to 1000000000000"),
        ("plans.*.cost_per_day", "an amount from 0 to 1000000000000"),
        ("prices.*.input", "an amount from 0 to 1000000"),
        ("jwt.scopes", "a list of generate, read, metrics and admin"),
        (
            "routes.*.targets",
            "a list of 1 to 8 targets such as openai/gpt-5, or openai/* for the model that was "
            "asked for",
        ),
    ],
)
def test_a_field_says_what_it_accepts(name: str, text: str) -> None:
    assert fields.accepted(tables.KNOWN[name]) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("server.heartbeat_interval", "15s"),
        ("server.cors_origins", "none"),
        ("fallback.instruction", "…"),
        ("providers.*.prefill", "none"),
        ("providers.*.api_key", "none"),
        ("compression.enabled", "true"),
        ("log.url", "sqlite:///holdfast.db"),
        ("archive.url", "none"),
        ("jwt.algorithms", "RS256, ES256"),
        ("quota.cost_per_day", "0"),
    ],
)
def test_a_default_is_shown_as_it_is_written(name: str, text: str) -> None:
    field = tables.KNOWN[name]
    assert fields.shown(field, field.default) == text


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        (fields.Host, "::1", "::1"),
        (fields.Origins, "https://a.example, *", ("https://a.example", "*")),
        (fields.Origins, "", ()),
        (fields.Origins, ["http://localhost:3000"], ("http://localhost:3000",)),
        (fields.LogUrl, "memory://", "memory://"),
        (fields.LogUrl, "sqlite:////var/lib/a b@c.db", "sqlite:////var/lib/a b@c.db"),
        (fields.BaseUrl, "http://[::1]:8080/v1/", "http://[::1]:8080/v1"),
        (fields.BaseUrl, None, None),
        (fields.Models, "gpt-*,o?", ("gpt-*", "o?")),
        (fields.Models, ["meta/llama:70b"], ("meta/llama:70b",)),
        (fields.TableName, "my-groq_2", "my-groq_2"),
        (fields.Variable, "OPENAI_API_KEY", "OPENAI_API_KEY"),
        (fields.Targets, "a/*, b-2/meta/llama:70b@x", ("a/*", "b-2/meta/llama:70b@x")),
        (fields.Targets, ["a/m"] * 8, ("a/m",) * 8),
        (fields.Targets, ["a/" + "m" * 319], ("a/" + "m" * 319,)),
        (fields.Text, "…", "…"),
        (fields.Text, " Weiter, bitte. ", " Weiter, bitte. "),
        (fields.Text, "x" * 1000, "x" * 1000),
        (fields.Flag, "true", True),
        (fields.Flag, False, False),
        (fields.Flag, None, None),
        (fields.ArchiveUrl, "", None),
        (fields.ArchiveUrl, None, None),
        (fields.ArchiveUrl, "memory://", "memory://"),
        (fields.ArchiveUrl, "sqlite:////a b@c.db", "sqlite:////a b@c.db"),
        (fields.KeysUrl, "", None),
        (fields.KeysUrl, "http://localhost:1/keys", "http://localhost:1/keys"),
        (fields.Word, "", None),
        (fields.Word, "https://login.example/", "https://login.example/"),
        (fields.Word, "!" + "~" * 999, "!" + "~" * 999),
        (fields.Claim, "", None),
        (fields.Claim, "https://app.example/org-id", "https://app.example/org-id"),
        (fields.Claim, "x" * 200, "x" * 200),
        (fields.Algorithms, "RS256, EdDSA", ("RS256", "EdDSA")),
        (fields.Scopes, ["generate", "read", "admin"], ("generate", "read", "admin")),
        (fields.Tenants, "a, b*", ("a", "b*")),
        (fields.Tenants, ["A9._:@+*?-", "x" * 64], ("A9._:@+*?-", "x" * 64)),
        (fields.Tenants, ["a"] * 1000, ("a",) * 1000),
        (fields.SomeModels, "gpt-*,openai/*", ("gpt-*", "openai/*")),
        (fields.SomeModels, ["m"] * 100, ("m",) * 100),
    ],
)
def test_a_text_has_a_shape(kind: Any, value: object, kept: object) -> None:
    adapter: TypeAdapter[object] = TypeAdapter(kind)
    assert adapter.validate_python(value) == kept


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (fields.Host, "http://here"),
        (fields.Host, ""),
        (fields.Origins, "https://a.example/path"),
        (fields.Origins, "https://*.example"),
        (fields.Origins, ["*"] * 101),
        (fields.LogUrl, "holdfast.db"),
        (fields.LogUrl, "redis://:password@there?x"),
        (fields.LogUrl, "sqlite://:password@there/log.db"),
        (fields.LogUrl, "sqlite:///a\nb"),
        (fields.BaseUrl, "ftp://there"),
        (fields.BaseUrl, "https://user:password@there"),
        (fields.BaseUrl, "https://there/?key=secret"),
        (fields.Models, '["gpt-*"]'),
        (fields.Models, [""]),
        (fields.TableName, "a/b"),
        (fields.TableName, "OpenAI"),
        (fields.TableName, "a__b"),
        (fields.Variable, "sk-proj-123"),
        (fields.Targets, []),
        (fields.Targets, ""),
        (fields.Targets, ["a/m"] * 9),
        (fields.Targets, ["a/" + "m" * 320]),
        (fields.Targets, "gpt-5"),
        (fields.Targets, "a/"),
        (fields.Targets, "/gpt-5"),
        (fields.Targets, "A/gpt-5"),
        (fields.Targets, "a/gpt-*"),
        (fields.Targets, "*/gpt-5"),
        (fields.Targets, ["a/b c"]),
        (fields.Text, ""),
        (fields.Text, "  "),
        (fields.Text, "two\nlines"),
        (fields.Text, "x" * 1001),
        (fields.Flag, "perhaps"),
        (fields.Flag, ""),
        (fields.ArchiveUrl, "holdfast-archive.db"),
        (fields.ArchiveUrl, "postgres://user:password@there"),
        (fields.ArchiveUrl, "postgres://user:password@there/db#x"),
        (fields.ArchiveUrl, "redis://user:password@there/db"),
        (fields.ArchiveUrl, "sqlite:///" + "a" * 4090),
        (fields.KeysUrl, "login.example/keys"),
        (fields.KeysUrl, "https://user:password@there/keys"),
        (fields.KeysUrl, "https://there/keys?secret=x"),
        (fields.KeysUrl, "https://there/" + "a" * 4090),
        (fields.Word, "two words"),
        (fields.Word, "é"),
        (fields.Word, "x" * 1001),
        (fields.Claim, "a b"),
        (fields.Claim, "x" * 201),
        (fields.Algorithms, ""),
        (fields.Algorithms, "none"),
        (fields.Algorithms, ["HS256"]),
        (fields.Algorithms, ["rs256"]),
        (fields.Algorithms, ["RS256"] * 11),
        (fields.Scopes, []),
        (fields.Scopes, "write"),
        (fields.Scopes, ["read"] * 5),
        (fields.Tenants, []),
        (fields.Tenants, "acme/alice"),
        (fields.Tenants, ["x" * 65]),
        (fields.Tenants, ["a"] * 1001),
        (fields.SomeModels, ""),
        (fields.SomeModels, ["m"] * 101),
        (fields.SomeModels, "two words"),
        (fields.Key, "two words"),
        (fields.Key, "line\r\nend"),
        (fields.Key, 5),
        (fields.Key, "x" * 4097),
    ],
)
def test_a_text_of_another_shape_is_refused(kind: Any, value: object) -> None:
    adapter: TypeAdapter[object] = TypeAdapter(kind)
    with pytest.raises(ValidationError):
        adapter.validate_python(value)


@pytest.mark.parametrize(("value", "kept"), [(" sk-1\n", "sk-1"), ("", None), (None, None)])
def test_a_key_loses_its_line_end(value: str | None, kept: str | None) -> None:
    given_key = Provider.model_validate({"kind": "demo", "api_key": value}).api_key
    assert (given_key.get_secret_value() if given_key else None) == kept


# Proxies, hosts and files


def network(**given: Any) -> tables.Network:
    return tables.Network.model_validate(given)


@pytest.mark.parametrize(
    "url",
    [
        "http://proxy.example",
        "https://proxy.example:3128/",
        "HTTP://10.0.0.1:1",
        "http://[::1]:65535",
        "http://user@h",
        "http://user:p%40ss%2F@h:1",
        "http://user:!$&'()*+,;=~.-_@h:1",
        "http://a_b-c.example.:1",
        f"http://{'a' * 63}.{'b' * 63}",
    ],
)
def test_the_url_of_a_proxy_is_kept_as_it_is(url: str) -> None:
    kept = network(https_proxy=f" {url}\n").https_proxy
    assert kept is not None
    assert kept.get_secret_value() == url
    assert url not in repr(network(https_proxy=url))
    # Whoever uses it later takes what is taken here.
    assert transport.Proxies(https=url).choose(True, "host.example", 443)


@pytest.mark.parametrize(
    "url",
    [
        "proxy.example:3128",
        "ftp://h",
        "http://",
        "http://:1",
        "http://h:0",
        "http://h:65536",
        "http://h:",
        "http://h/path",
        "http://h?q",
        "http://a@b@h",
        "http://u/p@h",
        "http://u#p@h",
        "http://a b",
        "http://h\r\nX: y",
        "http://hé",
        "http://[::1",
        # What is no host for the transport is none here.
        "http://a..b:1",
        "http://.a",
        "http://..",
        "http://" + "a" * 64,
        "http://" + "a." * 127,
        f"http://{'a' * 4096}@h",
        1,
        ["http://h"],
    ],
)
def test_no_other_url_is_a_proxy(url: object) -> None:
    with pytest.raises(ValidationError) as caught:
        network(http_proxy=url)
    assert [problem["type"] for problem in caught.value.errors()] == ["value_error"]


@pytest.mark.parametrize("url", ["socks5://h:1", "SOCKS4A://h", "socks://u:p@h", "socks5h:x"])
def test_socks_is_named(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        network(http_proxy=url)
    assert [problem["type"] for problem in caught.value.errors()] == [fields.SOCKS]


def test_empty_is_none() -> None:
    made = network(ca_file="", https_proxy="", http_proxy=" ", no_proxy="")
    assert made == tables.Network()
    assert made.ca_file is None


@pytest.mark.parametrize(
    "host",
    ["*", "a", ".a.example", "*.a.example", "a_b:80", "10.0.0.1", "10.0.0.0/8", "::1", "[::1]:1"],
)
def test_a_host_without_proxy(host: str) -> None:
    assert network(no_proxy=[host]).no_proxy == (host,)


@pytest.mark.parametrize("host", ["", "a b", "http://u:p@h", "a\n", "é", "a" * 254, 1])
def test_what_is_no_host(host: object) -> None:
    with pytest.raises(ValidationError):
        network(no_proxy=[host])


def test_hosts_are_a_thousand_at_most() -> None:
    assert len(network(no_proxy=["a"] * 1000).no_proxy) == 1000
    with pytest.raises(ValidationError):
        network(no_proxy=["a"] * 1001)


@pytest.mark.parametrize("path", ["/etc/ca.pem", "ca.pem", "a b/é.pem", "a" * 4096])
def test_the_path_of_a_file(path: str) -> None:
    assert network(ca_file=path).ca_file == path


@pytest.mark.parametrize("path", ["a\nb", "-----BEGIN X-----\n", "a\x00", "a" * 4097, 1])
def test_what_is_no_path(path: object) -> None:
    with pytest.raises(ValidationError):
        network(ca_file=path)


def test_a_secret_is_shown_as_set() -> None:
    field = tables.KNOWN["network.https_proxy"]
    assert fields.shown(field, network(https_proxy="http://u:p@h").https_proxy) == "set"
    assert fields.shown(field, None) == "none"


@pytest.mark.parametrize(
    "unit", [fields.COUNT, fields.DURATION, fields.SIZE, fields.SHARE, fields.AMOUNT]
)
@pytest.mark.parametrize(
    "text",
    [
        *("0", "1", "1.5", "100ms", "15 S", "7d", "8KiB", "1.5kib", "1GIB", "5%"),
        *("", "1h30m", "8KB", "-1", ".5", "1.", "1" * 16, "five", "0x1"),
    ],
)
def test_the_pattern_of_a_unit_takes_what_is_parsed(unit: fields.Unit, text: str) -> None:
    try:
        unit.parse(text)
    except ValueError:
        # A pattern cannot count: 1.5 is no whole number.
        taken = unit.whole and text in ("1.5",)
    else:
        taken = True
    assert (re.search(unit.pattern.replace("$", r"\Z"), text) is not None) == taken
