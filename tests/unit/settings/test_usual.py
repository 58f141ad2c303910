"""The environment's usual names: which one wins, and to whom a key goes."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable

import pytest

from holdfast import errors, settings
from holdfast.settings import Loaded, Settings, Usual

Read = Callable[..., Settings]
SECRET = "sk-very-secret"
SCHEMES = ("https", "http")
USUAL = {
    "openai": Usual(("OPENAI_API_KEY",), "OPENAI_BASE_URL"),
    "google": Usual(("GEMINI_API_KEY", "GOOGLE_API_KEY")),
    "ollama": Usual((), "OLLAMA_BASE_URL"),
}


def key(made: Settings, provider: str) -> str | None:
    kept = made.providers[provider].api_key
    return kept.get_secret_value() if kept else None


def proxies(made: Settings) -> tuple[str | None, str | None]:
    """The proxies for https and for http."""
    kept = (made.network.https_proxy, made.network.http_proxy)
    https, http = (one.get_secret_value() if one else None for one in kept)
    return https, http


# Which source wins

# The values of one setting, by the source that it stands in, the strongest first.
PROXIES = {
    "command line": "http://line:1",
    "HOLDFAST_NETWORK__HTTPS_PROXY": "http://own:1",
    "mine.toml": "http://file:1",
    "https_proxy": "http://small:1",
    "HTTPS_PROXY": "http://capital:1",
    "all_proxy": "http://all:1",
    "ALL_PROXY": "http://capitals:1",
}


@pytest.mark.parametrize(("stronger", "weaker"), list(itertools.combinations(PROXIES, 2)))
def test_of_two_sources_the_stronger_wins(
    loaded: Callable[..., Loaded], stronger: str, weaker: str
) -> None:
    given = {name: url for name, url in PROXIES.items() if name in (stronger, weaker)}
    line, file = given.pop("command line", None), given.pop("mine.toml", None)
    toml = f'[network]\nhttps_proxy = "{file}"\n' if file else ""
    made = loaded(toml, given, {"network.https_proxy": line})
    assert proxies(made.settings)[0] == PROXIES[stronger]
    assert made.origin(("network", "https_proxy")) == stronger


@pytest.mark.parametrize("name", PROXIES)
def test_each_source_wins_over_the_default(loaded: Callable[..., Loaded], name: str) -> None:
    environ = {} if name in ("command line", "mine.toml") else {name: PROXIES[name]}
    toml = f'[network]\nhttps_proxy = "{PROXIES[name]}"\n' if name == "mine.toml" else ""
    overrides = {"network.https_proxy": PROXIES[name]} if name == "command line" else {}
    made = loaded(toml, environ, overrides)
    assert proxies(made.settings)[0] == PROXIES[name]
    assert made.origin(("network", "https_proxy")) == name
    assert loaded().origin(("network", "https_proxy")) is None


# Proxies


@pytest.mark.parametrize(
    ("environ", "https", "http"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://a:1"}, "http://a:1", None),
        ({"HTTP_PROXY": "http://a:1"}, None, "http://a:1"),
        ({"http_proxy": "http://a:1", "HTTP_PROXY": "http://b:1"}, None, "http://a:1"),
        ({"ALL_PROXY": "http://a:1"}, "http://a:1", "http://a:1"),
        ({"ALL_PROXY": "http://a:1", "HTTP_PROXY": "http://b:1"}, "http://a:1", "http://b:1"),
        # An empty one is not set.
        ({"https_proxy": "", "HTTPS_PROXY": "http://a:1"}, "http://a:1", None),
        ({"https_proxy": " ", "ALL_PROXY": "http://a:1"}, "http://a:1", "http://a:1"),
        # In a CGI program HTTP_PROXY is the header `Proxy` of whoever asks.
        ({"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, None, None),
        ({"http_proxy": "http://a:1", "REQUEST_METHOD": "GET"}, None, "http://a:1"),
        ({"HTTPS_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, "http://a:1", None),
        ({"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": ""}, None, "http://a:1"),
        # As others write it.
        ({"HTTPS_PROXY": "a:1"}, "http://a:1", None),
        ({"HTTPS_PROXY": " u:p%40@a:1/ "}, "http://u:p%40@a:1/", None),
        # SOCKS is refused only where it would be used.
        (
            {"HTTPS_PROXY": "a:1", "http_proxy": "b:1", "ALL_PROXY": "socks5://c:1"},
            "http://a:1",
            "http://b:1",
        ),
        # Nothing else is a proxy's name.
        ({"FTP_PROXY": "http://a:1", "PROXY": "http://b:1", "SSL_CERT_FILE": "/x"}, None, None),
    ],
)
def test_the_proxies_of_the_environment(
    read: Read, environ: dict[str, str], https: str | None, http: str | None
) -> None:
    made = read(None, environ)
    assert proxies(made) == (https, http)
    assert made.network.ca_file is None


def test_an_empty_setting_means_no_proxy_in_spite_of_the_environment(read: Read) -> None:
    made = read('[network]\nhttps_proxy = ""\n', {"ALL_PROXY": "http://a:1"})
    assert proxies(made) == (None, "http://a:1")


@pytest.mark.parametrize(
    ("environ", "hosts"),
    [
        (
            {"NO_PROXY": "a.example,.b.example, 10.0.0.0/8"},
            ("a.example", ".b.example", "10.0.0.0/8"),
        ),
        ({"NO_PROXY": "::1 [::1]:80\tlocalhost"}, ("::1", "[::1]:80", "localhost")),
        ({"no_proxy": "*", "NO_PROXY": "a"}, ("*",)),
        ({"no_proxy": "", "NO_PROXY": "a,"}, ("a",)),
    ],
)
def test_no_proxy_of_the_environment(
    read: Read, environ: dict[str, str], hosts: tuple[str, ...]
) -> None:
    environ = {"HTTPS_PROXY": "http://p", **environ}
    assert read(None, environ).network.no_proxy == hosts
    assert read('[network]\nno_proxy = ["x"]\n', environ).network.no_proxy == ("x",)


# As Windows has it, and others that know patterns.
FOREIGN = {"NO_PROXY": "localhost;127.*;<local>"}


@pytest.mark.parametrize(
    ("toml", "environ", "used"),
    [
        (None, {}, False),
        (None, {"HTTPS_PROXY": ""}, False),
        ('[network]\nhttps_proxy = ""\n', {"HTTPS_PROXY": "http://p"}, False),
        (None, {"HTTPS_PROXY": "http://p"}, True),
        (None, {"ALL_PROXY": "http://p"}, True),
        ('[network]\nhttps_proxy = ""\n', {"ALL_PROXY": "http://p"}, True),
        ('[network]\nhttp_proxy = "http://p"\n', {}, True),
        (None, {"HOLDFAST_NETWORK__HTTPS_PROXY": "http://p"}, True),
    ],
)
def test_no_proxy_is_nobody_s_concern_where_there_is_no_proxy(
    read: Read, toml: str | None, environ: dict[str, str], used: bool
) -> None:
    assert read(toml, {**environ, "NO_PROXY": "a"}).network.no_proxy == (("a",) if used else ())
    if not used:
        assert read(toml, {**environ, **FOREIGN}).network.no_proxy == ()
        return
    with pytest.raises(errors.SettingsError, match=r"^NO_PROXY: the value is not accepted"):
        read(toml, {**environ, **FOREIGN})


def test_who_wants_no_usual_name_gets_none(read: Read) -> None:
    environ = {"ALL_PROXY": "socks5://c:1", "OPENAI_API_KEY": SECRET, **FOREIGN}
    assert read(None, environ, usual=None) == read(None, {})
    own = {**environ, "HOLDFAST_NETWORK__HTTPS_PROXY": "http://a:1"}
    assert proxies(read(None, own, usual=None)) == ("http://a:1", None)


def test_a_complaint_of_socks_tells_how_to_go_on(read: Read) -> None:
    environ = {"ALL_PROXY": "socks5://c:1"}
    with pytest.raises(errors.SettingsError) as caught:
        read(None, environ)
    off = '; to use none, write `{}_proxy = ""` under [network] in the file'
    ends = [off.format(scheme) for scheme in SCHEMES]
    lines = caught.value.message.split("\n")
    assert [line.endswith(end) for line, end in zip(lines, ends, strict=True)] == [True, True]
    off = "[network]\nhttps_proxy = ''\nhttp_proxy = ''\n"
    assert proxies(read(off, environ)) == (None, None)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {"HTTPS_PROXY": "socks5h://u:canary@a:1"},
            "HTTPS_PROXY: a SOCKS proxy is not accepted; accepted is a URL such as "
            "http://proxy.example:3128, with http:// or https://",
        ),
        ({"ALL_PROXY": "SOCKS4://a"}, "ALL_PROXY: a SOCKS proxy is not accepted"),
        ({"http_proxy": "ftp://u:canary@a:1"}, "http_proxy: the value is not accepted"),
        ({"https_proxy": "http://u:canary@a:b"}, "https_proxy: the value is not accepted"),
        (
            {"HTTP_PROXY": "p", "NO_PROXY": "a,http://u:canary@a"},
            "NO_PROXY: the value is not accepted",
        ),
        (
            {"HOLDFAST_NETWORK__HTTPS_PROXY": "canary:canary@a:1"},
            "HOLDFAST_NETWORK__HTTPS_PROXY: the value is not accepted",
        ),
    ],
)
def test_a_variable_that_is_wrong_is_named(read: Read, environ: dict[str, str], line: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        read(None, environ)
    assert caught.value.message.split("\n")[0].startswith(line)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    # What a stronger source gives takes its place.
    own = "[network]\nhttps_proxy = 'http://x'\nhttp_proxy = 'http://x'\nno_proxy = []\n"
    if "HOLDFAST_NETWORK__HTTPS_PROXY" not in environ:
        assert proxies(read(own, environ)) == ("http://x", "http://x")


# For a client's command


@pytest.mark.parametrize(
    ("scheme", "environ", "wanted", "hosts"),
    [
        ("https", {}, None, ()),
        ("https", {"HTTPS_PROXY": "a:1", "NO_PROXY": "x y"}, "http://a:1", ("x", "y")),
        ("https", {"ALL_PROXY": "b:1", "https_proxy": "a:1"}, "http://a:1", ()),
        ("http", {"ALL_PROXY": "b:1", "https_proxy": "a:1"}, "http://b:1", ()),
        ("http", {"HTTP_PROXY": "b:1", "REQUEST_METHOD": "GET"}, None, ()),
        # What is for the other scheme, or for a node, says nothing.
        ("https", {"HTTP_PROXY": "socks5://a", **FOREIGN}, None, ()),
        ("http", {"HTTPS_PROXY": "socks5://a"}, None, ()),
        ("http", {"HOLDFAST_NETWORK__HTTP_PROXY": "http://a"}, None, ()),
    ],
)  # fmt: skip
def test_the_proxies_of_a_command(
    scheme: str, environ: dict[str, str], wanted: str | None, hosts: tuple[str, ...]
) -> None:
    network = settings.proxies({**environ, "HOLDFAST_NONSENSE": "1"}, scheme)
    kept = {"https": network.https_proxy, "http": network.http_proxy}
    one = kept.pop(scheme)
    assert (one.get_secret_value() if one else None, network.no_proxy) == (wanted, hosts)
    assert list(kept.values()) == [None]


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {"ALL_PROXY": "socks5://u:canary@a"},
            "ALL_PROXY: a SOCKS proxy is not accepted; accepted is a URL such as "
            "http://proxy.example:3128, with http:// or https://; to use none, unset it",
        ),
        ({"HTTPS_PROXY": "http://canary..b:1"}, "HTTPS_PROXY: the value is not accepted"),
        ({"HTTPS_PROXY": "http://a", **FOREIGN}, "NO_PROXY: the value is not accepted"),
    ],
)
def test_a_command_tells_a_wrong_variable_too(environ: dict[str, str], line: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        settings.proxies(environ, "https")
    assert caught.value.message.startswith(line)
    assert "\n" not in caught.value.message
    assert "canary" not in "".join(traceback.format_exception(caught.value))


# Keys and addresses of providers

CONFIGURED = '[providers.mine]\nkind = "openai"\n'
ENVIRON = {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": "http://usual.example/v1/"}


def test_a_provider_that_says_nothing_takes_the_usual_key_and_address(
    loaded: Callable[..., Loaded],
) -> None:
    made = loaded(CONFIGURED, ENVIRON, usual=USUAL)
    assert list(made.settings.providers) == ["mine", "demo"]
    assert key(made.settings, "mine") == SECRET
    assert made.settings.providers["mine"].base_url == "http://usual.example/v1"
    assert made.origin(("providers", "mine", "kind")) == "mine.toml"
    assert made.origin(("providers", "mine", "api_key")) == "OPENAI_API_KEY"
    assert made.origin(("providers", "mine", "base_url")) == "OPENAI_BASE_URL"


@pytest.mark.parametrize(
    ("line", "environ", "wanted", "address"),
    [
        # A key goes to no other host unless the operator says so.
        ("base_url = 'http://own'", {}, None, "http://own"),
        ("", {"HOLDFAST_PROVIDERS__MINE__BASE_URL": "http://own"}, None, "http://own"),
        ("base_url = 'http://own'\napi_key = 'k'", {}, "k", "http://own"),
        (
            "base_url = 'http://own'\napi_key_env = 'OPENAI_API_KEY'",
            {},
            SECRET,
            "http://own",
        ),
        ("api_key = 'k'", {}, "k", None),
        ("", {"HOLDFAST_PROVIDERS__MINE__API_KEY": "k"}, "k", None),
        ("api_key_env = 'K'", {"K": "k"}, "k", None),
        # It was said where the key is, and it is not there.
        ("api_key_env = 'K'", {}, None, None),
        ("api_key_env = 'K'", {"K": ""}, None, None),
        # It was said that there is none.
        ("api_key = ''", {}, None, None),
    ],
)
def test_a_provider_with_a_word_of_its_own_takes_nothing_usual(
    read: Read, line: str, environ: dict[str, str], wanted: str | None, address: str | None
) -> None:
    made = read(f"{CONFIGURED}{line}\n", {**ENVIRON, **environ}, usual=USUAL)
    assert list(made.providers) == ["mine", "demo"]
    assert key(made, "mine") == wanted
    assert made.providers["mine"].base_url == address


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"GEMINI_API_KEY": "a", "GOOGLE_API_KEY": "b"}, "a"),
        ({"GOOGLE_API_KEY": "b"}, "b"),
        ({"GEMINI_API_KEY": "", "GOOGLE_API_KEY": "b"}, "b"),
        ({"GEMINI_API_KEY": "\n", "GOOGLE_API_KEY": "b"}, "b"),
        ({"GEMINI_API_KEY": "a\n"}, "a"),
        ({"GEMINI_API_KEY": ""}, None),
        ({}, None),
    ],
)
def test_of_several_names_the_first_that_is_set_wins(
    read: Read, environ: dict[str, str], wanted: str | None
) -> None:
    made = read('[providers.mine]\nkind = "google"\n', environ, usual=USUAL)
    assert key(made, "mine") == wanted
    alone = read(None, environ, usual=USUAL)
    assert list(alone.providers) == (["google", "demo"] if wanted else ["demo"])


def test_a_key_alone_makes_a_provider(loaded: Callable[..., Loaded]) -> None:
    made = loaded(None, ENVIRON, usual=USUAL)
    provider = made.settings.providers["openai"]
    assert (provider.kind, provider.models) == ("openai", ())
    assert provider.base_url == "http://usual.example/v1"
    assert key(made.settings, "openai") == SECRET
    assert made.origin(("providers", "openai", "kind")) == "OPENAI_API_KEY"


def test_such_providers_come_after_the_configured_ones_in_their_own_order(read: Read) -> None:
    environ = {"GOOGLE_API_KEY": "g", "OPENAI_API_KEY": "o", "HOLDFAST_PROVIDERS__Z__KIND": "demo"}
    toml = '[providers.y]\nkind = "demo"\n[providers.x]\nkind = "ollama"\n'
    made = read(toml, environ, usual=USUAL)
    assert list(made.providers) == ["y", "x", "z", "openai", "google", "demo"]


@pytest.mark.parametrize(
    "toml",
    [
        # One of the kind, one of the name.
        '[providers.mine]\nkind = "openai"\nbase_url = "http://own"\n',
        '[providers.openai]\nkind = "demo"\n',
    ],
)
def test_where_there_is_one_of_the_kind_or_name_none_is_made(read: Read, toml: str) -> None:
    made = read(toml, ENVIRON, usual=USUAL)
    assert len(made.providers) == 2
    assert all(provider.api_key is None for provider in made.providers.values())


def test_an_address_alone_changes_a_provider_and_makes_none(read: Read) -> None:
    environ = {"OPENAI_BASE_URL": "http://usual", "OLLAMA_BASE_URL": "http://other"}
    assert list(read(None, environ, usual=USUAL).providers) == ["demo"]
    toml = CONFIGURED + '[providers.local]\nkind = "ollama"\n'
    made = read(toml, environ, usual=USUAL).providers
    assert (made["mine"].base_url, made["local"].base_url) == ("http://usual", "http://other")
    assert made["mine"].api_key is None


def test_without_usual_names_the_variables_mean_nothing(read: Read) -> None:
    made = read(CONFIGURED, ENVIRON)
    assert made.providers["mine"].api_key is None
    assert list(made.providers) == ["mine", "demo"]


@pytest.mark.parametrize("toml", [None, CONFIGURED])
@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {"OPENAI_BASE_URL": f"https://u:{SECRET}@host"},
            "OPENAI_BASE_URL: the value is not accepted; accepted is a URL such as "
            "https://api.openai.com/v1, without user, password and query",
        ),
        ({"OPENAI_BASE_URL": SECRET}, "OPENAI_BASE_URL: the value is not accepted"),
        (
            {"OPENAI_API_KEY": f"{SECRET} 2"},
            "OPENAI_API_KEY: the value is not accepted; accepted is a key of printable ASCII",
        ),
        ({"OPENAI_API_KEY": f"{SECRET}é"}, "OPENAI_API_KEY: the value is not accepted"),
    ],
)
def test_no_complaint_holds_a_usual_key(
    read: Read, toml: str | None, environ: dict[str, str], line: str
) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        read(toml, {"OPENAI_API_KEY": "k", **environ}, usual=USUAL)
    assert caught.value.message.startswith(line)
    assert "\n" not in caught.value.message
    assert caught.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_what_is_loaded_shows_no_secret(loaded: Callable[..., Loaded]) -> None:
    environ = {**ENVIRON, "HTTPS_PROXY": f"http://u:{SECRET}@a:1", "K": SECRET}
    toml = CONFIGURED + '[providers.other]\nkind = "openai"\napi_key_env = "K"\n'
    made = loaded(toml, environ, usual=USUAL)
    dumps = [made.settings.model_dump_json(), str(made.settings.model_dump())]
    for text in (repr(made), str(made), repr(made.settings), repr(made.sources), *dumps):
        assert SECRET not in text


def test_a_kind_that_is_no_text_is_told_and_takes_no_key(read: Read) -> None:
    with pytest.raises(errors.SettingsError, match=r"providers\.mine\.kind in mine\.toml: "):
        read("[providers.mine]\nkind = [1]\n", ENVIRON, usual=USUAL)
