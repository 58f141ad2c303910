"""Which server a stream is on, and who gets the key."""

from __future__ import annotations

import socket
from pathlib import Path

import click
import pytest
from click import testing

from holdfast import errors, transport
from holdfast.cli import target
from holdfast.transport import failures

ID = "0123456789abcdefghijklmnOP"
HOME = "http://home:8080"


def of(stream: str, url: str = HOME, *, for_all: bool = False) -> tuple[str, str | None]:
    found = target.Target(url, "secret", None, for_all).of(stream)
    return found.url, found.api_key


@pytest.mark.parametrize("stream", [ID, f"/v1/streams/{ID}", "nonsense"])
def test_without_a_server_it_is_ours(stream: str) -> None:
    assert of(stream) == (HOME, "secret")


@pytest.mark.parametrize(
    ("url", "base", "ours"),
    [
        (HOME, HOME, True),
        (f"{HOME}/", f"{HOME}/llm", True),
        ("http://HOME:8080", HOME, True),
        ("https://home", "https://home:443", True),
        (HOME, "https://home:8080", False),
        (HOME, "http://home", False),
        (HOME, "http://home:8081", False),
        (HOME, "http://home.evil.test:8080", False),
        (HOME, "http://[::1]:8080", False),
    ],
)
@pytest.mark.parametrize("rest", ["", "/events"])
def test_a_url_brings_its_server_and_our_key_stays_ours(
    url: str, base: str, ours: bool, rest: str
) -> None:
    stream = f"{base}/v1/streams/{ID}{rest}"
    assert of(stream, url) == (base, "secret" if ours else None)
    assert of(stream, url, for_all=True) == (base, "secret")


@pytest.mark.parametrize("stream", ["http://home", f"{HOME}/v2/streams/x", "a/b",
                                    f"http://h:99999/v1/streams/{ID}",
                                    f"http://[::1/v1/streams/{ID}",
                                    f"a/v1/streams/{ID}"])  # fmt: skip
def test_what_is_no_stream_is_refused(stream: str) -> None:
    with pytest.raises(errors.InvalidField, match="of a stream"):
        of(stream)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "localhost:8080", "localhost", "ftp://h",
                                 "http://[::1", "http://", "http://u:secret", "//h"])  # fmt: skip
async def test_what_is_no_server_is_refused_by_the_option_s_name(url: str) -> None:
    found = target.Target(url, None, None, False)
    with pytest.raises(errors.InvalidField, match=r"^--url \(HOLDFAST_URL\) .*http://127"):
        await found.client().__aenter__()
    with pytest.raises(errors.InvalidField, match=r"^--url") as caught:
        found.of(f"{HOME}/v1/streams/{ID}")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "ca_file", "command"),
    [
        (target.DEFAULT_URL, None, f"holdfast tail {ID}"),
        (HOME, None, f"holdfast tail --url {HOME} {ID}"),
        (HOME, "a b.pem", f"holdfast tail --url {HOME} --ca-file 'a b.pem' {ID}"),
    ],
)
def test_the_command_that_reads_on(url: str, ca_file: str | None, command: str) -> None:
    ca = Path(ca_file) if ca_file else None
    assert target.Target(url, "secret", ca, True).tail(ID) == command


@pytest.mark.parametrize(
    ("url", "environ", "found"),
    [
        ("https://host", {"HTTPS_PROXY": "http://u:p@a:1"}, transport.Proxies(https="http://u:p@a:1")),
        (
            "http://host:81",
            {"ALL_PROXY": "a:1", "HTTPS_PROXY": "socks5://b", "no_proxy": "x"},
            transport.Proxies(http="http://a:1", no=("x",)),
        ),
        ("https://host", {"HTTP_PROXY": "a:1"}, transport.Proxies()),
        # This machine needs none, whatever they say.
        ("http://127.0.0.1:8080", {"ALL_PROXY": "socks5://b", "NO_PROXY": "<local>"}, None),
        ("https://LOCALHOST", {"ALL_PROXY": "socks5://b"}, None),
        ("http://[::1]:8080", {"ALL_PROXY": "socks5://b"}, None),
    ],
)  # fmt: skip
def test_the_proxy_on_the_way(
    url: str,
    environ: dict[str, str],
    found: transport.Proxies | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.environ", environ)
    assert target._proxies(*target._origin(url)) == found


async def test_a_proxy_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"ALL_PROXY": "socks5://a"})
    with pytest.raises(errors.SettingsError, match=r"^ALL_PROXY: a SOCKS proxy is not"):
        await target.Target(HOME, None, None, False).client().__aenter__()


PLACE = "home:8080"
REFUSED, UNKNOWN = ConnectionRefusedError(111, "x"), socket.gaierror(-2, "Name not known")


@pytest.mark.parametrize(
    ("why", "where", "word"),
    [
        (REFUSED, PLACE, "holdfast serve"),
        (REFUSED, f"proxy {PLACE}", ""),
        (REFUSED, "other:1", ""),
        (UNKNOWN, PLACE, "--url"),
        (UNKNOWN, "proxy away:1", ""),
        (TimeoutError(), PLACE, ""),
        (OSError(113, "No route to host"), PLACE, ""),
    ],
)
def test_what_keeps_from_a_server(why: Exception, where: str, word: str) -> None:
    said = failures.why(why, where, secure=True).message
    hint = target._hint(errors.GaveUp(f"Gave up: {said}"), PLACE)
    assert bool(hint) == bool(word)
    assert word in hint
    # The same words in another mouth are no matter of ours.
    assert target._hint(errors.AnswerFailed(said, code="x", retryable=True), PLACE) == ""


@click.command()
@target.options
def show(target: target.Target) -> None:
    click.echo(f"{target.url} {target.api_key} {target.ca_file} {target.key_is_for_all}")


VARIABLES = {"HOLDFAST_URL": "http://variable", "HOLDFAST_API_KEY": "hidden"}


@pytest.mark.parametrize(
    ("args", "env", "said"),
    [
        ([], {}, "http://127.0.0.1:8080 None None False"),
        ([], VARIABLES, "http://variable hidden None False"),
        ([], {"HOLDFAST_URL": "", "HOLDFAST_API_KEY": ""}, "http://127.0.0.1:8080 None None False"),
        (["--url", "http://x", "--api-key", "k"], VARIABLES, "http://x k None True"),
        (["--ca-file", "ca.pem"], {}, "http://127.0.0.1:8080 None ca.pem False"),
    ],
)
def test_options_win_over_variables(args: list[str], env: dict[str, str], said: str) -> None:
    clean = {"HOLDFAST_URL": None, "HOLDFAST_API_KEY": None}
    done = testing.CliRunner().invoke(show, args, env={**clean, **env})
    assert (done.exit_code, done.output) == (0, said + "\n")


def test_help_names_the_variables_and_shows_no_key() -> None:
    done = testing.CliRunner().invoke(show, ["--help"], env=VARIABLES)
    assert "HOLDFAST_URL" in done.output
    assert "HOLDFAST_API_KEY" in done.output
    assert "hidden" not in done.output
