"""Which server a stream is on, and who gets the key."""

from __future__ import annotations

import click
import pytest
from click import testing

from holdfast import errors
from holdfast.cli import target

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
                                    f"http://h:99999/v1/streams/{ID}"])  # fmt: skip
def test_what_is_no_stream_is_refused(stream: str) -> None:
    with pytest.raises(errors.InvalidField):
        of(stream)


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
