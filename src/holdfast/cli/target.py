"""Which server a command talks to, and with which key.

Strategy: the options of every command that is a client stand here once. A stream may be named
by its URL, which then brings its own server; a key from the environment is for the server of
`--url` and goes to no other, so that a URL from anywhere can be followed. The way there is that
of any program: through the proxy that the usual variables name.
"""

from __future__ import annotations

import contextlib
import functools
import math
import shlex
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib import parse

import click
import msgspec
from click.core import ParameterSource

from holdfast import client, environment, errors, settings, transport

DEFAULT_URL = "http://127.0.0.1:8080"

_PATH = "/v1/streams/"
_PORTS = {"http": 80, "https": 443}
_WANTED = f"--url (HOLDFAST_URL) is to be a URL such as {DEFAULT_URL}"


class Target(msgspec.Struct, frozen=True):
    """`key_is_for_all`: the key was typed for this very command. `key_is_kept`: there is one, for
    another server."""

    url: str
    api_key: str | None
    ca_file: Path | None
    key_is_for_all: bool
    key_is_kept: bool = False

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[client.AsyncClient]:
        """One that tells at once that no server is there, and comes back to one that was. An
        error gets the hint that helps, as a note.

        Raises InvalidField for a URL or a key that cannot be used, and SettingsError for a
        proxy or a `ca_file`.
        """
        scheme, host, port = _origin(self.url)
        try:
            async with client.AsyncClient(
                self.url,
                self.api_key,
                ca_file=self.ca_file,
                proxies=_proxies(scheme, host, port),
                give_up_at_first=0,
            ) as asked:
                yield asked
        except errors.HoldfastError as error:
            if hint := _hint(error, f"{host}:{port}") or self.advice(error):
                error.add_note(hint)
            raise

    def advice(self, error: errors.HoldfastError) -> str:
        """What to do about a refusal, in the words of a command line; "" where nothing helps."""
        if not isinstance(error, errors.RequestRefused):
            return ""
        if error.status == 429 and error.retry_after:
            return f"Ask again in {_span(error.retry_after)}."
        if error.status != 401:
            return ""
        if self.api_key:
            place = "--api-key" if self.key_is_for_all else "HOLDFAST_API_KEY"
            return f"{place} was sent; `holdfast keys list`, where the server runs, tells all."
        if self.key_is_kept:
            return "HOLDFAST_API_KEY is for the server of --url alone; give --api-key for this one."
        return "Set HOLDFAST_API_KEY, or give --api-key."

    def tail(self, stream: str) -> str:
        """The command line that follows a stream of this server. It says the server by `--url`,
        for there the key of the environment goes."""
        options = [] if self.url == DEFAULT_URL else ["--url", self.url]
        if self.ca_file is not None:
            options += ["--ca-file", str(self.ca_file)]
        return shlex.join(["holdfast", "tail", *options, stream])

    def of(self, stream: str) -> Target:
        """The server of a stream that is given by its id, its URL or the path of that.

        Raises InvalidField for what is none of them.
        """
        base, found, _ = stream.rpartition(_PATH)
        if "/" not in stream or (found and not base):
            return self
        if not found:
            raise errors.InvalidField("This is neither the id nor the URL of a stream.")
        theirs = _origin(base, "This is no URL of a stream")
        ours = self.key_is_for_all or theirs == _origin(self.url)
        if ours or self.api_key is None:
            return msgspec.structs.replace(self, url=base)
        return msgspec.structs.replace(self, url=base, api_key=None, key_is_kept=True)


def _origin(url: str, what: str = _WANTED) -> tuple[str, str, int]:
    """Scheme, host and port of a server's URL. Raises InvalidField, which begins with `what`."""
    try:
        parts = parse.urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:  # its text would repeat what may be a password
        host, port = None, None
    if host and port is not None and parts.scheme in _PORTS:
        return parts.scheme, host, port
    raise errors.InvalidField(f"{what}: it begins with http:// or https:// and a host.")


def _proxies(scheme: str, host: str, port: int) -> transport.Proxies | None:
    """The usual variables' proxy to a server; None for one that never needs any."""
    secure = scheme == "https"
    # A wrong variable is no reason to fail where it says nothing.
    if transport.Proxies("http://any", "http://any").choose(secure, host, port) is None:
        return None
    network = settings.proxies(environment.variables(), scheme)
    https, http = network.https_proxy, network.http_proxy
    return transport.Proxies(
        http=http.get_secret_value() if http else None,
        https=https.get_secret_value() if https else None,
        no=network.no_proxy,
    )


def _hint(error: errors.HoldfastError, server: str) -> str:
    """Which option or command helps, where the library, which knows neither, cannot say it; "" for
    none. It goes by the words in which `transport` tells why host:port cannot be reached."""
    said = error.message
    if not isinstance(error, errors.GaveUp) or server not in said or f"proxy {server}" in said:
        return ""
    if "refused the connection" in said:
        return "Start one with `holdfast serve` or `holdfast demo`, or name one with --url."
    return "Name the server with --url." if "could not be looked up" in said else ""


def _span(seconds: float) -> str:
    """At least so long, as people say it."""
    for limit, step, unit in ((120, 1, "s"), (7200, 60, "min")):
        if seconds <= limit:
            return f"{math.ceil(seconds / step)} {unit}"
    return f"{math.ceil(seconds / 3600)} h"


def trust(key: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that a server is trusted by, and trusts; `key` says which key is meant."""

    def with_trust(command: Callable[..., None]) -> Callable[..., None]:
        certificates = click.option(
            "--ca-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Certificates (PEM) that https is trusted by beside the system's.",
        )
        name = click.option("--api-key", envvar="HOLDFAST_API_KEY", show_envvar=True, help=key)
        return name(certificates(command))

    return with_trust


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a client; the command gets them as `target`."""

    @click.option(
        "--url",
        envvar="HOLDFAST_URL",
        show_envvar=True,
        default=DEFAULT_URL,
        show_default=True,
        help="The server.",
    )
    @trust("The key for it. Better in the variable: others can see a command line.")
    @click.pass_context
    @functools.wraps(command)
    def with_target(
        context: click.Context,
        /,
        *args: Any,
        url: str,
        api_key: str | None,
        ca_file: Path | None,
        **given: Any,
    ) -> None:
        typed = context.get_parameter_source("api_key") is ParameterSource.COMMANDLINE
        command(*args, target=Target(url, api_key, ca_file, typed), **given)

    return with_target
